//! Post-training quantisation of weights: symmetric, one scale per output channel. Matrices that
//! multiply dense or graded values and tables, with rows of a multiple of [`GROUP`] weights, have
//! one per [`GROUP`] weights of a row.
//!
//! With `s` the largest magnitude under a scale divided by 127 (or 7), a weight `w`
//! becomes the integer `q` nearest to `w / s`, so that `|w - q s| <= s / 2`. Biases, neuron
//! parameters and vectors (the B of Legendre memories, whose scales would be as large as it is)
//! stay 32-bit floats.

use super::{CompressError, check_keep};
use crate::{
    graph::Graph,
    int4,
    op::{GROUP, Layout, Op, Signal},
    signal::input_signals,
    tensor::{Tensor, Values},
    topology::Topology,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec,
    vec::Vec,
};
use serde::Serialize;

/// The width of a quantised weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// 4 bits, -7..=7.
    Four,
    /// 8 bits, -127..=127.
    Eight,
}

/// What became of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuantizedTensor {
    /// Its name.
    pub tensor: String,
    /// Bytes before.
    pub bytes_before: usize,
    /// Bytes now, scales included.
    pub bytes: usize,
    /// The largest difference between a weight and what its integer stands for.
    pub max_error: f32,
}

/// The graph with integer weights. Nodes named in `keep`, and weights that are integers already,
/// stay as they are.
///
/// # Errors
/// A graph that is not valid, or a name in `keep` that no node has.
pub fn quantize(
    graph: &Graph,
    bits: Bits,
    keep: &[&str],
) -> Result<(Graph, Vec<QuantizedTensor>), CompressError> {
    let topology = graph.validate()?;
    quantize_with(graph, bits, keep, &grouped(graph, &topology))
}

/// [`quantize`] with one scale per output channel throughout, as graphs computed in integers alone
/// need it; integers with a scale per group are quantised again.
///
/// # Errors
/// As there.
pub fn quantize_channels(
    graph: &Graph,
    bits: Bits,
    keep: &[&str],
) -> Result<(Graph, Vec<QuantizedTensor>), CompressError> {
    graph.validate()?;
    quantize_with(&without_groups(graph)?, bits, keep, &BTreeSet::new())
}

/// The graph with floats for weights that have a scale per group.
fn without_groups(graph: &Graph) -> Result<Graph, CompressError> {
    let mut result = graph.clone();
    for (before, after) in graph.nodes.iter().zip(&mut result.nodes) {
        for (weight, new) in before.op.weights().into_iter().zip(after.op.weights_mut()) {
            let Some(scale) = &weight.scale else { continue };
            if graph.tensor(&before.name, scale)?.shape.len() == 2 {
                let shape = &graph.tensor(&before.name, &weight.tensor)?.shape;
                let values = Tensor::f32(shape, graph.weight(&before.name, weight)?)?;
                result.tensors.insert(weight.tensor.clone(), values);
                result.tensors.remove(scale);
                new.scale = None;
            }
        }
    }
    Ok(result)
}

fn quantize_with(
    graph: &Graph,
    bits: Bits,
    keep: &[&str],
    grouped: &BTreeSet<&str>,
) -> Result<(Graph, Vec<QuantizedTensor>), CompressError> {
    check_keep(graph, keep)?;
    let mut result = graph.clone();
    let mut report = Vec::new();
    for (name, layout) in candidates(graph, keep) {
        let tensor = graph.tensor("", &name)?;
        let values = tensor.to_f32();
        let groups = tensor.groups().filter(|_| grouped.contains(name.as_str()));
        let places = match groups {
            Some(_) => Places::Groups,
            None => Places::Channels(tensor.output_channels(layout), layout),
        };
        let scales = scales(&values, places, bits);
        let integers = integers(&values, &scales, places, bits);
        let values_now = match bits {
            Bits::Eight => Values::I8(integers.into()),
            Bits::Four => Values::I4(int4::pack(&integers, tensor.row()).into()),
        };
        let quantized = Tensor::new(&tensor.shape, values_now)?;
        let shape = groups.map_or_else(|| Vec::from([scales.len()]), Vec::from);
        let scales = Tensor::f32(&shape, scales)?;
        let back = quantized.dequantized(&scales, layout);
        let errors = values.iter().zip(back).map(|(w, q)| (w - q).abs());
        report.push(QuantizedTensor {
            tensor: name.clone(),
            bytes_before: tensor.bytes(),
            bytes: quantized.bytes() + scales.bytes(),
            max_error: errors.fold(0.0, f32::max),
        });
        let scale = result.free_name(&format!("{name}.scale"));
        result.tensors.insert(scale.clone(), scales);
        result.tensors.insert(name.clone(), quantized);
        for weight in result.nodes.iter_mut().flat_map(|node| node.op.weights_mut()) {
            if weight.tensor == name {
                weight.scale = Some(scale.clone());
            }
        }
    }
    result.validate()?;
    Ok((result, report))
}

