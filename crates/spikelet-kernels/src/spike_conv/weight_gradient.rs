//! Weight gradient: for every tap, an active input adds the row of the output gradient at the
//! output it reached.
//!
//! The output gradient of a group of images is packed with a margin of zero rows, so that the row
//! an event adds for a tap lies at a distance that depends on the tap alone. With strides only
//! some inputs meet a tap: events are listed apart by the remainder of their position.

use super::{
    interleave::columns,
    lists::EventLists,
    rows::{Row, gather, pack, zeros},
    taps,
};
use crate::{
    batch::{for_each_chunk, map},
    conv::Conv,
    simd,
    window::Window,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Packed output positions worked on together, about: 256 rows of 64 values are 64 KiB.
const ROWS: usize = 256;
/// Channels of a task.
const CHANNELS: usize = 32;

/// See [`super::weight_gradient`].
pub(super) fn run<const N: usize>(
    conv: &Conv,
    lists: &EventLists,
    batch: usize,
    d_out: &[f32],
) -> Vec<f32> {
    let grid = Grid::new(&conv.window);
    let columns = columns(conv.outputs, conv.groups, N);
    let images = (ROWS / grid.rows().max(1)).clamp(1, batch.max(1));
    let chunks: Vec<Range<usize>> =
        (0..batch).step_by(images).map(|first| first..batch.min(first + images)).collect();
    let by_channel = map(&chunks, |_, images| ByChannel::new(conv, &grid, lists, images.clone()));
    let packed = map(&columns, |_, (_, columns)| packed::<N>(conv, &grid, batch, d_out, columns));

    let channels = conv.inputs / conv.groups;
    let mut tasks = Vec::new();
    for (c, (group, _)) in columns.iter().enumerate() {
        for first in (0..channels).step_by(CHANNELS) {
            let last = channels.min(first + CHANNELS);
            tasks.push((c, group * channels + first..group * channels + last));
        }
    }
    let tiles = map(&tasks, |_, (c, channels)| {
        let task = Task { conv, grid: &grid, chunks: &chunks, by_channel: &by_channel };
        match simd::has_fma() {
            true => simd::dispatch(
                #[inline(always)]
                || task.run::<N, true>(&packed[*c], channels.clone()),
            ),
            false => simd::dispatch(
                #[inline(always)]
                || task.run::<N, false>(&packed[*c], channels.clone()),
            ),
        }
    });
    unpack(conv, &columns, &tiles)
}

/// The packed output gradient of one image: output `(y, x)` lies at `(y + margin, x + margin)`.
struct Grid {
    /// Rows and columns.
    size: [usize; 2],
    /// The farthest an event reaches back.
    margin: [usize; 2],
}

impl Grid {
    fn new(w: &Window) -> Grid {
        let margin = [0, 1].map(|axis| (w.kernel[axis] - 1) * w.dilation[axis] / w.stride[axis]);
        let size = [0, 1].map(|axis| {
            let last = (w.input[axis].max(1) - 1 + w.padding[axis]) / w.stride[axis];
            margin[axis] + w.output[axis].max(last + 1)
        });
        Grid { size, margin }
    }

    fn rows(&self) -> usize {
        self.size[0] * self.size[1]
    }
}

/// The columns of the output gradient of all images.
fn packed<const N: usize>(
    conv: &Conv,
    grid: &Grid,
    batch: usize,
    d_out: &[f32],
    columns: &Range<usize>,
) -> Vec<Row<N>> {
    let mut rows = zeros(batch * grid.rows());
    let [height, width] = conv.window.output;
    for (row, from) in d_out.chunks_exact((width * conv.outputs).max(1)).enumerate() {
        let (image, y) = (row / height, row % height);
        let first = (image * grid.size[0] + y + grid.margin[0]) * grid.size[1] + grid.margin[1];
        pack(&mut rows[first..first + width], from, conv.outputs, columns.clone());
    }
    rows
}

/// Events by channel and remainder of their position, as rows of a [`Grid`] without its margin.
struct ByChannel {
    /// `[channel, remainder]`, one more at the end.
    starts: Vec<u32>,
    rows: Vec<u32>,
    values: Option<Vec<f32>>,
}

impl ByChannel {
    fn new(conv: &Conv, grid: &Grid, lists: &EventLists, images: Range<usize>) -> ByChannel {
        let w = &conv.window;
        let remainders = w.stride[0] * w.stride[1];
        let (per_group, blocks) = (conv.inputs / conv.groups, lists.blocks());
        let visit = |each: &mut dyn FnMut(usize, u32, f32)| {
            for (at, image) in images.clone().enumerate() {
                for (pixel, position) in w.input_positions().enumerate() {
                    let [v, h] = [0, 1].map(|axis| {
                        let at = position[axis] + w.padding[axis];
                        (at / w.stride[axis], at % w.stride[axis])
                    });
                    let row = ((at * grid.size[0] + v.0) * grid.size[1] + h.0) as u32;
                    let remainder = v.1 * w.stride[1] + h.1;
                    let pixel = image * w.input[0] * w.input[1] + pixel;
                    for block in 0..blocks {
                        let group = block / (blocks / conv.groups);
                        let (channels, values) = lists.list(pixel, block);
                        for (k, channel) in channels.iter().enumerate() {
                            let channel = group * per_group + *channel as usize;
                            let value = values.map_or(1.0, |values| values[k]);
                            each(channel * remainders + remainder, row, value);
                        }
                    }
                }
            }
        };
        let mut starts = vec![0_u32; conv.inputs * remainders + 1];
        visit(&mut |key, _, _| starts[key + 1] += 1);
        for key in 1..starts.len() {
            starts[key] += starts[key - 1];
        }
        let total = starts[starts.len() - 1] as usize;
        let (mut rows, mut all_values) = (vec![0; total], vec![0.0; total]);
        let mut next = starts.clone();
        visit(&mut |key, row, value| {
            let at = next[key] as usize;
            (rows[at], all_values[at]) = (row, value);
            next[key] += 1;
        });
        ByChannel { starts, rows, values: (!lists.is_binary()).then_some(all_values) }
    }

    #[inline(always)]
    fn list(&self, key: usize) -> (&[u32], Option<&[f32]>) {
        let range = self.starts[key] as usize..self.starts[key + 1] as usize;
        (&self.rows[range.clone()], self.values.as_ref().map(|values| &values[range]))
    }
}

struct Task<'a> {
    conv: &'a Conv,
    grid: &'a Grid,
    chunks: &'a [Range<usize>],
    by_channel: &'a [ByChannel],
}

