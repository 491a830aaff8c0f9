//! What every operation count means, and the counts that follow from the graph alone.
//!
//! NeuroBench (version 2.3) is the reference. Of the fields of [`NodeCounts`], [`GraphCounts`]
//! and [`NodeCounters`](crate::counters::NodeCounters), these equal its numbers:
//!
//! | here | NeuroBench |
//! | --- | --- |
//! | `dense` | `SynapticOperations` Dense: (input, weight) pairs with every value taken as non-zero; positions in the padding of a convolution are not pairs; biases are not counted |
//! | `effective_macs`, `effective_acs` | Effective_MACs, Effective_ACs: pairs of a non-zero input and a non-zero weight. All pairs of a layer call (one node, one step, all streams run together) are ACs if its whole input holds only -1, 0 and 1, MACs otherwise |
//! | [`GraphCounts::connection_sparsity`] | `ConnectionSparsity`: zeros among the weights of linear layers and convolutions (biases excluded) and the weights and biases of LSTM, GRU and EGRU, rounded to four decimals |
//! | [`Counters::activation_sparsity`](crate::counters::Counters::activation_sparsity) | `ActivationSparsity`: zeros among the outputs of all neurons, `relu` and `sigmoid` nodes, over all steps and streams together |
//! | `parameters` | `ParameterCount`, where every neuron parameter is a PyTorch parameter (one that is a buffer there is counted here and not there) |
//!
//! The two layers of a Legendre node (A and B) count as the linear layers they are. NeuroBench
//! counts both biases of an LSTM where a graph keeps their sum, its footprint includes buffers
//! that only PyTorch keeps, and to the MACs of an LSTM or GRU cell it adds `gate_multiplies`.
//!
//! The rest is our extension, for what NeuroBench leaves out:
//!
//! | field | meaning |
//! | --- | --- |
//! | `gate_multiplies` | products of two activations: three per hidden unit of LSTM, GRU and EGRU, one per value and port beyond the first of `multiply`; of `attention`, those of both of its matrix products |
//! | `elementwise` | multiplications, additions and function values per element: scale (and shift), activation functions, those of the gates (five per LSTM unit, three per GRU unit, three and the threshold and the reset per EGRU unit), every value a pooling window reads, every addition of an `add` node, every value a read-out adds, seven per value of a layer norm, three of a token shift, 18 of WKV |
//! | `state_updates` | neurons (or hidden units, or channels of WKV) whose state is computed anew, whether it changes or not |
//! | `events_in` | non-zero values that arrived at the node, all ports together |
//! | `weight_bytes` | bytes of weights and scales read |

use crate::{
    error::GraphError,
    graph::{Graph, Node},
    neuron::Param,
    op::{Op, Readout, Weight},
    shape,
    tensor::{Tensor, elements},
    topology::{Link, Topology},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use serde::Serialize;

/// Counts of one node that follow from the graph alone. Operations are per stream and step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeCounts {
    /// Name of the node.
    pub name: String,
    /// Values it needs: weights, biases, neuron parameters (one for a shared parameter).
    pub parameters: u64,
    /// Values that count for connection sparsity.
    pub connections: u64,
    /// How many of them are zero.
    pub zero_connections: u64,
    /// Bytes of its tensors, scales included, and four for a shared parameter.
    pub bytes: u64,
    /// Synaptic operations if nothing is skipped.
    pub dense: u64,
    /// Products of two activations.
    pub gate_multiplies: u64,
    /// Element-wise operations.
    pub elementwise: u64,
    /// Neurons or hidden units computed anew.
    pub state_updates: u64,
}

/// The operations of one node per stream and step: the part of [`NodeCounts`] that needs no look
/// at the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Synaptic operations if nothing is skipped.
    pub dense: u64,
    /// Products of two activations.
    pub gate_multiplies: u64,
    /// Element-wise operations.
    pub elementwise: u64,
    /// Neurons or hidden units computed anew.
    pub state_updates: u64,
}

/// Counts of a graph that follow from it alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GraphCounts {
    /// Per node, in the order of the graph.
    pub nodes: Vec<NodeCounts>,
    /// Parameters; a tensor that several nodes share counts once.
    pub parameters: u64,
    /// Bytes of all parameters; a tensor that several nodes share counts once.
    pub bytes: u64,
    /// Values that count for connection sparsity.
    pub connections: u64,
    /// How many of them are zero.
    pub zero_connections: u64,
    /// Synaptic operations per stream and step if nothing is skipped.
    pub dense: u64,
    /// Neurons or hidden units computed anew per stream and step.
    pub state_updates: u64,
}

impl GraphCounts {
    /// The fraction of connections that are zero, rounded to four decimals as NeuroBench does;
    /// 0 without connections.
    pub fn connection_sparsity(&self) -> f64 {
        if self.connections == 0 {
            return 0.0;
        }
        let (zeros, all) = (u128::from(self.zero_connections), u128::from(self.connections));
        let rounded = (zeros * 20_000 + all) / (2 * all);
        rounded as f64 / 1e4
    }
}

