//! Mean pooling of a batch of images, channels last, forward and backward: over windows that
//! slide, or adaptive ones, of any size.

use crate::{batch::add, fill::fill, simd::dispatch};
use alloc::vec::Vec;
use core::ops::Range;

/// What every output position along one axis takes the mean of, and by how many it divides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    size: usize,
    windows: Vec<(Range<usize>, usize)>,
}

impl Windows {
    /// Windows that slide over `size` inputs; padding counts as zeros.
    pub fn sliding(
        size: usize,
        out: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Windows {
        let window = |o: usize| {
            let start = (o * stride).saturating_sub(padding).min(size);
            let end = (o * stride + kernel).saturating_sub(padding).min(size);
            (start..end.max(start), kernel)
        };
        Windows { size, windows: (0..out).map(window).collect() }
    }

    /// As many windows as there are outputs, as even as can be.
    pub fn adaptive(size: usize, out: usize) -> Windows {
        let window = |o: usize| {
            let range = o * size / out..((o + 1) * size).div_ceil(out);
            (range.clone(), range.len())
        };
        Windows { size, windows: (0..out).map(window).collect() }
    }

    /// Inputs along the axis.
    pub fn inputs(&self) -> usize {
        self.size
    }

    /// Outputs along the axis.
    pub fn outputs(&self) -> usize {
        self.windows.len()
    }

    /// For every output the inputs and the divisor.
    pub fn iter(&self) -> impl Iterator<Item = (Range<usize>, usize)> + '_ {
        self.windows.iter().cloned()
    }
}

/// `[batch, oh, ow, channels]`, the means of `x` `[batch, h, w, channels]`.
///
/// # Panics
/// Here and below: if a length is not whole images.
pub fn forward(x: &[f32], [rows, columns]: [&Windows; 2], channels: usize) -> Vec<f32> {
    let (input, output) = (rows.size * columns.size, rows.outputs() * columns.outputs());
    assert!(x.len().is_multiple_of(input * channels), "whole images");
    let len = x.len() / (input * channels) * output * channels;
    let [out] = fill(len, output * channels, |image, [out]| {
        let x = &x[image * input * channels..][..input * channels];
        dispatch(
            #[inline(always)]
            || {
                for_each_pair([rows, columns], |from, to, factor| {
                    let out = &mut out[to * channels..][..channels];
                    add_scaled(out, &x[from * channels..][..channels], factor);
                });
            },
        );
    });
    out
}

/// The gradient of `x`, given that of the means.
pub fn backward(d_out: &[f32], [rows, columns]: [&Windows; 2], channels: usize) -> Vec<f32> {
    let (input, output) = (rows.size * columns.size, rows.outputs() * columns.outputs());
    assert!(d_out.len().is_multiple_of(output * channels), "whole images");
    let len = d_out.len() / (output * channels) * input * channels;
    let [d_x] = fill(len, input * channels, |image, [d_x]| {
        let d_out = &d_out[image * output * channels..][..output * channels];
        dispatch(
            #[inline(always)]
            || {
                for_each_pair([rows, columns], |to, from, factor| {
                    let d_x = &mut d_x[to * channels..][..channels];
                    add_scaled(d_x, &d_out[from * channels..][..channels], factor);
                });
            },
        );
    });
    d_x
}

/// Calls `visit(input position, output position, weight)` for every input of every window.
#[inline(always)]
fn for_each_pair([rows, columns]: [&Windows; 2], mut visit: impl FnMut(usize, usize, f32)) {
    for (oy, (ys, height)) in rows.windows.iter().enumerate() {
        for (ox, (xs, width)) in columns.windows.iter().enumerate() {
            let factor = 1.0 / (height * width) as f32;
            for y in ys.clone() {
                for x in xs.clone() {
                    visit(y * columns.size + x, oy * columns.windows.len() + ox, factor);
                }
            }
        }
    }
}

#[inline(always)]
fn add_scaled(out: &mut [f32], x: &[f32], factor: f32) {
    if factor == 1.0 {
        return add(out, x);
    }
    for (out, x) in out.iter_mut().zip(x) {
        *out += x * factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mean of ones is one (less where padding counts), and the backward pass is the transpose.
    #[test]
    fn means_and_their_transpose() {
        let cases = [
            (Windows::sliding(6, 3, 2, 2, 0), Windows::sliding(5, 3, 3, 2, 1)),
            (Windows::adaptive(1, 7), Windows::adaptive(4, 7)),
            (Windows::adaptive(5, 2), Windows::sliding(4, 1, 4, 4, 0)),
        ];
        for (rows, columns) in &cases {
            let both = [rows, columns];
            let (n, m) = (rows.size * columns.size, rows.outputs() * columns.outputs());
            let (batch, channels) = (3, 4);
            let x: Vec<f32> = (0..batch * n * channels).map(|i| (i * 7 % 13) as f32).collect();
            let d: Vec<f32> = (0..batch * m * channels).map(|i| (i * 5 % 11) as f32).collect();
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            let (y, d_x) = (forward(&x, both, channels), backward(&d, both, channels));
            let (left, right) = (dot(&y, &d), dot(&x, &d_x));
            assert!((left - right).abs() < 1e-3 * left.abs(), "{left} {right}");
        }
        let (rows, columns) = &cases[1];
        assert_eq!(forward(&[1.0; 4], [rows, columns], 1), [1.0; 49]);
        let (rows, columns) = &cases[0];
        let corner = forward(&[1.0; 30], [rows, columns], 1)[0];
        assert!((corner - 2.0 / 3.0).abs() < 1e-6);
    }
}
