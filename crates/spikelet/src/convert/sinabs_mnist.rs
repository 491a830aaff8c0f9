//! The MNIST network that sinabs' examples convert to spikes: a ReLU network without biases.
//!
//! ```text
//! image [28, 28, 1]
//!   conv 5x5, 20 · ReLU · average pool 2x2    [12, 12, 20]
//!   conv 5x5, 32 · ReLU · average pool 2x2    [4, 4, 32]
//!   conv 3x3, 128 · ReLU · average pool 2x2   [1, 1, 128]
//!   linear 500 · ReLU · linear 10
//! ```
//!
//! Without biases the class does not depend on the scale of the input.

use super::{ConvertError, weights::Weights};
use spikelet_data::checkpoint::Checkpoint;
use spikelet_graph::{Function, Graph, GraphBuilder, Layout, Op, Pooling, Readout, Signal, Task};

const NAMES: [&str; 5] = ["0.weight", "3.weight", "6.weight", "10.weight", "12.weight"];

/// The position in a `Sequential` is all the name there is, so the kernel sizes must fit as well.
pub(super) fn root(checkpoint: &Checkpoint) -> Option<String> {
    let root = checkpoint.state_dict_prefix();
    let axes = [4, 4, 4, 2, 2];
    let fits = |(name, axes): (&&str, usize)| {
        checkpoint.info(&format!("{root}{name}")).is_ok_and(|info| info.shape.len() == axes)
    };
    NAMES.iter().zip(axes).all(fits).then(|| root.to_owned())
}

pub(super) fn convert(weights: &mut Weights) -> Result<Graph, ConvertError> {
    weights.require(&NAMES)?;
    let mut graph = GraphBuilder::new("sinabs-mnist");
    graph.input("input", Signal::Dense, &[28, 28, 1]);
    let mut from = "input".to_owned();
    for (index, name) in NAMES[..3].iter().enumerate() {
        let kernel = weights.read(name, 4)?;
        let [conv, relu, pool] =
            ["conv", "relu", "pool"].map(|node| format!("{node}{}", index + 1));
        graph.conv2d(&conv, &from, &kernel, None, Layout::ByOutput, [1, 1], [0, 0], 1);
        rectify(&mut graph, &relu, &conv);
        let (kernel, stride, padding) = ([2, 2], [2, 2], [0, 0]);
        graph.node(&pool, Op::Pool2d { pooling: Pooling::Average, kernel, stride, padding });
        graph.edge(&relu, &pool, 0);
        from = pool;
    }
    graph.node("flatten", Op::Flatten);
    graph.edge(&from, "flatten", 0);
    let hidden = weights.read(NAMES[3], 2)?;
    graph.linear("linear1", "flatten", &hidden, None, Layout::ByOutput);
    rectify(&mut graph, "relu4", "linear1");
    let output = weights.read(NAMES[4], 2)?;
    graph.linear("linear2", "relu4", &output, None, Layout::ByOutput);
    graph.readout("readout", "linear2", Readout::Sum);
    graph.output("output", "readout");
    graph.task(Task {
        dataset: Some("mnist".into()),
        classes: (0..output.shape[0]).map(|digit| digit.to_string()).collect(),
        window: 1,
        ..Task::default()
    });
    Ok(graph.finish()?)
}

fn rectify(graph: &mut GraphBuilder, name: &str, from: &str) {
    graph.node(name, Op::Activation { function: Function::Relu });
    graph.edge(from, name, 0);
}
