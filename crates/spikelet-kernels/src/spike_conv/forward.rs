//! Forward: the active inputs of every output position add up their rows of weights.

use super::{
    columns,
    lists::{BLOCK, EventLists, Every, Lists, Starts},
    taps,
};
use crate::{
    batch::map,
    conv::Conv,
    out::{Begin, Out, collect},
    rows::{Row, WEIGHTS, fetch, gather, pack, prefetch, zeros},
    simd,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Sums of a tile, about, 64 KiB: enough that loading its weights is a small part, and not so many
/// that the allocator maps pages for them.
const SUMS: usize = 1 << 14;
/// Tasks from which on threads are busy to the end.
const TASKS: usize = 8;
/// Weights in use at once: 32 KiB, a first-level cache.
const CACHED: usize = 1 << 13;

/// The weights of a convolution, packed for its events: by block of columns
/// `[tap, channel of the group]` rows.
#[derive(Clone, Debug)]
pub struct EventWeights {
    packed: Packed,
    outputs: usize,
    groups: usize,
}

/// Blocks of so many columns.
#[derive(Clone, Debug)]
enum Packed {
    Of16(Vec<Vec<Row<16>>>),
    Of32(Vec<Vec<Row<32>>>),
    Of48(Vec<Vec<Row<48>>>),
    Of64(Vec<Vec<Row<64>>>),
    Of96(Vec<Vec<Row<96>>>),
}

/// Calls `$body` with `$packed` bound to the blocks, whatever their width.
macro_rules! with_blocks {
    ($weights:expr, |$packed:ident| $body:expr) => {
        match $weights {
            Packed::Of16($packed) => $body,
            Packed::Of32($packed) => $body,
            Packed::Of48($packed) => $body,
            Packed::Of64($packed) => $body,
            Packed::Of96($packed) => $body,
        }
    };
}

/// The width of blocks with which `outputs` take least time: a row costs about as much as 16 values
/// more than it has, and the last block is filled up.
fn width(outputs: usize) -> usize {
    let cost = |width: &usize| outputs.div_ceil(*width) * (width + 16);
    [16, 32, 48, 64, 96].into_iter().min_by_key(cost).unwrap_or(64)
}

/// The active inputs of one image, as places in `[pixel, channel]` in rising order.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    /// The places.
    pub places: &'a [u32],
    /// All inputs, of which an event has the value at its place; without them every event is 1.
    pub x: Option<&'a [f32]>,
}

/// [`super::forward`] of events. Weights are packed for this pass alone, some blocks of columns at a time.
pub(super) fn run(
    conv: &Conv,
    lists: &EventLists,
    batch: usize,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    match width(super::widest(conv)) {
        16 => in_parts::<16>(conv, lists, batch, weights, bias),
        32 => in_parts::<32>(conv, lists, batch, weights, bias),
        48 => in_parts::<48>(conv, lists, batch, weights, bias),
        64 => in_parts::<64>(conv, lists, batch, weights, bias),
        _ => in_parts::<96>(conv, lists, batch, weights, bias),
    }
}

fn in_parts<const N: usize>(
    conv: &Conv,
    lists: &EventLists,
    batch: usize,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let begin = Begin { bias, add: false };
    let [height, width] = conv.window.output;
    let bytes = taps(conv) * (conv.inputs / conv.groups) * size_of::<Row<N>>();
    let each = (WEIGHTS / bytes.max(1)).max(1);
    // SAFETY: `fill` writes all lines of a part of the columns.
    #[allow(unsafe_code)]
    unsafe {
        collect(batch * height * width, conv.outputs, |out| {
            for columns in columns(conv.outputs, conv.groups, N).chunks(each) {
                let packed = &blocks::<N>(conv, weights, columns);
                fill(conv, lists.view(), batch, columns, packed, begin, out);
            }
        })
    }
}

