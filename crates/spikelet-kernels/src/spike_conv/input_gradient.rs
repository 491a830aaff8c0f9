//! Input gradient: tap by tap, the product of the output gradient with the transposed weights,
//! added where the tap reads.

use super::taps;
use crate::{
    batch::{add, for_each_chunk, map},
    conv::Conv,
    matmul::matmul_nt_strided,
    simd::dispatch,
    window::Window,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Output positions of a product, about: `gemm` packs the weights anew for each.
const ROWS: usize = 640;
/// Channels of a product, at most.
const CHANNELS: usize = 256;

/// See [`super::input_gradient`].
pub(super) fn run(conv: &Conv, batch: usize, weights: &[f32], d_out: &[f32]) -> Vec<f32> {
    let positions = conv.window.output[0] * conv.window.output[1];
    // An even number of equal chunks, so that two threads finish together.
    let parts = (batch * positions).div_ceil(ROWS).max(1).next_multiple_of(2);
    let images = batch.div_ceil(parts).max(1);
    let chunks: Vec<Range<usize>> =
        (0..batch).step_by(images).map(|first| first..batch.min(first + images)).collect();
    let per_group = conv.inputs / conv.groups;
    let mut blocks = Vec::new();
    for group in 0..conv.groups {
        for first in (0..per_group).step_by(CHANNELS) {
            blocks.push((group, first..per_group.min(first + CHANNELS)));
        }
    }
    let tasks: Vec<(usize, usize)> =
        (0..chunks.len()).flat_map(|i| (0..blocks.len()).map(move |b| (i, b))).collect();
    let tiles = map(&tasks, |_, &(chunk, block)| {
        let (group, channels) = &blocks[block];
        tile(conv, weights, d_out, chunks[chunk].clone(), *group, channels)
    });

    let pixels = conv.window.input[0] * conv.window.input[1];
    let mut out = vec![0.0; batch * pixels * conv.inputs];
    for_each_chunk(&mut out, (images * pixels * conv.inputs).max(1), |chunk, out| {
        for (b, (group, channels)) in blocks.iter().enumerate() {
            let tile = &tiles[chunk * blocks.len() + b];
            let first = group * per_group + channels.start;
            let rows = tile.chunks_exact(channels.len());
            for (out, row) in out.chunks_exact_mut(conv.inputs).zip(rows) {
                out[first..first + channels.len()].copy_from_slice(row);
            }
        }
    });
    out
}

/// The gradient `[image, pixel, channel]` of some images and channels of a group.
fn tile(
    conv: &Conv,
    weights: &[f32],
    d_out: &[f32],
    images: Range<usize>,
    group: usize,
    channels: &Range<usize>,
) -> Vec<f32> {
    let w = &conv.window;
    let (n, k) = (channels.len(), conv.outputs / conv.groups);
    let (pixels, positions) = (w.input[0] * w.input[1], w.output[0] * w.output[1]);
    let mut sums = vec![0.0; images.len() * pixels * n];
    let mut rows = Vec::with_capacity(images.len() * positions * k);
    let mut product = vec![0.0; images.len() * positions * n];
    for tap in 0..taps(conv) {
        let taps = [tap / w.kernel[1], tap % w.kernel[1]];
        let [vertical, horizontal] = [0, 1].map(|axis| reading(w, axis, taps[axis]));
        rows.clear();
        for image in images.clone() {
            for y in vertical.clone() {
                for x in horizontal.clone() {
                    let first = ((image * w.output[0] + y) * w.output[1] + x) * conv.outputs;
                    rows.extend_from_slice(&d_out[first + group * k..first + (group + 1) * k]);
                }
            }
        }
        let m = images.len() * vertical.len() * horizontal.len();
        let first = (tap * (conv.inputs / conv.groups) + channels.start) * conv.outputs + group * k;
        matmul_nt_strided(&mut product, &rows, &weights[first..], conv.outputs, [m, n, k]);
        let mut products = product.chunks_exact(n);
        dispatch(
            #[inline(always)]
            || {
                for image in sums.chunks_exact_mut(pixels * n) {
                    for y in vertical.clone() {
                        let y = y * w.stride[0] + taps[0] * w.dilation[0] - w.padding[0];
                        for x in horizontal.clone() {
                            let x = x * w.stride[1] + taps[1] * w.dilation[1] - w.padding[1];
                            let at = (y * w.input[1] + x) * n;
                            let row = products.next().expect("a row for every output");
                            add(&mut image[at..at + n], row);
                        }
                    }
                }
            },
        );
    }
    sums
}

/// The outputs along an axis at which a tap reads no padding.
fn reading(w: &Window, axis: usize, tap: usize) -> Range<usize> {
    let (padding, reach, stride) = (w.padding[axis], tap * w.dilation[axis], w.stride[axis]);
    let first = padding.saturating_sub(reach).div_ceil(stride);
    let end = (w.input[axis] + padding).saturating_sub(reach).div_ceil(stride);
    first..end.min(w.output[axis]).max(first)
}
