//! An LSTM over a whole sequence: forward and backward through time.
//!
//! PyTorch's cell, gates in the order input, forget, cell, output:
//!
//! ```text
//! i, f, o = sigmoid(..), g = tanh(..) of W x[t] + U h[t-1] + b
//! c[t] = f c[t-1] + i g;   h[t] = o tanh(c[t])
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

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Time steps.
    pub time: usize,
    /// Sequences side by side.
    pub batch: usize,
    /// Input channels.
    pub input: usize,
    /// Hidden units.
    pub hidden: usize,
}

/// The parameters.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `W`, `[4 hidden, input]`.
    pub input: &'a [f32],
    /// `U`, `[4 hidden, hidden]`.
    pub hidden: &'a [f32],
    /// `[4 hidden]`.
    pub bias: &'a [f32],
}

/// The state before the first step, `[batch, hidden]` each.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// Hidden state.
    pub hidden: &'a [f32],
    /// Cell state.
    pub cell: &'a [f32],
}

/// What backward needs of a forward pass, per block of rows.
pub struct Saved(Vec<Block>);

struct Block {
    rows: Range<usize>,
    /// Hidden and cell state before the first step, `[rows, hidden]`.
    before: [Vec<f32>; 2],
    /// `[time, rows, input]`.
    x: Vec<f32>,
    /// Gates after their functions, `[time, rows, 4 hidden]`.
    gates: Vec<f32>,
    /// `[time, rows, hidden]`.
    cell: Vec<f32>,
    /// `[time, rows, hidden]`.
    hidden: Vec<f32>,
}

/// Gradients, shaped as what they belong to.
pub struct Gradients {
    /// Of `W`.
    pub input: Vec<f32>,
    /// Of `U`.
    pub hidden: Vec<f32>,
    /// Of the bias.
    pub bias: Vec<f32>,
    /// Of `x` `[time, batch, input]`, when asked for.
    pub x: Option<Vec<f32>>,
    /// Of the hidden and the cell state before the first step.
    pub state: [Vec<f32>; 2],
}

/// Hidden states `[time, batch, hidden]` and the last cell state `[batch, hidden]` from a state over
/// `x` `[time, batch, input]`, and what [`backward`] needs.
///
/// # Panics
/// If there is no step, or a slice does not have the length its shape asks for.
pub fn forward(s: &Shape, w: &Weights<'_>, state: &State<'_>, x: &[f32]) -> ([Vec<f32>; 2], Saved) {
    assert!(s.time > 0, "lstm: steps");
    assert_eq!(x.len(), s.time * s.batch * s.input, "lstm: length of x");
    assert_eq!(w.input.len(), 4 * s.hidden * s.input, "lstm: length of W");
    assert_eq!(w.hidden.len(), 4 * s.hidden * s.hidden, "lstm: length of U");
    assert_eq!(w.bias.len(), 4 * s.hidden, "lstm: length of the bias");
    assert_eq!(state.hidden.len(), s.batch * s.hidden, "lstm: length of the hidden state");
    assert_eq!(state.cell.len(), s.batch * s.hidden, "lstm: length of the cell state");
    let done = map(&blocks(s.batch), |_, rows| forward_block(s, w, state, x, rows.clone()));
    let parts: Vec<_> = done.iter().map(|b| (&b.rows, b.hidden.as_slice())).collect();
    let hidden = join(&parts, [s.time, s.batch, s.hidden]);
    let last = |b: &'_ Block| b.cell.len() - b.rows.len() * s.hidden;
    let cells: Vec<_> = done.iter().map(|b| (&b.rows, &b.cell[last(b)..])).collect();
    let cell = join(&cells, [1, s.batch, s.hidden]);
    ([hidden, cell], Saved(done))
}

