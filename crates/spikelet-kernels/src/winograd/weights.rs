//! `G g G^T` of all kernels, packed as panels.

use super::transform::{EMPTY, LANES, Tile, both_axes};
use crate::{
    batch::map,
    rows::{Row, pack, pack_transposed, zeros},
    simd::dispatch,
};
use alloc::vec::Vec;
use core::ops::Range;

/// Columns of a panel.
pub(super) const COLUMNS: usize = LANES;
/// Rows of a panel: 128 rows of 64 values are 32 KiB, a first-level cache.
pub(super) const DEPTH: usize = 128;

/// Weights `[3, 3, in, out]`.
#[derive(Clone, Copy)]
pub(super) struct Kernel<'a> {
    pub(super) weights: &'a [f32],
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// Transformed weights of a product `[tile, depth] [depth, columns]`.
pub(super) struct Panels {
    /// By block of columns and block of depth: `[place, depth of the block]`.
    pub(super) panels: Vec<Vec<Row<COLUMNS>>>,
    /// Blocks of depth.
    pub(super) blocks: usize,
}

impl Kernel<'_> {
    /// Blocks of columns: depth is the inputs, columns are the outputs.
    pub(super) fn forward<T: Tile>(&self, blocks: Range<usize>) -> Panels {
        self.panels::<T>(blocks, [self.inputs, self.outputs], |to, tap, rows, columns| {
            let first = (tap * self.inputs + rows.start) * self.outputs;
            pack(to, &self.weights[first..], self.outputs, columns.clone());
        })
    }

    /// Mirrored and transposed: depth is the outputs, columns are the inputs.
    pub(super) fn mirrored<T: Tile>(&self, blocks: Range<usize>) -> Panels {
        self.panels::<T>(blocks, [self.outputs, self.inputs], |to, tap, rows, columns| {
            let first = ((8 - tap) * self.inputs + columns.start) * self.outputs + rows.start;
            pack_transposed(to, &self.weights[first..], self.outputs, columns.len());
        })
    }

    /// `read(to, tap, rows, columns)` copies weights.
    fn panels<T: Tile>(
        &self,
        columns: Range<usize>,
        [depth, width]: [usize; 2],
        read: impl Fn(&mut [Row<COLUMNS>], usize, Range<usize>, &Range<usize>) + Sync,
    ) -> Panels {
        let blocks = depth.div_ceil(DEPTH);
        let tasks: Vec<usize> = (columns.start * blocks..columns.end * blocks).collect();
        let panels = map(&tasks, |_, task| {
            let first = task / blocks * COLUMNS;
            let columns = first..width.min(first + COLUMNS);
            let first = task % blocks * DEPTH;
            let rows = first..depth.min(first + DEPTH);
            let mut taps = zeros(9 * rows.len());
            for (tap, to) in taps.chunks_exact_mut(rows.len()).enumerate() {
                read(to, tap, rows.clone(), &columns);
            }
            dispatch(
                #[inline(always)]
                || transform::<T>(&taps, rows.len()),
            )
        });
        Panels { panels, blocks }
    }
}

/// The panel of `len` rows from their taps, `[tap, row]`.
#[inline(always)]
fn transform<T: Tile>(taps: &[Row<COLUMNS>], len: usize) -> Vec<Row<COLUMNS>> {
    let mut panel = zeros(T::N * T::N * len);
    for k in 0..len {
        let mut square = EMPTY;
        for (tap, rows) in taps.chunks_exact(len).enumerate() {
            square[tap / 3][tap % 3] = rows[k].0;
        }
        both_axes(T::weights, [3, T::N], &square, |i, j, values| {
            panel[(i * T::N + j) * len + k].0 = *values;
        });
    }
    panel
}
