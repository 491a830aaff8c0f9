//! An event graph as a NIR graph, with a report of what it loses.

use super::{
    DELAYED, DT, TASK, VERSION,
    error::NirError,
    export_layers::{self, Part},
    export_neurons::{self, Refused},
    loops,
    model::{Field, FieldValues, NirGraph, NirNode},
    order::Form,
    report::{Fidelity, NodeReport, Report},
};
use crate::{
    graph::{Graph, Node, Phase},
    op::{Op, Readout},
    topology::Topology,
};
use std::collections::{BTreeMap, BTreeSet};

/// A NIR graph and what it does not say.
#[derive(Clone, Debug)]
pub struct Export {
    /// The NIR graph; none where the report names a node that NIR cannot express.
    pub nir: Option<NirGraph>,
    /// What becomes of every node.
    pub report: Report,
}

impl NirGraph {
    /// A graph in NIR's terms, `dt` seconds a step.
    ///
    /// Names of nodes stay, but for `/`, which HDF5 reserves. Read-outs have no NIR node: the
    /// output gives the values that they would sum up.
    ///
    /// # Errors
    /// A graph that is not valid, and a step that is not positive. What NIR cannot express is no
    /// error but in the report.
    pub fn of_graph(graph: &Graph, dt: f64) -> Result<Export, NirError> {
        if !(dt > 0.0 && dt.is_finite()) {
            return Err(NirError::TimeStep { dt });
        }
        let topology = graph.validate()?;
        let mut exporter = Exporter::new(graph, &topology, dt);
        for &index in &topology.order {
            exporter.node(index)?;
        }
        exporter.add_edges();
        exporter.metadata();
        let lost = lost(graph);
        let fidelity = exporter.reports.iter().map(|node| node.fidelity).max();
        let fidelity = fidelity.unwrap_or(Fidelity::Exact);
        let report = Report { fidelity, dt, nodes: exporter.reports, lost };
        let nir = report.is_expressible().then_some(exporter.nir);
        Ok(Export { nir, report })
    }
}

struct Exporter<'a> {
    graph: &'a Graph,
    topology: &'a Topology,
    dt: f64,
    /// The form of what every node gives, by index.
    forms: Vec<Option<Form>>,
    /// Names of the nodes in NIR, by index.
    names: Vec<String>,
    /// The NIR nodes that every port goes to.
    entries: Vec<Vec<String>>,
    /// The NIR nodes whose sum is what every node gives.
    exits: Vec<Vec<String>>,
    nir: NirGraph,
    reports: Vec<NodeReport>,
    delayed: Vec<[String; 2]>,
}

impl<'a> Exporter<'a> {
    fn new(graph: &'a Graph, topology: &'a Topology, dt: f64) -> Self {
        let mut taken = BTreeSet::new();
        let names = graph.nodes.iter().map(|node| {
            let mut name = node.name.replace('/', "_");
            // HDF5 reads these as paths, too.
            if matches!(name.as_str(), "." | "..") {
                name.push('_');
            }
            while !taken.insert(name.clone()) {
                name.push('_');
            }
            name
        });
        Exporter {
            graph,
            topology,
            dt,
            names: names.collect(),
            forms: forms(graph, topology),
            entries: vec![Vec::new(); graph.nodes.len()],
            exits: vec![Vec::new(); graph.nodes.len()],
            nir: NirGraph { version: VERSION.into(), ..NirGraph::default() },
            reports: Vec::new(),
            delayed: Vec::new(),
        }
    }

    /// Adds the NIR nodes of a node and its line of the report.
    fn node(&mut self, index: usize) -> Result<(), NirError> {
        let node = &self.graph.nodes[index];
        let name = self.names[index].clone();
        let mut report = NodeReport {
            node: node.name.clone(),
            op: match &node.op {
                Op::Neuron(neuron) => neuron.model().into(),
                op => op.name().into(),
            },
            nir: Vec::new(),
            fidelity: Fidelity::Exact,
            notes: Vec::new(),
        };
        match self.parts(index, node, &mut report) {
            Ok(parts) => {
                for Part { suffix, port, node } in parts {
                    let mut name = format!("{name}{suffix}");
                    while self.nir.nodes.contains_key(&name) {
                        name.push('_');
                    }
                    report.nir.push([name.clone(), node.kind.clone()]);
                    let entries = &mut self.entries[index];
                    entries.resize(entries.len().max(port + 1), String::new());
                    entries[port].clone_from(&name);
                    self.exits[index].push(name.clone());
                    self.nir.nodes.insert(name, node);
                }
                if let Op::Readout { readout } = &node.op {
                    self.pass(index, *readout, &mut report);
                }
            }
            Err(Refused::Inexpressible(problem)) => {
                report.fidelity = Fidelity::Inexpressible;
                report.notes.push(problem);
            }
            Err(Refused::Error(error)) => return Err(error),
        }
        self.reports.push(report);
        Ok(())
    }

