//! Layer normalisation: every row by its own mean and variance, forward and backward.
//!
//! Sums over a row have eight partial sums added in a fixed tree, so that their bits depend
//! neither on the instruction set nor on the number of threads.

use crate::{
    batch::{add, for_each_chunk, map},
    dense::{LANES, tree_sum},
    fill::fill,
    math::sqrt,
    simd::dispatch,
};
use alloc::{vec, vec::Vec};

/// Added to variances, as in PyTorch.
pub const EPSILON: f32 = 1e-5;

/// Values a part covers, about.
const PART: usize = 1 << 14;

/// Mean and reciprocal standard deviation of a row.
pub type Moments = [f32; 2];

/// `out = (x - mean) / sqrt(variance + epsilon) weight + bias` for every row of `x`
/// `[rows, channels]`, and the moments of the rows.
///
/// # Panics
/// When slices do not fit each other.
pub fn forward(x: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) -> Vec<Moments> {
    let channels = check(x, weight, bias);
    assert_eq!(out.len(), x.len(), "layer norm: length of the output");
    let part = part(channels);
    let starts: Vec<&[f32]> = x.chunks(part).collect();
    let moments = map(&starts, |_, x| x.chunks_exact(channels).map(moments).collect::<Vec<_>>());
    for_each_chunk(out, part, |index, out| {
        let rows = out.chunks_exact_mut(channels).zip(starts[index].chunks_exact(channels));
        dispatch(
            #[inline(always)]
            || {
                for ((out, x), moments) in rows.zip(&moments[index]) {
                    normalize(x, *moments, weight, bias, out);
                }
            },
        );
    });
    moments.concat()
}

/// One row.
///
/// # Panics
/// When slices do not have the length of `x`.
pub fn row(x: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
    normalize(x, moments(x), weight, bias, out);
}

/// Gradients of [`forward`].
#[derive(Debug)]
pub struct Gradients {
    /// Of `x`, `[rows, channels]`.
    pub x: Vec<f32>,
    /// Of the weight, `[channels]`.
    pub weight: Vec<f32>,
    /// Of the bias, `[channels]`.
    pub bias: Vec<f32>,
}

/// The gradients, given that of the output; `moments` are those of the forward run.
///
/// # Panics
/// When slices do not fit each other.
pub fn backward(x: &[f32], weight: &[f32], moments: &[Moments], d_out: &[f32]) -> Gradients {
    let channels = check(x, weight, weight);
    assert_eq!(d_out.len(), x.len(), "layer norm: length of the gradient");
    assert_eq!(moments.len() * channels, x.len(), "layer norm: one pair of moments per row");
    let part = part(channels);
    let [d_input] = fill(x.len(), part, |index, [d_x]| {
        let at = index * part..index * part + d_x.len();
        let (x, d_out) = (x[at.clone()].chunks_exact(channels), d_out[at].chunks_exact(channels));
        let moments = &moments[index * part / channels..];
        dispatch(
            #[inline(always)]
            || {
                let rows = d_x.chunks_exact_mut(channels).zip(x).zip(d_out).zip(moments);
                rows.for_each(|(((d_x, x), d_out), m)| input_gradient(x, *m, weight, d_out, d_x));
            },
        );
    });
    let mut found =
        Gradients { x: d_input, weight: vec![0.0; channels], bias: vec![0.0; channels] };
    let starts: Vec<usize> = (0..x.len()).step_by(part).collect();
    let sums = map(&starts, |_, &start| {
        let end = x.len().min(start + part);
        let rows =
            x[start..end].chunks_exact(channels).zip(d_out[start..end].chunks_exact(channels));
        let moments = &moments[start / channels..];
        let (mut weight, mut bias) = (vec![0.0; channels], vec![0.0; channels]);
        dispatch(
            #[inline(always)]
            || {
                for ((x, d), [mean, scale]) in rows.zip(moments) {
                    for c in 0..channels {
                        weight[c] += d[c] * ((x[c] - mean) * scale);
                        bias[c] += d[c];
                    }
                }
            },
        );
        (weight, bias)
    });
    for (part_weight, part_bias) in &sums {
        add(&mut found.weight, part_weight);
        add(&mut found.bias, part_bias);
    }
    found
}

/// The number of channels, after checking all lengths.
fn check(x: &[f32], weight: &[f32], bias: &[f32]) -> usize {
    let channels = weight.len();
    assert!(channels > 0 && x.len().is_multiple_of(channels), "layer norm: whole rows");
    assert_eq!(bias.len(), channels, "layer norm: one bias per channel");
    channels
}

/// Whole rows of about [`PART`] values.
fn part(channels: usize) -> usize {
    (PART / channels).max(1) * channels
}

fn moments(x: &[f32]) -> Moments {
    dispatch(
        #[inline(always)]
        || {
            let count = x.len() as f32;
            let mean = sum([x, x], |[x, _]| x) / count;
            let variance = sum([x, x], |[x, _]| (x - mean) * (x - mean)) / count;
            [mean, 1.0 / sqrt(variance + EPSILON)]
        },
    )
}

/// The sum of `f` over two rows.
#[inline(always)]
fn sum([a, b]: [&[f32]; 2], f: impl Fn([f32; 2]) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f([*a, *b]);
        }
    }
    tree_sum(lanes)
}

#[inline(always)]
fn normalize(x: &[f32], [mean, scale]: Moments, weight: &[f32], bias: &[f32], out: &mut [f32]) {
    let n = out.len();
    let (x, weight, bias) = (&x[..n], &weight[..n], &bias[..n]);
    for c in 0..n {
        out[c] = (x[c] - mean) * scale * weight[c] + bias[c];
    }
}

#[inline(always)]
fn input_gradient(x: &[f32], [mean, scale]: Moments, weight: &[f32], d: &[f32], d_x: &mut [f32]) {
    let n = d_x.len();
    let (x, weight, d) = (&x[..n], &weight[..n], &d[..n]);
    let count = n as f32;
    // The gradient of the normalised row, left in place.
    for c in 0..n {
        d_x[c] = d[c] * weight[c];
    }
    let shift = sum([d_x, x], |[d, _]| d) / count;
    let slope = sum([d_x, x], |[d, x]| d * ((x - mean) * scale)) / count;
    for c in 0..n {
        d_x[c] = scale * (d_x[c] - shift - (x[c] - mean) * scale * slope);
    }
}
