//! Convolution of a batch of images whose input is mostly zero: forward, weight gradient, input
//! gradient; channels last.
//!
//! Forward, every active input adds one row of weights to every output it reaches; the weight
//! gradient adds, for every active input, rows of the output gradient. Both are the same loop:
//! a sum of the rows that a list of events names, `rows::gather`. Rows are up to 96 outputs wide
//! (what the registers of AVX2 hold), packed and aligned, and walked so that the rows in use stay in
//! the first-level cache: forward a block of 128 channels of one tap, or neighbouring taps with fewer
//! channels, at a time; a group of images at a time in the weight gradient.
//!
//! The input gradient has dense operands. It, and inputs with too few zeros, go through tiles that
//! take fewer products (`winograd`) where the window allows it, else through the products of
//! the definition (`direct`). Depthwise kernels have a form of their own.
//!
//! Every output is summed in an order that depends on the shape alone, so results do not depend
//! on the number of threads.

mod dense;
mod dense_weights;
mod depthwise;
mod direct;
mod forward;
mod links;
mod lists;
#[cfg(test)]
mod tests;
mod weight_gradient;

pub use dense_weights::DenseWeights;
pub use forward::{EventWeights, Events};
pub use lists::EventLists;

use crate::{
    batch::{add, map},
    conv::Conv,
    simd, winograd,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Denser inputs than this take the dense form. On Zen 4 with AVX-512 and 64 to 512 channels the
/// event-driven loops do 80 (forward) and 60 (weight gradient) billion products a second and
/// thread at 48 % and twice as many at 15 %; `gemm` does 50, tiles with fewer products 80 to 140.
const DENSE: f32 = 0.65;
const DENSE_IN_TILES: f32 = 0.3;
/// Of so few inputs a list is longer than the product.
const FEW: usize = 8;

/// The input of a convolution, in the form that is faster at its density.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The active inputs.
    Events(&'a EventLists),
    /// All inputs, `[batch, h, w, in]`.
    Dense(&'a [f32]),
}

/// The events of `x` `[batch, h, w, in]`, unless it is so dense that the dense form is faster.
///
/// # Panics
/// If `x` is not whole images.
pub fn events(conv: &Conv, x: &[f32]) -> Option<EventLists> {
    assert!(x.len().is_multiple_of(input_len(conv).max(1)), "whole images");
    if conv.groups == 1 && conv.inputs <= FEW || depthwise::applies(conv) {
        return None;
    }
    let densest = if winograd::applies(conv) { DENSE_IN_TILES } else { DENSE };
    let counts = map(&x.chunks(1 << 16).collect::<Vec<_>>(), |_, x| {
        simd::dispatch(
            #[inline(always)]
            || x.iter().filter(|value| **value != 0.0).count(),
        )
    });
    let active: usize = counts.iter().sum();
    (active as f32 <= densest * x.len() as f32).then(|| EventLists::of(x, conv.inputs, conv.groups))
}

/// `[batch, oh, ow, out]`: the convolution of `x` with `weights` `[kh, kw, in / groups, out]`,
/// plus a bias `[out]` if there is one.
///
/// # Panics
/// Here and below: if a length does not fit the shape.
pub fn forward(conv: &Conv, input: Input, batch: usize, weights: &[f32], bias: &[f32]) -> Vec<f32> {
    assert_eq!(weights.len(), weights_len(conv), "weights");
    assert!(bias.is_empty() || bias.len() == conv.outputs, "bias");
    match input {
        Input::Events(lists) => forward::run(conv, lists, batch, weights, bias),
        Input::Dense(x) if depthwise::applies(conv) => {
            depthwise::forward(conv, x, batch, weights, bias)
        }
        Input::Dense(x) if winograd::applies(conv) => {
            winograd::forward(conv, x, batch, weights, bias)
        }
        Input::Dense(x) => match widest(conv) {
            0..=16 => direct::forward::<16>(conv, x, batch, weights, bias),
            17..=32 => direct::forward::<32>(conv, x, batch, weights, bias),
            _ => direct::forward::<64>(conv, x, batch, weights, bias),
        },
    }
}

/// The gradient of the weights, given that of the output, `[batch, oh, ow, out]`.
pub fn weight_gradient(conv: &Conv, input: Input, batch: usize, d_out: &[f32]) -> Vec<f32> {
    assert_eq!(d_out.len(), batch * output_len(conv), "output gradient");
    match input {
        Input::Events(lists) => match widest(conv) {
            0..=16 => weight_gradient::run::<16>(conv, lists, batch, d_out),
            17..=32 => weight_gradient::run::<32>(conv, lists, batch, d_out),
            _ => weight_gradient::run::<64>(conv, lists, batch, d_out),
        },
        Input::Dense(x) if depthwise::applies(conv) => {
            depthwise::weight_gradient(conv, x, batch, d_out)
        }
        Input::Dense(x) if winograd::applies(conv) => {
            winograd::weight_gradient(conv, x, batch, d_out)
        }
        Input::Dense(x) => dense::weight_gradient(conv, x, batch, d_out),
    }
}

/// The gradient of the input, `[batch, h, w, in]`.
pub fn input_gradient(conv: &Conv, batch: usize, weights: &[f32], d_out: &[f32]) -> Vec<f32> {
    assert_eq!(weights.len(), weights_len(conv), "weights");
    assert_eq!(d_out.len(), batch * output_len(conv), "output gradient");
    if depthwise::applies(conv) {
        return depthwise::input_gradient(conv, batch, weights, d_out);
    }
    if winograd::applies(conv) {
        return winograd::input_gradient(conv, batch, weights, d_out);
    }
    match conv.inputs / conv.groups {
        0..=16 => direct::input_gradient::<16>(conv, batch, weights, d_out),
        17..=32 => direct::input_gradient::<32>(conv, batch, weights, d_out),
        _ => direct::input_gradient::<64>(conv, batch, weights, d_out),
    }
}

/// The gradient of the bias: the sum of that of the output over all positions.
pub fn bias_gradient(conv: &Conv, d_out: &[f32]) -> Vec<f32> {
    // Partial sums over rows of positions keep the error of long sums small.
    let parts: Vec<&[f32]> = d_out.chunks(256 * conv.outputs.max(1)).collect();
    let parts = map(&parts, |_, part| {
        let mut sums = vec![0.0; conv.outputs];
        simd::dispatch(
            #[inline(always)]
            || part.chunks_exact(conv.outputs).for_each(|row| add(&mut sums, row)),
        );
        sums
    });
    let mut sums = vec![0.0; conv.outputs];
    parts.iter().for_each(|part| add(&mut sums, part));
    sums
}

/// Cuts the outputs of every group into blocks of at most `n` columns: group and columns.
fn columns(outputs: usize, groups: usize, n: usize) -> Vec<(usize, Range<usize>)> {
    let per_group = outputs / groups;
    let mut columns = Vec::new();
    for group in 0..groups {
        for start in (0..per_group).step_by(n) {
            let first = group * per_group;
            columns.push((group, first + start..first + per_group.min(start + n)));
        }
    }
    columns
}

/// Outputs of a group.
fn widest(conv: &Conv) -> usize {
    conv.outputs / conv.groups
}

fn weights_len(conv: &Conv) -> usize {
    taps(conv) * (conv.inputs / conv.groups) * conv.outputs
}

fn taps(conv: &Conv) -> usize {
    conv.window.kernel[0] * conv.window.kernel[1]
}

fn input_len(conv: &Conv) -> usize {
    conv.window.input[0] * conv.window.input[1] * conv.inputs
}

fn output_len(conv: &Conv) -> usize {
    conv.window.output[0] * conv.window.output[1] * conv.outputs
}
