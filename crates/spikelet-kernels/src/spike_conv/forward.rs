//! Forward: the active inputs of every output position add up their rows of weights.

use super::{
    interleave::{columns, interleave},
    lists::{BLOCK, EventLists},
    taps,
};
use crate::{
    batch::map,
    conv::Conv,
    rows::{Row, gather, pack, zeros},
    simd,
};
use alloc::vec::Vec;
use core::ops::Range;

/// Output positions of a tile, at least: enough that loading a tile's weights is a small part.
const TILE: usize = 512;

/// See [`super::forward`].
pub(super) fn run<const N: usize>(
    conv: &Conv,
    lists: &EventLists,
    batch: usize,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let positions = conv.window.output[0] * conv.window.output[1];
    let columns = columns(conv.outputs, conv.groups, N);
    let images = TILE.div_ceil(positions.max(1)).min(batch.max(1));
    let parts = batch.div_ceil(images);
    let packed = map(&columns, |_, (_, columns)| packed::<N>(conv, weights, columns));
    let tasks: Vec<(usize, usize)> =
        (0..columns.len()).flat_map(|c| (0..parts).map(move |part| (c, part))).collect();
    let tiles = map(&tasks, |_, &(c, part)| {
        let images = part * images..batch.min((part + 1) * images);
        let (group, rows) = (columns[c].0, &packed[c]);
        let tile = Tile { conv, lists, images, group };
        match simd::has_fma() {
            true => simd::dispatch(
                #[inline(always)]
                || tile.run::<N, true>(rows),
            ),
            false => simd::dispatch(
                #[inline(always)]
                || tile.run::<N, false>(rows),
            ),
        }
    });
    interleave(&tiles, &columns, [batch * positions, conv.outputs], images * positions, bias)
}

/// The columns of the weights, `[tap, channel of the group]` rows.
fn packed<const N: usize>(conv: &Conv, weights: &[f32], columns: &Range<usize>) -> Vec<Row<N>> {
    let mut rows = zeros(taps(conv) * (conv.inputs / conv.groups));
    pack(&mut rows, weights, conv.outputs, columns.clone());
    rows
}

struct Tile<'a> {
    conv: &'a Conv,
    lists: &'a EventLists,
    images: Range<usize>,
    group: usize,
}

impl Tile<'_> {
    /// All output positions of the images, for one block of columns.
    #[inline(always)]
    fn run<const N: usize, const FMA: bool>(&self, weights: &[Row<N>]) -> Vec<Row<N>> {
        let window = &self.conv.window;
        let [height, width] = window.output;
        let channels = self.conv.inputs / self.conv.groups;
        let blocks = self.lists.blocks() / self.conv.groups;
        let taps = taps(self.conv);
        // With few channels several taps fit the cache at once, and an output is loaded less often.
        let together = (BLOCK / channels).clamp(1, taps);
        let mut out = zeros::<N>(self.images.len() * height * width);
        for first in (0..taps).step_by(together) {
            let last = taps.min(first + together);
            for block in 0..blocks {
                let block = self.group * blocks + block;
                for (row, out) in out.chunks_exact_mut(width).enumerate() {
                    let (image, oy) = (self.images.start + row / height, row % height);
                    let pixels = image * window.input[0] * window.input[1];
                    for (ox, out) in out.iter_mut().enumerate() {
                        let mut sum = out.0;
                        for tap in first..last {
                            let [ky, kx] = [tap / window.kernel[1], tap % window.kernel[1]];
                            let Some(y) = window.source(0, oy, ky) else { continue };
                            let Some(x) = window.source(1, ox, kx) else { continue };
                            let pixel = pixels + y * window.input[1] + x;
                            let (events, values) = self.lists.list(pixel, block);
                            let rows = &weights[tap * channels..(tap + 1) * channels];
                            gather::<N, FMA>(&mut sum, rows, events, values);
                        }
                        out.0 = sum;
                    }
                }
            }
        }
        out
    }
}
