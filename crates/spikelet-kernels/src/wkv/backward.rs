//! The scan backward.
//!
//! With `A = dL/da` and `B = dL/db` of the sums after a token, and `g = dL/dy`:
//!
//! ```text
//! dL/dv[t] = e^(u + k[t]) g / d + e^k[t] A[t+1]
//! dL/dk[t] = e^(u + k[t]) g (v - y) / d + e^k[t] (A[t+1] v + B[t+1])
//! A[t] = g / d + e^w A[t+1]        B[t] = -g y / d + e^w B[t+1]
//! ```
//!
//! where `d` is the denominator of `y`. These overflow as the sums do, so what is carried is
//! `A e^-s` and `B e^-s` with an exponent `s` of which `k + s` and `w + o + s` are never positive.

use super::{Params, weights};
use crate::{
    columns::{WIDTH, blocks, for_each, pieces, repeat},
    fill::zeros,
    math::exp,
    simd::dispatch,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Columns worked on at once: the widest vector instructions.
const LANES: usize = 16;

/// A forward run and the gradient of its output.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Its parameters.
    pub params: Params<'a>,
    /// Keys, `[time, width]`.
    pub k: &'a [f32],
    /// Values, `[time, width]`.
    pub v: &'a [f32],
    /// `p`, `q` and `o` before every token, each `[time, width]`.
    pub saved: [&'a [f32]; 3],
    /// Of `y`, `[time, width]`.
    pub d_y: &'a [f32],
}

/// What [`backward`] gives.
#[derive(Debug, Default)]
pub struct Gradients {
    /// Of the keys, `[time, width]`.
    pub k: Vec<f32>,
    /// Of the values, `[time, width]`.
    pub v: Vec<f32>,
    /// Of the decay `w`, `[channels]`.
    pub decay: Vec<f32>,
    /// Of the bonus `u`, `[channels]`.
    pub first: Vec<f32>,
}

/// Gradients of a run. `d_p` and `d_q`, `[width]`, are the gradients of the final state on entry
/// and of the initial one on return. The exponents `o` have none of their own: `p` and `q` stand
/// for `a e^-o` and `b e^-o`, and whoever uses all three depends on `a` and `b` alone.
///
/// # Panics
/// When slices do not fit each other or the number of channels.
pub fn backward(run: &Run, d_p: &mut [f32], d_q: &mut [f32]) -> Gradients {
    let (width, len) = (d_p.len(), run.k.len());
    run.params.check(width);
    assert!(width > 0 && len.is_multiple_of(width), "wkv: whole rows");
    assert!(d_q.len() == width && run.v.len() == len && run.d_y.len() == len, "wkv: lengths");
    assert!(run.saved.iter().all(|saved| saved.len() == len), "wkv: one saved state per key");
    let channels = run.params.decay.len();
    let mut found = Gradients {
        k: zeros(len),
        v: zeros(len),
        decay: vec![0.0; channels],
        first: vec![0.0; channels],
    };
    if len == 0 {
        return found;
    }
    let (mut decay, mut first) = (vec![0.0; width], vec![0.0; width]);
    let items: Vec<_> = pieces(d_p, width)
        .into_iter()
        .zip(pieces(d_q, width))
        .zip(blocks(&mut found.k, width))
        .zip(blocks(&mut found.v, width))
        .zip(pieces(&mut decay, width))
        .zip(pieces(&mut first, width))
        .enumerate()
        .collect();
    for_each(items, len, |(block, (((((a, b), mut d_k), mut d_v), d_decay), d_first))| {
        let (start, n) = (block * WIDTH, a.len());
        let mut lanes = Lanes { decay: [0.0; WIDTH], first: [0.0; WIDTH], s: [0.0; WIDTH] };
        repeat(run.params.decay, start, &mut lanes.decay[..n]);
        repeat(run.params.first, start, &mut lanes.first[..n]);
        dispatch(
            #[inline(always)]
            || {
                let at = |t: usize| t * width + start..t * width + start + n;
                let last = at(len / width - 1);
                lanes.start(&run.saved[2][last.clone()], &run.k[last]);
                for t in (0..len / width).rev() {
                    let row = Row {
                        k: &run.k[at(t)],
                        v: &run.v[at(t)],
                        p: &run.saved[0][at(t)],
                        q: &run.saved[1][at(t)],
                        o: &run.saved[2][at(t)],
                        d_y: &run.d_y[at(t)],
                    };
                    lanes.retreat(
                        &row,
                        [&mut *a, &mut *b],
                        [&mut *d_k[t], &mut *d_v[t]],
                        [&mut *d_decay, &mut *d_first],
                    );
                }
                lanes.finish(&run.saved[2][at(0)], [a, b]);
            },
        );
    });
    // One sequence after the other, whatever ran where.
    for (sum, all) in [(&mut found.decay, &decay), (&mut found.first, &first)] {
        all.chunks_exact(channels).for_each(|row| crate::batch::add(sum, row));
    }
    found
}

/// One token of a block of columns.
struct Row<'a> {
    k: &'a [f32],
    v: &'a [f32],
    p: &'a [f32],
    q: &'a [f32],
    o: &'a [f32],
    d_y: &'a [f32],
}

