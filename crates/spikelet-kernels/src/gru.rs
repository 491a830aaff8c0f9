//! A GRU over a whole sequence: forward and backward through time.
//!
//! PyTorch's cell, gates in the order reset, update, new:
//!
//! ```text
//! A = W x[t] + b;  B = U h[t-1] + c
//! r, z = sigmoid(A + B);  n = tanh(A + r B);  h[t] = (1 - z) n + z h[t-1]
//! ```
//!
//! The input's part of all gates is one matrix product for all steps, as are the weight gradients;
//! a step itself is one product with `U` and one pass over the gates.

use crate::{
    batch::{add, blocks, join, map, take},
    math::{sigmoid, tanh},
    matmul::{matmul_nn, matmul_nt, matmul_tn},
    simd::dispatch,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

pub use crate::lstm::Shape;

/// The parameters.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `W`, `[3 hidden, input]`.
    pub input: &'a [f32],
    /// `U`, `[3 hidden, hidden]`.
    pub hidden: &'a [f32],
    /// `b`, `[3 hidden]`.
    pub bias_input: &'a [f32],
    /// `c`, `[3 hidden]`.
    pub bias_hidden: &'a [f32],
}

/// What backward needs of a forward pass, per block of rows.
pub struct Saved(Vec<Block>);

struct Block {
    rows: Range<usize>,
    /// Hidden state before the first step, `[rows, hidden]`.
    before: Vec<f32>,
    /// `[time, rows, input]`.
    x: Vec<f32>,
    /// Gates after their functions, `[time, rows, 3 hidden]`.
    gates: Vec<f32>,
    /// `B` of the new state, `[time, rows, hidden]`.
    from_hidden: Vec<f32>,
    /// `[time, rows, hidden]`.
    hidden: Vec<f32>,
}

/// Gradients, shaped as what they belong to.
pub struct Gradients {
    /// Of `W`.
    pub input: Vec<f32>,
    /// Of `U`.
    pub hidden: Vec<f32>,
    /// Of `b`.
    pub bias_input: Vec<f32>,
    /// Of `c`.
    pub bias_hidden: Vec<f32>,
    /// Of `x` `[time, batch, input]`, when asked for.
    pub x: Option<Vec<f32>>,
    /// Of the state before the first step.
    pub state: Vec<f32>,
}

/// Hidden states `[time, batch, hidden]` from a state `[batch, hidden]` over `x`
/// `[time, batch, input]`, and what [`backward`] needs.
///
/// # Panics
/// If a slice does not have the length its shape asks for.
pub fn forward(s: &Shape, w: &Weights<'_>, state: &[f32], x: &[f32]) -> (Vec<f32>, Saved) {
    let h3 = 3 * s.hidden;
    assert_eq!(x.len(), s.time * s.batch * s.input, "gru: length of x");
    assert_eq!(w.input.len(), h3 * s.input, "gru: length of W");
    assert_eq!(w.hidden.len(), h3 * s.hidden, "gru: length of U");
    assert!(w.bias_input.len() == h3 && w.bias_hidden.len() == h3, "gru: length of a bias");
    assert_eq!(state.len(), s.batch * s.hidden, "gru: length of the state");
    let done = map(&blocks(s.batch), |_, rows| forward_block(s, w, state, x, rows.clone()));
    let parts: Vec<_> = done.iter().map(|b| (&b.rows, b.hidden.as_slice())).collect();
    (join(&parts, [s.time, s.batch, s.hidden]), Saved(done))
}

