//! `G g G^T` of all kernels, packed as panels.

use super::transform::{EMPTY, LANES, Tile, both_axes};
use crate::{
    batch::map,
    rows::{Row, pack_transposed, zeros},
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

/// Rows of the panel read together: a cache line of the weights, where they are transposed.
const ROWS: usize = 16;

/// The taps of some rows and a block of columns.
type Block = [[Row<COLUMNS>; ROWS]; 9];

impl Kernel<'_> {
    /// Depth is the inputs, columns are the outputs.
    pub(super) fn forward<T: Tile>(&self) -> Panels {
        self.panels::<T>([self.inputs, self.outputs], |block, rows, columns| {
            for (tap, block) in block.iter_mut().enumerate() {
                for (k, row) in rows.clone().zip(block) {
                    let at = (tap * self.inputs + k) * self.outputs + columns.start;
                    row.0[..columns.len()].copy_from_slice(&self.weights[at..at + columns.len()]);
                }
            }
        })
    }

    /// Mirrored and transposed: depth is the outputs, columns are the inputs.
    pub(super) fn mirrored<T: Tile>(&self) -> Panels {
        self.panels::<T>([self.outputs, self.inputs], |block, rows, columns| {
            for (tap, block) in block.iter_mut().rev().enumerate() {
                let at = (tap * self.inputs + columns.start) * self.outputs + rows.start;
                let block = &mut block[..rows.len()];
                pack_transposed(block, &self.weights[at..], self.outputs, columns.len());
            }
        })
    }

    /// `read(to, rows, columns)` copies weights.
    fn panels<T: Tile>(
        &self,
        [depth, width]: [usize; 2],
        read: impl Fn(&mut Block, Range<usize>, &Range<usize>) + Sync,
    ) -> Panels {
        let blocks = depth.div_ceil(DEPTH);
        let tasks: Vec<usize> = (0..width.div_ceil(COLUMNS) * blocks).collect();
        let panels = map(&tasks, |_, task| {
            let first = task / blocks * COLUMNS;
            let columns = first..width.min(first + COLUMNS);
            let first = task % blocks * DEPTH;
            let last = depth.min(first + DEPTH);
            let mut panel = zeros(T::N * T::N * (last - first));
            let mut block = [[Row::ZERO; ROWS]; 9];
            for start in (first..last).step_by(ROWS) {
                let rows = start..last.min(start + ROWS);
                read(&mut block, rows.clone(), &columns);
                dispatch(
                    #[inline(always)]
                    || {
                        for k in 0..rows.len() {
                            transform::<T>(
                                &block,
                                k,
                                &mut panel,
                                [start - first + k, last - first],
                            );
                        }
                    },
                );
            }
            panel
        });
        Panels { panels, blocks }
    }
}

/// Row `k` of the block as row `to` of `len` of every place.
#[inline(always)]
fn transform<T: Tile>(block: &Block, k: usize, panel: &mut [Row<COLUMNS>], [to, len]: [usize; 2]) {
    let mut square = EMPTY;
    for (tap, rows) in block.iter().enumerate() {
        square[tap / 3][tap % 3] = rows[k].0;
    }
    both_axes(T::weights, [3, T::N], &square, |i, j, values| {
        panel[(i * T::N + j) * len + to].0 = *values;
    });
}