/// The tensors to quantise, each with the one layout all its users agree on.
pub(super) fn candidates(graph: &Graph, keep: &[&str]) -> BTreeMap<String, Layout> {
    let mut layouts = BTreeMap::new();
    let mut excluded: BTreeSet<&str> = BTreeSet::new();
    for node in &graph.nodes {
        let kept = keep.contains(&node.name.as_str());
        for weight in node.op.weights() {
            let tensor = graph.tensors.get(&weight.tensor);
            let is_float_matrix = tensor.is_some_and(|tensor| {
                tensor.shape.len() >= 2 && matches!(tensor.values, Values::F32(_) | Values::F16(_))
            });
            let agreed = *layouts.entry(weight.tensor.clone()).or_insert(weight.layout);
            if kept || !is_float_matrix || agreed != weight.layout {
                excluded.insert(&weight.tensor);
            }
        }
        if let Op::Neuron(_) = node.op {
            // A population may share a tensor with a weight; parameters stay floats.
            excluded.extend(node.op.tensors());
        }
    }
    layouts.retain(|name, _| !excluded.contains(name.as_str()));
    layouts
}

fn limit(bits: Bits) -> f32 {
    match bits {
        Bits::Four => 7.0,
        Bits::Eight => 127.0,
    }
}

/// Which weights share a scale.
#[derive(Clone, Copy)]
enum Places {
    /// Those of one of so many output channels.
    Channels(usize, Layout),
    /// Those of a group.
    Groups,
}

impl Places {
    /// How many scales so many weights have.
    fn count(self, len: usize) -> usize {
        match self {
            Places::Channels(channels, _) => channels,
            Places::Groups => len / GROUP,
        }
    }

    /// The scale of the weight at a position.
    fn of(self, position: usize, len: usize) -> usize {
        match self {
            Places::Channels(channels, Layout::ByInput) => position % channels,
            Places::Channels(channels, Layout::ByOutput) => position / (len / channels),
            Places::Groups => position / GROUP,
        }
    }
}

/// The tensors that may have a scale per group: tables, and matrices whose inputs are no spikes,
/// which add up integers and need one scale per output for that.
fn grouped<'a>(graph: &'a Graph, topology: &Topology) -> BTreeSet<&'a str> {
    let signals = graph.signals(topology);
    let (mut grouped, mut others) = (BTreeSet::new(), BTreeSet::new());
    for (index, node) in graph.nodes.iter().enumerate() {
        let spikes = input_signals(topology, &signals, index).contains(&Signal::Binary);
        let fits = match node.op {
            Op::Linear { .. } => node.shape.len() == 1 && !spikes,
            Op::Embedding { .. } => true,
            _ => false,
        };
        let names = node.op.weights().into_iter().map(|weight| weight.tensor.as_str());
        if fits { grouped.extend(names) } else { others.extend(names) }
    }
    grouped.difference(&others).copied().collect()
}

fn scales(values: &[f32], places: Places, bits: Bits) -> Vec<f32> {
    let mut largest = vec![0.0_f32; places.count(values.len())];
    for (position, value) in values.iter().enumerate() {
        let place = places.of(position, values.len());
        largest[place] = largest[place].max(value.abs());
    }
    let scale = |largest: f32| {
        // Without weights any scale will do; a subnormal one would round to zero.
        if largest == 0.0 { 1.0 } else { (largest / limit(bits)).max(f32::MIN_POSITIVE) }
    };
    largest.into_iter().map(scale).collect()
}

fn integers(values: &[f32], scales: &[f32], places: Places, bits: Bits) -> Vec<i8> {
    let limit = f64::from(limit(bits));
    let integer = |(position, value): (usize, &f32)| {
        let scale = scales[places.of(position, values.len())];
        let ratio = (f64::from(*value) / f64::from(scale)).clamp(-limit, limit);
        // Half away from zero; the cast drops the fraction.
        (ratio + if ratio < 0.0 { -0.5 } else { 0.5 }) as i8
    };
    values.iter().enumerate().map(integer).collect()
}
