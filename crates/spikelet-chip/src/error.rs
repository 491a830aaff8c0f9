//! What can go wrong.

use spikelet_graph::GraphError;

/// Why a graph cannot be mapped or simulated.
#[derive(Debug, thiserror::Error)]
pub enum ChipError {
    /// The description of a chip.
    #[error("chip description, {place}: {problem}")]
    Description {
        /// Section and constant.
        place: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A mapping that comes from a file.
    #[error("mapping, {place}: {problem}")]
    Mapping {
        /// The field.
        place: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The graph does not fit.
    #[error("`{graph}` does not fit: {problem}")]
    DoesNotFit {
        /// Name of the graph.
        graph: String,
        /// What is too large, by how much, and what can be done.
        problem: String,
    },
    /// A figure asked for that cannot be.
    #[error("{0}")]
    Request(String),
    /// The simulation came to a stop before its last step: a fault of the simulator.
    #[error("nothing happens any more, but layer `{layer}` waits in step {step}")]
    Stuck {
        /// Name of the layer.
        layer: String,
        /// Its step.
        step: usize,
    },
    /// The graph is invalid.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The runtime refuses graph or input.
    #[error(transparent)]
    Runtime(#[from] spikelet_runtime::Error),
}