impl EventWeights {
    /// Packs `weights` `[kh, kw, in / groups, out]`.
    ///
    /// # Panics
    /// If there are more or fewer weights.
    pub fn new(conv: &Conv, weights: &[f32]) -> EventWeights {
        assert_eq!(weights.len(), super::weights_len(conv), "weights");
        let packed = match width(super::widest(conv)) {
            16 => Packed::Of16(packed(conv, weights)),
            32 => Packed::Of32(packed(conv, weights)),
            48 => Packed::Of48(packed(conv, weights)),
            64 => Packed::Of64(packed(conv, weights)),
            _ => Packed::Of96(packed(conv, weights)),
        };
        EventWeights { packed, outputs: conv.outputs, groups: conv.groups }
    }

    /// The weights as they came.
    pub fn unpack(&self) -> Vec<f32> {
        with_blocks!(&self.packed, |packed| unpacked(packed, self.outputs, self.groups))
    }

    /// See [`super::forward`].
    pub fn forward(&self, conv: &Conv, lists: &EventLists, batch: usize, bias: &[f32]) -> Vec<f32> {
        let begin = Begin { bias, add: false };
        let [height, width] = conv.window.output;
        // SAFETY: `fill` writes all blocks of columns and all lines.
        #[allow(unsafe_code)]
        unsafe {
            collect(batch * height * width, conv.outputs, |out| {
                with_blocks!(&self.packed, |packed| all(
                    conv,
                    lists.view(),
                    batch,
                    packed,
                    begin,
                    out
                ));
            })
        }
    }

    /// Writes the convolution of one image plus a bias (or an empty one) over `out`
    /// `[oh, ow, out]`, or adds it.
    ///
    /// # Panics
    /// If a length does not fit the shape, or an event lies outside the image.
    pub fn forward_into(
        &self,
        conv: &Conv,
        events: Events,
        bias: &[f32],
        add: bool,
        out: &mut [f32],
    ) {
        assert_eq!(out.len(), super::output_len(conv), "an image");
        let (out, begin) = (&Out::over(out, conv.outputs), Begin { bias, add });
        let Events { places, x } = events;
        let pixels = conv.window.input[0] * conv.window.input[1];
        let starts = Starts::of(places, pixels, conv.inputs, conv.groups);
        let values: Option<Vec<f32>> =
            x.map(|x| places.iter().map(|place| x[*place as usize]).collect());
        let lists = Lists::new(&starts, places, values.as_deref());
        with_blocks!(&self.packed, |packed| all(conv, lists, 1, packed, begin, out));
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        with_blocks!(&self.packed, |packed| packed
            .iter()
            .map(|rows| size_of_val(rows.as_slice()))
            .sum())
    }
}

/// All blocks of columns of `weights` `[kh, kw, in / groups, out]`.
pub(super) fn packed<const N: usize>(conv: &Conv, weights: &[f32]) -> Vec<Vec<Row<N>>> {
    blocks(conv, weights, &columns(conv.outputs, conv.groups, N))
}

/// These blocks of columns.
fn blocks<const N: usize>(
    conv: &Conv,
    weights: &[f32],
    columns: &[(usize, Range<usize>)],
) -> Vec<Vec<Row<N>>> {
    map(columns, |_, (_, columns)| {
        let mut rows = zeros(taps(conv) * (conv.inputs / conv.groups));
        pack(&mut rows, weights, conv.outputs, columns.clone());
        rows
    })
}

/// The weights of which `packed` holds blocks of columns.
pub(super) fn unpacked<const N: usize>(
    packed: &[Vec<Row<N>>],
    outputs: usize,
    groups: usize,
) -> Vec<f32> {
    let mut weights = vec![0.0; packed.first().map_or(0, Vec::len) * outputs];
    for (rows, (_, columns)) in packed.iter().zip(columns(outputs, groups, N)) {
        for (row, to) in rows.iter().zip(weights.chunks_exact_mut(outputs)) {
            to[columns.clone()].copy_from_slice(&row.0[..columns.len()]);
        }
    }
    weights
}

