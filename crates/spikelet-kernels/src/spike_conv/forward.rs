//! Forward: the active inputs of every output position add up their rows of weights.

use super::{
    columns,
    lists::{BLOCK, EventLists},
    taps,
};
use crate::{
    batch::map,
    conv::Conv,
    out::{Begin, Out, collect},
    rows::{Row, fetch, gather, pack, zeros},
    simd,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Output positions of a tile, at least: enough that loading a tile's weights is a small part.
const TILE: usize = 512;

/// The weights of a convolution, packed for its events: by block of columns
/// `[tap, channel of the group]` rows.
#[derive(Clone, Debug)]
pub struct EventWeights {
    packed: Packed,
    outputs: usize,
    groups: usize,
}

#[derive(Clone, Debug)]
enum Packed {
    Narrow(Vec<Vec<Row<16>>>),
    Middle(Vec<Vec<Row<32>>>),
    Wide(Vec<Vec<Row<64>>>),
}

impl EventWeights {
    /// Packs `weights` `[kh, kw, in / groups, out]`.
    ///
    /// # Panics
    /// If there are more or fewer weights.
    pub fn new(conv: &Conv, weights: &[f32]) -> EventWeights {
        assert_eq!(weights.len(), super::weights_len(conv), "weights");
        let packed = match super::widest(conv) {
            0..=16 => Packed::Narrow(packed(conv, weights)),
            17..=32 => Packed::Middle(packed(conv, weights)),
            _ => Packed::Wide(packed(conv, weights)),
        };
        EventWeights { packed, outputs: conv.outputs, groups: conv.groups }
    }

    /// The weights as they came.
    pub fn unpack(&self) -> Vec<f32> {
        match &self.packed {
            Packed::Narrow(packed) => unpacked(packed, self.outputs, self.groups),
            Packed::Middle(packed) => unpacked(packed, self.outputs, self.groups),
            Packed::Wide(packed) => unpacked(packed, self.outputs, self.groups),
        }
    }

    /// See [`super::forward`].
    pub fn forward(&self, conv: &Conv, lists: &EventLists, batch: usize, bias: &[f32]) -> Vec<f32> {
        match &self.packed {
            Packed::Narrow(packed) => run(conv, lists, batch, packed, bias),
            Packed::Middle(packed) => run(conv, lists, batch, packed, bias),
            Packed::Wide(packed) => run(conv, lists, batch, packed, bias),
        }
    }

    /// Writes the convolution of one image plus a bias (or an empty one) over `out`
    /// `[oh, ow, out]`, or adds it.
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn forward_into(
        &self,
        conv: &Conv,
        lists: &EventLists,
        bias: &[f32],
        add: bool,
        out: &mut [f32],
    ) {
        assert_eq!(out.len(), super::output_len(conv), "an image");
        let (out, begin) = (&Out::over(out, conv.outputs), Begin { bias, add });
        match &self.packed {
            Packed::Narrow(packed) => fill(conv, lists, 1, packed, begin, out),
            Packed::Middle(packed) => fill(conv, lists, 1, packed, begin, out),
            Packed::Wide(packed) => fill(conv, lists, 1, packed, begin, out),
        }
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        fn of<const N: usize>(packed: &[Vec<Row<N>>]) -> usize {
            packed.iter().map(|rows| size_of_val(rows.as_slice())).sum()
        }
        match &self.packed {
            Packed::Narrow(packed) => of(packed),
            Packed::Middle(packed) => of(packed),
            Packed::Wide(packed) => of(packed),
        }
    }
}

fn packed<const N: usize>(conv: &Conv, weights: &[f32]) -> Vec<Vec<Row<N>>> {
    map(&columns(conv.outputs, conv.groups, N), |_, (_, columns)| {
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

fn run<const N: usize>(
    conv: &Conv,
    lists: &EventLists,
    batch: usize,
    packed: &[Vec<Row<N>>],
    bias: &[f32],
) -> Vec<f32> {
    let [height, width] = conv.window.output;
    // SAFETY: `fill` writes all blocks of columns and all lines.
    #[allow(unsafe_code)]
    unsafe {
        collect(batch * height * width, conv.outputs, |out| {
            fill(conv, lists, batch, packed, Begin { bias, add: false }, out);
        })
    }
}

/// Writes all values, each in one task.
fn fill<const N: usize>(
    conv: &Conv,
    lists: &EventLists,
    batch: usize,
    packed: &[Vec<Row<N>>],
    begin: Begin,
    out: &Out,
) {
    let [height, width] = conv.window.output;
    let columns = columns(conv.outputs, conv.groups, N);
    let lines = TILE.div_ceil(width.max(1));
    let mut tasks = Vec::new();
    for block in 0..columns.len() {
        for first in (0..batch * height).step_by(lines) {
            tasks.push((block, first..(batch * height).min(first + lines)));
        }
    }
    map(&tasks, |_, (block, lines)| {
        let ((group, columns), weights) = (&columns[*block], &packed[*block][..]);
        let tile = Tile { conv, lists, lines, group: *group, columns, weights, begin, out };
        match simd::has_fma() {
            true => simd::dispatch(
                #[inline(always)]
                || tile.run::<true>(),
            ),
            false => simd::dispatch(
                #[inline(always)]
                || tile.run::<false>(),
            ),
        }
    });
}

/// Some lines of output positions of all images, for one block of columns.
struct Tile<'a, 'b, const N: usize> {
    conv: &'a Conv,
    lists: &'a EventLists,
    lines: &'a Range<usize>,
    group: usize,
    columns: &'a Range<usize>,
    weights: &'a [Row<N>],
    begin: Begin<'a>,
    out: &'a Out<'b>,
}

impl<const N: usize> Tile<'_, '_, N> {
    #[inline(always)]
    fn run<const FMA: bool>(&self) {
        let width = self.conv.window.output[1];
        let first = self.lines.start * width;
        let mut sums: Vec<Row<N>> = (first..first + self.lines.len() * width)
            .map(
                #[inline(always)]
                |at| {
                    // SAFETY: these columns of these lines are in this task alone.
                    #[allow(unsafe_code)]
                    unsafe {
                        self.begin.row(self.out, at, self.columns)
                    }
                },
            )
            .collect();
        let channels = self.conv.inputs / self.conv.groups;
        let blocks = self.lists.blocks() / self.conv.groups;
        let taps = taps(self.conv);
        // With few channels several taps fit the cache at once, and an output is loaded less often.
        let together = (BLOCK / channels).clamp(1, taps);
        for tap in (0..taps).step_by(together) {
            for block in 0..blocks {
                let block = self.group * blocks + block;
                self.add::<FMA>(&mut sums, tap..taps.min(tap + together), block);
            }
        }
        for (at, row) in (first..).zip(&sums) {
            // SAFETY: these columns of these lines are in this task alone.
            #[allow(unsafe_code)]
            unsafe {
                self.out.write(at, self.columns, row);
            }
        }
    }

    /// Adds what some taps read of a block of channels.
    #[inline(always)]
    fn add<const FMA: bool>(&self, sums: &mut [Row<N>], taps: Range<usize>, block: usize) {
        let window = &self.conv.window;
        let [height, width] = window.output;
        let channels = self.conv.inputs / self.conv.groups;
        let first = block % (self.lists.blocks() / self.conv.groups) * BLOCK;
        for tap in taps.clone() {
            let last = channels.min(first + BLOCK);
            fetch(&self.weights[tap * channels + first..tap * channels + last]);
        }
        for (line, sums) in self.lines.clone().zip(sums.chunks_exact_mut(width)) {
            let (image, oy) = (line / height, line % height);
            let pixels = image * window.input[0] * window.input[1];
            for (ox, out) in sums.iter_mut().enumerate() {
                let mut sum = out.0;
                for tap in taps.clone() {
                    let [ky, kx] = [tap / window.kernel[1], tap % window.kernel[1]];
                    let Some(y) = window.source(0, oy, ky) else { continue };
                    let Some(x) = window.source(1, ox, kx) else { continue };
                    let pixel = pixels + y * window.input[1] + x;
                    let (events, values) = self.lists.list(pixel, block);
                    let rows = &self.weights[tap * channels..(tap + 1) * channels];
                    gather::<N, FMA>(&mut sum, rows, events, values);
                }
                out.0 = sum;
            }
        }
    }
}
