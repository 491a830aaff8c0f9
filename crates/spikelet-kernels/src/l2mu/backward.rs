//! Backward through time.
//!
//! With `g_s` the gradient that reaches a spike, `psi` the surrogate at `v - threshold` and the
//! reset detached, a population runs, from the last step to the first,
//!
//! ```text
//! dv = g_s psi + beta dv[t+1];   di = dv + alpha di[t+1] (CuBa);   dI = di or dv
//! dbeta += dv v[t-1];  dalpha += di i[t-1];  dthreshold -= g_s psi + R dv
//! ```
//!
//! with `R = [v[t-1] > threshold]` (with an immediate reset `v[t-1] - R threshold` takes the place
//! of `v[t-1]`, and `beta R dv` that of `R dv`), and the spikes receive
//!
//! ```text
//! g_h[t] = W_o^T dI_o[t] + W_h^T dI_h[t+1] + E_h^T dI_u[t+1]
//! g_m[t] = W_m^T dI_h[t] + E_m^T dI_u[t+1] + A^T dI_m[t+1]
//! g_u[t] = B^T dI_m[t]
//! ```

use super::{
    H, M, OUT, Population, Saved, Shape, Spec, U, Weights,
    events::{add_scaled, spikes},
    forward::Block,
    pack::{Packed, width_h, width_m, width_x},
};
use crate::{
    batch::{add, join, map},
    matmul::matmul_nt,
    simd::dispatch,
};
use alloc::{vec, vec::Vec};

/// Gradients of the parameters, weights as `[output, input]`, and of the input.
pub struct Gradients {
    /// `e_x, e_h, e_m, w_x, w_h, w_m, w_o`.
    pub weights: [Vec<f32>; 7],
    /// `[output]`.
    pub b_o: Vec<f32>,
    /// Gradients of decay, threshold and synaptic decay of `u`, `m`, `h`, output.
    pub populations: [Population; 4],
    /// `[time, batch, input]`, when asked for.
    pub x: Option<Vec<f32>>,
}

/// The gradients for `g_out`, the gradient of the output spikes `[time, batch, output]`.
///
/// # Panics
/// If a slice does not have the length its shape asks for.
pub fn backward(
    spec: &Spec,
    w: &Weights<'_>,
    x: &[f32],
    saved: &Saved,
    g_out: &[f32],
    need_x: bool,
) -> Gradients {
    let s = &spec.shape;
    assert_eq!(g_out.len(), s.time * s.batch * s.output, "l2mu: length of g_out");
    let done = map(&saved.blocks, |_, block| {
        let mut pass = Pass::new(spec, w, &saved.packed, block, need_x);
        for t in (0..s.time).rev() {
            let first = t * s.batch + block.rows.start;
            pass.step(t, &x[first * s.input..], &g_out[first * s.output..]);
        }
        pass.done
    });
    let mut total = Partial::new(s, 0, false);
    done.iter().for_each(|partial| total.add(partial));
    let g_x = need_x.then(|| {
        let parts = saved.blocks.iter().zip(&done).map(|(b, partial)| (&b.rows, &partial.x[..]));
        join(&parts.collect::<Vec<_>>(), [s.time, s.batch, s.input])
    });
    Gradients {
        weights: total.packed.unpack(s),
        b_o: total.b_o.clone(),
        populations: [U, M, H, OUT].map(|k| total.population(k, &w.populations[k])),
        x: g_x,
    }
}

/// The gradients one block adds up.
struct Partial {
    packed: Packed,
    b_o: Vec<f32>,
    /// Per neuron and population.
    beta: [Vec<f32>; 4],
    threshold: [Vec<f32>; 4],
    alpha: [Vec<f32>; 4],
    x: Vec<f32>,
}

impl Partial {
    fn new(s: &Shape, rows: usize, need_x: bool) -> Partial {
        let zeros = || s.neurons().map(|n| vec![0.0; n]);
        Partial {
            packed: Packed::zeros(s),
            b_o: vec![0.0; s.output],
            beta: zeros(),
            threshold: zeros(),
            alpha: zeros(),
            x: vec![0.0; if need_x { s.time * rows * s.input } else { 0 }],
        }
    }

    fn add(&mut self, other: &Partial) {
        self.packed.add(&other.packed);
        add(&mut self.b_o, &other.b_o);
        for k in [U, M, H, OUT] {
            add(&mut self.beta[k], &other.beta[k]);
            add(&mut self.threshold[k], &other.threshold[k]);
            add(&mut self.alpha[k], &other.alpha[k]);
        }
    }

    /// Sums over the neurons; a decay outside 0..=1 is clamped and has no gradient.
    fn population(&self, k: usize, p: &Population) -> Population {
        let sum = |x: &[f32]| x.iter().map(|&x| f64::from(x)).sum::<f64>() as f32;
        let inside = |decay: f32, g: f32| if (0.0..=1.0).contains(&decay) { g } else { 0.0 };
        Population {
            beta: inside(p.beta, sum(&self.beta[k])),
            threshold: sum(&self.threshold[k]),
            alpha: inside(p.alpha, sum(&self.alpha[k])),
        }
    }
}

