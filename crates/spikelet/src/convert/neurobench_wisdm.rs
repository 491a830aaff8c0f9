//! NeuroBench's spiking CNN for the seven hand-oriented activities of WISDM.
//!
//! At each of the 40 steps of a window the six channels are a signal of length 1:
//!
//! ```text
//! x [1, 1, 6], raw units, ax ay az gx gy gz
//!   conv 1x2, padding 4, 200   [1, 8, 200] · max pool 2   [1, 4, 200] · LIF
//!   conv 1x1, 256              [1, 4, 256] · max pool 2   [1, 2, 256] · LIF
//!   linear 7 · LIF · spike count
//! ```
//!
//! The neurons are snnTorch's `Leaky`: soft reset, one step late, fires above the threshold.

use super::{ConvertError, weights::Weights};
use spikelet_data::{checkpoint::Checkpoint, wisdm};
use spikelet_graph::{Graph, GraphBuilder, Layout, Op, Pooling, Readout, Signal, Task, Tensor};

const LAYERS: [&str; 3] = ["conv1", "conv2", "linear"];
const NEURONS: [&str; 3] = ["leaky1", "leaky2", "leaky3"];
/// Zero padding of the first convolution, in steps along its length of 1.
const PADDING: usize = 4;

pub(super) fn root(checkpoint: &Checkpoint) -> Option<String> {
    let root = checkpoint.names().find_map(|name| name.strip_suffix("leaky3.threshold"))?;
    let kernel = checkpoint.info(&format!("{root}conv1.weight")).ok()?;
    (kernel.shape.len() == 3).then(|| root.to_owned())
}

pub(super) fn convert(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let parts = |names: [&str; 3], parts: [&str; 2]| {
        names.map(|name| parts.map(|part| format!("{name}.{part}"))).concat()
    };
    weights.require(
        &[parts(LAYERS, ["weight", "bias"]), parts(NEURONS, ["beta", "threshold"])].concat(),
    )?;
    let mut graph = GraphBuilder::new("neurobench-wisdm-scnn");
    let (first, second) = (kernel(weights, "conv1.weight")?, kernel(weights, "conv2.weight")?);
    let (channels, features) = (first.shape[1], second.shape[0]);
    graph.input("input", Signal::Dense, &[1, 1, channels]);
    // The first layer sees real values, all of them: rows of dense products.
    let layers =
        [("input", first, Layout::ByOutput, PADDING), ("leaky1", second, Layout::ByInput, 0)];
    for (index, (from, kernel, layout, padding)) in layers.into_iter().enumerate() {
        let conv = LAYERS[index];
        let bias = weights.read_as(&format!("{conv}.bias"), &[kernel.shape[0]])?;
        graph.conv2d(conv, from, &kernel, Some(bias), layout, [1, 1], [0, padding], 1);
        let pool = ["pool1", "pool2"][index];
        let (kernel, stride, padding) = ([1, 2], [1, 2], [0, 0]);
        graph.node(pool, Op::Pool2d { pooling: Pooling::Max, kernel, stride, padding });
        graph.edge(conv, pool, 0);
        graph.neuron(NEURONS[index], &[pool], weights.population(NEURONS[index])?.neuron());
    }
    graph.node("flatten", Op::Flatten);
    graph.edge("leaky2", "flatten", 0);
    let linear = channels_last(weights, features)?;
    let classes = linear.shape[0];
    let bias = weights.read_as("linear.bias", &[classes])?;
    graph.linear("linear", "flatten", &linear, Some(bias), Layout::ByInput);
    graph.neuron("leaky3", &["linear"], weights.population("leaky3")?.neuron());
    graph.readout("readout", "leaky3", Readout::Sum);
    graph.output("output", "readout");
    let names = wisdm::HAND.iter().filter_map(|&letter| wisdm::activity_name(letter));
    let known = classes == wisdm::HAND.len() && channels == wisdm::CHANNELS.len();
    graph.task(Task {
        dataset: Some("wisdm-watch".into()),
        classes: if known { names.map(str::to_owned).collect() } else { Vec::new() },
        channels: if known { wisdm::CHANNELS.map(str::to_owned).to_vec() } else { Vec::new() },
        window: 40,
        step_ms: Some(wisdm::STEP_MS),
        ..Task::default()
    });
    Ok(graph.finish()?)
}

/// A kernel `[out, in, length]` as one of height 1.
fn kernel(weights: &mut Weights, name: &str) -> Result<Tensor, ConvertError> {
    let mut kernel = weights.read(name, 3)?;
    kernel.shape.insert(2, 1);
    Ok(kernel)
}

/// PyTorch flattens `[channel, position]`, the graph `[position, channel]`.
fn channels_last(weights: &mut Weights, channels: usize) -> Result<Tensor, ConvertError> {
    let linear = weights.read("linear.weight", 2)?;
    let [classes, inputs] = [linear.shape[0], linear.shape[1]];
    if inputs.checked_rem(channels) != Some(0) {
        let expected = format!("a multiple of {channels} inputs");
        return Err(weights.shape("linear.weight", linear.shape, expected));
    }
    let by_channel = Tensor { shape: vec![classes, channels, inputs / channels], ..linear };
    let mut by_position = by_channel.permuted(&[0, 2, 1]).unwrap_or(by_channel);
    by_position.shape = vec![classes, inputs];
    Ok(by_position)
}
