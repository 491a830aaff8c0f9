//! The convolution: tiles of the input, a product for every place of the tile, tiles of the output.

use super::{
    tiles::Tiles,
    transform::{EMPTY, LANES, Tile, both_axes},
    weights::{COLUMNS, DEPTH, Panels},
};
use crate::{
    batch::map,
    micro::{Kernel, ROWS, add_rows, launch},
    out::{Out, collect},
    rows::{Row, WEIGHTS, flat, zeros},
};
use alloc::vec::Vec;
use core::{marker::PhantomData, ops::Range};

/// Bytes of transformed input of a task, at least: most of a second-level cache.
const BYTES: usize = 768 << 10;

/// `[batch, oh, ow, out]` of `x` `[batch, h, w, in]`; `panels` gives the weights of blocks of columns.
pub(super) fn run<T: Tile>(
    tiles: &Tiles,
    x: &[f32],
    batch: usize,
    panels: impl Fn(Range<usize>) -> Panels,
    bias: &[f32],
) -> Vec<f32> {
    // Transformed weights are up to four times the weights; to transform the input again for the next
    // ones costs little.
    let bytes = T::N * T::N * tiles.groups() * LANES * size_of::<Row<COLUMNS>>();
    let blocks = tiles.outputs.div_ceil(COLUMNS);
    let each = (WEIGHTS / bytes.max(1)).clamp(1, blocks.max(1));
    // Every task reads these weights: the more there are, the fewer the tasks.
    let parts = tiles.parts::<T>(batch, BYTES.max(each * bytes / 4));
    let rows = batch * tiles.output[0] * tiles.output[1];
    // SAFETY: every output belongs to one tile and one block of columns, whose task writes it.
    #[allow(unsafe_code)]
    unsafe {
        collect(rows, tiles.outputs, |out| {
            for first in (0..blocks).step_by(each) {
                let panels = &panels(first..blocks.min(first + each));
                map(&parts, |_, lines| {
                    let size = PhantomData::<T>;
                    let part = Part { tiles, x, panels, first, bias, lines, out, size };
                    launch::<COLUMNS, _>(part);
                });
            }
        })
    }
}

/// Some lines of tiles.
struct Part<'a, 'b, T> {
    tiles: &'a Tiles,
    x: &'a [f32],
    panels: &'a Panels,
    /// Their first block of columns.
    first: usize,
    bias: &'a [f32],
    lines: &'a Range<usize>,
    out: &'a Out<'b>,
    size: PhantomData<T>,
}

impl<T: Tile> Kernel for Part<'_, '_, T> {
    type Out = ();

    #[inline(always)]
    fn run<const W: usize, const FMA: bool>(self) {
        let tiles = self.lines.len() * self.tiles.count[1];
        let (places, depth) = (T::N * T::N, self.tiles.groups() * LANES);
        let x = self.tiles.transformed::<T>(self.x, self.lines);
        let x = flat(&x);
        let mut sums = zeros::<COLUMNS>(places * tiles);
        for (block, panels) in self.panels.panels.chunks_exact(self.panels.blocks).enumerate() {
            if block > 0 {
                sums.fill(Row::ZERO);
            }
            for place in 0..places {
                let sums = &mut sums[place * tiles..(place + 1) * tiles];
                let x = &x[place * tiles * depth..(place + 1) * tiles * depth];
                for (panel, first) in panels.iter().zip((0..).step_by(DEPTH)) {
                    let len = panel.len() / places;
                    let panel = &panel[place * len..(place + 1) * len];
                    for (sums, x) in sums.chunks_mut(ROWS).zip(x.chunks(ROWS * depth)) {
                        let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
                        for (row, x) in rows.iter_mut().zip(x.chunks_exact(depth)) {
                            *row = &x[first..first + len];
                        }
                        add_rows::<COLUMNS, W, FMA>(sums, &rows, panel);
                    }
                }
            }
            let first = (self.first + block) * COLUMNS;
            let columns = first..self.tiles.outputs.min(first + COLUMNS);
            self.write(&sums, &columns);
        }
    }
}

impl<T: Tile> Part<'_, '_, T> {
    /// `A^T sums A` plus the bias, to these columns of the output.
    #[inline(always)]
    fn write(&self, sums: &[Row<COLUMNS>], columns: &Range<usize>) {
        let mut shift = Row::<COLUMNS>::ZERO;
        if !self.bias.is_empty() {
            shift.0[..columns.len()].copy_from_slice(&self.bias[columns.clone()]);
        }
        let tiles = self.lines.len() * self.tiles.count[1];
        let [height, width] = self.tiles.output;
        for (line, at) in self.lines.clone().zip((0..).step_by(self.tiles.count[1])) {
            let (image, ty) = self.tiles.place(line);
            for tx in 0..self.tiles.count[1] {
                let mut square = EMPTY;
                for i in 0..T::N {
                    for j in 0..T::N {
                        square[i][j] = sums[(i * T::N + j) * tiles + at + tx].0;
                    }
                }
                both_axes(T::output, [T::N, T::M], &square, |i, j, values| {
                    let (y, x) = (ty * T::M + i, tx * T::M + j);
                    if y < height && x < width {
                        let mut row = Row(*values);
                        row.0.iter_mut().zip(&shift.0).for_each(|(y, b)| *y += b);
                        // SAFETY: this tile is in this task alone, and so are its outputs.
                        #[allow(unsafe_code)]
                        unsafe {
                            self.out.write((image * height + y) * width + x, columns, &row);
                        }
                    }
                });
            }
        }
    }
}
