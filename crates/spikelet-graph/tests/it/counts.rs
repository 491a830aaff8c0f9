//! The counts that follow from a graph alone.

use crate::common::{self, BRAILLE, Numbers, convolutional, gated, l2mu};
use spikelet_graph::{Counters, GraphBuilder, Layout, NodeCounters, Readout, Signal, Tensor};

#[test]
fn braille_network_has_the_published_dense_operations() {
    let counts = l2mu(BRAILLE, 1).finish().unwrap().counts().unwrap();
    assert_eq!(counts.dense, 122_940);
    assert_eq!(counts.dense * 256, 31_472_640);
    // 119,083 weights (A and B among them) and a decay and a threshold for four populations.
    assert_eq!(counts.parameters, 119_083 + 8);
    assert_eq!(counts.bytes, 4 * counts.parameters);
    assert_eq!(counts.connections, 119_083 - 7);
    assert_eq!(counts.state_updates, 70 + 490 + 120 + 7);
    let memory = counts.nodes.iter().find(|node| node.name == "memory").unwrap();
    assert_eq!(memory.dense, 70 * (49 + 7));
}

#[test]
fn connection_sparsity_counts_weights_and_no_biases_to_four_decimals() {
    let mut graph = GraphBuilder::new("sparse");
    graph.input("x", Signal::Binary, &[3]);
    let weight = Tensor::f32(&[1, 3], vec![0.0, 1.0, -0.0]).unwrap();
    let bias = Tensor::f32(&[1], vec![0.0]).unwrap();
    graph.linear("w", "x", &weight, Some(bias), Layout::ByInput);
    graph.output("y", "w");
    let counts = graph.finish().unwrap().counts().unwrap();
    assert_eq!((counts.connections, counts.zero_connections), (3, 2));
    assert_eq!(counts.connection_sparsity(), 0.6667);
}

/// Pairs of output position and tap inside the image, counted one by one.
fn taps_by_hand(size: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> u64 {
    let outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
    let inside = |out: usize, tap: usize| {
        let position = out * stride + tap * dilation;
        position >= padding && position < size + padding
    };
    (0..outputs).map(|out| (0..kernel).filter(|&tap| inside(out, tap)).count() as u64).sum()
}

#[test]
fn convolution_excludes_the_padding() {
    let mut numbers = Numbers(3);
    for _ in 0..300 {
        let size = [1 + numbers.below(9), 1 + numbers.below(9)];
        let kernel = [1 + numbers.below(4), 1 + numbers.below(4)];
        let stride = [1 + numbers.below(3), 1 + numbers.below(3)];
        let padding = [numbers.below(4), numbers.below(4)];
        if (0..2).any(|axis| size[axis] + 2 * padding[axis] < kernel[axis]) {
            continue;
        }
        let mut graph = GraphBuilder::new("conv");
        graph.input("x", Signal::Binary, &[size[0], size[1], 4]);
        let weight = numbers.tensor(&[6, 2, kernel[0], kernel[1]]);
        graph.conv2d("c", "x", &weight, None, Layout::ByOutput, stride, padding, 2);
        graph.output("y", "c");
        let counts = graph.finish().unwrap().counts().unwrap();
        let expected: u64 = (0..2)
            .map(|axis| taps_by_hand(size[axis], kernel[axis], stride[axis], padding[axis], 1))
            .product();
        assert_eq!(counts.dense, expected * 2 * 6, "{size:?} {kernel:?} {stride:?} {padding:?}");
    }
}

#[test]
fn extension_counts_gates_and_elements() {
    let counts = gated(5).counts().unwrap();
    let node = |name: &str| counts.nodes.iter().find(|node| node.name == name).unwrap().clone();
    let (lstm, gru) = (node("lstm"), node("gru"));
    assert_eq!((lstm.dense, gru.dense), (16 * (3 + 4), 15 * (4 + 5)));
    assert_eq!((lstm.gate_multiplies, gru.gate_multiplies), (12, 15));
    assert_eq!((lstm.elementwise, gru.elementwise), (20, 15));
    assert_eq!(lstm.connections, 16 * 7 + 16);
    let counts = convolutional(5).counts().unwrap();
    let pool = counts.nodes.iter().find(|node| node.name == "pool").unwrap();
    assert_eq!(pool.elementwise, 3 * 2 * 4 * 4);
}

#[test]
fn counters_merge_and_leave_read_outs_out_of_the_activation_sparsity() {
    let mut graph = GraphBuilder::new("n");
    graph.input("x", Signal::Binary, &[2]);
    graph.neuron("s", &["x"], common::lif(0.5, 1.0));
    graph.readout("r", "s", Readout::Sum);
    graph.output("y", "r");
    let graph = graph.finish().unwrap();
    let mut counters = Counters::new(4);
    counters.nodes[1] =
        NodeCounters { activation_elements: 8, activation_nonzeros: 2, ..Default::default() };
    counters.nodes[2] =
        NodeCounters { activation_elements: 8, activation_nonzeros: 8, ..Default::default() };
    let mut twice = counters.clone();
    twice.merge(&counters);
    assert_eq!(twice.nodes[1].activation_elements, 16);
    assert_eq!(twice.activation_sparsity(&graph), 0.75);
    let mut node = NodeCounters::default();
    node.synapses(3, 10, true);
    node.synapses(4, 10, false);
    assert_eq!((node.effective_acs, node.effective_macs, node.dense), (3, 4, 20));
}
