//! What can be wrong with a graph.

use alloc::{string::String, vec::Vec};
use thiserror::Error;

/// A problem in a graph: what and where, and how to put it right.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum GraphError {
    /// A name that cannot be used.
    #[error("{what} name {name:?}: names are printable, not empty and not `__metadata__`")]
    Name {
        /// `node` or `tensor`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two nodes share a name.
    #[error("two nodes are named `{name}`: give every node its own name")]
    DuplicateNode {
        /// The name.
        name: String,
    },
    /// No node has this name.
    #[error("no node is named `{name}`")]
    NoNode {
        /// The name looked for.
        name: String,
    },
    /// An edge names a node that does not exist.
    #[error("edge `{from}` -> `{to}`: no node is named `{missing}`")]
    EdgeEnd {
        /// Its source.
        from: String,
        /// Its target.
        to: String,
        /// The end that does not exist.
        missing: String,
    },
    /// The same edge twice.
    #[error(
        "edge `{from}` -> `{to}` (port {port}, delay {delay}) is there twice: \
         double the weights instead"
    )]
    DuplicateEdge {
        /// Its source.
        from: String,
        /// Its target.
        to: String,
        /// Its port.
        port: usize,
        /// Its delay in steps.
        delay: usize,
    },
    /// A delay beyond [`MAX_DELAY`](crate::validate::MAX_DELAY).
    #[error("edge `{from}` -> `{to}`: a delay of {delay} steps is over the limit of {limit}")]
    Delay {
        /// Its source.
        from: String,
        /// Its target.
        to: String,
        /// Its delay in steps.
        delay: usize,
        /// The longest delay.
        limit: usize,
    },
    /// A cycle without delay.
    #[error(
        "a cycle has no delay: {}; give one of its edges a delay of one step",
        .nodes.join(" -> ")
    )]
    Cycle {
        /// The nodes along the cycle; the first is repeated at the end.
        nodes: Vec<String>,
    },
    /// An edge goes to a port the operation does not have.
    #[error(
        "node `{node}` has {ports} input port(s), numbered from 0, but an edge goes to port {port}"
    )]
    NoPort {
        /// The target.
        node: String,
        /// The port of the edge.
        port: usize,
        /// The number of ports.
        ports: usize,
    },
    /// A port without an edge.
    #[error("node `{node}`: nothing is connected to port {port}")]
    OpenPort {
        /// The node.
        node: String,
        /// The port.
        port: usize,
    },
    /// Edges of different shapes into one port.
    #[error("node `{node}`, port {port}: cannot add `{from}` {found:?} to {expected:?}")]
    Sum {
        /// The target.
        node: String,
        /// The port.
        port: usize,
        /// The source that differs.
        from: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape of the first source of the port.
        expected: Vec<usize>,
    },
    /// The declared shape is not what the operation gives.
    #[error("node `{node}` declares shape {declared:?} but its operation gives {inferred:?}")]
    Shape {
        /// The node.
        node: String,
        /// What it declares.
        declared: Vec<usize>,
        /// What follows from its inputs and tensors.
        inferred: Vec<usize>,
    },
    /// A shape could not be derived because no input of the node has one.
    #[error("node `{node}`: its shape does not follow from its inputs; connect it to an input")]
    UnknownShape {
        /// The node.
        node: String,
    },
    /// A field of an operation is out of range or does not fit the rest.
    #[error("node `{node}`, field `{field}`: {problem}")]
    Field {
        /// The node.
        node: String,
        /// The field of the operation.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A tensor is used but not there.
    #[error("node `{node}` uses tensor `{tensor}`, which the graph does not hold")]
    NoTensor {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor no node uses.
    #[error("no node uses tensor `{tensor}`: remove it")]
    UnusedTensor {
        /// The tensor.
        tensor: String,
    },
    /// The shape of a tensor does not fit the operation.
    #[error("node `{node}`: tensor `{tensor}` has shape {found:?} where {expected} is needed")]
    TensorShape {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// What the operation needs.
        expected: String,
    },
    /// The number of values does not fit the shape.
    #[error("{tensor}: shape {shape:?} does not fit {found} stored elements")]
    TensorValues {
        /// The tensor, or what it was to be.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Elements of storage (bytes for 4-bit integers).
        found: usize,
    },
    /// The data type of a tensor does not fit its use.
    #[error("node `{node}`: tensor `{tensor}` is {found} where {expected} is needed")]
    DataType {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: &'static str,
        /// What the operation needs.
        expected: &'static str,
    },
    /// NaN or infinity among the values.
    #[error("tensor `{tensor}` holds {value} at element {index}: only finite values can run")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Row-major position.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A neuron parameter out of range.
    #[error("node `{node}`: {parameter} is {value}, outside {range}")]
    Parameter {
        /// The node.
        node: String,
        /// Which parameter.
        parameter: &'static str,
        /// Its value.
        value: f32,
        /// The range that is allowed.
        range: &'static str,
    },
    /// A shape with a zero, too few or too many axes, or a size that overflows.
    #[error(
        "{what} has shape {shape:?}: sizes start at 1, at most {limit} axes, and must fit memory"
    )]
    Size {
        /// The node or tensor.
        what: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The most axes.
        limit: usize,
    },
    /// Sizes over the limit, or that overflow.
    #[error("{what} is too large: the limit is {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// An edge between phases that cannot pass a value.
    #[error("edge `{from}` -> `{to}`: {problem}")]
    Phase {
        /// Its source.
        from: String,
        /// Its target.
        to: String,
        /// What is wrong and what would be right.
        problem: &'static str,
    },
    /// The graph lacks an input or an output.
    #[error("the graph has no {what} node")]
    Missing {
        /// `input` or `output`.
        what: &'static str,
    },
    /// A field of the task record.
    #[error("task record, field `{field}`: {problem}")]
    Task {
        /// The field.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}
