//! Rows of up to 64 values, aligned to cache lines.
//!
//! A load of 64 bytes that crosses two lines takes twice as long: on packed, aligned rows the
//! event-driven products ran 1.6 to 1.9 times as fast as on the same rows unaligned.

use alloc::{vec, vec::Vec};

/// `N` values of one row of a matrix.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Row<const N: usize>(pub(crate) [f32; N]);

impl<const N: usize> Row<N> {
    pub(crate) const ZERO: Row<N> = Row([0.0; N]);
}

/// `n` rows of zeros.
pub(crate) fn zeros<const N: usize>(n: usize) -> Vec<Row<N>> {
    vec![Row::ZERO; n]
}

/// Copies `columns` of a row-major matrix of this width into rows, padded with zeros.
#[inline(always)]
pub(crate) fn pack<const N: usize>(
    to: &mut [Row<N>],
    from: &[f32],
    width: usize,
    columns: core::ops::Range<usize>,
) {
    for (to, from) in to.iter_mut().zip(from.chunks_exact(width)) {
        to.0[..columns.len()].copy_from_slice(&from[columns.clone()]);
    }
}

/// `sum += values[k] * rows[events[k]]` over all events, in their order; without values every
/// event counts 1.
#[inline(always)]
pub(crate) fn gather<const N: usize, const FMA: bool>(
    sum: &mut [f32; N],
    rows: &[Row<N>],
    events: &[u32],
    values: Option<&[f32]>,
) {
    match values {
        None => {
            for &event in events {
                let row = &rows[event as usize].0;
                for (s, w) in sum.iter_mut().zip(row) {
                    *s += w;
                }
            }
        }
        Some(values) => {
            for (&event, &value) in events.iter().zip(values) {
                let row = &rows[event as usize].0;
                for (s, w) in sum.iter_mut().zip(row) {
                    *s = if FMA { value.mul_add(*w, *s) } else { *s + value * w };
                }
            }
        }
    }
}