fn forward_block(
    s: &Shape,
    w: &Weights<'_>,
    state: &[f32],
    x: &[f32],
    rows: Range<usize>,
) -> Block {
    let (r, h) = (rows.len(), s.hidden);
    let start = take(state, s.batch, h, &rows);
    let x = take(x, s.batch, s.input, &rows);
    let mut gates = spread(w.bias_input, s.time * r);
    matmul_nt(&mut gates, &x, w.input, [s.time * r, 3 * h, s.input], true);
    let mut from_hidden = vec![0.0; s.time * r * h];
    let mut hidden = vec![0.0; s.time * r * h];
    let bias = spread(w.bias_hidden, r);
    let mut both = vec![0.0; r * 3 * h];
    for t in 0..s.time {
        let (done, now) = hidden.split_at_mut(t * r * h);
        let before = done.len().checked_sub(r * h).map_or(&start[..], |at| &done[at..]);
        both.copy_from_slice(&bias);
        matmul_nt(&mut both, before, w.hidden, [r, 3 * h, h], true);
        let gates = &mut gates[t * r * 3 * h..][..r * 3 * h];
        let kept = &mut from_hidden[t * r * h..][..r * h];
        dispatch(
            #[inline(always)]
            || {
                for row in 0..r {
                    let at = row * h..row * h + h;
                    let from = &both[row * 3 * h..][..3 * h];
                    let out = (&mut kept[at.clone()], &mut now[at.clone()]);
                    advance(&mut gates[row * 3 * h..][..3 * h], from, &before[at], out);
                }
            },
        );
    }
    Block { rows, before: start, x, gates, from_hidden, hidden }
}

/// A row `times` below each other.
fn spread(row: &[f32], times: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(row.len() * times);
    (0..times).for_each(|_| out.extend_from_slice(row));
    out
}

/// Gates to their functions' values, `B` of the new state, and the hidden state of one row.
#[inline(always)]
fn advance(
    gates: &mut [f32],
    from: &[f32],
    before: &[f32],
    (kept, hidden): (&mut [f32], &mut [f32]),
) {
    let n = before.len();
    let (reset, rest) = gates.split_at_mut(n);
    let (update, new) = rest.split_at_mut(n);
    let (b_reset, rest) = from.split_at(n);
    let (b_update, b_new) = rest.split_at(n);
    let (new, b_new, kept, hidden) = (&mut new[..n], &b_new[..n], &mut kept[..n], &mut hidden[..n]);
    for j in 0..n {
        reset[j] = sigmoid(reset[j] + b_reset[j]);
        update[j] = sigmoid(update[j] + b_update[j]);
        new[j] = tanh(new[j] + reset[j] * b_new[j]);
        kept[j] = b_new[j];
        hidden[j] = new[j] + update[j] * (before[j] - new[j]);
    }
}

/// The gradients for `g`, the gradient of the hidden states `[time, batch, hidden]`.
///
/// # Panics
/// If a slice does not have the length its shape asks for.
pub fn backward(s: &Shape, w: &Weights<'_>, saved: &Saved, g: &[f32], need_x: bool) -> Gradients {
    assert_eq!(g.len(), s.time * s.batch * s.hidden, "gru: length of the gradient");
    let done = map(&saved.0, |_, block| backward_block(s, w, block, g, need_x));
    let of = |part: fn(&Gradients) -> &[f32], width: usize, time: usize| {
        let parts = saved.0.iter().zip(&done);
        let parts: Vec<_> = parts.map(|(block, found)| (&block.rows, part(found))).collect();
        join(&parts, [time, s.batch, width])
    };
    let mut total = Gradients {
        input: vec![0.0; w.input.len()],
        hidden: vec![0.0; w.hidden.len()],
        bias_input: vec![0.0; w.bias_input.len()],
        bias_hidden: vec![0.0; w.bias_hidden.len()],
        x: need_x.then(|| of(|g| g.x.as_deref().unwrap_or_default(), s.input, s.time)),
        state: of(|g| &g.state, s.hidden, 1),
    };
    for part in &done {
        add(&mut total.input, &part.input);
        add(&mut total.hidden, &part.hidden);
        add(&mut total.bias_input, &part.bias_input);
        add(&mut total.bias_hidden, &part.bias_hidden);
    }
    total
}

