//! What flows out of every node: spikes, graded events or dense values.

use crate::{
    graph::{Graph, Node},
    neuron::Membrane,
    op::{Function, Op, Pooling, Readout, Signal},
    topology::Topology,
};
use alloc::{collections::VecDeque, vec, vec::Vec};

impl Graph {
    /// The signal at the output of every node, by index.
    ///
    /// Neurons give [`Signal::Binary`], leaky integrators and everything that multiplies by a
    /// matrix [`Signal::Dense`]. Pooling by sum or mean, scaling without a shift, `tanh` and token
    /// shifts turn spikes into [`Signal::Graded`]: zeros stay zeros. The square of `relu`, of which
    /// few values are expected to be active, turns everything but spikes into it; EGRU gives nothing
    /// else. What only moves
    /// or selects values keeps the signal of its input, and so do products of ports, `relu` and the
    /// read-outs `last` and `max`.
    pub fn signals(&self, topology: &Topology) -> Vec<Signal> {
        // Upwards from the narrowest signal, so that feedback loops settle: a node changes at
        // most twice.
        let mut signals = vec![Signal::Binary; self.nodes.len()];
        let mut queue: VecDeque<usize> = topology.order.iter().copied().collect();
        while let Some(index) = queue.pop_front() {
            let node = &self.nodes[index];
            let ports = input_signals(topology, &signals, index);
            let signal = output_signal(node, ports.into_iter().max_by_key(|s| rank(*s)));
            if rank(signal) > rank(signals[index]) {
                signals[index] = signal;
                queue.extend(topology.targets[index].iter().map(|link| link.node));
            }
        }
        signals
    }
}

/// The signal that arrives at every port of a node: that of its only edge, or dense where several
/// edges add up.
pub fn input_signals(topology: &Topology, signals: &[Signal], node: usize) -> Vec<Signal> {
    let mut ports: Vec<Signal> = Vec::new();
    for link in &topology.sources[node] {
        if link.port < ports.len() {
            ports[link.port] = Signal::Dense;
        } else {
            ports.push(signals[link.node]);
        }
    }
    ports
}

/// `input` is the widest signal over the ports.
fn output_signal(node: &Node, input: Option<Signal>) -> Signal {
    let input = input.unwrap_or(Signal::Dense);
    let at_least_graded = if input == Signal::Binary { Signal::Graded } else { input };
    match &node.op {
        Op::Input { signal } => *signal,
        Op::Neuron(neuron) => match neuron.membrane {
            Membrane::Li { .. } => Signal::Dense,
            _ => Signal::Binary,
        },
        Op::Flatten | Op::Concat | Op::Slice { .. } | Op::Add | Op::Multiply | Op::Output => input,
        Op::Pool2d { pooling: Pooling::Max, .. } => input,
        Op::Pool2d { pooling: Pooling::Average | Pooling::Sum, .. } => at_least_graded,
        Op::AdaptivePool2d { .. }
        | Op::Interpolate2d { .. }
        | Op::TokenShift { .. }
        | Op::Scale { shift: None, .. } => at_least_graded,
        Op::Activation { function: Function::ReluSquared } if input == Signal::Binary => input,
        Op::Activation { function: Function::ReluSquared } | Op::Egru { .. } => Signal::Graded,
        Op::Activation { function: Function::Relu } => input,
        Op::Activation { function: Function::Tanh } => at_least_graded,
        Op::Readout { readout: Readout::Last | Readout::Max } => input,
        Op::Readout { readout: Readout::Sum | Readout::Mean }
        | Op::Activation { function: Function::Sigmoid }
        | Op::Scale { shift: Some(_), .. }
        | Op::Linear { .. }
        | Op::Conv2d { .. }
        | Op::Legendre { .. }
        | Op::Embedding { .. }
        | Op::LayerNorm { .. }
        | Op::Wkv { .. }
        | Op::Border { .. }
        | Op::Attention { .. }
        | Op::Lstm { .. }
        | Op::Gru { .. } => Signal::Dense,
    }
}

fn rank(signal: Signal) -> u8 {
    match signal {
        Signal::Binary => 0,
        Signal::Graded => 1,
        Signal::Dense => 2,
    }
}
