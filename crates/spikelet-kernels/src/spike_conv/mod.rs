//! Convolution of a batch of images whose input is mostly zero: forward, weight gradient, input
//! gradient; channels last.
//!
//! Forward, every active input adds one row of weights to every output it reaches; the weight
//! gradient adds, for every active input, rows of the output gradient. Both are the same loop:
//! a sum of the rows that a list of events names, `rows::gather`. Rows are 64 outputs wide
//! (four AVX-512 registers), packed and aligned, and walked so that the rows in use stay in the
//! first-level cache: one tap and 128 channels at a time forward, a group of images at a time in
//! the weight gradient. The input gradient has dense operands and goes through `gemm`, tap by
//! tap. Inputs with few zeros go through `gemm` as a whole.
//!
//! Every output is summed in an order that depends on the shape alone, so results do not depend
//! on the number of threads.

mod dense;
mod forward;
mod input_gradient;
mod interleave;
mod lists;
mod rows;
#[cfg(test)]
mod tests;
mod weight_gradient;

pub use lists::EventLists;

use crate::{conv::Conv, simd};
use alloc::{vec, vec::Vec};

/// Denser inputs than this go through `gemm`: measured with AVX-512 on 64 to 512 channels, the
/// event-driven loop reaches 54 million products a millisecond and thread, `gemm` 80.
const DENSE: f32 = 0.65;

/// The input of a convolution, in the form that is faster at its density.
#[derive(Clone, Debug)]
pub enum Input {
    /// The active inputs.
    Events(EventLists),
    /// All inputs, `[batch, h, w, in]`.
    Dense(Vec<f32>),
}

impl Input {
    /// Chooses the form for `x` `[batch, h, w, in]`.
    ///
    /// # Panics
    /// If `x` is not whole images.
    pub fn new(conv: &Conv, x: &[f32]) -> Input {
        assert!(x.len().is_multiple_of(input_len(conv).max(1)), "whole images");
        let active = x.iter().filter(|value| **value != 0.0).count();
        if active as f32 > DENSE * x.len() as f32 {
            Input::Dense(x.to_vec())
        } else {
            Input::Events(EventLists::of(x, conv.inputs, conv.groups))
        }
    }
}

/// `[batch, oh, ow, out]`: the convolution of `x` with `weights` `[kh, kw, in / groups, out]`,
/// plus a bias `[out]` if there is one.
///
/// # Panics
/// Here and below: if a length does not fit the shape.
pub fn forward(
    conv: &Conv,
    input: &Input,
    batch: usize,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    assert_eq!(weights.len(), weights_len(conv), "weights");
    assert!(bias.is_empty() || bias.len() == conv.outputs, "bias");
    match input {
        Input::Events(lists) => match widest(conv) {
            0..=16 => forward::run::<16>(conv, lists, batch, weights, bias),
            17..=32 => forward::run::<32>(conv, lists, batch, weights, bias),
            _ => forward::run::<64>(conv, lists, batch, weights, bias),
        },
        Input::Dense(x) => dense::forward(conv, x, batch, weights, bias),
    }
}

/// The gradient of the weights, given that of the output, `[batch, oh, ow, out]`.
pub fn weight_gradient(conv: &Conv, input: &Input, batch: usize, d_out: &[f32]) -> Vec<f32> {
    assert_eq!(d_out.len(), batch * output_len(conv), "output gradient");
    match input {
        Input::Events(lists) => match widest(conv) {
            0..=16 => weight_gradient::run::<16>(conv, lists, batch, d_out),
            17..=32 => weight_gradient::run::<32>(conv, lists, batch, d_out),
            _ => weight_gradient::run::<64>(conv, lists, batch, d_out),
        },
        Input::Dense(x) => dense::weight_gradient(conv, x, batch, d_out),
    }
}

/// The gradient of the input, `[batch, h, w, in]`.
pub fn input_gradient(conv: &Conv, batch: usize, weights: &[f32], d_out: &[f32]) -> Vec<f32> {
    assert_eq!(weights.len(), weights_len(conv), "weights");
    assert_eq!(d_out.len(), batch * output_len(conv), "output gradient");
    input_gradient::run(conv, batch, weights, d_out)
}

/// The gradient of the bias: the sum of that of the output over all positions.
pub fn bias_gradient(conv: &Conv, d_out: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; conv.outputs];
    // Partial sums over rows of positions keep the error of long sums small.
    for part in d_out.chunks(256 * conv.outputs) {
        let mut partial = vec![0.0; conv.outputs];
        simd::dispatch(
            #[inline(always)]
            || part.chunks_exact(conv.outputs).for_each(|row| crate::batch::add(&mut partial, row)),
        );
        crate::batch::add(&mut sums, &partial);
    }
    sums
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
