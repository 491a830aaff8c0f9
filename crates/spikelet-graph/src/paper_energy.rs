//! The energy figures of spiking-transformer papers, with every choice of their accounting open.
//!
//! Yao et al. (2024) charge 4.6 pJ for a multiplication with a real-valued input and 0.9 pJ for an
//! addition that a spike causes (45 nm), and count `k k c_in c_out h w` products for a convolution,
//! those in the padding included, times the firing rate of what enters it and the number of steps.
//! Three choices change the sum several times over and are seldom said: whether the first
//! convolution, whose input is the same image in every step, counts once or in every step; whether a
//! RepConv is one 3 x 3 convolution of spikes or its parts, of which only the first has spikes as
//! input; the same for a depthwise convolution and the 1 x 1 convolution behind it.

use crate::{
    counters::Counters,
    energy::F32_45NM,
    error::GraphError,
    graph::{Graph, Phase},
    op::{Op, Signal},
    shape,
    topology::Topology,
};
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use serde::Serialize;

/// What is counted how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Accounting {
    /// Layers on the input count once, not in every step.
    pub input_once: bool,
    /// A RepConv is one convolution of spikes.
    pub rep_conv_fused: bool,
    /// A depthwise convolution and the 1 x 1 convolution behind it are one convolution of spikes.
    pub sep_conv_merged: bool,
}

impl Accounting {
    /// As in the paper.
    pub const PAPER: Accounting =
        Accounting { input_once: false, rep_conv_fused: true, sep_conv_merged: true };
}

/// What a layer, or several that count as one, costs for one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// The layer; of several the last one.
    pub name: String,
    /// Products if nothing is skipped, in one step.
    pub products: f64,
    /// Steps they are counted in.
    pub steps: f64,
    /// Firing rate of what enters, where this is spikes.
    pub rate: Option<f64>,
    /// Picojoules of one sample.
    pub picojoules: f64,
}

/// The costs of all layers under an accounting, from the counters of a run.
///
/// # Errors
/// Whatever [`Graph::validate`] finds.
pub fn costs(
    graph: &Graph,
    counters: &Counters,
    accounting: Accounting,
) -> Result<Vec<Cost>, GraphError> {
    let topology = graph.validate()?;
    let signals = graph.signals(&topology);
    let steps = counters.steps as f64 / counters.samples.max(1) as f64;
    let table = Table { graph, topology: &topology, signals, counters, accounting, steps };
    let joined = table.joined();
    let mut costs = Vec::new();
    for index in 0..graph.nodes.len() {
        if joined.values().flatten().any(|part| *part == index) {
            continue;
        }
        let parts = joined.get(&index).map_or(&[][..], Vec::as_slice);
        costs.extend(table.cost(index, parts));
    }
    Ok(costs)
}

/// Picojoules of all layers.
pub fn total(costs: &[Cost]) -> f64 {
    costs.iter().map(|cost| cost.picojoules).sum()
}

struct Table<'a> {
    graph: &'a Graph,
    topology: &'a Topology,
    signals: Vec<Signal>,
    counters: &'a Counters,
    accounting: Accounting,
    steps: f64,
}

