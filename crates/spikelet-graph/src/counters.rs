//! What a run counts. Every field is defined in [`counts`](crate::counts).

use crate::{
    graph::Graph,
    neuron::Membrane,
    op::{Function, Op},
};
use alloc::{vec, vec::Vec};
use serde::Serialize;

/// What one node did, summed over steps and streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeCounters {
    /// Non-zero values that arrived, all ports together.
    pub events_in: u64,
    /// Pairs of a non-zero input and a non-zero weight in calls whose input holds other values
    /// than -1, 0 and 1.
    pub effective_macs: u64,
    /// Such pairs in calls whose input holds only -1, 0 and 1.
    pub effective_acs: u64,
    /// Pairs if nothing is skipped.
    pub dense: u64,
    /// Output values that are not zero.
    pub activation_nonzeros: u64,
    /// Output values.
    pub activation_elements: u64,
    /// Neurons or hidden units computed anew.
    pub state_updates: u64,
    /// Bytes of weights and scales read.
    pub weight_bytes: u64,
    /// Products of two activations.
    pub gate_multiplies: u64,
    /// Element-wise operations.
    pub elementwise: u64,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Time steps, summed over streams.
    pub steps: u64,
    /// Samples: sequences started, summed over streams.
    pub samples: u64,
    /// Per node, in the order of the graph.
    pub nodes: Vec<NodeCounters>,
}

impl NodeCounters {
    /// Counts the synaptic operations of one layer call: `effective` pairs of a non-zero input
    /// and a non-zero weight out of `dense`; `ternary` says that the whole input holds only -1,
    /// 0 and 1 (see [`is_ternary`]).
    pub fn synapses(&mut self, effective: u64, dense: u64, ternary: bool) {
        let pairs = if ternary { &mut self.effective_acs } else { &mut self.effective_macs };
        *pairs += effective;
        self.dense += dense;
    }

    /// Adds what another run did.
    pub fn merge(&mut self, other: &NodeCounters) {
        self.events_in += other.events_in;
        self.effective_macs += other.effective_macs;
        self.effective_acs += other.effective_acs;
        self.dense += other.dense;
        self.activation_nonzeros += other.activation_nonzeros;
        self.activation_elements += other.activation_elements;
        self.state_updates += other.state_updates;
        self.weight_bytes += other.weight_bytes;
        self.gate_multiplies += other.gate_multiplies;
        self.elementwise += other.elementwise;
    }

    /// The fraction of output values that are zero; `None` without output.
    pub fn activation_sparsity(&self) -> Option<f64> {
        let zeros = self.activation_elements.checked_sub(self.activation_nonzeros)?;
        (self.activation_elements > 0).then(|| zeros as f64 / self.activation_elements as f64)
    }
}

impl Counters {
    /// Zero for every node of a graph.
    pub fn new(nodes: usize) -> Self {
        Counters { nodes: vec![NodeCounters::default(); nodes], ..Counters::default() }
    }

    /// Adds what another run of the same graph did.
    pub fn merge(&mut self, other: &Counters) {
        self.steps += other.steps;
        self.samples += other.samples;
        if self.nodes.len() < other.nodes.len() {
            self.nodes.resize(other.nodes.len(), NodeCounters::default());
        }
        for (node, other) in self.nodes.iter_mut().zip(&other.nodes) {
            node.merge(other);
        }
    }

    /// The sum over all nodes.
    pub fn total(&self) -> NodeCounters {
        let mut total = NodeCounters::default();
        self.nodes.iter().for_each(|node| total.merge(node));
        total
    }

    /// NeuroBench's activation sparsity: the fraction of zeros among the outputs of all neurons,
    /// `relu` and `sigmoid` nodes together; 0 without any.
    pub fn activation_sparsity(&self, graph: &Graph) -> f64 {
        let mut total = NodeCounters::default();
        for (node, counters) in graph.nodes.iter().zip(&self.nodes) {
            if is_activation(&node.op) {
                total.merge(counters);
            }
        }
        total.activation_sparsity().unwrap_or(0.0)
    }
}

/// Whether all values are -1, 0 or 1: what makes the operations of a layer call accumulates.
pub fn is_ternary(values: &[f32]) -> bool {
    values.iter().all(|&value| value == 0.0 || value == 1.0 || value == -1.0)
}

fn is_activation(op: &Op) -> bool {
    match op {
        Op::Neuron(neuron) => !matches!(neuron.membrane, Membrane::Li { .. }),
        Op::Activation { function } => matches!(function, Function::Relu | Function::Sigmoid),
        _ => false,
    }
}
