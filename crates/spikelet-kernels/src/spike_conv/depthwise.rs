//! Depthwise: every channel has a kernel of its own. A product reads as much as it computes, so
//! zeros are not looked for; 64 channels at a time stay in registers over all taps.

use super::links::Links;
use crate::{
    batch::{add, map},
    conv::Conv,
    out::{Begin, Out, collect},
    rows::{Row, pack, zeros},
    simd,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Channels worked on together.
const CHANNELS: usize = 64;
/// Positions of a task, about.
const POSITIONS: usize = 256;

/// Whether every output reads one input and every input has one output.
pub(super) fn applies(conv: &Conv) -> bool {
    conv.groups > 1 && conv.groups == conv.inputs && conv.groups == conv.outputs
}

/// Weights laid out for the sums of a direction, and which positions they join.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    links: Links,
    /// By block of channels a row for every tap.
    kernels: Vec<Vec<Row<CHANNELS>>>,
}

impl Layout {
    /// For [`forward`].
    pub(super) fn new(conv: &Conv, weights: &[f32]) -> Layout {
        let w = &conv.window;
        let links = Links::new(w.positions(), |position, see| w.for_each_source(position, see));
        Layout { links, kernels: kernels(conv, weights) }
    }

    /// The weights that [`new`](Self::new) was given.
    pub(super) fn unpack(&self, conv: &Conv) -> Vec<f32> {
        let mut weights = vec![0.0; super::taps(conv) * conv.outputs];
        for (block, rows) in self.kernels.iter().enumerate() {
            let columns = columns(conv, block);
            for (row, to) in rows.iter().zip(weights.chunks_exact_mut(conv.outputs)) {
                to[columns.clone()].copy_from_slice(&row.0[..columns.len()]);
            }
        }
        weights
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        let kernels = self.kernels.iter().map(|rows| size_of_val(rows.as_slice()));
        kernels.sum::<usize>() + self.links.bytes()
    }
}

/// See [`super::forward`].
pub(super) fn forward(
    conv: &Conv,
    x: &[f32],
    batch: usize,
    layout: &Layout,
    bias: &[f32],
) -> Vec<f32> {
    let w = &conv.window;
    sums(conv, x, batch, layout, bias, w.input[0] * w.input[1])
}

/// The same over `out`, or added to it.
pub(super) fn forward_into(
    conv: &Conv,
    x: &[f32],
    batch: usize,
    layout: &Layout,
    begin: Begin,
    out: &mut [f32],
) {
    let from = conv.window.input[0] * conv.window.input[1];
    fill(conv, x, batch, layout, begin, from, &Out::over(out, conv.outputs));
}

/// See [`super::input_gradient`].
pub(super) fn input_gradient(
    conv: &Conv,
    batch: usize,
    weights: &[f32],
    d_out: &[f32],
) -> Vec<f32> {
    let w = &conv.window;
    let positions = 0..w.input[0] * w.input[1];
    let links = Links::new(positions, |position, see| w.for_each_target(position, see));
    let layout = Layout { links, kernels: kernels(conv, weights) };
    sums(conv, d_out, batch, &layout, &[], w.output[0] * w.output[1])
}

/// `[batch, to, channels]`: sums of weights times what the taps read of `x` `[batch, from,
/// channels]`.
fn sums(
    conv: &Conv,
    x: &[f32],
    batch: usize,
    layout: &Layout,
    bias: &[f32],
    from: usize,
) -> Vec<f32> {
    let begin = Begin { bias, add: false };
    // SAFETY: `fill` writes all blocks of channels and all positions.
    #[allow(unsafe_code)]
    unsafe {
        collect(batch * layout.links.positions(), conv.outputs, |out| {
            fill(conv, x, batch, layout, begin, from, out);
        })
    }
}

/// Writes all values, each in one task.
fn fill(
    conv: &Conv,
    x: &[f32],
    batch: usize,
    Layout { links, kernels }: &Layout,
    begin: Begin,
    from: usize,
    out: &Out,
) {
    let to = links.positions();
    let mut tasks = Vec::new();
    for block in 0..kernels.len() {
        for first in (0..batch * to).step_by(POSITIONS) {
            tasks.push((block, first..(batch * to).min(first + POSITIONS)));
        }
    }
    map(&tasks, |_, (block, positions)| {
        let columns = columns(conv, *block);
        let task = Task { x, links, size: [to, from], columns, begin, out };
        simd::dispatch(
            #[inline(always)]
            || task.run(positions.clone(), &kernels[*block]),
        );
    });
}