fn forward_block(
    s: &Shape,
    w: &Weights<'_>,
    state: &State<'_>,
    x: &[f32],
    rows: Range<usize>,
) -> Block {
    let (r, h) = (rows.len(), s.hidden);
    let at_start = [state.hidden, state.cell].map(|all| take(all, s.batch, h, &rows));
    let x = take(x, s.batch, s.input, &rows);
    let mut gates = vec![0.0; s.time * r * 4 * h];
    for row in gates.chunks_exact_mut(4 * h) {
        row.copy_from_slice(w.bias);
    }
    matmul_nt(&mut gates, &x, w.input, [s.time * r, 4 * h, s.input], true);
    let mut cell = vec![0.0; s.time * r * h];
    let mut hidden = vec![0.0; s.time * r * h];
    for t in 0..s.time {
        let gates = &mut gates[t * r * 4 * h..][..r * 4 * h];
        let (cells, cell) = cell.split_at_mut(t * r * h);
        let (before, hidden) = hidden.split_at_mut(t * r * h);
        let last = |all: &'_ [f32]| all.len().checked_sub(r * h);
        let cell_before = last(cells).map_or(&at_start[1][..], |at| &cells[at..]);
        let hidden_before = last(before).map_or(&at_start[0][..], |at| &before[at..]);
        matmul_nt(gates, hidden_before, w.hidden, [r, 4 * h, h], true);
        dispatch(
            #[inline(always)]
            || {
                for row in 0..r {
                    let at = row * h..row * h + h;
                    let gates = &mut gates[row * 4 * h..][..4 * h];
                    let out = (&mut cell[at.clone()], &mut hidden[at.clone()]);
                    advance(gates, &cell_before[at], out);
                }
            },
        );
    }
    Block { rows, before: at_start, x, gates, cell, hidden }
}

/// Gates to their functions' values, and the new cell and hidden state of one row.
#[inline(always)]
fn advance(gates: &mut [f32], before: &[f32], (cell, hidden): (&mut [f32], &mut [f32])) {
    let n = cell.len();
    let (input, rest) = gates.split_at_mut(n);
    let (forget, rest) = rest.split_at_mut(n);
    let (candidate, output) = rest.split_at_mut(n);
    let (output, before, hidden) = (&mut output[..n], &before[..n], &mut hidden[..n]);
    for j in 0..n {
        input[j] = sigmoid(input[j]);
        forget[j] = sigmoid(forget[j]);
        candidate[j] = tanh(candidate[j]);
        output[j] = sigmoid(output[j]);
        cell[j] = forget[j] * before[j] + input[j] * candidate[j];
        hidden[j] = output[j] * tanh(cell[j]);
    }
}

/// The gradients for `g`, the gradient of the hidden states `[time, batch, hidden]`, and for that of
/// the last cell state `[batch, hidden]`, if there is one.
///
/// # Panics
/// If a slice does not have the length its shape asks for.
pub fn backward(
    s: &Shape,
    w: &Weights<'_>,
    saved: &Saved,
    (g, g_cell): (&[f32], Option<&[f32]>),
    need_x: bool,
) -> Gradients {
    assert_eq!(g.len(), s.time * s.batch * s.hidden, "lstm: length of the gradient");
    let cells = g_cell.map_or(0, <[f32]>::len);
    assert!(g_cell.is_none() || cells == s.batch * s.hidden, "lstm: length of the cell's gradient");
    let done = map(&saved.0, |_, block| backward_block(s, w, block, (g, g_cell), need_x));
    let mut total = Gradients {
        input: vec![0.0; w.input.len()],
        hidden: vec![0.0; w.hidden.len()],
        bias: vec![0.0; w.bias.len()],
        x: None,
        state: [0, 1].map(|index| {
            let parts = saved.0.iter().zip(&done);
            let parts: Vec<_> =
                parts.map(|(block, part)| (&block.rows, part.state[index].as_slice())).collect();
            join(&parts, [1, s.batch, s.hidden])
        }),
    };
    for part in &done {
        add(&mut total.input, &part.input);
        add(&mut total.hidden, &part.hidden);
        add(&mut total.bias, &part.bias);
    }
    if need_x {
        let parts: Vec<_> = (saved.0.iter().zip(&done))
            .map(|(block, part)| (&block.rows, part.x.as_deref().unwrap_or_default()))
            .collect();
        total.x = Some(join(&parts, [s.time, s.batch, s.input]));
    }
    total
}

