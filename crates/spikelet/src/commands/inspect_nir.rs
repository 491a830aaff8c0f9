//! `spikelet inspect` of NIR files: their nodes as they are, and whether they run here.

use super::convert_nir::name;
use crate::{
    failure::{Failure, Result},
    table::Table,
};
use serde_json::{Value, json};
use spikelet_graph::nir::{self, Field, Import, NirError, NirGraph, NirNode};
use std::path::Path;

/// What is in a NIR file.
pub struct NirFile {
    nir: NirGraph,
    graph: std::result::Result<Import, NirError>,
}

impl NirFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let nir = nir::load(path).map_err(|error| {
            Failure::from(error).help("of HDF5 files, those in NIR's layout can be shown")
        })?;
        let graph = nir.to_graph(&name(path), None);
        Ok(NirFile { nir, graph })
    }

    /// The event graph in Graphviz's language.
    pub fn dot(self) -> Result<String> {
        Ok(self.graph?.graph.dot()?)
    }

    /// Nodes and fields, edges, and what running it assumes.
    pub fn text(&self, path: &Path) -> String {
        let mut table = Table::new(["node", "type", "fields", "goes to"]);
        for (name, node) in &self.nir.nodes {
            let fields: Vec<String> = node.fields.iter().map(field_text).collect();
            let edges = self.nir.edges.iter().filter(|[from, _]| from == name);
            let to: Vec<&str> = edges.map(|[_, to]| to.as_str()).collect();
            table.row([name, &node.kind, &fields.join(", "), &to.join(", ")]);
        }
        let mut text = format!(
            "{}: NIR as of version {}, {} nodes, {} edges\n\n{}",
            path.display(),
            self.nir.version,
            self.nir.nodes.len(),
            self.nir.edges.len(),
            table.text()
        );
        match &self.graph {
            Ok(import) => {
                text += &format!("\nruns here, {} s a step:\n", import.dt);
                import.notes.iter().for_each(|note| text += &format!("  {note}\n"));
            }
            Err(error) => text += &format!("\ndoes not run here: {error}\n"),
        }
        text
    }

    /// The same as JSON.
    pub fn json(&self, path: &Path) -> Value {
        let shapes = |node: &NirNode| {
            let fields = node.fields.iter().map(|(name, field)| {
                (name.clone(), json!({ "shape": field.shape, "type": field.data_type() }))
            });
            Value::Object(fields.collect())
        };
        let nodes =
            self.nir.nodes.iter().map(
                |(name, node)| json!({ "name": name, "type": node.kind, "fields": shapes(node) }),
            );
        let (dt, notes, error) = match &self.graph {
            Ok(import) => (Some(import.dt), import.notes.clone(), None),
            Err(error) => (None, Vec::new(), Some(error.to_string())),
        };
        json!({
            "file": path, "kind": "nir", "version": self.nir.version,
            "nodes": nodes.collect::<Vec<_>>(), "edges": self.nir.edges,
            "runs": error.is_none(), "dt": dt, "notes": notes, "error": error,
        })
    }
}

/// Name and shape; of a single text or number, its value.
fn field_text((name, field): (&String, &Field)) -> String {
    let shape: Vec<String> = field.shape.iter().map(usize::to_string).collect();
    match (field.as_text(), field.as_number()) {
        (Some(text), _) => format!("{name} {text:?}"),
        (None, Some(number)) => format!("{name} {number}"),
        (None, None) => format!("{name} {}", shape.join("x")),
    }
}
