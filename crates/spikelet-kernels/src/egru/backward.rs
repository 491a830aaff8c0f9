//! The gradients of a layer over a whole sequence.

use super::{
    PseudoDerivative, Saved, Shape, State, TRACE_DECAY, TRACE_GAIN, Weights, Zoneout, needed,
    product::{Transposed, bias_gradient, input_gradient, weight_gradient},
};
use crate::{
    batch::{add, for_each_chunk},
    columns::for_each,
    fill::zeros,
    simd::dispatch,
};
use alloc::{vec, vec::Vec};

/// Gradients of what a layer gives, `[time, batch, hidden]` each; nothing where no gradient comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputGradients<'a> {
    /// Of the events with their values.
    pub y: Option<&'a [f32]>,
    /// Of the state after the reset.
    pub h: Option<&'a [f32]>,
    /// Of the events without values.
    pub o: Option<&'a [f32]>,
    /// Of the trace.
    pub trace: Option<&'a [f32]>,
}

/// Gradients, shaped as what they belong to.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Of `x`, when asked for.
    pub x: Option<Vec<f32>>,
    /// Of the parameters, in the order of [`Weights`].
    pub weights: [Vec<f32>; 5],
    /// Of the first state: events, internal state, trace.
    pub state: [Vec<f32>; 3],
}

/// What [`backward`] works on: the arguments of the forward pass and what it gave.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The parameters.
    pub weights: Weights<'a>,
    /// The first state.
    pub state: State<'a>,
    /// Zoneout as it was.
    pub zoneout: Zoneout<'a>,
    /// The stand-in for the derivative of events.
    pub pseudo: PseudoDerivative,
    /// `[time, batch, input]`.
    pub x: &'a [f32],
    /// What the forward pass saved.
    pub saved: &'a Saved,
}

/// The gradients for `g`, those of the outputs. That of `x` is worked out if `need_x`.
///
/// # Panics
/// If a slice does not have the length its shape asks for.
pub fn backward(s: &Shape, pass: &Pass<'_>, g: &OutputGradients<'_>, need_x: bool) -> Gradients {
    let (step, h3) = (s.batch * s.hidden, 3 * s.hidden);
    for gradient in [g.y, g.h, g.o, g.trace].into_iter().flatten() {
        assert_eq!(gradient.len(), s.time * step, "egru: length of a gradient");
    }
    let w = &pass.weights;
    let mut flow = Flow {
        y: vec![0.0; step],
        h: vec![0.0; step],
        trace: vec![0.0; step],
        threshold: vec![0.0; step],
    };
    // Of `A`; that of `B` has another gate `g`.
    let mut d = zeros(s.time * 3 * step);
    let mut d_events = vec![0.0; 3 * step];
    let mut y_before = zeros(s.time * step);
    let mut recurrent = Transposed::new(w.recurrent, [s.hidden, h3], s.time);
    for t in (0..s.time).rev() {
        let d = &mut d[t * 3 * step..][..3 * step];
        flow.step(s, pass, g, t, d, &mut d_events);
        let mut used = vec![true; step];
        match t {
            0 => y_before[..step].copy_from_slice(pass.state.y),
            _ => {
                let c = &pass.saved.c[(t - 1) * step..][..step];
                let y = &mut y_before[t * step..][..step];
                before(c, w.threshold, pass.pseudo, y, &mut used);
            }
        }
        flow.y = needed::multiply(&mut recurrent, &d_events, &used, [s.hidden, h3]);
    }
    let x = need_x.then(|| input_gradient(w.kernel, &d, s.input, h3));
    let kernel = weight_gradient(pass.x, &d, s.input, h3);
    let bias = bias_gradient(&d, h3);
    for_each_chunk(&mut d, h3, |row, d| {
        let r = &pass.saved.gates[row * h3 + s.hidden..][..s.hidden];
        d[2 * s.hidden..].iter_mut().zip(r).for_each(|(d, r)| *d *= r);
    });
    let recurrent = weight_gradient(&y_before, &d, s.hidden, h3);
    let recurrent_bias = bias_gradient(&d, h3);
    let mut threshold = vec![0.0; s.hidden];
    flow.threshold.chunks_exact(s.hidden).for_each(|row| add(&mut threshold, row));
    Gradients {
        x,
        weights: [kernel, recurrent, bias, recurrent_bias, threshold],
        state: [flow.y, flow.h, flow.trace],
    }
}

