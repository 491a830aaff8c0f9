//! What can go wrong when a graph is compiled or run.

use alloc::string::String;
use spikelet_graph::GraphError;

/// An error of the runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The graph is not valid.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A node with state in the phase that runs once.
    #[error(
        "node `{node}` keeps state over time steps, but its phase is `sequence`: set it to `step`, or \
         let its potentials decay at once without a delayed reset"
    )]
    StateInSequence {
        /// The node.
        node: String,
    },
    /// Input of the wrong length.
    #[error(
        "the input has {found} values; {streams} streams take a multiple of {expected} \
         ({per_step} per step and stream)"
    )]
    InputLength {
        /// Values given.
        found: usize,
        /// Values of one step of all streams.
        expected: usize,
        /// Values of one step of one stream.
        per_step: usize,
        /// Streams.
        streams: usize,
    },
    /// An integer-only graph where single nodes are to be observed.
    #[error(
        "`{graph}` is integer-only: its nodes cannot be observed; take the graph it was made from, \
         which does the same operations"
    )]
    IntegerOnly {
        /// Name of the graph.
        graph: String,
    },
    /// A value other than 0 and 1 at a binary input.
    #[error(
        "input `{node}` takes spikes, but value {index} of the chunk is {value}: \
         give 0 or 1, or declare the input as graded or dense"
    )]
    NotBinary {
        /// The input node.
        node: String,
        /// Position in the values given.
        index: usize,
        /// What was found.
        value: f32,
    },
    /// A number that names no token.
    #[error(
        "input `{node}` takes token numbers from 0 to {}, but value {index} of the chunk is {value}",
        tokens - 1
    )]
    NotToken {
        /// The input node.
        node: String,
        /// Position in the values given.
        index: usize,
        /// What was found.
        value: f32,
        /// How many tokens there are.
        tokens: usize,
    },
    /// A graph that does not read and rate tokens.
    #[error(
        "`{graph}` is no language model: that has one input, of token numbers, and one output with \
         a value for each of them"
    )]
    NoLanguageModel {
        /// Name of the graph.
        graph: String,
    },
    /// A graph that is no detector.
    #[error("`{graph}` is no detector that can be run: {problem}")]
    NoDetector {
        /// Name of the graph.
        graph: String,
        /// What is wrong.
        problem: String,
    },
    /// A state that another executor made.
    #[error("the state belongs to another graph than `{graph}`: make it with this executor")]
    ForeignState {
        /// Name of the graph of this executor.
        graph: String,
    },
    /// Bytes that are no saved state of this graph.
    #[error("the saved state does not fit `{graph}`: {problem}")]
    SavedState {
        /// Name of the graph of this executor.
        graph: String,
        /// What is wrong.
        problem: String,
    },
}