/// The pass over one block of rows.
struct Pass<'a> {
    spec: &'a Spec,
    w: &'a Weights<'a>,
    packed: &'a Packed,
    block: &'a Block,
    rows: usize,
    need_x: bool,
    /// Gradients of the potentials and synaptic currents of the step after, `[rows, neurons]`.
    dv: [Vec<f32>; 4],
    di: [Vec<f32>; 4],
    /// Gradients of the spikes of this step, `[rows, neurons]`.
    g: [Vec<f32>; 4],
    /// Gradients of the currents that a source's rows lead to, `[rows, width]`.
    d_x: Vec<f32>,
    d_m: Vec<f32>,
    d_h: Vec<f32>,
    events: Vec<u32>,
    done: Partial,
}

impl<'a> Pass<'a> {
    fn new(
        spec: &'a Spec,
        w: &'a Weights<'a>,
        packed: &'a Packed,
        block: &'a Block,
        need_x: bool,
    ) -> Pass<'a> {
        let s = &spec.shape;
        let rows = block.rows.len();
        let zeros = || s.neurons().map(|n| vec![0.0; rows * n]);
        Pass {
            spec,
            w,
            packed,
            block,
            rows,
            need_x,
            dv: zeros(),
            di: zeros(),
            g: zeros(),
            d_x: vec![0.0; rows * width_x(s)],
            d_m: vec![0.0; rows * width_m(s)],
            d_h: vec![0.0; rows * width_h(s)],
            events: vec![0; s.memories * s.order + s.hidden + 1],
            done: Partial::new(s, rows, need_x),
        }
    }

    /// Step `t`; `x` and `g_out` begin at the block's first row of this step.
    fn step(&mut self, t: usize, x: &[f32], g_out: &[f32]) {
        let s = self.spec.shape;
        let (p, n, k, rows) = (s.memories, s.hidden, s.output, self.rows);

        self.g[OUT].copy_from_slice(&g_out[..rows * k]);
        dispatch(
            #[inline(always)]
            || self.population(OUT, t),
        );
        // The columns for h and u still hold step t + 1.
        copy_columns(
            &mut self.d_h,
            [width_h(&s), 0],
            drive(self.spec.synaptic, &self.dv, &self.di, OUT),
            [k, 0],
            k,
        );
        for row in self.d_h.chunks_exact(width_h(&s)) {
            add(&mut self.done.b_o, row);
        }
        matmul_nt(&mut self.g[H], &self.d_h, &self.packed.h, [rows, n, width_h(&s)], false);
        dispatch(
            #[inline(always)]
            || self.outer(H, t),
        );

        dispatch(
            #[inline(always)]
            || self.population(H, t),
        );
        copy_columns(
            &mut self.d_m,
            [width_m(&s), 0],
            drive(self.spec.synaptic, &self.dv, &self.di, H),
            [n, 0],
            n,
        );
        matmul_nt(
            &mut self.g[M],
            &self.d_m,
            &self.packed.m,
            [rows, p * s.order, width_m(&s)],
            false,
        );
        dispatch(
            #[inline(always)]
            || self.memory_feedback(),
        );
        dispatch(
            #[inline(always)]
            || self.outer(M, t),
        );

        dispatch(
            #[inline(always)]
            || self.population(M, t),
        );
        dispatch(
            #[inline(always)]
            || self.memory_input(),
        );
        dispatch(
            #[inline(always)]
            || self.population(U, t),
        );

        copy_columns(
            &mut self.d_x,
            [width_x(&s), 0],
            drive(self.spec.synaptic, &self.dv, &self.di, U),
            [p, 0],
            p,
        );
        copy_columns(
            &mut self.d_x,
            [width_x(&s), p],
            drive(self.spec.synaptic, &self.dv, &self.di, H),
            [n, 0],
            n,
        );
        dispatch(
            #[inline(always)]
            || self.input(t, x),
        );

        // For step t - 1, which spikes into these.
        copy_columns(
            &mut self.d_m,
            [width_m(&s), n],
            drive(self.spec.synaptic, &self.dv, &self.di, U),
            [p, 0],
            p,
        );
        copy_columns(
            &mut self.d_h,
            [width_h(&s), k],
            drive(self.spec.synaptic, &self.dv, &self.di, H),
            [n, 0],
            n,
        );
        copy_columns(
            &mut self.d_h,
            [width_h(&s), k + n],
            drive(self.spec.synaptic, &self.dv, &self.di, U),
            [p, 0],
            p,
        );
    }

    /// From the gradient of the spikes to that of potential, current and parameters.
    #[inline(always)]
    fn population(&mut self, k: usize, t: usize) {
        let n = self.spec.shape.neurons()[k];
        let p = self.w.populations[k];
        let (alpha, beta) = (p.alpha.clamp(0.0, 1.0), p.beta.clamp(0.0, 1.0));
        let surrogate = self.spec.surrogate;
        for row in 0..self.rows {
            let at = (t * self.rows + row) * n;
            let v = &self.block.v[k][at..at + n];
            let range = row * n..row * n + n;
            let g = &self.g[k][range.clone()];
            let dv = &mut self.dv[k][range.clone()];
            let g_threshold = &mut self.done.threshold[k][..n];
            for j in 0..n {
                let through = g[j] * surrogate.grad(v[j] - p.threshold);
                dv[j] = through + beta * dv[j];
                g_threshold[j] -= through;
            }
            if self.spec.synaptic {
                let di = &mut self.di[k][range];
                for j in 0..n {
                    di[j] = dv[j] + alpha * di[j];
                }
                if t > 0 {
                    let before = &self.block.i[k][at - self.rows * n..][..n];
                    let g_alpha = &mut self.done.alpha[k][..n];
                    for j in 0..n {
                        g_alpha[j] += di[j] * before[j];
                    }
                }
            }
            if t > 0 {
                let before = &self.block.v[k][at - self.rows * n..][..n];
                let g_beta = &mut self.done.beta[k][..n];
                // What a reset took off the potential, and how much of it the decay left.
                let (off, left) =
                    if self.spec.reset_delayed { (0.0, 1.0) } else { (p.threshold, beta) };
                for j in 0..n {
                    let reset = (before[j] - p.threshold > 0.0) as u32 as f32;
                    g_beta[j] += dv[j] * (before[j] - reset * off);
                    g_threshold[j] -= reset * left * dv[j];
                }
            }
        }
    }

    /// Weight gradient of everything behind the spikes of `h` or `m`: an event adds one row.
    #[inline(always)]
    fn outer(&mut self, k: usize, t: usize) {
        let s = &self.spec.shape;
        let n = s.neurons()[k];
        let (d, gradient) = match k {
            H => (&self.d_h, &mut self.done.packed.h),
            _ => (&self.d_m, &mut self.done.packed.m),
        };
        let width = d.len() / self.rows;
        for (row, d) in d.chunks_exact(width).enumerate() {
            let v = &self.block.v[k][(t * self.rows + row) * n..][..n];
            let fired = spikes(&mut self.events, v, self.w.populations[k].threshold);
            for &j in &self.events[..fired] {
                add(&mut gradient[j as usize * width..][..width], d);
            }
        }
    }

    /// `g_m += A^T dI_m[t+1]`, order-major.
    #[inline(always)]
    fn memory_feedback(&mut self) {
        let (p, order) = (self.spec.shape.memories, self.spec.shape.order);
        let drive = drive(self.spec.synaptic, &self.dv, &self.di, M);
        for (g, drive) in self.g[M].chunks_exact_mut(p * order).zip(drive.chunks_exact(p * order)) {
            for (j, g) in g.chunks_exact_mut(p).enumerate() {
                for (i, drive) in drive.chunks_exact(p).enumerate() {
                    add_scaled(g, drive, self.w.a[i * order + j]);
                }
            }
        }
    }

    /// `g_u = B^T dI_m[t]`.
    #[inline(always)]
    fn memory_input(&mut self) {
        let (p, order) = (self.spec.shape.memories, self.spec.shape.order);
        let drive = drive(self.spec.synaptic, &self.dv, &self.di, M);
        self.g[U].fill(0.0);
        for (g, drive) in self.g[U].chunks_exact_mut(p).zip(drive.chunks_exact(p * order)) {
            for (i, drive) in drive.chunks_exact(p).enumerate() {
                add_scaled(g, drive, self.w.b[i]);
            }
        }
    }

    /// Weight gradient of the input, and the gradient of the input itself.
    #[inline(always)]
    fn input(&mut self, t: usize, x: &[f32]) {
        let s = self.spec.shape;
        let width = width_x(&s);
        for (x, d) in x.chunks_exact(s.input).zip(self.d_x.chunks_exact(width)) {
            for (j, &x) in x.iter().enumerate() {
                if x != 0.0 {
                    add_scaled(&mut self.done.packed.x[j * width..][..width], d, x);
                }
            }
        }
        if self.need_x {
            let g = &mut self.done.x[t * self.rows * s.input..][..self.rows * s.input];
            matmul_nt(g, &self.d_x, &self.packed.x, [self.rows, s.input, width], false);
        }
    }
}

/// Gradient of the input current of population `k`.
fn drive<'a>(synaptic: bool, dv: &'a [Vec<f32>; 4], di: &'a [Vec<f32>; 4], k: usize) -> &'a [f32] {
    if synaptic { &di[k] } else { &dv[k] }
}

/// `to[row, start..start + n] = from[row, start..start + n]` for matrices of given widths.
fn copy_columns(
    to: &mut [f32],
    [to_width, to_start]: [usize; 2],
    from: &[f32],
    [from_width, from_start]: [usize; 2],
    n: usize,
) {
    for (to, from) in to.chunks_exact_mut(to_width).zip(from.chunks_exact(from_width)) {
        to[to_start..to_start + n].copy_from_slice(&from[from_start..from_start + n]);
    }
}