/// The events of a step with state `c` in front of the threshold, and which of them can use a
/// gradient, `[batch, hidden]` each.
fn before(
    c: &[f32],
    threshold: &[f32],
    pseudo: PseudoDerivative,
    y: &mut [f32],
    used: &mut [bool],
) {
    let n = threshold.len();
    dispatch(
        #[inline(always)]
        || {
            let rows = c.chunks_exact(n).zip(y.chunks_exact_mut(n)).zip(used.chunks_exact_mut(n));
            for ((c, y), used) in rows {
                for j in 0..n {
                    let u = c[j] - threshold[j];
                    y[j] = if u > 0.0 { c[j] } else { 0.0 };
                    used[j] = u > 0.0 || pseudo.support * u.abs() < 1.0;
                }
            }
        },
    );
}

/// Gradients that go from a step to the one before, `[batch, hidden]` each.
struct Flow {
    y: Vec<f32>,
    h: Vec<f32>,
    trace: Vec<f32>,
    /// Of the thresholds, by sequence.
    threshold: Vec<f32>,
}

impl Flow {
    /// Step `t`: gradients of `A` and of `B`, `[batch, 3 hidden]` each.
    fn step(
        &mut self,
        s: &Shape,
        pass: &Pass<'_>,
        g: &OutputGradients<'_>,
        t: usize,
        d: &mut [f32],
        d_events: &mut [f32],
    ) {
        let (n, step) = (s.hidden, s.batch * s.hidden);
        let saved = pass.saved;
        let h_before = match t {
            0 => pass.state.h.to_vec(),
            _ => after_reset(&saved.c[(t - 1) * step..][..step], pass.weights.threshold),
        };
        let mut d = d.chunks_exact_mut(3 * n);
        let mut d_events = d_events.chunks_exact_mut(3 * n);
        let mut flow_h = self.h.chunks_exact_mut(n);
        let mut flow_trace = self.trace.chunks_exact_mut(n);
        let mut flow_threshold = self.threshold.chunks_exact_mut(n);
        let zeros = vec![0.0; n];
        let mut rows = Vec::with_capacity(s.batch);
        for (b, flow_y) in self.y.chunks_exact(n).enumerate() {
            let at = t * step + b * n..t * step + (b + 1) * n;
            rows.push(Row {
                gates: &saved.gates[3 * at.start..3 * at.end],
                from_events: &saved.from_events[at.clone()],
                c: &saved.c[at.clone()],
                h_before: &h_before[b * n..(b + 1) * n],
                mask: match pass.zoneout {
                    Zoneout::Mask(mask) => &mask[at.clone()],
                    Zoneout::Share(_) => &[],
                },
                g: [g.y, g.h, g.o, g.trace].map(|g| g.map_or(&zeros[..], |g| &g[at.clone()])),
                flow_y,
                flow: [&mut flow_h, &mut flow_trace, &mut flow_threshold]
                    .map(|rows| rows.next().expect("a row for every sequence")),
                d: [&mut d, &mut d_events]
                    .map(|rows| rows.next().expect("a row for every sequence")),
            });
        }
        let share = if let Zoneout::Share(share) = pass.zoneout { share } else { 1.0 };
        for_each(rows, step, |row| row.run(pass.weights.threshold, pass.pseudo, share));
    }
}

