//! Magnitude pruning: the smallest weights become zero. Shapes stay; what is saved is work, for
//! an executor that skips zeros, and bytes once compressed.

use super::{CompressError, check_fraction, check_keep, share};
use crate::{
    error::GraphError,
    graph::Graph,
    int4,
    op::Op,
    tensor::{Tensor, Values},
};
use alloc::{collections::BTreeSet, string::String, vec::Vec};
use serde::Serialize;

/// Among which weights the smallest are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Among all of the graph: layers of small weights lose more.
    Global,
    /// Within each tensor: every layer loses the same fraction.
    Layer,
}

/// What became of one tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrunedTensor {
    /// Its name.
    pub tensor: String,
    /// Its weights.
    pub weights: usize,
    /// How many of them were zero before.
    pub zeros_before: usize,
    /// How many are now.
    pub zeros: usize,
}

/// The graph with the given fraction of the weights of its linear layers, convolutions, LSTM,
/// GRU and EGRU cells set to zero; those that were zero before are part of the fraction. Biases, embeddings
/// and the A and B of Legendre memories are left alone, and so are the nodes named in `keep`.
///
/// # Errors
/// A fraction outside 0..=1, a graph that is not valid, a name in `keep` that no node has.
pub fn prune(
    graph: &Graph,
    fraction: f64,
    scope: Scope,
    keep: &[&str],
) -> Result<(Graph, Vec<PrunedTensor>), CompressError> {
    graph.validate()?;
    check_fraction(fraction)?;
    check_keep(graph, keep)?;
    let weights = prunable(graph, keep)?;
    let mut chosen: Vec<Vec<usize>> = weights.iter().map(|_| Vec::new()).collect();
    let all = weights.iter().enumerate();
    let mut candidates: Vec<(f32, usize, usize)> = all
        .flat_map(|(tensor, (_, magnitudes))| {
            magnitudes.iter().enumerate().map(move |(position, m)| (*m, tensor, position))
        })
        .collect();
    match scope {
        Scope::Global => {
            let count = share(fraction, candidates.len());
            smallest(&mut candidates, count, &mut chosen);
        }
        Scope::Layer => {
            let mut rest = candidates.as_mut_slice();
            for (_, magnitudes) in &weights {
                let (layer, after) = rest.split_at_mut(magnitudes.len());
                smallest(layer, share(fraction, magnitudes.len()), &mut chosen);
                rest = after;
            }
        }
    }
    let mut result = graph.clone();
    let mut report = Vec::new();
    for ((name, magnitudes), positions) in weights.iter().zip(chosen) {
        if let Some(tensor) = result.tensors.get_mut(*name) {
            let zeros_before = tensor.zero_count();
            clear(tensor, &positions);
            report.push(PrunedTensor {
                tensor: (*name).into(),
                weights: magnitudes.len(),
                zeros_before,
                zeros: tensor.zero_count(),
            });
        }
    }
    Ok((result, report))
}

/// The tensors to prune with the magnitudes of their weights, each once.
fn prunable<'a>(graph: &'a Graph, keep: &[&str]) -> Result<Vec<(&'a str, Vec<f32>)>, GraphError> {
    let is_kept = |name: &str| keep.contains(&name);
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for node in &graph.nodes {
        // What a kept node, a table, a Legendre memory or a population uses stays, even if shared.
        let stays = matches!(node.op, Op::Legendre { .. } | Op::Embedding { .. } | Op::Neuron(_));
        if is_kept(&node.name) || stays {
            seen.extend(node.op.tensors());
        }
    }
    let mut found = Vec::new();
    for node in &graph.nodes {
        for weight in node.op.weights() {
            if seen.insert(&weight.tensor) {
                let values = graph.weight(&node.name, weight)?;
                let magnitudes = values.into_iter().map(f32::abs).collect();
                found.push((weight.tensor.as_str(), magnitudes));
            }
        }
    }
    Ok(found)
}

/// Notes the `count` candidates of the smallest magnitude by tensor; ties go to the first.
fn smallest(candidates: &mut [(f32, usize, usize)], count: usize, chosen: &mut [Vec<usize>]) {
    if count == 0 {
        return;
    }
    let order = |a: &(f32, usize, usize), b: &(f32, usize, usize)| {
        a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2)))
    };
    candidates.select_nth_unstable_by(count - 1, order);
    for (_, tensor, position) in &candidates[..count] {
        chosen[*tensor].push(*position);
    }
}

/// Sets elements to zero.
fn clear(tensor: &mut Tensor, positions: &[usize]) {
    let row = tensor.row();
    match &mut tensor.values {
        Values::F32(v) => positions.iter().for_each(|&p| v[p] = 0.0),
        Values::F16(v) => positions.iter().for_each(|&p| v[p] = 0),
        Values::I8(v) => positions.iter().for_each(|&p| v[p] = 0),
        Values::I32(v) => positions.iter().for_each(|&p| v[p] = 0),
        Values::I4(v) => {
            let mut integers = int4::unpack(v, row);
            positions.iter().for_each(|&p| integers[p] = 0);
            *v = int4::pack(&integers, row).into();
        }
    }
}
