//! Forward through all time steps.

use super::{
    H, M, OUT, Population, Shape, Spec, U, Weights,
    events::{add_scaled, spikes},
    pack::{Packed, width_h, width_m, width_x},
};
use crate::{
    batch::{blocks, join, map},
    gather::add_rows,
    simd::dispatch,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// What backward needs of a forward pass: per block of rows, the potentials before reset (and
/// synaptic currents) of every population, `[time, rows, neurons]`.
pub struct Saved {
    pub(super) packed: Packed,
    pub(super) blocks: Vec<Block>,
}

pub(super) struct Block {
    pub rows: Range<usize>,
    pub v: [Vec<f32>; 4],
    pub i: [Vec<f32>; 4],
}

/// Runs the cell from a zero state over `x` `[time, batch, input]`.
///
/// Returns the output spikes `[time, batch, output]` as 0 or 1 and, with `save`, what
/// [`backward`](super::backward) needs.
///
/// # Panics
/// If `x` or a weight does not have the length its shape asks for.
pub fn forward(spec: &Spec, w: &Weights<'_>, x: &[f32], save: bool) -> (Vec<f32>, Option<Saved>) {
    let s = &spec.shape;
    w.check(s);
    assert_eq!(x.len(), s.time * s.batch * s.input, "l2mu: length of x");
    let packed = Packed::new(s, w);
    let done = map(&blocks(s.batch), |_, rows| {
        dispatch(
            #[inline(always)]
            || forward_block(spec, w, &packed, x, rows.clone(), save),
        )
    });
    let parts: Vec<_> = done.iter().map(|(out, block)| (&block.rows, out.as_slice())).collect();
    let out = join(&parts, [s.time, s.batch, s.output]);
    let blocks = done.into_iter().map(|(_, block)| block).collect();
    (out, save.then_some(Saved { packed, blocks }))
}

/// The running state of one sequence.
struct State {
    /// Potential before reset and synaptic current of every population.
    v: [Vec<f32>; 4],
    i: [Vec<f32>; 4],
    /// Input currents of this step; those of `u` and `h` hold what earlier spikes sent ahead.
    current: [Vec<f32>; 4],
    /// What this step's spikes send to `h` and `u`: `[h + u]` of memory, `[out + h + u]` of hidden.
    from_m: Vec<f32>,
    from_h: Vec<f32>,
    /// `[u + h]` of the input.
    from_x: Vec<f32>,
    events: Vec<u32>,
    memory_events: Vec<u32>,
    n_memory: usize,
}

impl State {
    fn new(s: &Shape) -> State {
        let zeros = || s.neurons().map(|n| vec![0.0; n]);
        State {
            v: zeros(),
            i: zeros(),
            current: zeros(),
            from_m: vec![0.0; width_m(s)],
            from_h: vec![0.0; width_h(s)],
            from_x: vec![0.0; width_x(s)],
            events: vec![0; s.neurons().into_iter().max().unwrap_or(0) + 1],
            memory_events: vec![0; s.memories * s.order + 1],
            n_memory: 0,
        }
    }
}

#[inline(always)]
fn forward_block(
    spec: &Spec,
    w: &Weights<'_>,
    packed: &Packed,
    x: &[f32],
    rows: Range<usize>,
    save: bool,
) -> (Vec<f32>, Block) {
    let s = &spec.shape;
    let n_rows = rows.len();
    let saved = |on: bool| s.neurons().map(|n| vec![0.0; if on { s.time * n_rows * n } else { 0 }]);
    let mut out = vec![0.0; s.time * n_rows * s.output];
    let mut block = Block { rows, v: saved(save), i: saved(save && spec.synaptic) };
    for row in 0..n_rows {
        let mut state = State::new(s);
        for t in 0..s.time {
            let x = &x[(t * s.batch + block.rows.start + row) * s.input..][..s.input];
            step(spec, w, packed, &mut state, x);
            let out = &mut out[(t * n_rows + row) * s.output..][..s.output];
            for (out, v) in out.iter_mut().zip(&state.v[OUT]) {
                *out = (v - w.populations[OUT].threshold > 0.0) as u32 as f32;
            }
            if save {
                for (k, n) in s.neurons().into_iter().enumerate() {
                    let at = (t * n_rows + row) * n;
                    block.v[k][at..at + n].copy_from_slice(&state.v[k]);
                    if spec.synaptic {
                        block.i[k][at..at + n].copy_from_slice(&state.i[k]);
                    }
                }
            }
        }
    }
    (out, block)
}

/// One time step of one sequence.
#[inline(always)]
fn step(spec: &Spec, w: &Weights<'_>, packed: &Packed, state: &mut State, x: &[f32]) {
    let s = &spec.shape;
    let (p, n, k) = (s.memories, s.hidden, s.output);
    let fire = |state: &mut State, population: usize| {
        integrate(
            &mut state.v[population],
            &mut state.i[population],
            &state.current[population],
            &w.populations[population],
            spec,
        );
    };

    state.from_x.fill(0.0);
    for (&x, row) in x.iter().zip(packed.x.chunks_exact(width_x(s))) {
        if x != 0.0 {
            add_scaled(&mut state.from_x, row, x);
        }
    }

    // u: the input, and what h and m sent ahead in the step before.
    for j in 0..p {
        state.current[U][j] = state.from_x[j] + state.from_h[k + n + j] + state.from_m[n + j];
    }
    fire(state, U);

    // m: its own old spikes through A, the new ones of u through B.
    state.current[M].fill(0.0);
    for &e in &state.memory_events[..state.n_memory] {
        let (j, memory) = (e as usize / p, e as usize % p);
        for i in 0..s.order {
            state.current[M][i * p + memory] += w.a[i * s.order + j];
        }
    }
    let fired = spikes(&mut state.events, &state.v[U], w.populations[U].threshold);
    for &memory in &state.events[..fired] {
        for i in 0..s.order {
            state.current[M][i * p + memory as usize] += w.b[i];
        }
    }
    fire(state, M);
    state.n_memory = spikes(&mut state.memory_events, &state.v[M], w.populations[M].threshold);
    state.from_m.fill(0.0);
    add_rows(&mut state.from_m, &packed.m, &state.memory_events[..state.n_memory]);

    // h: the input, its own old spikes, the new ones of m.
    for j in 0..n {
        state.current[H][j] = state.from_x[p + j] + state.from_h[k + j] + state.from_m[j];
    }
    fire(state, H);
    let fired = spikes(&mut state.events, &state.v[H], w.populations[H].threshold);
    state.from_h.fill(0.0);
    add_rows(&mut state.from_h, &packed.h, &state.events[..fired]);

    for j in 0..k {
        state.current[OUT][j] = state.from_h[j] + w.b_o[j];
    }
    fire(state, OUT);
}

/// Potential (and synaptic current) of one population.
#[inline(always)]
fn integrate(v: &mut [f32], i: &mut [f32], current: &[f32], p: &Population, spec: &Spec) {
    let (alpha, beta) = (p.alpha.clamp(0.0, 1.0), p.beta.clamp(0.0, 1.0));
    for ((v, i), current) in v.iter_mut().zip(i).zip(current) {
        let reset = if *v - p.threshold > 0.0 { p.threshold } else { 0.0 };
        let drive = if spec.synaptic {
            *i = alpha * *i + current;
            *i
        } else {
            *current
        };
        *v = match spec.reset_delayed {
            true => beta * *v + drive - reset,
            false => beta * (*v - reset) + drive,
        };
    }
}
