//! How large values can become, and the fraction bits that follow: the proof that the sums of an
//! integer-only program stay within 32 bits.

use super::fixed::{self, INPUT_LIMIT};
use crate::{
    error::GraphError,
    graph::{Graph, Node},
    neuron::{Membrane, Neuron},
    op::{Function, Layout, Op, Pooling, Readout, Weight},
    tensor::Values,
    topology::{Link, Topology},
};
use alloc::{format, string::String, vec, vec::Vec};

/// Bits of fraction that are always enough.
const MOST: u32 = 16;
/// Values and currents stay below `2^VALUE_BITS`.
const VALUE_BITS: i32 = 28;
/// Sums of weights times values stay below `2^SUM_BITS`.
const SUM_BITS: i32 = 30;

/// The fraction bits of every node.
#[derive(Default)]
pub(super) struct Formats {
    /// Of its output.
    pub(super) output: Vec<u32>,
    /// Of the sum at its port 0.
    pub(super) port: Vec<u32>,
    /// The largest magnitudes of the sums at ports 0 and 1, as real numbers.
    pub(super) arriving: Vec<[f64; 2]>,
}

impl Formats {
    /// Whether a product may read values of this many fraction bits at a port.
    pub(super) fn check(
        &self,
        graph: &Graph,
        (index, port): (usize, usize),
        weight: &Weight,
        fraction: u32,
    ) -> Result<(), GraphError> {
        let node = &graph.nodes[index];
        if fraction <= most(graph, node, weight, self.arriving[index][port])? {
            return Ok(());
        }
        Err(unsupported(node, "its sums leave 32 bits: read a mean, not a sum over time"))
    }
}

/// Works out the formats of a graph whose inputs have the given fraction bits.
pub(super) fn formats(graph: &Graph, topology: &Topology) -> Result<Formats, GraphError> {
    let (bounds, arriving) = bounds(graph, topology)?;
    let mut formats =
        Formats { output: vec![0; bounds.len()], port: vec![0; bounds.len()], arriving };
    for &index in topology.order.iter().rev() {
        let node = &graph.nodes[index];
        let cap = cap(graph, topology, &bounds, index)?;
        let too_large = || unsupported(node, "its values leave 32 bits: scale its weights down");
        let limit = |bound: f64| {
            fixed::fraction(bound, VALUE_BITS, cap.unwrap_or(MOST)).ok_or_else(too_large)
        };
        let [arriving, _] = formats.arriving[index];
        formats.port[index] = match &node.op {
            Op::Neuron(neuron) => {
                let threshold = graph.param(&node.name, &neuron.threshold)?;
                let threshold = threshold.iter().fold(0.0, |most: f64, t| most.max(abs(*t)));
                limit(arriving.max(threshold).max(bounds[index]))?
            }
            Op::Linear { weight, .. }
            | Op::Conv2d { weight, .. }
            | Op::Egru { weight_input: weight, .. } => {
                let most = most(graph, node, weight, arriving)?;
                fixed::fraction(arriving, VALUE_BITS, most).ok_or_else(too_large)?
            }
            _ => limit(arriving)?,
        };
        formats.output[index] = match &node.op {
            Op::Input { .. } => graph.input_fraction(node),
            Op::Neuron(neuron) if neuron.membrane.is_spiking() => 0,
            Op::Neuron(_) => formats.port[index],
            Op::Activation { function: Function::Tanh | Function::Sigmoid } => fixed::TABLE_OUT,
            Op::Linear { .. } | Op::Conv2d { .. } | Op::Legendre { .. } | Op::Scale { .. } => {
                // As the sum it is made for wants it.
                let wanted = topology.targets[index].first().map(|link| link.node);
                let wanted = wanted.filter(|target| sums(topology, graph, *target));
                match wanted {
                    Some(target) => formats.port[target].min(limit(bounds[index])?),
                    None => limit(bounds[index])?,
                }
            }
            _ => limit(bounds[index])?,
        };
    }
    Ok(formats)
}

impl Graph {
    /// Fraction bits of an input, 0 for spikes.
    pub(super) fn input_fraction(&self, node: &Node) -> u32 {
        let fractions = self.integer.as_ref();
        fractions.and_then(|fractions| fractions.get(&node.name)).copied().unwrap_or(0)
    }
}

/// Whether what arrives at a node is brought to the format of its port.
fn sums(topology: &Topology, graph: &Graph, node: usize) -> bool {
    matches!(graph.nodes[node].op, Op::Neuron(_)) || topology.sources[node].len() > 1
}

/// The most fraction bits with which every product that reads a node stays in range.
fn cap(
    graph: &Graph,
    topology: &Topology,
    bounds: &[f64],
    index: usize,
) -> Result<Option<u32>, GraphError> {
    let mut cap: Option<u32> = None;
    let mut waiting = Vec::from([index]);
    while let Some(from) = waiting.pop() {
        for link in &topology.targets[from] {
            let target = &graph.nodes[link.node];
            match &target.op {
                Op::Egru { weight_hidden: weight, .. } if link.port == 1 => {
                    let most = most(graph, target, weight, bounds[index])?;
                    cap = Some(cap.map_or(most, |cap| cap.min(most)));
                }
                Op::Linear { weight, .. }
                | Op::Conv2d { weight, .. }
                | Op::Egru { weight_input: weight, .. } => {
                    let most = most(graph, target, weight, bounds[index])?;
                    cap = Some(cap.map_or(most, |cap| cap.min(most)));
                }
                // The same buffer under another name.
                Op::Flatten if waiting.len() < graph.nodes.len() => waiting.push(link.node),
                _ => {}
            }
        }
    }
    Ok(cap)
}

