//! What a model loses on its way to NIR, node by node.

use serde::Serialize;
use std::fmt::Write;

/// How well NIR says what a node does; ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fidelity {
    /// The NIR nodes compute the same.
    Exact,
    /// Nearly the same, or the same if the reader decides as we do.
    Approximated,
    /// Something of it is not in the file; the rest is.
    Lossy,
    /// NIR has no node for it: no file can be written.
    Inexpressible,
}

impl Fidelity {
    /// The word of the report.
    pub fn name(self) -> &'static str {
        match self {
            Fidelity::Exact => "exact",
            Fidelity::Approximated => "approximated",
            Fidelity::Lossy => "lossy",
            Fidelity::Inexpressible => "inexpressible",
        }
    }
}

/// What becomes of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeReport {
    /// Its name.
    pub node: String,
    /// Its operation in the event graph.
    pub op: String,
    /// The NIR nodes it becomes: name and type.
    pub nir: Vec<[String; 2]>,
    /// How well they say what it does.
    pub fidelity: Fidelity,
    /// Why it is not exact, or how it is expressed.
    pub notes: Vec<String>,
}

/// What a model loses on its way to NIR.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The worst of all nodes.
    pub fidelity: Fidelity,
    /// Seconds of a time step in the file.
    pub dt: f64,
    /// Every node.
    pub nodes: Vec<NodeReport>,
    /// What the graph as a whole loses.
    pub lost: Vec<String>,
}

impl Report {
    /// Whether there is a file.
    pub fn is_expressible(&self) -> bool {
        self.fidelity != Fidelity::Inexpressible
    }

    /// The report for people: every node, then why, then what the graph loses.
    pub fn text(&self) -> String {
        let mut rows = vec![["node", "op", "fidelity", "in NIR"].map(str::to_owned)];
        for node in &self.nodes {
            let nir: Vec<String> =
                node.nir.iter().map(|[name, kind]| format!("{kind} `{name}`")).collect();
            let nir = if nir.is_empty() { "-".to_owned() } else { nir.join(" + ") };
            rows.push([node.node.clone(), node.op.clone(), node.fidelity.name().to_owned(), nir]);
        }
        let mut widths = [0; 3];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let [first, second, third] = widths;
        let mut text = String::new();
        for [node, op, fidelity, nir] in &rows {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{node:<first$}  {op:<second$}  {fidelity:<third$}  {nir}");
        }
        for node in self.nodes.iter().filter(|node| !node.notes.is_empty()) {
            let _ = writeln!(text, "\n{} ({}):", node.node, node.fidelity.name());
            node.notes.iter().for_each(|note| text += &format!("  {note}\n"));
        }
        let _ = writeln!(text, "\nNot in the file, or only in metadata no reader may rely on:");
        self.lost.iter().for_each(|note| text += &format!("  {note}\n"));
        text
    }
}
