//! `spikelet map --nir`: what py-spinnaker2, the chip's own software, reads.

use crate::failure::{Failure, Result};
use serde::Serialize;
use spikelet_data::atomic;
use spikelet_graph::{
    Graph,
    nir::{self, NirGraph},
};
use std::path::{Path, PathBuf};

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
    /// The file; none where NIR cannot express the model.
    out: Option<PathBuf>,
    /// What py-spinnaker2 cannot read, and why.
    unreadable: Vec<String>,
    /// What the file says differently from the model.
    differs: Vec<String>,
}

/// Writes the file.
pub fn write(graph: &Graph, path: &Path) -> Result<Written> {
    let dt = graph.task.step_ms.map_or(nir::STEP, |ms| f64::from(ms) / 1e3);
    let export = NirGraph::of_graph(graph, dt)
        .map_err(|error| Failure::from(error).context(graph.name.clone()))?;
    let mut written = Written { out: None, unreadable: Vec::new(), differs: Vec::new() };
    for node in &export.report.nodes {
        if node.fidelity == nir::Fidelity::Inexpressible {
            written.unreadable.push(format!("`{}`: NIR has no node for {}", node.node, node.op));
        }
        for [name, kind] in node.nir.iter().filter(|[_, kind]| !READ.contains(&kind.as_str())) {
            written.unreadable.push(format!("`{}`: {kind} `{name}`", node.node));
        }
        let notes = node.notes.iter().map(|note| format!("`{}`: {note}", node.node));
        written.differs.extend(notes);
    }
    if let Some(nir) = export.nir {
        atomic::write(path, &nir.to_bytes()?)?;
        written.out = Some(path.to_owned());
    }
    Ok(written)
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
            None => "\nno NIR file: ".to_owned(),
        };
        text += match self.is_readable() {
            true => "all of which py-spinnaker2 reads\n",
            false => "py-spinnaker2 does not read\n",
        };
        self.unreadable.iter().for_each(|what| text += &format!("  {what}\n"));
        if !self.differs.is_empty() {
            text += "the file differs from the model in\n";
            self.differs.iter().for_each(|what| text += &format!("  {what}\n"));
        }
        text
    }
}