impl Table<'_> {
    /// Layers that count as one: the last one, and those before it in their order.
    fn joined(&self) -> BTreeMap<usize, Vec<usize>> {
        let mut joined = BTreeMap::new();
        for last in 0..self.graph.nodes.len() {
            if let Some([first, border, depthwise, last]) = self.graph.chain(self.topology, last) {
                if self.accounting.rep_conv_fused {
                    joined.insert(last, Vec::from([first, border, depthwise]));
                }
            } else if let (true, Some(depthwise)) =
                (self.accounting.sep_conv_merged, self.depthwise_before(last))
            {
                joined.insert(last, Vec::from([depthwise]));
            }
        }
        joined
    }

    /// A depthwise convolution of spikes that only this 1 x 1 convolution reads.
    fn depthwise_before(&self, last: usize) -> Option<usize> {
        let [link] = self.topology.sources[last][..] else { return None };
        let alone = self.topology.targets[link.node].len() == 1 && link.delay == 0;
        let Op::Conv2d { groups, .. } = self.graph.nodes[link.node].op else { return None };
        let depthwise = groups > 1 && self.graph.nodes[link.node].shape.last() == Some(&groups);
        (alone && depthwise && self.kernel(last)? == [1, 1]).then_some(link.node)
    }

    /// Height and width of a convolution's kernel.
    fn kernel(&self, index: usize) -> Option<[usize; 2]> {
        let Op::Conv2d { weight, .. } = &self.graph.nodes[index].op else { return None };
        Some(shape::kernel(self.graph.tensors.get(&weight.tensor)?, weight.layout)?.0)
    }

    fn cost(&self, index: usize, parts: &[usize]) -> Option<Cost> {
        let node = &self.graph.nodes[index];
        let outputs = node.len() as f64;
        if let Op::Attention { heads, .. } = node.op {
            // Keys select what of the values adds up, queries what of that.
            let width = (node.shape.last()? / heads) as f64;
            let rates = [0, 1].map(|port| self.rate(self.source(index, port)));
            let products = outputs * width;
            let rate = rates.iter().sum::<f64>() / 2.0;
            return Some(self.of_spikes(index, 2.0 * products, rate));
        }
        let first = parts.first().copied().unwrap_or(index);
        let source = self.source(first, 0);
        let inputs = *self.graph.nodes[source].shape.last()? as f64;
        let products = match &node.op {
            Op::Linear { .. } => outputs * inputs,
            Op::Conv2d { groups, .. } => {
                let taps = parts
                    .iter()
                    .chain([&index])
                    .filter_map(|part| self.kernel(*part))
                    .map(|[h, w]| (h * w) as f64)
                    .product::<f64>();
                // Parts that count as one mix all channels.
                let groups = if parts.is_empty() { *groups as f64 } else { 1.0 };
                outputs * inputs * taps / groups
            }
            _ => return None,
        };
        if self.signals[source] == Signal::Binary {
            return Some(self.of_spikes(index, products, self.rate(source)));
        }
        let is_input = matches!(self.graph.nodes[source].op, Op::Input { .. });
        let steps = match is_input && self.accounting.input_once {
            true => 1.0,
            false => self.steps_of(index),
        };
        let picojoules = F32_45NM.mac_pj * products * steps;
        Some(Cost { name: node.name.clone(), products, steps, rate: None, picojoules })
    }

    fn of_spikes(&self, index: usize, products: f64, rate: f64) -> Cost {
        let (name, steps) = (self.graph.nodes[index].name.clone(), self.steps_of(index));
        let picojoules = F32_45NM.ac_pj * products * rate * steps;
        Cost { name, products, steps, rate: Some(rate), picojoules }
    }

    /// Steps a sample takes, of what runs once for all of them one.
    fn steps_of(&self, index: usize) -> f64 {
        match self.graph.nodes[index].phase {
            Phase::Step => self.steps,
            Phase::Sequence => 1.0,
        }
    }

    fn source(&self, index: usize, port: usize) -> usize {
        let link = self.topology.sources[index].iter().find(|link| link.port == port);
        link.map_or(index, |link| link.node)
    }

    /// The share of a node's outputs that were spikes.
    fn rate(&self, node: usize) -> f64 {
        let counters = &self.counters.nodes[node];
        counters.activation_nonzeros as f64 / counters.activation_elements.max(1) as f64
    }
}

impl Accounting {
    /// The choices in words.
    pub fn describe(self) -> String {
        let pick = |choice, yes: &'static str, no: &'static str| if choice { yes } else { no };
        format!(
            "first convolution {}; RepConv as {}; depthwise and 1 x 1 convolution as {}",
            pick(self.input_once, "once a sample", "in every step"),
            pick(self.rep_conv_fused, "one 3 x 3 convolution of spikes", "its parts"),
            pick(self.sep_conv_merged, "one convolution of spikes", "its parts"),
        )
    }
}