/// Parameters of a block of columns, and the exponents of the gradients that are carried.
struct Lanes {
    decay: [f32; WIDTH],
    first: [f32; WIDTH],
    s: [f32; WIDTH],
}

impl Lanes {
    /// The final gradients belong to the state after the last token.
    #[inline(always)]
    fn start(&mut self, o: &[f32], k: &[f32]) {
        for (j, (o, k)) in o.iter().zip(k).enumerate() {
            self.s[j] = -(self.decay[j] + o).max(*k);
        }
    }

    #[inline(always)]
    fn retreat(
        &mut self,
        row: &Row<'_>,
        [a, b]: [&mut [f32]; 2],
        [d_k, d_v]: [&mut [f32]; 2],
        [d_decay, d_first]: [&mut [f32]; 2],
    ) {
        let n = a.len();
        for start in (0..n).step_by(LANES) {
            let at = start..n.min(start + LANES);
            let mut carried = [load(a, &at), load(b, &at), load(&self.s, &at)];
            let mut sums = [load(d_decay, &at), load(d_first, &at)];
            let [k, v, d_y] = [load(row.k, &at), load(row.v, &at), load(row.d_y, &at)];
            let [p, q, o] = [load(row.p, &at), load(row.q, &at), load(row.o, &at)];
            let [d_key, d_value] = retreat(
                [load(&self.decay, &at), load(&self.first, &at)],
                [k, v, p, q, o, d_y],
                &mut carried,
                &mut sums,
            );
            store(&carried[0], &mut a[at.clone()]);
            store(&carried[1], &mut b[at.clone()]);
            store(&carried[2], &mut self.s[at.clone()]);
            store(&sums[0], &mut d_decay[at.clone()]);
            store(&sums[1], &mut d_first[at.clone()]);
            store(&d_key, &mut d_k[at.clone()]);
            store(&d_value, &mut d_v[at]);
        }
    }

    /// From the gradients of the sums before the first token to those of the initial state.
    #[inline(always)]
    fn finish(&self, o: &[f32], gradients: [&mut [f32]; 2]) {
        for gradient in gradients {
            for (j, (g, o)) in gradient.iter_mut().zip(o).enumerate() {
                *g *= exp(o + self.s[j]);
            }
        }
    }
}

/// One token: gradients of key and value. `carried` are `a`, `b` and their exponent `s`; to `sums`
/// the gradients of decay and bonus are added.
#[inline(always)]
fn retreat(
    [decay, first]: [[f32; LANES]; 2],
    [k, v, p, q, o, d_y]: [[f32; LANES]; 6],
    [a, b, s]: &mut [[f32; LANES]; 3],
    [d_decay, d_first]: &mut [[f32; LANES]; 2],
) -> [[f32; LANES]; 2] {
    let [mut d_k, mut d_v] = [[0.0; LANES]; 2];
    for j in 0..LANES {
        let bonus = first[j] + k[j];
        let (before, now) = weights(o[j], bonus);
        let denominator = before * q[j] + now;
        let y = (before * p[j] + now * v[j]) / denominator;
        let g = d_y[j] / denominator;
        let through_bonus = now * g * (v[j] - y);
        let later = exp(k[j] + s[j]);
        d_v[j] = now * g + later * a[j];
        d_k[j] = through_bonus + later * (a[j] * v[j] + b[j]);
        d_first[j] += through_bonus;
        d_decay[j] += exp(decay[j] + o[j] + s[j]) * (a[j] * p[j] + b[j] * q[j]);
        let (here, carried) = (-o[j].max(bonus), decay[j] + s[j]);
        let (here_weight, carried_weight) = weights(here, carried);
        a[j] = here_weight * g + carried_weight * a[j];
        b[j] = carried_weight * b[j] - here_weight * g * y;
        s[j] = here.max(carried);
    }
    [d_k, d_v]
}

/// These columns, in an array of the size of vector instructions: between the many slices of a scan
/// the compiler cannot rule out overlaps and would work on one column at a time.
#[inline(always)]
fn load(values: &[f32], at: &Range<usize>) -> [f32; LANES] {
    let columns = &values[at.clone()];
    if let Ok(whole) = columns.try_into() {
        return whole;
    }
    let mut lanes = [0.0; LANES];
    lanes[..columns.len()].copy_from_slice(columns);
    lanes
}

/// Writes as many lanes as there are columns.
#[inline(always)]
fn store(lanes: &[f32; LANES], columns: &mut [f32]) {
    match <&mut [f32; LANES]>::try_from(&mut *columns) {
        Ok(whole) => *whole = *lanes,
        Err(_) => columns.copy_from_slice(&lanes[..columns.len()]),
    }
}