    fn parts(
        &self,
        index: usize,
        node: &Node,
        report: &mut NodeReport,
    ) -> Result<Vec<Part>, Refused> {
        let sources = &self.topology.sources[index];
        let Some(form) = &self.forms[index] else {
            let problem = format!("{:?} is neither a vector nor an image", node.shape);
            return Err(Refused::Inexpressible(problem));
        };
        if node.phase == Phase::Sequence && !matches!(node.op, Op::Output | Op::Readout { .. }) {
            let problem = "runs once, after the sequence; NIR has only what runs all the time";
            return Err(Refused::Inexpressible(problem.into()));
        }
        let mut inputs = sources.iter().map(|link| &self.forms[link.node]);
        let input = inputs.next().and_then(Option::as_ref);
        let one_port = !matches!(node.op, Op::Legendre { .. } | Op::Concat);
        if one_port && inputs.any(|other| other.as_ref() != input) {
            let problem = "adds up a flattened image and another vector, which lie differently";
            return Err(Refused::Inexpressible(problem.into()));
        }
        if let Op::Neuron(neuron) = &node.op {
            let written = export_neurons::write(self.graph, node, neuron, form, self.dt)?;
            report.fidelity = written.fidelity;
            report.notes = written.notes;
            return Ok(vec![Part::whole(written.node)]);
        }
        export_layers::parts(self.graph, node, input.unwrap_or(form), form, report)
    }

    /// A read-out gives what its source gives, and the reader of the file sums up.
    fn pass(&mut self, index: usize, readout: Readout, report: &mut NodeReport) {
        let sources = &self.topology.sources[index];
        if sources.iter().any(|link| link.delay > 0) {
            report.fidelity = Fidelity::Inexpressible;
            report.notes.push("reads out a delayed value".into());
            return;
        }
        self.exits[index] = sources.iter().flat_map(|link| self.exits[link.node].clone()).collect();
        let what = match readout {
            Readout::Sum => "the sum over time (spike counts)",
            Readout::Mean => "the mean over time",
            Readout::Last => "the last step",
            Readout::Max => "the largest value over time",
        };
        report.fidelity = Fidelity::Lossy;
        report.notes.push(format!("NIR has no read-out: {what} is left to the reader"));
    }

    /// Adds the edges. One that waits a single step within a loop is written as it is, as
    /// everybody writes loops; other delays become Delay nodes.
    fn add_edges(&mut self) {
        let edges = self.edges();
        let in_loop = self.in_loop(&edges);
        let mut waiting: BTreeMap<(String, usize), String> = BTreeMap::new();
        for (edge, in_loop) in edges.into_iter().zip(in_loop) {
            let Link { ends, delay, from } = edge;
            let name = &self.graph.nodes[from].name;
            let Some(report) = self.reports.iter().position(|report| report.node == *name) else {
                continue;
            };
            if delay == 0 || (delay == 1 && in_loop) {
                if delay == 1 {
                    self.delayed.push(ends.clone());
                    let report = &mut self.reports[report];
                    report.fidelity = report.fidelity.max(Fidelity::Approximated);
                    report.notes.push(format!(
                        "reaches `{}` a step later; NIR leaves the delay of a loop to its reader \
                         (the metadata says which edge waits)",
                        ends[1]
                    ));
                }
                self.nir.edges.push(ends);
                continue;
            }
            let [source, target] = ends;
            let key = (source.clone(), delay);
            let node = match waiting.get(&key) {
                Some(node) => node.clone(),
                None => {
                    let node = self.delay(&source, delay, from);
                    self.reports[report].nir.push([node.clone(), "Delay".into()]);
                    self.nir.edges.push([source, node.clone()]);
                    waiting.insert(key, node.clone());
                    node
                }
            };
            self.nir.edges.push([node, target]);
        }
    }

    /// The edges between NIR nodes.
    fn edges(&self) -> Vec<Link> {
        let nodes = self.graph.nodes.iter().enumerate();
        let index: BTreeMap<&str, usize> = nodes.map(|(i, n)| (n.name.as_str(), i)).collect();
        let mut edges = Vec::new();
        for edge in &self.graph.edges {
            let (from, to) = (index[edge.from.as_str()], index[edge.to.as_str()]);
            // A read-out, and what cannot be expressed, has no entries.
            if let Some(entry) = self.entries[to].get(edge.port) {
                edges.extend(self.exits[from].iter().map(|exit| Link {
                    ends: [exit.clone(), entry.clone()],
                    delay: edge.delay,
                    from,
                }));
            }
        }
        edges
    }

