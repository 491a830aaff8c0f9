//! Weights by input: every active input adds its row.

use super::{GROUP, half};
use crate::simd::dispatch;
use core::ops::Range;

/// Inputs whose rows are added together, so that sums are loaded and stored less often.
const ROWS: usize = 4;

/// The columns `columns` of a matrix `[inputs, width]`, and the inputs that add their rows.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    /// Columns of the whole matrix.
    pub width: usize,
    /// Those worked on: as many as there are outputs, for integers whole groups.
    pub columns: Range<usize>,
    /// The active inputs, in the order in which they add.
    pub events: &'a [u32],
    /// The values of all inputs.
    pub x: &'a [f32],
}

/// `out += columns of W^T x` with `weights` `[inputs, width]`.
///
/// # Panics
/// When an event is no input, or the columns do not fit `width` and `out`.
pub fn add_rows_f32(out: &mut [f32], weights: &[f32], rows: &Rows) {
    rows.check(out);
    dispatch(
        #[inline(always)]
        || {
            let (whole, rest) = rows.events.as_chunks::<ROWS>();
            for events in whole {
                add::<ROWS>(out, rows.of(weights, events), rows.values(events));
            }
            for event in rest {
                add::<1>(out, rows.of(weights, &[*event]), rows.values(&[*event]));
            }
        },
    );
}

/// [`add_rows_f32`] with weights of half precision.
///
/// # Panics
/// As there.
pub fn add_rows_f16(out: &mut [f32], weights: &[u16], rows: &Rows) {
    rows.check(out);
    dispatch(
        #[inline(always)]
        || {
            let (whole, rest) = rows.events.as_chunks::<ROWS>();
            for events in whole {
                add_halves::<ROWS>(out, rows.of(weights, events), rows.values(events));
            }
            for event in rest {
                add_halves::<1>(out, rows.of(weights, &[*event]), rows.values(&[*event]));
            }
        },
    );
}

/// [`add_rows_f32`] with 8-bit weights and `scales` `[inputs, width / GROUP]`.
///
/// # Panics
/// As there, and when the columns are not whole groups.
pub fn add_rows_i8(out: &mut [f32], weights: &[i8], scales: &[f32], rows: &Rows) {
    rows.check_groups(out);
    dispatch(
        #[inline(always)]
        || {
            for event in rows.events {
                let [row] = rows.of(weights, &[*event]);
                let scales = rows.scales(scales, *event);
                let x = rows.x[*event as usize];
                let groups = out.chunks_exact_mut(GROUP).zip(row.chunks_exact(GROUP));
                for ((out, row), scale) in groups.zip(scales) {
                    add_integers(out, row, x * scale);
                }
            }
        },
    );
}

/// [`add_rows_i8`] with packed 4-bit weights, even index in the low half of a byte.
///
/// # Panics
/// As there.
pub fn add_rows_i4(out: &mut [f32], weights: &[u8], scales: &[f32], rows: &Rows) {
    rows.check_groups(out);
    let (width, columns) = (rows.width / 2, rows.columns.start / 2..rows.columns.end / 2);
    dispatch(
        #[inline(always)]
        || {
            for event in rows.events {
                let row = &weights[*event as usize * width..][columns.clone()];
                let scales = rows.scales(scales, *event);
                let x = rows.x[*event as usize];
                let groups = out.chunks_exact_mut(GROUP).zip(row.chunks_exact(GROUP / 2));
                for ((out, packed), scale) in groups.zip(scales) {
                    let mut row = [0_i8; GROUP];
                    unpack(packed, &mut row);
                    add_integers(out, &row, x * scale);
                }
            }
        },
    );
}

impl Rows<'_> {
    fn check(&self, out: &[f32]) {
        assert!(
            self.columns.len() == out.len() && self.columns.end <= self.width,
            "as many outputs as columns"
        );
    }

    fn check_groups(&self, out: &[f32]) {
        self.check(out);
        let whole = [self.width, self.columns.start, self.columns.end];
        assert!(whole.iter().all(|n| n.is_multiple_of(GROUP)), "whole groups");
    }

    #[inline(always)]
    fn of<'a, T, const N: usize>(&self, weights: &'a [T], events: &[u32; N]) -> [&'a [T]; N] {
        let mut rows: [&[T]; N] = [&[]; N];
        for n in 0..N {
            rows[n] = &weights[events[n] as usize * self.width..][self.columns.clone()];
        }
        rows
    }

    #[inline(always)]
    fn values<const N: usize>(&self, events: &[u32; N]) -> [f32; N] {
        let mut values = [0.0; N];
        for n in 0..N {
            values[n] = self.x[events[n] as usize];
        }
        values
    }

    #[inline(always)]
    fn scales<'a>(&self, scales: &'a [f32], event: u32) -> &'a [f32] {
        let groups = self.columns.start / GROUP..self.columns.end / GROUP;
        &scales[event as usize * (self.width / GROUP)..][groups]
    }
}

#[inline(always)]
fn add<const N: usize>(out: &mut [f32], rows: [&[f32]; N], x: [f32; N]) {
    let mut cut: [&[f32]; N] = [&[]; N];
    for n in 0..N {
        cut[n] = &rows[n][..out.len()];
    }
    for (o, y) in out.iter_mut().enumerate() {
        for n in 0..N {
            *y += x[n] * cut[n][o];
        }
    }
}

#[inline(always)]
fn add_halves<const N: usize>(out: &mut [f32], rows: [&[u16]; N], x: [f32; N]) {
    let mut cut: [&[u16]; N] = [&[]; N];
    for n in 0..N {
        cut[n] = &rows[n][..out.len()];
    }
    for (o, y) in out.iter_mut().enumerate() {
        for n in 0..N {
            *y += x[n] * half::to_f32(cut[n][o]);
        }
    }
}

#[inline(always)]
fn add_integers(out: &mut [f32], row: &[i8], x: f32) {
    for (y, w) in out.iter_mut().zip(row) {
        *y += x * f32::from(*w);
    }
}

#[inline(always)]
fn unpack(packed: &[u8], row: &mut [i8; GROUP]) {
    for (pair, byte) in row.as_chunks_mut::<2>().0.iter_mut().zip(packed) {
        pair[0] = ((byte << 4) as i8) >> 4;
        pair[1] = (*byte as i8) >> 4;
    }
}