impl Graph {
    /// The operations of every node of a graph that has been validated.
    pub fn operations(&self, topology: &Topology) -> Vec<Operations> {
        let of = |(node, sources): (_, &Vec<Link>)| Work { graph: self, node, sources }.all();
        self.nodes.iter().zip(&topology.sources).map(of).collect()
    }

    /// The counts that follow from the graph alone.
    ///
    /// # Errors
    /// Whatever [`Graph::validate`] finds.
    pub fn counts(&self) -> Result<GraphCounts, GraphError> {
        let topology = self.validate()?;
        let mut zeros = Zeros { graph: self, known: BTreeMap::new() };
        let mut total = GraphCounts::default();
        let mut seen = BTreeSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let counts = node_counts(&mut zeros, &topology, index);
            let shared = shared_params(&node.op);
            total.parameters += shared;
            total.bytes += 4 * shared;
            for name in node.op.tensors() {
                if let Some(tensor) = self.tensors.get(name)
                    && seen.insert(name)
                {
                    total.bytes += tensor.bytes() as u64;
                    if !is_scale(&node.op, name) {
                        total.parameters += tensor.len() as u64;
                    }
                }
            }
            total.connections += counts.connections;
            total.zero_connections += counts.zero_connections;
            total.dense += counts.dense;
            total.state_updates += counts.state_updates;
            total.nodes.push(counts);
        }
        Ok(total)
    }
}

/// The counts of one node of a validated graph.
fn node_counts(zeros: &mut Zeros, topology: &Topology, index: usize) -> NodeCounts {
    let graph = zeros.graph;
    let node = &graph.nodes[index];
    let shared = shared_params(&node.op);
    let mut counts = NodeCounts { name: node.name.clone(), ..NodeCounts::default() };
    counts.parameters = shared;
    counts.bytes = 4 * shared;
    for name in node.op.tensors() {
        if let Some(tensor) = graph.tensors.get(name) {
            counts.bytes += tensor.bytes() as u64;
            if !is_scale(&node.op, name) {
                counts.parameters += tensor.len() as u64;
            }
        }
    }
    for name in connections(&node.op) {
        let (all, zero) = zeros.of(name);
        counts.connections += all;
        counts.zero_connections += zero;
    }
    let work = Work { graph, node, sources: &topology.sources[index] }.all();
    counts.dense = work.dense;
    counts.gate_multiplies = work.gate_multiplies;
    counts.elementwise = work.elementwise;
    counts.state_updates = work.state_updates;
    counts
}

/// Zeros per tensor, counted once.
struct Zeros<'a> {
    graph: &'a Graph,
    known: BTreeMap<&'a str, (u64, u64)>,
}

impl<'a> Zeros<'a> {
    /// Elements of a tensor and how many are zero.
    fn of(&mut self, name: &'a str) -> (u64, u64) {
        let graph = self.graph;
        *self.known.entry(name).or_insert_with(|| {
            graph
                .tensors
                .get(name)
                .map_or((0, 0), |tensor| (tensor.len() as u64, tensor.zero_count() as u64))
        })
    }
}

/// The tensors whose values NeuroBench calls connections.
fn connections(op: &Op) -> Vec<&str> {
    let mut names: Vec<&str> = op.weights().iter().map(|weight| weight.tensor.as_str()).collect();
    match op {
        Op::Embedding { .. } => names.clear(),
        Op::Lstm { bias, .. } => names.push(bias),
        Op::Gru { bias_input, bias_hidden, .. } | Op::Egru { bias_input, bias_hidden, .. } => {
            names.push(bias_input);
            names.push(bias_hidden);
        }
        _ => {}
    }
    names
}

fn is_scale(op: &Op, name: &str) -> bool {
    op.weights().iter().any(|weight| weight.scale.as_deref() == Some(name))
}

fn shared_params(op: &Op) -> u64 {
    match op {
        Op::Neuron(neuron) => {
            neuron.params().iter().filter(|param| matches!(param, Param::Shared(_))).count() as u64
        }
        _ => 0,
    }
}

/// What one step of one stream costs at a node.
struct Work<'a> {
    graph: &'a Graph,
    node: &'a Node,
    sources: &'a [Link],
}