/// A block of channels.
fn columns(conv: &Conv, block: usize) -> Range<usize> {
    block * CHANNELS..conv.outputs.min((block + 1) * CHANNELS)
}

/// By block of channels a row for every tap.
fn kernels(conv: &Conv, weights: &[f32]) -> Vec<Vec<Row<CHANNELS>>> {
    let blocks = 0..conv.outputs.div_ceil(CHANNELS);
    let taps = super::taps(conv);
    blocks
        .map(|block| {
            let mut rows = zeros(taps);
            pack(&mut rows, weights, conv.outputs, columns(conv, block));
            rows
        })
        .collect()
}

struct Task<'a, 'b> {
    x: &'a [f32],
    links: &'a Links,
    /// Positions of an image of the result and of `x`.
    size: [usize; 2],
    columns: Range<usize>,
    begin: Begin<'a>,
    out: &'a Out<'b>,
}

impl Task<'_, '_> {
    #[inline(always)]
    fn run(&self, positions: Range<usize>, kernel: &[Row<CHANNELS>]) {
        let width = self.out.width();
        for at in positions {
            let (image, position) = (at / self.size[0], at % self.size[0]);
            // SAFETY: this position and these columns are in this task alone.
            #[allow(unsafe_code)]
            let Row(mut sum) = unsafe { self.begin.row(self.out, at, &self.columns) };
            for (tap, from) in self.links.of(position) {
                let first = (image * self.size[1] + from) * width + self.columns.start;
                let x = &self.x[first..first + self.columns.len()];
                add_products(&mut sum, &kernel[tap].0, x);
            }
            // SAFETY: this position and these columns are in this task alone.
            #[allow(unsafe_code)]
            unsafe {
                self.out.write(at, &self.columns, &Row(sum));
            }
        }
    }
}

#[inline(always)]
fn add_products(sum: &mut [f32; CHANNELS], w: &[f32; CHANNELS], x: &[f32]) {
    match <&[f32; CHANNELS]>::try_from(x) {
        Ok(x) => {
            for c in 0..CHANNELS {
                sum[c] += w[c] * x[c];
            }
        }
        Err(_) => {
            for ((s, w), x) in sum.iter_mut().zip(w).zip(x) {
                *s += w * x;
            }
        }
    }
}

/// See [`super::weight_gradient`].
pub(super) fn weight_gradient(conv: &Conv, x: &[f32], batch: usize, d_out: &[f32]) -> Vec<f32> {
    let w = &conv.window;
    let (inputs, outputs) = (w.input[0] * w.input[1], w.output[0] * w.output[1]);
    let taps = super::taps(conv);
    let images: Vec<usize> = (0..batch).collect();
    let parts = map(&images, |_, image| {
        let mut sums = vec![0.0; taps * conv.outputs];
        let x = &x[image * inputs * conv.inputs..][..inputs * conv.inputs];
        let d_out = &d_out[image * outputs * conv.outputs..][..outputs * conv.outputs];
        simd::dispatch(
            #[inline(always)]
            || {
                for (position, d) in d_out.chunks_exact(conv.outputs).enumerate() {
                    w.for_each_source(
                        position,
                        #[inline(always)]
                        |tap, from| {
                            let x = &x[from * conv.inputs..(from + 1) * conv.inputs];
                            add_row(&mut sums[tap * conv.outputs..][..conv.outputs], d, x);
                        },
                    );
                }
            },
        );
        sums
    });
    let mut sums = vec![0.0; taps * conv.outputs];
    parts.iter().for_each(|part| add(&mut sums, part));
    sums
}

#[inline(always)]
fn add_row(sum: &mut [f32], d: &[f32], x: &[f32]) {
    let n = sum.len();
    let (d, x) = (&d[..n], &x[..n]);
    for c in 0..n {
        sum[c] += d[c] * x[c];
    }
}