    /// For every edge whether it is part of a loop.
    fn in_loop(&self, edges: &[Link]) -> Vec<bool> {
        let index = loops::positions(&self.nir.nodes);
        let ends: Vec<[usize; 2]> =
            edges.iter().map(|Link { ends: [a, b], .. }| [index[&**a], index[&**b]]).collect();
        let mut out = vec![Vec::new(); index.len()];
        for (edge, [from, _]) in ends.iter().enumerate() {
            out[*from].push(edge);
        }
        let looped = |(link, [from, to]): (&Link, &[usize; 2])| {
            link.delay > 0 && loops::reaches(&out, &ends, *to, *from)
        };
        edges.iter().zip(&ends).map(looped).collect()
    }

    /// Adds a Delay node for what a node gives.
    fn delay(&mut self, source: &str, steps: usize, from: usize) -> String {
        let mut name = format!("{source}.delay{steps}");
        while self.nir.nodes.contains_key(&name) {
            name.push('_');
        }
        let shape = self.forms[from].as_ref().map_or(Vec::new(), |form| form.shape.clone());
        let values = vec![steps as f64 * self.dt; shape.iter().product()];
        let delay = Field { shape, values: FieldValues::F64(values) };
        let fields = [("delay".to_owned(), delay)].into();
        let node = NirNode { kind: "Delay".into(), fields, ..NirNode::default() };
        self.nir.nodes.insert(name.clone(), node);
        name
    }

    /// What no reader may rely on, for those who want to know.
    fn metadata(&mut self) {
        let mut put = |key: &str, field: Field| self.nir.metadata.insert(key.into(), field);
        put(DT, Field { shape: Vec::new(), values: FieldValues::F64(vec![self.dt]) });
        put("program", Field::text(concat!("spikelet ", env!("CARGO_PKG_VERSION"))));
        put("name", Field::text(self.graph.name.clone()));
        if let Ok(task) = serde_json::to_string(&self.graph.task) {
            put(TASK, Field::text(task));
        }
        if !self.delayed.is_empty()
            && let Ok(delayed) = serde_json::to_string(&self.delayed)
        {
            put(DELAYED, Field::text(delayed));
        }
    }
}

/// An edge between NIR nodes.
struct Link {
    ends: [String; 2],
    delay: usize,
    /// The node of the event graph that it comes from.
    from: usize,
}

/// The form of what every node gives: what passes values on keeps the order of its source.
fn forms(graph: &Graph, topology: &Topology) -> Vec<Option<Form>> {
    let mut forms: Vec<Option<Form>> =
        graph.nodes.iter().map(|node| Form::of_graph(&node.shape)).collect();
    // A loop may bring the order of a flattened image to a node that ran before: once more then.
    for _ in 0..graph.nodes.len() {
        let mut changed = false;
        for &index in &topology.order {
            let keeps = matches!(
                graph.nodes[index].op,
                Op::Neuron(_)
                    | Op::Scale { .. }
                    | Op::Add
                    | Op::Readout { .. }
                    | Op::Activation { .. }
                    | Op::Output
            );
            let source = topology.sources[index].first().and_then(|link| forms[link.node].clone());
            let form = match (&graph.nodes[index].op, source) {
                (Op::Flatten, Some(source)) => Some(source.flattened()),
                (_, Some(source)) if keeps => Some(source),
                _ => continue,
            };
            if forms[index] != form {
                forms[index] = form;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    forms
}

/// What the graph as a whole loses.
fn lost(graph: &Graph) -> Vec<String> {
    let mut lost = vec![
        "how it was trained: surrogate gradients, learning rule, optimiser state (an event graph \
         holds none of these either)"
            .to_owned(),
        "the duration of a time step: NIR's neurons are continuous, `dt` is in the metadata"
            .to_owned(),
    ];
    let task = &graph.task;
    let said = [
        (!task.mean.is_empty(), "the normalisation of the input, without which it gets other data"),
        (!task.channels.is_empty(), "the names of the channels"),
        (!task.classes.is_empty(), "the names of the classes"),
        (task.window > 0, "how many steps make a decision"),
        (task.step_ms.is_some(), "the real duration of a step"),
        (task.dataset.is_some() || !task.notes.is_empty(), "where its data is from, and notes"),
    ];
    for (_, what) in said.into_iter().filter(|(there, _)| *there) {
        lost.push(format!("task record: {what} (metadata `task`)"));
    }
    let images = |node: &Node| matches!(node.op, Op::Input { .. }) && node.shape.len() == 3;
    if graph.nodes.iter().any(images) {
        lost.push(
            "the order of axes: images go in channels first, as [channels, height, width]"
                .to_owned(),
        );
    }
    lost.push("what arrives at the input: spikes, graded events or dense values".to_owned());
    lost
}