fn backward_block(s: &Shape, w: &Weights<'_>, block: &Block, g: &[f32], need_x: bool) -> Gradients {
    let (r, h) = (block.rows.len(), s.hidden);
    let (step, h3) = (r * h, 3 * h);
    let mut g = take(g, s.batch, h, &block.rows);
    let mut d_input = vec![0.0; s.time * 3 * step];
    let mut d_hidden = vec![0.0; s.time * 3 * step];
    let mut d_state = vec![0.0; step];
    for t in (0..s.time).rev() {
        let at = t * 3 * step..(t + 1) * 3 * step;
        let (d_a, d_b) = (&mut d_input[at.clone()], &mut d_hidden[at.clone()]);
        let gates = &block.gates[at];
        let from = &block.from_hidden[t * step..][..step];
        let before = match t {
            0 => &block.before[..],
            _ => &block.hidden[(t - 1) * step..][..step],
        };
        let (earlier, now) = g.split_at_mut(t * step);
        let d_before = match t {
            0 => &mut d_state[..],
            _ => &mut earlier[(t - 1) * step..],
        };
        dispatch(
            #[inline(always)]
            || {
                for row in 0..r {
                    let (at, three) = (row * h..row * h + h, row * h3..row * h3 + h3);
                    let known = [&gates[three.clone()], &from[at.clone()], &before[at.clone()]];
                    let d_gates = (&mut d_a[three.clone()], &mut d_b[three]);
                    retreat(known, &now[at.clone()], d_gates, &mut d_before[at]);
                }
            },
        );
        matmul_nn(d_before, d_b, w.hidden, [r, h, h3], true);
    }
    let mut gradients = Gradients {
        input: vec![0.0; w.input.len()],
        hidden: vec![0.0; w.hidden.len()],
        bias_input: vec![0.0; h3],
        bias_hidden: vec![0.0; h3],
        x: need_x.then(|| vec![0.0; block.x.len()]),
        state: d_state,
    };
    let rows = s.time * r;
    matmul_tn(&mut gradients.input, &d_input, &block.x, [h3, s.input, rows], false);
    let (first, later) = d_hidden.split_at((3 * step).min(d_hidden.len()));
    matmul_tn(&mut gradients.hidden, first, &block.before, [h3, h, first.len() / h3.max(1)], false);
    if rows > r {
        matmul_tn(&mut gradients.hidden, later, &block.hidden, [h3, h, rows - r], true);
    }
    d_input.chunks_exact(h3).for_each(|row| add(&mut gradients.bias_input, row));
    d_hidden.chunks_exact(h3).for_each(|row| add(&mut gradients.bias_hidden, row));
    if let Some(x) = &mut gradients.x {
        matmul_nn(x, &d_input, w.input, [rows, s.input, h3], false);
    }
    gradients
}

/// From the gradient of the hidden state of one row to those of `A` and `B`, and what of that of the
/// state before does not come through `B`.
#[inline(always)]
fn retreat(
    [gates, from, before]: [&[f32]; 3],
    d_hidden: &[f32],
    (d_a, d_b): (&mut [f32], &mut [f32]),
    d_before: &mut [f32],
) {
    let n = before.len();
    let (reset, rest) = gates.split_at(n);
    let (update, new) = rest.split_at(n);
    let (a_reset, rest) = d_a.split_at_mut(n);
    let (a_update, a_new) = rest.split_at_mut(n);
    let (b_reset, rest) = d_b.split_at_mut(n);
    let (b_update, b_new) = rest.split_at_mut(n);
    let (new, from, d_hidden) = (&new[..n], &from[..n], &d_hidden[..n]);
    let (a_new, b_new, d_before) = (&mut a_new[..n], &mut b_new[..n], &mut d_before[..n]);
    for j in 0..n {
        let (r, z, d) = (reset[j], update[j], d_hidden[j]);
        a_new[j] = d * (1.0 - z) * (1.0 - new[j] * new[j]);
        b_new[j] = a_new[j] * r;
        a_update[j] = d * (before[j] - new[j]) * z * (1.0 - z);
        b_update[j] = a_update[j];
        a_reset[j] = a_new[j] * from[j] * r * (1.0 - r);
        b_reset[j] = a_reset[j];
        d_before[j] += d * z;
    }
}
