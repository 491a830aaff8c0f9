//! Weights by source: one contiguous row for everything a spike of that source reaches.

use super::{Shape, Weights};
use alloc::{vec, vec::Vec};

/// Rows are sources, columns targets.
pub(super) struct Packed {
    /// `[input, u + h]`: `E_x`, `W_x`.
    pub x: Vec<f32>,
    /// `[m (order-major), h + u]`: `W_m`, `E_m`.
    pub m: Vec<f32>,
    /// `[h, out + h + u]`: `W_o`, `W_h`, `E_h`.
    pub h: Vec<f32>,
}

impl Packed {
    pub fn new(s: &Shape, w: &Weights<'_>) -> Packed {
        let states = s.memories * s.order;
        let mut packed = Packed::zeros(s);
        copy_in(&mut packed.x, w.e_x, s.input, [0, s.memories], |j| j);
        copy_in(&mut packed.x, w.w_x, s.input, [s.memories, s.hidden], |j| j);
        let order_major = |j: usize| (j % s.order) * s.memories + j / s.order;
        copy_in(&mut packed.m, w.w_m, states, [0, s.hidden], order_major);
        copy_in(&mut packed.m, w.e_m, states, [s.hidden, s.memories], order_major);
        copy_in(&mut packed.h, w.w_o, s.hidden, [0, s.output], |j| j);
        copy_in(&mut packed.h, w.w_h, s.hidden, [s.output, s.hidden], |j| j);
        copy_in(&mut packed.h, w.e_h, s.hidden, [s.output + s.hidden, s.memories], |j| j);
        packed
    }

    pub fn zeros(s: &Shape) -> Packed {
        Packed {
            x: vec![0.0; s.input * width_x(s)],
            m: vec![0.0; s.memories * s.order * width_m(s)],
            h: vec![0.0; s.hidden * width_h(s)],
        }
    }

    pub fn add(&mut self, other: &Packed) {
        for (a, b) in [(&mut self.x, &other.x), (&mut self.m, &other.m), (&mut self.h, &other.h)] {
            for (a, b) in a.iter_mut().zip(b) {
                *a += b;
            }
        }
    }

    /// Back to `[output, input]`: `e_x, e_h, e_m, w_x, w_h, w_m, w_o`.
    pub fn unpack(&self, s: &Shape) -> [Vec<f32>; 7] {
        let states = s.memories * s.order;
        let order_major = |j: usize| (j % s.order) * s.memories + j / s.order;
        [
            copy_out(&self.x, s.input, [0, s.memories], |j| j),
            copy_out(&self.h, s.hidden, [s.output + s.hidden, s.memories], |j| j),
            copy_out(&self.m, states, [s.hidden, s.memories], order_major),
            copy_out(&self.x, s.input, [s.memories, s.hidden], |j| j),
            copy_out(&self.h, s.hidden, [s.output, s.hidden], |j| j),
            copy_out(&self.m, states, [0, s.hidden], order_major),
            copy_out(&self.h, s.hidden, [0, s.output], |j| j),
        ]
    }
}

pub(super) fn width_x(s: &Shape) -> usize {
    s.memories + s.hidden
}

pub(super) fn width_m(s: &Shape) -> usize {
    s.hidden + s.memories
}

pub(super) fn width_h(s: &Shape) -> usize {
    s.output + s.hidden + s.memories
}

/// Writes `w[targets, sources]` into the columns `start..start + targets` of `[sources, width]`,
/// source `j` to row `row(j)`.
fn copy_in(
    packed: &mut [f32],
    w: &[f32],
    sources: usize,
    [start, targets]: [usize; 2],
    row: impl Fn(usize) -> usize,
) {
    let width = packed.len() / sources.max(1);
    for j in 0..sources {
        let out = &mut packed[row(j) * width + start..][..targets];
        for (i, out) in out.iter_mut().enumerate() {
            *out = w[i * sources + j];
        }
    }
}

fn copy_out(
    packed: &[f32],
    sources: usize,
    [start, targets]: [usize; 2],
    row: impl Fn(usize) -> usize,
) -> Vec<f32> {
    let width = packed.len() / sources.max(1);
    let mut w = vec![0.0; targets * sources];
    for j in 0..sources {
        for (i, value) in packed[row(j) * width + start..][..targets].iter().enumerate() {
            w[i * sources + j] = *value;
        }
    }
    w
}
