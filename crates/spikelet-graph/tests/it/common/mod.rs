//! Graphs and numbers the tests share.

pub mod reference;

use spikelet_graph::{
    Graph, GraphBuilder, Layout, Membrane, Neuron, Param, Readout, Reset, Signal, Tensor,
};

/// A small generator of repeatable numbers (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..limit.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// In -1..1.
    pub fn real(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let len = shape.iter().product();
        Tensor::f32(shape, (0..len).map(|_| self.real()).collect()).unwrap()
    }
}

pub fn lif(beta: f32, threshold: f32) -> Neuron {
    Neuron {
        membrane: Membrane::Lif { beta: Param::Shared(beta), input_decay: false },
        threshold: Param::Shared(threshold),
        fires_at_threshold: false,
        reset: Reset::Subtract,
        reset_delayed: true,
    }
}

/// Sizes of an L2MU.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub inputs: usize,
    pub memories: usize,
    pub order: usize,
    pub hidden: usize,
    pub outputs: usize,
}

pub const BRAILLE: Sizes = Sizes { inputs: 12, memories: 70, order: 7, hidden: 120, outputs: 7 };
pub const SMALL: Sizes = Sizes { inputs: 5, memories: 4, order: 3, hidden: 6, outputs: 2 };

/// An L2MU with random weights, wired as the official code computes it.
pub fn l2mu(sizes: Sizes, seed: u64) -> GraphBuilder {
    let Sizes { inputs, memories, order, hidden, outputs } = sizes;
    let state = memories * order;
    let mut numbers = Numbers(seed);
    let mut graph = GraphBuilder::new("l2mu");
    graph.input("x", Signal::Binary, &[inputs]);
    let mut linear = |graph: &mut GraphBuilder, name: &str, from, delay, shape: [usize; 2]| {
        let weight = numbers.tensor(&shape);
        graph.linear(name, (from, delay), &weight, None, Layout::ByInput);
    };
    linear(&mut graph, "e_x", "x", 0, [memories, inputs]);
    linear(&mut graph, "e_h", "h", 1, [memories, hidden]);
    linear(&mut graph, "e_m", "m", 1, [memories, state]);
    linear(&mut graph, "w_x", "x", 0, [hidden, inputs]);
    linear(&mut graph, "w_h", "h", 1, [hidden, hidden]);
    linear(&mut graph, "w_m", "m", 0, [hidden, state]);
    graph.neuron("u", &["e_x", "e_h", "e_m"], lif(0.8, 0.5));
    let (a, b) = (numbers.tensor(&[order, order]), numbers.tensor(&[order]));
    graph.legendre("memory", "u", ("m", 1), memories, a, b);
    graph.neuron("m", &["memory"], lif(0.3, 0.4));
    graph.neuron("h", &["w_x", "w_h", "w_m"], lif(0.5, 0.6));
    let weight = numbers.tensor(&[outputs, hidden]);
    let bias = numbers.tensor(&[outputs]);
    graph.linear("out", "h", &weight, Some(bias), Layout::ByInput);
    graph.neuron("spikes", &["out"], lif(0.7, 0.3));
    graph.readout("count", "spikes", Readout::Sum);
    graph.output("y", "count");
    graph
}

pub fn small(seed: u64) -> Graph {
    l2mu(SMALL, seed).finish().unwrap()
}

/// A convolutional network: convolution, scale, neurons, pooling, flatten, linear.
pub fn convolutional(seed: u64) -> Graph {
    let mut numbers = Numbers(seed);
    let mut graph = GraphBuilder::new("conv");
    graph.input("x", Signal::Binary, &[6, 5, 2]);
    let kernel = numbers.tensor(&[4, 2, 3, 3]);
    let bias = Some(numbers.tensor(&[4]));
    graph.conv2d("conv", "x", &kernel, bias, Layout::ByInput, [1, 1], [1, 1], 1);
    let factor = graph.tensor("norm.factor", numbers.tensor(&[4]));
    let shift = Some(graph.tensor("norm.shift", numbers.tensor(&[4])));
    graph.node("norm", spikelet_graph::Op::Scale { factor, shift });
    graph.edge("conv", "norm", 0);
    graph.neuron("spikes", &["norm"], lif(0.9, 0.2));
    let pool = spikelet_graph::Op::Pool2d {
        pooling: spikelet_graph::Pooling::Average,
        kernel: [2, 2],
        stride: [2, 2],
        padding: [0, 0],
    };
    graph.node("pool", pool);
    graph.edge("spikes", "pool", 0);
    graph.node("flat", spikelet_graph::Op::Flatten);
    graph.edge("pool", "flat", 0);
    graph.linear("out", "flat", &numbers.tensor(&[3, 24]), None, Layout::ByOutput);
    graph.readout("mean", "out", Readout::Mean);
    graph.output("y", "mean");
    graph.finish().unwrap()
}

/// A recurrent baseline: LSTM, then GRU, then a linear read-out.
pub fn gated(seed: u64) -> Graph {
    let mut numbers = Numbers(seed);
    let mut graph = GraphBuilder::new("gated");
    graph.input("x", Signal::Dense, &[3]);
    let (w, r) = (numbers.tensor(&[16, 3]), numbers.tensor(&[16, 4]));
    graph.lstm("lstm", "x", &w, &r, numbers.tensor(&[16]), Layout::ByOutput);
    let (w, r) = (numbers.tensor(&[15, 4]), numbers.tensor(&[15, 5]));
    let biases = [numbers.tensor(&[15]), numbers.tensor(&[15])];
    graph.gru("gru", "lstm", [&w, &r], biases, Layout::ByInput);
    graph.linear("out", "gru", &numbers.tensor(&[2, 5]), None, Layout::ByOutput);
    graph.readout("last", "out", Readout::Last);
    graph.output("y", "last");
    graph.finish().unwrap()
}
