//! Weight gradient: for every tap, an active input adds the row of the output gradient at the
//! output it reached.
//!
//! The output gradient of a group of images is packed with a margin of zero rows, so that the row
//! an event adds for a tap lies at a distance that depends on the tap alone. With strides only
//! some inputs meet a tap: events are listed apart by the remainder of their position.

use super::{
    columns,
    lists::{EventLists, Lists},
    taps,
};
use crate::{
    batch::{for_each_chunk, map},
    conv::Conv,
    out::{Out, collect},
    rows::{Row, gather, pack, zeros},
    simd,
    window::Window,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Input positions worked on together, about: 128 rows of 64 values are 32 KiB.
const POSITIONS: usize = 128;
/// Channels of a task.
const CHANNELS: usize = 32;
/// Bytes of packed output gradients held at once, about: with their margins those of the deep layers are
/// larger than the gradients, and are held when all activations are. Tests have small layers, which must
/// come in several parts too.
const PACKED: usize = if cfg!(test) { 32 << 10 } else { 1 << 20 };

/// See [`super::weight_gradient`].
pub(super) fn run<const N: usize>(
    conv: &Conv,
    lists: &EventLists,
    batch: usize,
    d_out: &[f32],
) -> Vec<f32> {
    let grid = Grid::new(&conv.window);
    let columns = columns(conv.outputs, conv.groups, N);
    let [height, width] = conv.window.input;
    let lines = (POSITIONS / width.max(1)).max(1);
    let chunks: Vec<Range<usize>> = (0..batch * height)
        .step_by(lines)
        .map(|first| first..(batch * height).min(first + lines))
        .collect();
    let lists = lists.view();
    let by_channel = map(&chunks, |_, lines| ByChannel::new(conv, &grid, lists, lines.clone()));
    let channels = conv.inputs / conv.groups;
    let images = batch * grid.rows();
    let each = (PACKED / (images * size_of::<Row<N>>()).max(1)).max(1);
    // SAFETY: the tasks are all blocks of columns and all channels, each once, and write every tap.
    #[allow(unsafe_code)]
    unsafe {
        collect(taps(conv) * channels, conv.outputs, |out| {
            for columns in columns.chunks(each) {
                let packed = packed::<N>(conv, &grid, columns, batch, d_out);
                let mut tasks = Vec::new();
                for (c, (group, _)) in columns.iter().enumerate() {
                    for first in (0..channels).step_by(CHANNELS) {
                        let last = channels.min(first + CHANNELS);
                        tasks.push((c, group * channels + first..group * channels + last));
                    }
                }
                map(&tasks, |_, (c, channels)| {
                    let d_out = &packed[c * images..(c + 1) * images];
                    let (columns, channels) = (&columns[*c].1, channels.clone());
                    let (grid, by_channel) = (&grid, &by_channel[..]);
                    let task = Task { conv, grid, by_channel, d_out, columns, channels, out };
                    simd::dispatch_fused(
                        #[inline(always)]
                        || task.run::<true>(),
                        #[inline(always)]
                        || task.run::<false>(),
                    )
                });
            }
        })
    }
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

/// The output gradient as `[columns, image]` grids.
fn packed<const N: usize>(
    conv: &Conv,
    grid: &Grid,
    columns: &[(usize, Range<usize>)],
    batch: usize,
    d_out: &[f32],
) -> Vec<Row<N>> {
    let [height, width] = conv.window.output;
    let mut rows = zeros(columns.len() * batch * grid.rows());
    for_each_chunk(&mut rows, grid.rows().max(1), |at, rows| {
        let (columns, image) = (&columns[at / batch].1, at % batch);
        let image = &d_out[image * height * width * conv.outputs..];
        for (y, line) in image.chunks_exact(width * conv.outputs).take(height).enumerate() {
            let first = (y + grid.margin[0]) * grid.size[1] + grid.margin[1];
            pack(&mut rows[first..first + width], line, conv.outputs, columns.clone());
        }
    });
    rows
}

/// Events of some lines of the images, by channel and remainder of their position.
struct ByChannel {
    /// The image of the first line.
    image: usize,
    /// `[channel, remainder]`, one more at the end.
    starts: Vec<u32>,
    /// Rows of the grids from that image on, without the margin.
    rows: Vec<u32>,
    values: Option<Vec<f32>>,
}

impl ByChannel {
    fn new(conv: &Conv, grid: &Grid, lists: Lists, lines: Range<usize>) -> ByChannel {
        let w = &conv.window;
        let image = lines.start / w.input[0];
        let mut starts = vec![0_u32; conv.inputs * w.stride[0] * w.stride[1] + 1];
        for_each_event(conv, lists, lines.clone(), |key, _, _| starts[key + 1] += 1);
        for key in 1..starts.len() {
            starts[key] += starts[key - 1];
        }
        let total = starts[starts.len() - 1] as usize;
        let mut next = starts.clone();
        let mut rows = vec![0; total];
        let mut values = (!lists.is_binary()).then(|| vec![0.0; total]);
        for_each_event(conv, lists, lines, |key, (line, y, x), value| {
            let at = next[key] as usize;
            let grids = line / w.input[0] - image;
            rows[at] = ((grids * grid.size[0] + y) * grid.size[1] + x) as u32;
            if let Some(values) = &mut values {
                values[at] = value;
            }
            next[key] += 1;
        });
        ByChannel { image, starts, rows, values }
    }

    #[inline(always)]
    fn list(&self, key: usize) -> (&[u32], Option<&[f32]>) {
        let range = self.starts[key] as usize..self.starts[key + 1] as usize;
        (&self.rows[range.clone()], self.values.as_ref().map(|values| &values[range]))
    }
}

/// Calls `visit(key, (line, y, x), value)` for every event of the lines: the key is channel and
/// remainder, `y` and `x` the position in steps of the window.
#[inline(always)]
fn for_each_event(
    conv: &Conv,
    lists: Lists,
    lines: Range<usize>,
    mut visit: impl FnMut(usize, (usize, usize, usize), f32),
) {
    let w = &conv.window;
    let remainders = w.stride[0] * w.stride[1];
    let blocks = lists.blocks();
    for line in lines {
        let y = line % w.input[0] + w.padding[0];
        for x in 0..w.input[1] {
            let pixel = line * w.input[1] + x;
            let x = x + w.padding[1];
            let remainder = y % w.stride[0] * w.stride[1] + x % w.stride[1];
            let at = (line, y / w.stride[0], x / w.stride[1]);
            for block in 0..blocks {
                let (places, values) = lists.list(pixel, block);
                for (k, place) in places.iter().enumerate() {
                    let key = (*place as usize - pixel * conv.inputs) * remainders + remainder;
                    visit(key, at, values.map_or(1.0, |values| values[k]));
                }
            }
        }
    }
}

/// Some channels and a block of columns.
struct Task<'a, 'b, const N: usize> {
    conv: &'a Conv,
    grid: &'a Grid,
    by_channel: &'a [ByChannel],
    d_out: &'a [Row<N>],
    columns: &'a Range<usize>,
    channels: Range<usize>,
    out: &'a Out<'b>,
}

impl<const N: usize> Task<'_, '_, N> {
    #[inline(always)]
    fn run<const FMA: bool>(&self) {
        let w = &self.conv.window;
        let remainders = w.stride[0] * w.stride[1];
        let taps = taps(self.conv);
        let mut sums = zeros::<N>(self.channels.len() * taps);
        for lists in self.by_channel {
            let d_out = &self.d_out[lists.image * self.grid.rows()..];
            for (channel, sums) in self.channels.clone().zip(sums.chunks_exact_mut(taps)) {
                for (tap, sum) in sums.iter_mut().enumerate() {
                    let tap = [tap / w.kernel[1], tap % w.kernel[1]];
                    let reach = |axis: usize| tap[axis] * w.dilation[axis];
                    let remainder = (reach(0) % w.stride[0]) * w.stride[1] + reach(1) % w.stride[1];
                    let back = |axis: usize| self.grid.margin[axis] - reach(axis) / w.stride[axis];
                    let shift = back(0) * self.grid.size[1] + back(1);
                    let (rows, values) = lists.list(channel * remainders + remainder);
                    // A copy, which the compiler keeps in registers.
                    let mut registers = sum.0;
                    gather::<N, FMA>(&mut registers, &d_out[shift..], rows, 0, values);
                    sum.0 = registers;
                }
            }
        }
        let per_group = self.conv.inputs / self.conv.groups;
        for (channel, sums) in self.channels.clone().zip(sums.chunks_exact(taps)) {
            for (tap, row) in sums.iter().enumerate() {
                // SAFETY: these columns of this channel are in this task alone.
                #[allow(unsafe_code)]
                unsafe {
                    self.out.write(tap * per_group + channel % per_group, self.columns, row);
                }
            }
        }
    }
}