/// States after the reset, of those in front of the threshold.
fn after_reset(c: &[f32], threshold: &[f32]) -> Vec<f32> {
    let mut h = c.to_vec();
    for row in h.chunks_exact_mut(threshold.len()) {
        for (h, threshold) in row.iter_mut().zip(threshold) {
            *h -= if *h > *threshold { *threshold } else { 0.0 };
        }
    }
    h
}

/// One sequence in one step.
struct Row<'a> {
    /// `z`, `r`, `g`.
    gates: &'a [f32],
    from_events: &'a [f32],
    c: &'a [f32],
    h_before: &'a [f32],
    /// Zoneout, if it is drawn.
    mask: &'a [f32],
    /// Of `y`, `h`, `o` and the trace.
    g: [&'a [f32]; 4],
    /// What the next step sent to the events.
    flow_y: &'a [f32],
    /// Of the state, the trace and the thresholds.
    flow: [&'a mut [f32]; 3],
    /// Of `A` and of `B`.
    d: [&'a mut [f32]; 2],
}

impl Row<'_> {
    fn run(self, threshold: &[f32], pseudo: PseudoDerivative, share: f32) {
        dispatch(
            #[inline(always)]
            || match self.mask.is_empty() {
                true => self.retreat(threshold, pseudo, |_| share),
                false => {
                    let mask = &self.mask[..threshold.len()];
                    self.retreat(threshold, pseudo, |j| mask[j]);
                }
            },
        );
    }

    #[inline(always)]
    fn retreat(self, threshold: &[f32], pseudo: PseudoDerivative, share: impl Fn(usize) -> f32) {
        let n = threshold.len();
        let (z, rest) = self.gates.split_at(n);
        let (r, q) = rest.split_at(n);
        let (q, b, c, h) = (&q[..n], &self.from_events[..n], &self.c[..n], &self.h_before[..n]);
        let [flow_h, flow_trace, flow_threshold] = self.flow;
        let (flow_h, flow_trace) = (&mut flow_h[..n], &mut flow_trace[..n]);
        let flow_threshold = &mut flow_threshold[..n];
        let [d, d_events] = self.d;
        let (d_z, rest) = d.split_at_mut(n);
        let (d_r, d_g) = rest.split_at_mut(n);
        let (e_z, rest) = d_events.split_at_mut(n);
        let (e_r, e_g) = rest.split_at_mut(n);
        let (d_g, e_g, flow_y) = (&mut d_g[..n], &mut e_g[..n], &self.flow_y[..n]);
        let [g_y, g_h, g_o, g_trace] = self.g;
        let (g_y, g_h, g_o, g_trace) = (&g_y[..n], &g_h[..n], &g_o[..n], &g_trace[..n]);
        for j in 0..n {
            let to_trace = g_trace[j] + flow_trace[j];
            flow_trace[j] = TRACE_DECAY * to_trace;
            let to_y = g_y[j] + TRACE_GAIN * to_trace + flow_y[j];
            let to_h = g_h[j] + flow_h[j];
            let u = c[j] - threshold[j];
            let o = if u > 0.0 { 1.0 } else { 0.0 };
            let through = pseudo.at(u) * (g_o[j] + c[j] * to_y - threshold[j] * to_h);
            flow_threshold[j] -= through + o * to_h;
            let to_c = o * to_y + through + to_h;
            let k = share(j);
            let new = k * to_c;
            flow_h[j] = (1.0 - k) * to_c + z[j] * new;
            let a_g = (1.0 - q[j] * q[j]) * (1.0 - z[j]) * new;
            let a_r = r[j] * (1.0 - r[j]) * a_g * b[j];
            let a_z = z[j] * (1.0 - z[j]) * (h[j] - q[j]) * new;
            (d_z[j], d_r[j], d_g[j]) = (a_z, a_r, a_g);
            (e_z[j], e_r[j], e_g[j]) = (a_z, a_r, r[j] * a_g);
        }
    }
}
