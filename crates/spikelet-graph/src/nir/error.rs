//! What can be wrong with a NIR file, or with a graph on its way to or from one.

use crate::error::GraphError;
use std::path::PathBuf;
use thiserror::Error;

/// Why a NIR file could not be read, written or turned into a graph.
#[derive(Debug, Error)]
pub enum NirError {
    /// The HDF5 structure cannot be read or written.
    #[error("`{place}`: {problem}")]
    Hdf5 {
        /// Path inside the file.
        place: String,
        /// What the HDF5 library says.
        problem: String,
    },
    /// More than any NIR file needs, or than a file of this size can hold.
    #[error("`{place}`: {problem}")]
    TooLarge {
        /// Path inside the file.
        place: String,
        /// How much, and what the limit is.
        problem: String,
    },
    /// A field that the type of a node needs.
    #[error("node `{node}` ({kind}) has no field `{field}`")]
    MissingField {
        /// The node.
        node: String,
        /// Its type.
        kind: String,
        /// The field.
        field: &'static str,
    },
    /// A field that the type of a node does not have.
    #[error("node `{node}` ({kind}) has a field `{field}`, which NIR does not define")]
    UnknownField {
        /// The node.
        node: String,
        /// Its type.
        kind: String,
        /// The field.
        field: String,
    },
    /// A field whose content does not fit.
    #[error("node `{node}`, field `{field}`: {problem}")]
    Field {
        /// The node.
        node: String,
        /// The field.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A type of node that NIR does not define.
    #[error("node `{node}` has the type `{kind}`, which is none of NIR's")]
    UnknownKind {
        /// The node.
        node: String,
        /// Its type.
        kind: String,
    },
    /// A node whose inputs do not fit it or each other.
    #[error("node `{node}`: {problem}")]
    Node {
        /// The node.
        node: String,
        /// What is wrong.
        problem: String,
    },
    /// An edge whose end does not exist.
    #[error("edge `{from}` -> `{to}`: {problem}")]
    Edge {
        /// Its source.
        from: String,
        /// Its target.
        to: String,
        /// What is wrong.
        problem: String,
    },
    /// The duration of a step that was asked for.
    #[error("a time step of {dt} s: it must be positive and finite")]
    TimeStep {
        /// Seconds.
        dt: f64,
    },
    /// The graph cannot run.
    #[error("as an event graph: {0}")]
    Graph(#[from] GraphError),
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A problem with its file.
    #[error("{}: {problem}", .path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: Box<NirError>,
    },
}

impl NirError {
    /// The content of a field is wrong.
    pub(super) fn field(node: &str, field: &str, problem: impl Into<String>) -> Self {
        NirError::Field { node: node.into(), field: field.into(), problem: problem.into() }
    }

    /// A node does not fit.
    pub(super) fn node(node: &str, problem: impl Into<String>) -> Self {
        NirError::Node { node: node.into(), problem: problem.into() }
    }
}