fn backward_block(
    s: &Shape,
    w: &Weights<'_>,
    block: &Block,
    (g, g_cell): (&[f32], Option<&[f32]>),
    need_x: bool,
) -> Gradients {
    let (r, h) = (block.rows.len(), s.hidden);
    let step = r * h;
    let mut g = take(g, s.batch, h, &block.rows);
    let mut d = vec![0.0; s.time * 4 * step];
    let mut d_cell = match g_cell {
        Some(g_cell) => take(g_cell, s.batch, h, &block.rows),
        None => vec![0.0; step],
    };
    let mut d_before = vec![0.0; step];
    for t in (0..s.time).rev() {
        let d_gates = &mut d[t * 4 * step..][..4 * step];
        let gates = &block.gates[t * 4 * step..][..4 * step];
        let cell = &block.cell[t * step..][..step];
        let before = match t {
            0 => &block.before[1][..],
            _ => &block.cell[(t - 1) * step..][..step],
        };
        let d_hidden = &g[t * step..][..step];
        dispatch(
            #[inline(always)]
            || {
                for row in 0..r {
                    let at = row * h..row * h + h;
                    let gates = &gates[row * 4 * h..][..4 * h];
                    let d_gates = &mut d_gates[row * 4 * h..][..4 * h];
                    let cells = (&cell[at.clone()], &before[at.clone()]);
                    retreat(gates, cells, &d_hidden[at.clone()], &mut d_cell[at], d_gates);
                }
            },
        );
        let d_hidden = match t {
            0 => &mut d_before[..],
            _ => &mut g[(t - 1) * step..][..step],
        };
        matmul_nn(d_hidden, d_gates, w.hidden, [r, h, 4 * h], true);
    }
    let mut gradients = Gradients {
        input: vec![0.0; w.input.len()],
        hidden: vec![0.0; w.hidden.len()],
        bias: vec![0.0; w.bias.len()],
        x: need_x.then(|| vec![0.0; block.x.len()]),
        state: [d_before, d_cell],
    };
    let rows = s.time * r;
    matmul_tn(&mut gradients.input, &d, &block.x, [4 * h, s.input, rows], false);
    let (first, later) = d.split_at((4 * step).min(d.len()));
    matmul_tn(
        &mut gradients.hidden,
        first,
        &block.before[0],
        [4 * h, h, first.len() / (4 * h)],
        false,
    );
    if rows > r {
        matmul_tn(&mut gradients.hidden, later, &block.hidden, [4 * h, h, rows - r], true);
    }
    for row in d.chunks_exact(4 * h) {
        add(&mut gradients.bias, row);
    }
    if let Some(x) = &mut gradients.x {
        matmul_nn(x, &d, w.input, [rows, s.input, 4 * h], false);
    }
    gradients
}

/// From the gradient of the hidden state and of the cell state after it to those of the gates'
/// arguments and of the cell state before, for one row.
#[inline(always)]
fn retreat(
    gates: &[f32],
    (cell, before): (&[f32], &[f32]),
    d_hidden: &[f32],
    d_cell: &mut [f32],
    d_gates: &mut [f32],
) {
    let n = cell.len();
    let (input, rest) = gates.split_at(n);
    let (forget, rest) = rest.split_at(n);
    let (candidate, output) = rest.split_at(n);
    let (d_input, rest) = d_gates.split_at_mut(n);
    let (d_forget, rest) = rest.split_at_mut(n);
    let (d_candidate, d_output) = rest.split_at_mut(n);
    for j in 0..n {
        let squashed = tanh(cell[j]);
        let d = d_cell[j] + d_hidden[j] * output[j] * (1.0 - squashed * squashed);
        d_output[j] = d_hidden[j] * squashed * output[j] * (1.0 - output[j]);
        d_input[j] = d * candidate[j] * input[j] * (1.0 - input[j]);
        d_candidate[j] = d * input[j] * (1.0 - candidate[j] * candidate[j]);
        d_forget[j] = d * before[j] * forget[j] * (1.0 - forget[j]);
        d_cell[j] = d * forget[j];
    }
}