/// Writes all values.
fn all<const N: usize>(
    conv: &Conv,
    lists: Lists,
    batch: usize,
    packed: &[Vec<Row<N>>],
    begin: Begin,
    out: &Out,
) {
    fill(conv, lists, batch, &columns(conv.outputs, conv.groups, N), packed, begin, out);
}

/// Writes all values of these columns, each in one task.
fn fill<const N: usize>(
    conv: &Conv,
    lists: Lists,
    batch: usize,
    columns: &[(usize, Range<usize>)],
    packed: &[Vec<Row<N>>],
    begin: Begin,
    out: &Out,
) {
    let [height, width] = conv.window.output;
    let all = batch * height;
    // Four or six blocks already keep two threads busy, and each is then loaded once.
    let few = match columns.len() {
        0 | 4 | 6 => 1,
        count => TASKS.div_ceil(count),
    };
    let parts = (all * width * N).div_ceil(SUMS).max(few);
    let lines = all.div_ceil(parts).max(1);
    let mut tasks = Vec::new();
    for block in 0..columns.len() {
        tasks.extend((0..all).step_by(lines).map(|first| (block, first..all.min(first + lines))));
    }
    map(&tasks, |_, (block, lines)| {
        let ((group, columns), weights) = (&columns[*block], &packed[*block][..]);
        let next = packed.get(*block + 1).map_or(&[][..], Vec::as_slice);
        let tile = Tile { conv, lists, lines, group: *group, columns, weights, next, begin, out };
        simd::dispatch_fused(
            #[inline(always)]
            || tile.run::<true>(),
            #[inline(always)]
            || tile.run::<false>(),
        )
    });
}

/// Some lines of output positions of all images, for one block of columns.
struct Tile<'a, 'b, const N: usize> {
    conv: &'a Conv,
    lists: Lists<'a>,
    lines: &'a Range<usize>,
    group: usize,
    columns: &'a Range<usize>,
    weights: &'a [Row<N>],
    /// Those of the next block of columns.
    next: &'a [Row<N>],
    begin: Begin<'a>,
    out: &'a Out<'b>,
}

/// Neighbouring taps of a row of the kernel and a block of channels: what they read, and their rows of
/// weights.
struct Pass {
    ky: usize,
    kx: Range<usize>,
    block: usize,
    rows: Range<usize>,
}

impl<const N: usize> Tile<'_, '_, N> {
    #[inline(always)]
    fn run<const FMA: bool>(&self) {
        let width = self.conv.window.output[1];
        let first = self.lines.start * width;
        let mut sums = zeros::<N>(self.lines.len() * width);
        for (at, sum) in (first..).zip(&mut sums) {
            // SAFETY: these columns of these lines are in this task alone.
            #[allow(unsafe_code)]
            unsafe {
                *sum = self.begin.row(self.out, at, self.columns);
            }
        }
        let passes = self.passes();
        for (k, pass) in passes.iter().enumerate() {
            let next = match passes.get(k + 1) {
                Some(next) => &self.weights[next.rows.clone()],
                None => self.next.get(passes[0].rows.clone()).unwrap_or(&[]),
            };
            self.add::<FMA>(&mut sums, pass, next);
        }
        for (at, row) in (first..).zip(&sums) {
            // SAFETY: these columns of these lines are in this task alone.
            #[allow(unsafe_code)]
            unsafe {
                self.out.write(at, self.columns, row);
            }
        }
    }

    fn passes(&self) -> Vec<Pass> {
        let window = &self.conv.window;
        let blocks = self.lists.blocks() / self.conv.groups;
        // Events of neighbouring pixels follow one another, as do the rows of neighbouring taps: as
        // many as fit the cache are one list, and an output is loaded less often.
        let together = match self.lists.blocks() == 1 && window.dilation[1] == 1 {
            true => (CACHED / (N * self.conv.inputs)).clamp(1, window.kernel[1]),
            false => 1,
        };
        let channels = self.conv.inputs / self.conv.groups;
        let mut passes = Vec::new();
        for ky in 0..window.kernel[0] {
            for kx in (0..window.kernel[1]).step_by(together) {
                let kx = kx..window.kernel[1].min(kx + together);
                let first = (ky * window.kernel[1] + kx.start) * channels;
                for block in 0..blocks {
                    let rows = match kx.len() {
                        1 => first + block * BLOCK..first + channels.min((block + 1) * BLOCK),
                        taps => first..first + taps * channels,
                    };
                    passes.push(Pass { ky, kx: kx.clone(), block, rows });
                }
            }
        }
        passes
    }