impl Work<'_> {
    fn all(&self) -> Operations {
        Operations {
            dense: self.dense(),
            gate_multiplies: self.gate_multiplies(),
            elementwise: self.elementwise(),
            state_updates: self.state_updates(),
        }
    }

    fn dense(&self) -> u64 {
        match &self.node.op {
            Op::Linear { weight, .. } => {
                let rows = self.node.shape.split_last().map_or(Some(1), |(_, o)| elements(o));
                count(rows).saturating_mul(self.size(weight))
            }
            Op::Conv2d { weight, stride, padding, dilation, .. } => {
                let Some(tensor) = self.tensor(weight) else { return 0 };
                let Some((kernel, per_group)) = shape::kernel(tensor, weight.layout) else {
                    return 0;
                };
                let outputs = tensor.output_channels(weight.layout) as u64;
                self.taps(kernel, *stride, *padding, *dilation)
                    .saturating_mul(per_group as u64)
                    .saturating_mul(outputs)
            }
            Op::Legendre { memories, a, b, .. } => {
                (*memories as u64).saturating_mul(self.size(a) + self.size(b))
            }
            Op::Lstm { weight_input, weight_hidden, .. }
            | Op::Gru { weight_input, weight_hidden, .. }
            | Op::Egru { weight_input, weight_hidden, .. } => {
                self.size(weight_input) + self.size(weight_hidden)
            }
            _ => 0,
        }
    }

    fn gate_multiplies(&self) -> u64 {
        match &self.node.op {
            Op::Lstm { .. } | Op::Gru { .. } | Op::Egru { .. } => 3 * self.outputs(),
            Op::Attention { heads, .. } => {
                let width = self.node.shape.last().copied().unwrap_or(0) / heads;
                self.outputs().saturating_mul(2 * width as u64)
            }
            Op::Multiply => {
                let ports = self.sources.last().map_or(0, |link| link.port as u64);
                self.outputs() * ports
            }
            _ => 0,
        }
    }

    fn elementwise(&self) -> u64 {
        match &self.node.op {
            Op::Scale { shift, .. } => self.outputs() * if shift.is_some() { 2 } else { 1 },
            Op::Activation { .. } => self.outputs(),
            Op::Lstm { .. } | Op::Egru { .. } => 5 * self.outputs(),
            Op::Gru { .. } | Op::TokenShift { .. } => 3 * self.outputs(),
            Op::LayerNorm { .. } => 7 * self.outputs(),
            Op::Wkv { .. } => 18 * self.outputs(),
            Op::Pool2d { kernel, stride, padding, .. } => {
                let channels = self.node.shape.last().copied().unwrap_or(1) as u64;
                self.taps(*kernel, *stride, *padding, [1, 1]).saturating_mul(channels)
            }
            Op::AdaptivePool2d { size } => {
                let [Link { node: source, .. }, ..] = self.sources else { return 0 };
                let input = &self.graph.nodes[*source].shape;
                let reads = |axis: usize| -> u64 {
                    let windows = 0..size[axis];
                    windows
                        .map(|o| shape::adaptive_window(input[axis], size[axis], o).len() as u64)
                        .sum()
                };
                let channels = self.node.shape.last().copied().unwrap_or(1) as u64;
                reads(0).saturating_mul(reads(1)).saturating_mul(channels)
            }
            // Two along the rows, one along the columns, each of two values.
            Op::Interpolate2d { .. } => 6 * self.outputs(),
            Op::Add => self.outputs() * (self.sources.len() as u64).saturating_sub(1),
            Op::Readout { readout: Readout::Last } => 0,
            Op::Readout { .. } => self.outputs(),
            _ => 0,
        }
    }

    fn state_updates(&self) -> u64 {
        match &self.node.op {
            Op::Neuron(_) | Op::Lstm { .. } | Op::Gru { .. } | Op::Egru { .. } | Op::Wkv { .. } => {
                self.outputs()
            }
            _ => 0,
        }
    }

    fn outputs(&self) -> u64 {
        self.node.len() as u64
    }

    fn size(&self, weight: &Weight) -> u64 {
        self.tensor(weight).map_or(0, |tensor| tensor.len() as u64)
    }

    fn tensor(&self, weight: &Weight) -> Option<&Tensor> {
        self.graph.tensors.get(&weight.tensor)
    }

    /// Pairs of an output position and a position of the window that lies within the image.
    fn taps(
        &self,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
    ) -> u64 {
        let Some(source) = self.sources.first() else { return 0 };
        let input = &self.graph.nodes[source.node].shape;
        let along = |axis: usize| {
            (0..kernel[axis])
                .map(|tap| {
                    let offset = tap as i128 * dilation[axis] as i128 - padding[axis] as i128;
                    let step = stride[axis] as i128;
                    let last = (input[axis] as i128 - 1 - offset).div_euclid(step);
                    let last = last.min(self.node.shape[axis] as i128 - 1);
                    let first = (-offset + step - 1).div_euclid(step).max(0);
                    (last - first + 1).max(0) as u64
                })
                .fold(0, u64::saturating_add)
        };
        along(0).saturating_mul(along(1))
    }
}

fn count(len: Option<usize>) -> u64 {
    len.unwrap_or(usize::MAX) as u64
}
