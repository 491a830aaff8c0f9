//! Which operations read something that is no spike.

use crate::common::{Numbers, lif};
use spikelet_graph::{GraphBuilder, Layout, Op, Pooling, Readout, Signal};

#[test]
fn every_operation_whose_input_is_not_spikes_is_listed() {
    let mut numbers = Numbers(5);
    let mut graph = GraphBuilder::new("some of each");
    graph.input("x", Signal::Dense, &[8, 8, 3]);
    let mut conv = |graph: &mut GraphBuilder, name: &str, from: &str, shape: [usize; 4], groups| {
        let weight = numbers.tensor(&shape);
        graph.conv2d(name, from, &weight, None, Layout::ByInput, [1, 1], [0, 0], groups);
    };
    conv(&mut graph, "stem", "x", [4, 3, 1, 1], 1);
    graph.neuron("s", &["stem"], lif(0.5, 1.0));
    // Spikes: a convolution, a product of two, the largest and the mean of some.
    conv(&mut graph, "on spikes", "s", [4, 4, 1, 1], 1);
    graph.neuron("t", &["on spikes", "stem"], lif(0.5, 1.0));
    graph.multiply("masked", ["s", "t"]);
    let pool = |pooling| Op::Pool2d { pooling, kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
    graph.node("largest spike", pool(Pooling::Max));
    graph.edge("masked", "largest spike", 0);
    graph.node("mean of spikes", pool(Pooling::Average));
    graph.edge("masked", "mean of spikes", 0);
    // What reads them reads numbers.
    conv(&mut graph, "on means", "mean of spikes", [4, 1, 1, 1], 4);
    for (name, from) in [("q", "on means"), ("k", "on means"), ("v", "largest spike")] {
        graph.neuron(name, &[from], lif(0.5, 1.0));
    }
    graph.attention("attention", ["q", "k", "v"], 2, 0.125);
    // Membranes: pooled, made larger, scaled, and summed up over positions and time.
    graph.node("smaller", pool(Pooling::Average));
    graph.edge("stem", "smaller", 0);
    graph.node("larger", Op::Interpolate2d { size: [8, 8] });
    graph.edge("smaller", "larger", 0);
    graph.node("everywhere", Op::AdaptivePool2d { size: [1, 1] });
    graph.edge("larger", "everywhere", 0);
    graph.node("flat", Op::Flatten);
    graph.edge("everywhere", "flat", 0);
    graph.readout("mean", "flat", Readout::Mean);
    graph.output("y", "mean");
    graph.output("attended", "attention");
    let found = graph.finish().unwrap().not_spike_driven().unwrap();
    let names: Vec<(&str, Signal)> =
        found.iter().map(|found| (found.node.as_str(), found.input)).collect();
    assert_eq!(
        names,
        [
            ("stem", Signal::Dense),
            ("on means", Signal::Graded),
            ("attention", Signal::Graded),
            ("smaller", Signal::Dense),
            ("larger", Signal::Dense),
            ("everywhere", Signal::Dense),
            ("mean", Signal::Dense),
        ]
    );
    let operations: Vec<u64> = found.iter().map(|found| found.operations).collect();
    // Products, the reads of pooling windows, six a pixel made, and sums over time.
    assert_eq!(operations, [64 * 12, 16 * 4, 2 * 64 * 2, 256, 6 * 256, 256, 4]);
}