    /// Adds what the taps of a pass read; `next` are the weights that come after its own.
    #[inline(always)]
    fn add<const FMA: bool>(&self, sums: &mut [Row<N>], pass: &Pass, next: &[Row<N>]) {
        let Pass { ky, kx, block, rows } = pass;
        let window = &self.conv.window;
        let [height, width] = window.output;
        let channels = self.conv.inputs / self.conv.groups;
        let tap = ky * window.kernel[1] + kx.start;
        fetch(&self.weights[rows.clone()]);
        let block = self.group * (self.lists.blocks() / self.conv.groups) + block;
        let step = window.stride[1] * self.conv.inputs;
        let row = tap * channels + window.padding[1] * self.conv.inputs;
        // In between, every output sees what all taps read.
        let left = window.padding[1].saturating_sub(kx.start * window.dilation[1]);
        let right =
            (window.input[1] + window.padding[1]).saturating_sub(kx.start * window.dilation[1]);
        let inner = left.div_ceil(window.stride[1]).min(width);
        let outer = right.saturating_sub(kx.len() - 1).div_ceil(window.stride[1]);
        let outer = outer.clamp(inner, width);
        let mut ahead = next.chunks(next.len().div_ceil(self.lines.len().max(1)).max(1));
        for (line, sums) in self.lines.clone().zip(sums.chunks_exact_mut(width)) {
            prefetch(ahead.next().unwrap_or(&[]));
            let (image, oy) = (line / height, line % height);
            let Some(y) = window.source(0, oy, *ky) else { continue };
            let pixels = (image * window.input[0] + y) * window.input[1];
            let edges = (0..inner).chain(outer..width).map(|ox| ox..ox + 1);
            for outputs in edges.chain(core::iter::once(inner..outer)) {
                // What the taps read of this line, and by how much a place there is more than that
                // of its row of weights.
                let read = outputs.start * window.stride[1] + kx.start * window.dilation[1];
                let from = read.max(window.padding[1]) - window.padding[1];
                let end = (read + kx.len()).saturating_sub(window.padding[1]).min(window.input[1]);
                if from >= end || outputs.is_empty() {
                    continue;
                }
                let origin = (pixels + read) * self.conv.inputs + self.group * channels;
                let lists = self.lists.every(pixels + from, block, end - from, window.stride[1]);
                let shift = (row as u32).wrapping_sub(origin as u32);
                add_lists::<N, FMA>(&mut sums[outputs], self.weights, lists, [shift, step as u32]);
            }
        }
    }
}

/// Adds to every sum the rows that its list of events names; `shift` says where they lie for the first
/// sum, and by how much lower for each one after it.
#[inline(always)]
fn add_lists<const N: usize, const FMA: bool>(
    sums: &mut [Row<N>],
    rows: &[Row<N>],
    lists: Every,
    [mut shift, step]: [u32; 2],
) {
    let Every { starts, places, values, reach, step: next } = lists;
    let mut at = 0;
    for out in sums {
        let range = starts[at] as usize..starts[at + reach] as usize;
        // A copy, which the compiler keeps in registers.
        let mut sum = out.0;
        match values {
            None => gather::<N, FMA>(&mut sum, rows, &places[range], shift, None),
            Some(values) => {
                let values = Some(&values[range.clone()]);
                gather::<N, FMA>(&mut sum, rows, &places[range], shift, values);
            }
        }
        out.0 = sum;
        at += next;
        shift = shift.wrapping_sub(step);
    }
}
