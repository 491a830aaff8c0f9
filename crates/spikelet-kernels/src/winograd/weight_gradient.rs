//! The gradient of the weights: for every place of the tile, inputs times output gradients summed
//! over all tiles.

use super::{
    tiles::{Image, Tiles},
    transform::{EMPTY, LANES, Tile, both_axes},
    weights::COLUMNS,
};
use crate::{
    batch::map,
    conv::Conv,
    micro::{Kernel, ROWS, add_columns, launch},
    out::{Out, collect},
    rows::{Row, flat, zeros},
    simd::dispatch,
};
use alloc::vec::Vec;
use core::{marker::PhantomData, ops::Range};

/// Bytes of transformed input of a part: half of a second-level cache.
const BYTES: usize = 512 << 10;
/// Input channels of a task.
const CHANNELS: usize = 8 * ROWS;

/// `[3, 3, in, out]` from `x` `[batch, h, w, in]` and `d_out` `[batch, oh, ow, out]`.
pub(super) fn run<T: Tile>(
    tiles: &Tiles,
    conv: &Conv,
    x: &[f32],
    batch: usize,
    d_out: &[f32],
) -> Vec<f32> {
    let lines = tiles.parts::<T>(batch, BYTES);
    let parts = map(&lines, |_, lines| {
        dispatch(
            #[inline(always)]
            || Part {
                tiles: lines.len() * tiles.count[1],
                x: tiles.transformed::<T>(x, lines),
                d_out: spread::<T>(tiles, d_out, lines),
            },
        )
    });
    let mut tasks = Vec::new();
    for block in 0..conv.outputs.div_ceil(COLUMNS) {
        for first in (0..conv.inputs).step_by(CHANNELS) {
            tasks.push((block, first..conv.inputs.min(first + CHANNELS)));
        }
    }
    // SAFETY: tasks have different columns or different channels, and together all; each writes
    // the nine taps of its channels.
    #[allow(unsafe_code)]
    unsafe {
        collect(9 * conv.inputs, conv.outputs, |out| {
            map(&tasks, |_, (block, channels)| {
                let (parts, block, size) = (&parts, *block, PhantomData::<T>);
                launch::<COLUMNS, _>(Task { conv, parts, block, channels, out, size });
            });
        })
    }
}

/// Some tiles.
struct Part {
    tiles: usize,
    /// `[place, tile, in / 64]`.
    x: Vec<Row<LANES>>,
    /// `[out / 64, place, tile]`.
    d_out: Vec<Row<COLUMNS>>,
}

/// `A d_y A^T` of the tiles of some lines: `[out / 64, place, tile]` rows.
#[inline(always)]
fn spread<T: Tile>(tiles: &Tiles, d_out: &[f32], lines: &Range<usize>) -> Vec<Row<COLUMNS>> {
    let count = lines.len() * tiles.count[1];
    let places = T::N * T::N;
    let mut out = zeros(tiles.outputs.div_ceil(COLUMNS) * places * count);
    for (line, at) in lines.clone().zip((0..).step_by(tiles.count[1])) {
        let (image, ty) = tiles.place(line);
        let image = Image { x: d_out, image, size: tiles.output, channels: tiles.outputs };
        for tx in 0..tiles.count[1] {
            for first in (0..tiles.outputs).step_by(LANES) {
                let square = image.square(T::M, [ty * T::M, tx * T::M], first);
                both_axes(T::d_output, [T::M, T::N], &square, |i, j, values| {
                    let place = first / COLUMNS * places + i * T::N + j;
                    out[place * count + at + tx].0 = *values;
                });
            }
        }
    }
    out
}

/// Some channels of the input and a block of columns.
struct Task<'a, 'b, T> {
    conv: &'a Conv,
    parts: &'a [Part],
    block: usize,
    channels: &'a Range<usize>,
    out: &'a Out<'b>,
    size: PhantomData<T>,
}

impl<T: Tile> Kernel for Task<'_, '_, T> {
    type Out = ();

    #[inline(always)]
    fn run<const W: usize, const FMA: bool>(self) {
        let (places, channels) = (T::N * T::N, self.channels.len());
        let depth = self.conv.inputs.next_multiple_of(LANES);
        let mut sums = zeros::<COLUMNS>(places * channels);
        for part in self.parts {
            let x = flat(&part.x);
            for (place, sums) in sums.chunks_exact_mut(channels).enumerate() {
                let x = &x[place * part.tiles * depth..(place + 1) * part.tiles * depth];
                let first = (self.block * places + place) * part.tiles;
                let d_out = &part.d_out[first..first + part.tiles];
                let steps = self.channels.clone().step_by(ROWS);
                for (sums, first) in sums.chunks_mut(ROWS).zip(steps) {
                    add_columns::<COLUMNS, W, FMA>(sums, &x[first..], depth, d_out);
                }
            }
        }
        self.write(&sums);
    }
}

impl<T: Tile> Task<'_, '_, T> {
    /// `G^T sums G`, to the nine taps.
    #[inline(always)]
    fn write(&self, sums: &[Row<COLUMNS>]) {
        let first = self.block * COLUMNS;
        let columns = first..self.conv.outputs.min(first + COLUMNS);
        for (index, channel) in self.channels.clone().enumerate() {
            let mut square = EMPTY;
            for i in 0..T::N {
                for j in 0..T::N {
                    square[i][j] = sums[(i * T::N + j) * self.channels.len() + index].0;
                }
            }
            both_axes(T::d_weights, [T::N, 3], &square, |i, j, values| {
                let row = (3 * i + j) * self.conv.inputs + channel;
                // SAFETY: these columns of this channel are in this task alone.
                #[allow(unsafe_code)]
                unsafe {
                    self.out.write(row, &columns, &Row(*values));
                }
            });
        }
    }
}