/// The most fraction bits of the input of a product.
fn most(graph: &Graph, node: &Node, weight: &Weight, bound: f64) -> Result<u32, GraphError> {
    let (_, integers) = column_sums(graph, node, weight)?;
    fixed::fraction(bound * integers, SUM_BITS, MOST)
        .ok_or_else(|| unsupported(node, "its sums leave 32 bits: it has too many inputs"))
}

/// The largest magnitude of every node's output and of the sum at its port 0.
fn bounds(graph: &Graph, topology: &Topology) -> Result<(Vec<f64>, Vec<[f64; 2]>), GraphError> {
    let mut bounds: Vec<Option<f64>> = graph
        .nodes
        .iter()
        .map(|node| match &node.op {
            Op::Neuron(neuron) if neuron.membrane.is_spiking() => Some(1.0),
            Op::Activation { function: Function::Tanh | Function::Sigmoid } => Some(1.0),
            // Its state is a mean of values of tanh, less a threshold that is not negative.
            Op::Egru { .. } => Some(1.0),
            _ => None,
        })
        .collect();
    let mut arriving = vec![[0.0; 2]; graph.nodes.len()];
    for &index in &topology.order {
        let node = &graph.nodes[index];
        let mut ports = [0.0, 0.0];
        for Link { node: source, port, .. } in &topology.sources[index] {
            let Some(bound) = bounds[*source] else {
                let problem = "a value feeds back to it without neurons or a table in between, so \
                               that it has no limit";
                return Err(unsupported(node, problem));
            };
            ports[(*port).min(1)] += bound;
        }
        arriving[index] = ports;
        if bounds[index].is_none() {
            bounds[index] = Some(output_bound(graph, node, ports)?);
        }
    }
    Ok((bounds.into_iter().map(|bound| bound.unwrap_or(0.0)).collect(), arriving))
}

fn output_bound(graph: &Graph, node: &Node, [x, m]: [f64; 2]) -> Result<f64, GraphError> {
    let vector = |name: &str| -> Result<f64, GraphError> {
        let values = graph.tensor(&node.name, name)?.to_f32();
        Ok(values.iter().fold(0.0, |most: f64, value| most.max(abs(*value))))
    };
    Ok(match &node.op {
        Op::Input { signal } => match signal {
            crate::op::Signal::Binary => 1.0,
            _ => f64::from(INPUT_LIMIT) * fixed::power(-(graph.input_fraction(node) as i32)),
        },
        Op::Linear { weight, bias } | Op::Conv2d { weight, bias, .. } => {
            let (reals, _) = column_sums(graph, node, weight)?;
            x * reals + bias.as_deref().map(vector).transpose()?.unwrap_or(0.0)
        }
        Op::Legendre { order, a, b, .. } => {
            let (a, b) = (graph.weight(&node.name, a)?, graph.weight(&node.name, b)?);
            let row = |(row, b): (&[f32], &f32)| {
                row.iter().map(|a| abs(*a)).sum::<f64>() * m + abs(*b) * x
            };
            a.chunks(*order).zip(&b).map(row).fold(0.0, f64::max)
        }
        Op::Scale { factor, shift } => {
            x * vector(factor)? + shift.as_deref().map(vector).transpose()?.unwrap_or(0.0)
        }
        Op::Pool2d { pooling: Pooling::Sum, kernel, .. } => x * (kernel[0] * kernel[1]) as f64,
        Op::Activation { function: Function::ReluSquared } => x * x,
        Op::Neuron(Neuron { membrane: Membrane::Li { beta }, .. }) => {
            let decays = graph.param(&node.name, beta)?;
            let leak = decays.iter().fold(1.0, |least: f64, d| least.min(1.0 - f64::from(*d)));
            // Without a leak it grows until it is limited.
            if leak > 0.0 { x / leak } else { fixed::power(VALUE_BITS - 1) }
        }
        Op::Readout { readout: Readout::Sum } => {
            let window = graph.task.window;
            if window > 0 { x * window as f64 } else { fixed::power(VALUE_BITS - 1) }
        }
        _ => x,
    })
}

/// Over the outputs of a weight, the largest sum of magnitudes, as reals and as integers.
pub(super) fn column_sums(
    graph: &Graph,
    node: &Node,
    weight: &Weight,
) -> Result<(f64, f64), GraphError> {
    let tensor = graph.tensor(&node.name, &weight.tensor)?;
    if !matches!(tensor.values, Values::I8(_) | Values::I4(_)) {
        let problem = "integer-only graphs need weights of 8 or 4 bits: quantise it first";
        return Err(unsupported(node, problem));
    }
    let outputs = tensor.output_channels(weight.layout).max(1);
    let rows = tensor.len() / outputs;
    let sums = |values: &[f32]| {
        let mut sums = vec![0.0; outputs];
        for (position, value) in values.iter().enumerate() {
            let output = match weight.layout {
                Layout::ByInput => position % outputs,
                Layout::ByOutput => position / rows,
            };
            sums[output] += abs(*value);
        }
        sums.into_iter().fold(0.0, f64::max)
    };
    Ok((sums(&graph.weight(&node.name, weight)?), sums(&tensor.to_f32()).max(1.0)))
}

pub(super) fn abs(value: f32) -> f64 {
    f64::from(value).max(-f64::from(value))
}

/// The error of a node that a program cannot have.
pub(super) fn unsupported(node: &Node, problem: &str) -> GraphError {
    let problem = format!("{problem} ({})", node.op.name());
    GraphError::Field { node: String::from(&*node.name), field: "op", problem }
}