impl Task<'_> {
    /// `[channel, tap]` rows of the gradient.
    #[inline(always)]
    fn run<const N: usize, const FMA: bool>(
        &self,
        d_out: &[Row<N>],
        channels: Range<usize>,
    ) -> Vec<Row<N>> {
        let w = &self.conv.window;
        let remainders = w.stride[0] * w.stride[1];
        let taps = taps(self.conv);
        let mut sums = zeros::<N>(channels.len() * taps);
        for (images, lists) in self.chunks.iter().zip(self.by_channel) {
            let first = images.start * self.grid.rows();
            let d_out = &d_out[first..images.end * self.grid.rows()];
            for (channel, sums) in channels.clone().zip(sums.chunks_exact_mut(taps)) {
                for (tap, sum) in sums.iter_mut().enumerate() {
                    let tap = [tap / w.kernel[1], tap % w.kernel[1]];
                    let reach = |axis: usize| tap[axis] * w.dilation[axis];
                    let remainder = (reach(0) % w.stride[0]) * w.stride[1] + reach(1) % w.stride[1];
                    let back = |axis: usize| self.grid.margin[axis] - reach(axis) / w.stride[axis];
                    let shift = back(0) * self.grid.size[1] + back(1);
                    let (rows, values) = lists.list(channel * remainders + remainder);
                    gather::<N, FMA>(&mut sum.0, &d_out[shift..], rows, values);
                }
            }
        }
        sums
    }
}

/// `[kh, kw, in / groups, out]` from the tiles of the tasks.
fn unpack<const N: usize>(
    conv: &Conv,
    columns: &[(usize, Range<usize>)],
    tiles: &[Vec<Row<N>>],
) -> Vec<f32> {
    let (taps, channels) = (taps(conv), conv.inputs / conv.groups);
    let per_columns = channels.div_ceil(CHANNELS);
    let mut out = vec![0.0; taps * channels * conv.outputs];
    for_each_chunk(&mut out, conv.outputs, |row, out| {
        let (tap, channel) = (row / channels, row % channels);
        for (c, (_, columns)) in columns.iter().enumerate() {
            let tile = &tiles[c * per_columns + channel / CHANNELS];
            let from = &tile[channel % CHANNELS * taps + tap].0;
            out[columns.clone()].copy_from_slice(&from[..columns.len()]);
        }
    });
    out
}
