//! Constraints on weights while training: pruned ones stay zero, others are seen rounded.

use crate::params::Tensors;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};

/// What is asked of every weight matrix (parameters of rank 2).
#[derive(Clone, Debug)]
pub struct Constraint {
    /// 0 or 1 per weight, by parameter name.
    masks: Tensors,
    bits: u32,
}

impl Constraint {
    /// Keeps the weights of `model` that are zero at zero if `prune` asks for it, after zeroing
    /// the smallest until each matrix has that fraction of zeros, but for matrices whose names begin
    /// with one of `keep`; `bits` of 0 means float.
    pub fn new<M: Module>(model: &M, prune: f64, keep: &[String], bits: u32) -> Constraint {
        let mut constraint = Constraint { masks: Tensors::new(), bits };
        if prune > 0.0 {
            constraint.tighten(model, prune, keep);
        }
        constraint
    }

    /// Chooses anew which weights are zero: the smallest, a fraction `prune` of each matrix. Those
    /// that are zero already are among them.
    pub fn tighten<M: Module>(&mut self, model: &M, prune: f64, keep: &[String]) {
        for (name, (shape, values)) in crate::params::collect(model) {
            if shape.len() == 2 && !keep.iter().any(|start| name.starts_with(start)) {
                self.masks.insert(name, (shape, mask(&values, prune)));
            }
        }
    }

    /// Fraction of the weights of pruned matrices that is zero; nothing without pruning.
    pub fn pruned(&self) -> Option<f64> {
        let all: usize = self.masks.values().map(|(_, mask)| mask.len()).sum();
        let kept: f64 = self.masks.values().flat_map(|(_, mask)| mask).map(|m| f64::from(*m)).sum();
        (all > 0).then(|| 1.0 - kept / all as f64)
    }

    /// The constraint of a run that goes on.
    pub fn with_masks(masks: Tensors, bits: u32) -> Constraint {
        Constraint { masks, bits }
    }

    /// Which weights are kept.
    pub fn masks(&self) -> &Tensors {
        &self.masks
    }

    /// The model with pruned weights at zero: what the optimiser keeps.
    pub fn project<M: Module>(&self, model: M) -> M {
        if self.masks.is_empty() {
            return model;
        }
        model.map(&mut Change {
            path: vec![],
            change: |name: &str, values: &mut [f32], _: usize| {
                if let Some((_, mask)) = self.masks.get(name) {
                    values.iter_mut().zip(mask).for_each(|(w, m)| *w *= m);
                }
            },
        })
    }

    /// The model as it will be deployed: weights rounded. Parameters keep their ids, so gradients
    /// taken here can be applied to the free weights.
    pub fn effective<M: Module>(&self, model: M) -> M {
        if self.bits == 0 {
            return model;
        }
        model.map(&mut Change {
            path: vec![],
            change: |_: &str, values: &mut [f32], columns| {
                values.chunks_exact_mut(columns).for_each(|row| round(row, self.bits));
            },
        })
    }
}

/// Zeroes the smallest weights: 0 or 1 per weight.
fn mask(values: &[f32], fraction: f64) -> Vec<f32> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let count = ((fraction * values.len() as f64).round() as usize).min(values.len());
    let mut mask = vec![1.0; values.len()];
    if count > 0 {
        let smaller =
            |&a: &usize, &b: &usize| values[a].abs().total_cmp(&values[b].abs()).then(a.cmp(&b));
        order.select_nth_unstable_by(count - 1, smaller);
    }
    order[..count].iter().for_each(|&i| mask[i] = 0.0);
    mask
}

/// Symmetric rounding of the weights of one output, as the graph's quantisation does it.
fn round(row: &mut [f32], bits: u32) {
    let levels = ((1 << (bits - 1)) - 1) as f32;
    let scale = row.iter().fold(0.0_f32, |m, w| m.max(w.abs())) / levels;
    if scale > 0.0 {
        row.iter_mut().for_each(|w| *w = (*w / scale).round().clamp(-levels, levels) * scale);
    }
}

/// Applies `change(name, values, columns)` to every weight matrix.
struct Change<F> {
    path: Vec<String>,
    change: F,
}

impl<F: FnMut(&str, &mut [f32], usize)> ModuleMapper for Change<F> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D != 2 {
            return param;
        }
        let (id, value, mapper) = param.consume();
        let (device, tracked) = (value.device(), value.is_require_grad());
        let shape = value.dims();
        let mut values = value.into_data().try_into_vec::<f32>().expect("parameters are f32");
        (self.change)(&self.path.join("."), &mut values, shape[1].max(1));
        let changed = Tensor::from_data(TensorData::new(values, shape), &device);
        let changed = if tracked { changed.require_grad() } else { changed };
        Param::from_mapped_value(id, changed, mapper)
    }
}
