//! The gradient that flows back to the events of the step before, only where it is used.
//!
//! `d R^T` for units without an event and outside the window of their pseudo-derivative would be
//! multiplied by zero. Every other one is a dot product with the unit's row of `R`.

use super::product::Transposed;
use crate::{
    batch::map,
    simd::{dispatch, has_fma},
};
use alloc::{vec, vec::Vec};

/// Where more units than this are needed, the dense product is faster.
const DENSE: f32 = 0.6;
/// Units of a task.
const UNITS: usize = 32;
/// Values of a dot product worked on together: those of all units of a task fill three quarters
/// of a first-level cache.
const CHUNK: usize = 192;
/// Partial sums of a dot product.
const LANES: usize = 16;
/// Units whose dot products share the loads of `d`.
const TOGETHER: usize = 4;

/// `[batch, hidden]`: `d` `[batch, width]` times the transpose of `recurrent` `[hidden, width]`
/// where `needed` `[batch, hidden]` says so, else zero (or what it would be).
pub(super) fn multiply(
    recurrent: &mut Transposed<'_>,
    d: &[f32],
    needed: &[bool],
    [hidden, width]: [usize; 2],
) -> Vec<f32> {
    let wanted = needed.iter().filter(|needed| **needed).count();
    if wanted as f32 > DENSE * needed.len() as f32 {
        return recurrent.multiply(d);
    }
    let recurrent = recurrent.weights();
    let starts: Vec<usize> = (0..hidden).step_by(UNITS).collect();
    let parts = map(&starts, |_, &first| {
        let units = first..hidden.min(first + UNITS);
        let lists: Vec<Vec<usize>> = needed
            .chunks_exact(hidden)
            .map(|row| units.clone().filter(|&unit| row[unit]).collect())
            .collect();
        match has_fma() {
            true => dispatch(
                #[inline(always)]
                || dots::<true>(recurrent, d, &lists, width),
            ),
            false => dots::<false>(recurrent, d, &lists, width),
        }
    });
    let mut out = vec![0.0; needed.len()];
    for (&first, part) in starts.iter().zip(&parts) {
        let units = first..hidden.min(first + UNITS);
        let mut part = part.iter();
        for (row, needed) in out.chunks_exact_mut(hidden).zip(needed.chunks_exact(hidden)) {
            for unit in units.clone().filter(|&unit| needed[unit]) {
                row[unit] = *part.next().expect("a sum for every needed unit");
            }
        }
    }
    out
}

/// The dot products of row `b` of `d` with the rows of `recurrent` that list `b` names, in their
/// order.
#[inline(always)]
fn dots<const FMA: bool>(
    recurrent: &[f32],
    d: &[f32],
    lists: &[Vec<usize>],
    width: usize,
) -> Vec<f32> {
    let total = lists.iter().map(Vec::len).sum();
    let mut sums = vec![[0.0; LANES]; total];
    for first in (0..width).step_by(CHUNK) {
        let last = width.min(first + CHUNK);
        let mut at = 0;
        for (d, list) in d.chunks_exact(width).zip(lists) {
            let d = &d[first..last];
            for units in list.chunks(TOGETHER) {
                let row = |i: usize| &recurrent[units[i] * width + first..units[i] * width + last];
                let sums = &mut sums[at..at + units.len()];
                match units.len() {
                    4 => add::<4, FMA>(sums, d, [row(0), row(1), row(2), row(3)]),
                    3 => add::<3, FMA>(sums, d, [row(0), row(1), row(2)]),
                    2 => add::<2, FMA>(sums, d, [row(0), row(1)]),
                    _ => add::<1, FMA>(sums, d, [row(0)]),
                }
                at += units.len();
            }
        }
    }
    let mut out = Vec::with_capacity(total);
    for lanes in &sums {
        let mut sum = 0.0;
        for half in 0..LANES / 2 {
            sum += lanes[half] + lanes[half + LANES / 2];
        }
        out.push(sum);
    }
    out
}

/// `sums[i] += d * rows[i]` by lanes.
#[inline(always)]
fn add<const N: usize, const FMA: bool>(sums: &mut [[f32; LANES]], d: &[f32], rows: [&[f32]; N]) {
    let mut own = [[0.0; LANES]; N];
    own.copy_from_slice(sums);
    let whole = d.len() / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        let d: &[f32; LANES] = d[first..first + LANES].try_into().expect("lanes");
        for i in 0..N {
            let row: &[f32; LANES] = rows[i][first..first + LANES].try_into().expect("lanes");
            for lane in 0..LANES {
                own[i][lane] = match FMA {
                    true => d[lane].mul_add(row[lane], own[i][lane]),
                    false => own[i][lane] + d[lane] * row[lane],
                };
            }
        }
    }
    for at in whole..d.len() {
        for i in 0..N {
            own[i][at - whole] += d[at] * rows[i][at];
        }
    }
    sums.copy_from_slice(&own);
}
