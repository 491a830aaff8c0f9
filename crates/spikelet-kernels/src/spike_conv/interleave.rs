//! Putting tiles of columns together to a matrix.

use crate::{batch::for_each_chunk, rows::Row, simd::dispatch};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Cuts the outputs of every group into blocks of at most `n` columns: group and columns.
pub(super) fn columns(outputs: usize, groups: usize, n: usize) -> Vec<(usize, Range<usize>)> {
    let per_group = outputs / groups;
    let mut columns = Vec::new();
    for group in 0..groups {
        for start in (0..per_group).step_by(n) {
            let first = group * per_group;
            columns.push((group, first + start..first + per_group.min(start + n)));
        }
    }
    columns
}

/// `[rows, width]` from tiles `[columns, part]`: tile `c * parts + p` holds the rows of part `p`
/// (each but the last of `part` rows) in the columns `c`. Adds a bias per column if there is one.
pub(super) fn interleave<const N: usize>(
    tiles: &[Vec<Row<N>>],
    columns: &[(usize, Range<usize>)],
    [rows, width]: [usize; 2],
    part: usize,
    bias: &[f32],
) -> Vec<f32> {
    let mut out = vec![0.0; rows * width];
    let parts = rows.div_ceil(part.max(1));
    for_each_chunk(&mut out, (part * width).max(1), |p, out| {
        dispatch(
            #[inline(always)]
            || {
                for (c, (_, columns)) in columns.iter().enumerate() {
                    let tile = &tiles[c * parts + p];
                    let mut shift = [0.0; N];
                    if !bias.is_empty() {
                        shift[..columns.len()].copy_from_slice(&bias[columns.clone()]);
                    }
                    for (row, out) in tile.iter().zip(out.chunks_exact_mut(width)) {
                        let out = &mut out[columns.clone()];
                        for ((y, x), shift) in out.iter_mut().zip(&row.0).zip(&shift) {
                            *y = x + shift;
                        }
                    }
                }
            },
        );
    });
    out
}
