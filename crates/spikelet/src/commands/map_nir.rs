//! `spikelet map --nir`: what py-spinnaker2, the chip's own software, reads.

use crate::failure::{Failure, Result};
use serde::Serialize;
use spikelet_data::atomic;
use spikelet_graph::{
    Edge, Graph, Node, Op, Phase, Signal,
    nir::{self, NirGraph},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The NIR nodes that py-spinnaker2 reads, as its user guide lists them.
const READ: [&str; 10] = [
    "Input",
    "Output",
    "IF",
    "LIF",
    "CubaLIF",
    "Linear",
    "Affine",
    "Conv2d",
    "SumPool2d",
    "Flatten",
];

/// A NIR file for py-spinnaker2.
#[derive(Debug, Serialize)]
pub struct Written {
    /// The file; none where there is no layer that can be read.
    out: Option<PathBuf>,
    /// Nodes that the file leaves out. What they give others comes in at an input of their name.
    left_out: Vec<String>,
    /// Why: what py-spinnaker2 cannot read of them.
    unreadable: Vec<String>,
    /// What the file says differently from the model.
    differs: Vec<String>,
}

/// Writes the layers that can be read to a file.
pub fn write(graph: &Graph, path: &Path) -> Result<Written> {
    let dt = graph.task.step_ms.map_or(nir::STEP, |ms| f64::from(ms) / 1e3);
    let mut left_out = BTreeSet::new();
    let mut written =
        Written { out: None, left_out: Vec::new(), unreadable: Vec::new(), differs: Vec::new() };
    let mut part = Some(graph.clone());
    while let Some(rest) = part {
        let export = NirGraph::of_graph(&rest, dt)
            .map_err(|error| Failure::from(error).context(graph.name.clone()))?;
        let known = left_out.len();
        for node in &export.report.nodes {
            let problems = problems(node);
            if problems.is_empty() {
                continue;
            }
            if left_out.insert(node.node.clone()) {
                written.unreadable.extend(problems);
            } else {
                // An input in its place is not read either: nobody can take what it gives.
                let targets = rest.edges.iter().filter(|edge| edge.from == node.node);
                left_out.extend(targets.map(|edge| edge.to.clone()));
            }
        }
        if left_out.len() > known {
            part = without(graph, &left_out);
            continue;
        }
        for node in &export.report.nodes {
            let notes = node.notes.iter().map(|note| format!("`{}`: {note}", node.node));
            written.differs.extend(notes);
        }
        if let Some(nir) = export.nir {
            atomic::write(path, &nir.to_bytes()?)?;
            written.out = Some(path.to_owned());
        }
        break;
    }
    written.left_out = left_out.into_iter().collect();
    Ok(written)
}

/// What py-spinnaker2 cannot read of a node.
fn problems(node: &nir::NodeReport) -> Vec<String> {
    if node.fidelity == nir::Fidelity::Inexpressible {
        return vec![format!("`{}`: NIR has no node for {}", node.node, node.op)];
    }
    let unread = node.nir.iter().filter(|[_, kind]| !READ.contains(&kind.as_str()));
    unread.map(|[name, kind]| format!("`{}`: {kind} `{name}`", node.node)).collect()
}

/// The graph without some of its nodes: what they give others comes in at inputs of their names, what
/// they read goes out. `None` if no layer is left.
fn without(graph: &Graph, left_out: &BTreeSet<String>) -> Option<Graph> {
    let end = |node: &Node| matches!(node.op, Op::Input { .. } | Op::Output | Op::Readout { .. });
    let layers: BTreeSet<&str> = (graph.nodes.iter())
        .filter(|node| !end(node) && !left_out.contains(&node.name))
        .map(|node| node.name.as_str())
        .collect();
    // Inputs in front of these layers stay, and read-outs and outputs behind them.
    let mut stay = layers.clone();
    let ends = |wanted: fn(&Op) -> bool| {
        let nodes = graph.nodes.iter().filter(move |node| wanted(&node.op));
        nodes.map(|node| &node.name).filter(|name| !left_out.contains(*name))
    };
    let in_front = |name: &&String| {
        let mut targets = graph.edges.iter().filter(|edge| edge.from == **name);
        targets.any(|edge| layers.contains(edge.to.as_str()))
    };
    let inputs = ends(|op| matches!(op, Op::Input { .. })).filter(in_front);
    stay.extend(inputs.map(String::as_str));
    for wanted in [|op: &Op| matches!(op, Op::Readout { .. }), |op: &Op| matches!(op, Op::Output)] {
        let behind = |name: &&String| {
            let mut sources = graph.edges.iter().filter(|edge| edge.to == **name);
            sources.all(|edge| stay.contains(edge.from.as_str()))
        };
        let more: Vec<&str> = ends(wanted).filter(behind).map(String::as_str).collect();
        stay.extend(more);
    }
    let mut part = Graph { name: graph.name.clone(), ..Graph::default() };
    for edge in &graph.edges {
        match (stay.contains(edge.from.as_str()), stay.contains(edge.to.as_str())) {
            (true, true) => part.edges.push(edge.clone()),
            // Whoever feeds an input can wait.
            (false, true) => part.edges.push(Edge { delay: 0, ..edge.clone() }),
            _ => {}
        }
    }
    for node in &graph.nodes {
        let feeds = part.edges.iter().any(|edge| edge.from == node.name);
        if stay.contains(node.name.as_str()) {
            part.nodes.push(node.clone());
        } else if feeds {
            let op = Op::Input { signal: Signal::Dense };
            part.nodes.push(Node { op, phase: Phase::Step, ..node.clone() });
        }
        let goes_out = |edge: &Edge| edge.from == node.name && !stay.contains(edge.to.as_str());
        if layers.contains(node.name.as_str()) && (!feeds || graph.edges.iter().any(goes_out)) {
            let mut name = format!("{}.out", node.name);
            while graph.nodes.iter().any(|other| other.name == name) {
                name.push('_');
            }
            part.nodes.push(Node { name: name.clone(), op: Op::Output, ..node.clone() });
            part.edges.push(Edge { from: node.name.clone(), to: name, port: 0, delay: 0 });
        }
    }
    let used: BTreeSet<&str> = part.nodes.iter().flat_map(|node| node.op.tensors()).collect();
    let tensors = graph.tensors.iter().filter(|(name, _)| used.contains(name.as_str()));
    part.tensors = tensors.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    (!layers.is_empty()).then_some(part)
}

impl Written {
    /// Whether py-spinnaker2 reads all of it.
    pub fn is_readable(&self) -> bool {
        self.out.is_some() && self.unreadable.is_empty()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = match &self.out {
            Some(out) => format!("\n{}: NIR, ", out.display()),
            None => "\nno NIR file: no layer can be read; ".to_owned(),
        };
        text += match self.is_readable() {
            true => "all of which py-spinnaker2 reads\n",
            false => "without what py-spinnaker2 does not read:\n",
        };
        self.unreadable.iter().for_each(|what| text += &format!("  {what}\n"));
        if self.out.is_some() && !self.left_out.is_empty() {
            text += &format!("left out: {}\n", self.left_out.join(", "));
            text += "what they give comes in at inputs of their names, what they read goes out\n";
        }
        if !self.differs.is_empty() {
            text += "the file differs from the model in\n";
            self.differs.iter().for_each(|what| text += &format!("  {what}\n"));
        }
        text
    }
}
