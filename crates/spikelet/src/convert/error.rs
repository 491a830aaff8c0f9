//! Why a checkpoint cannot be converted.

use spikelet_data::checkpoint::CheckpointError;
use spikelet_graph::GraphError;
use std::path::PathBuf;

/// Why a checkpoint cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The file is damaged or holds something unreadable.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tensors do not form a valid graph.
    #[error("the converted network is not valid: {0}")]
    Graph(#[from] GraphError),
    /// `--arch` names no architecture.
    #[error("no architecture is called {name:?}{suggestion}")]
    UnknownArchitecture {
        /// The name given.
        name: String,
        /// The nearest name or all of them, as a half-sentence.
        suggestion: String,
    },
    /// The names of the tensors belong to no architecture.
    #[error(
        "{}: none of the architectures has these tensors ({tensors}, first {first:?}); name one with --arch",
        file.display()
    )]
    Unrecognised {
        /// The file.
        file: PathBuf,
        /// Number of tensors.
        tensors: usize,
        /// Names of the first ones.
        first: Vec<String>,
    },
    /// Tensors or hyper-parameters that the architecture needs are not in the file.
    #[error(
        "{}: not a whole {arch} checkpoint; missing: {}{}",
        file.display(),
        missing.join(", "),
        unexpected_list(unexpected)
    )]
    Missing {
        /// The file.
        file: PathBuf,
        /// The architecture.
        arch: &'static str,
        /// What is missing.
        missing: Vec<String>,
        /// Tensors that the architecture does not know.
        unexpected: Vec<String>,
    },
    /// A tensor has another shape than the others say.
    #[error("{}: tensor {tensor:?} has shape {found:?}, expected {expected}", file.display())]
    Shape {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// What the architecture or the other tensors say.
        expected: String,
    },
    /// The tensors are not those of the network that their sizes say.
    #[error("{}: not a whole {arch} checkpoint: {problem}", file.display())]
    Network {
        /// The file.
        file: PathBuf,
        /// The architecture.
        arch: &'static str,
        /// What does not fit.
        problem: String,
    },
    /// A setting that the event graph does not have.
    #[error("{}: {tensor} is {value}: {problem}", file.display())]
    Setting {
        /// The file.
        file: PathBuf,
        /// The tensor or hyper-parameter.
        tensor: String,
        /// Its value.
        value: String,
        /// Why it cannot be converted.
        problem: &'static str,
    },
}

fn unexpected_list(unexpected: &[String]) -> String {
    if unexpected.is_empty() {
        return String::new();
    }
    let shown = unexpected.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
    let more = if unexpected.len() > 12 { ", ..." } else { "" };
    format!("; unexpected ({}): {shown}{more}", unexpected.len())
}
