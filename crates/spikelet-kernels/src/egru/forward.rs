//! A layer over a whole sequence.

use super::{
    Shape, State, TRACE_DECAY, TRACE_GAIN, Weights, Zoneout,
    product::Matrix,
    step::{candidate, gates},
};
use crate::{columns::for_each, fill::zeros, simd::dispatch};
use alloc::vec::Vec;

/// What a layer gives, `[time, batch, hidden]` each.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// Events with their values.
    pub y: Vec<f32>,
    /// State after the reset.
    pub h: Vec<f32>,
    /// 1 where there is an event, else 0.
    pub o: Vec<f32>,
    /// Trace of the events.
    pub trace: Vec<f32>,
}

/// What backward needs of a forward pass.
#[derive(Clone, Debug)]
pub struct Saved {
    /// `z`, `r` and `g`, `[time, batch, 3 hidden]`.
    pub(super) gates: Vec<f32>,
    /// `B` of the gate `g`, `[time, batch, hidden]`.
    pub(super) from_events: Vec<f32>,
    /// State in front of the threshold, `[time, batch, hidden]`.
    pub(super) c: Vec<f32>,
}

impl Saved {
    /// State in front of the threshold and the reset, `[time, batch, hidden]`.
    pub fn before_reset(&self) -> &[f32] {
        &self.c
    }
}

/// Runs a layer over `x` `[time, batch, input]` from `state`.
///
/// # Panics
/// If a slice does not have the length its shape asks for.
pub fn forward(
    s: &Shape,
    w: &Weights<'_>,
    state: &State<'_>,
    zoneout: Zoneout<'_>,
    x: &[f32],
) -> (Outputs, Saved) {
    check(s, w, state, zoneout, x);
    let (h3, step) = (3 * s.hidden, s.batch * s.hidden);
    let zeros = || zeros(s.time * step);
    let mut out = Outputs { y: zeros(), h: zeros(), o: zeros(), trace: zeros() };
    let mut saved = Saved {
        gates: Matrix::new([s.input, h3], w.kernel, 1).multiply(x, w.bias),
        from_events: zeros(),
        c: zeros(),
    };
    let mut recurrent = Matrix::new([s.hidden, h3], w.recurrent, s.time);
    for t in 0..s.time {
        let at = t * step..(t + 1) * step;
        let (y_before, y) = out.y.split_at_mut(at.start);
        let (h_before, h) = out.h.split_at_mut(at.start);
        let (trace_before, trace) = out.trace.split_at_mut(at.start);
        let before = match t {
            0 => *state,
            _ => {
                let last = at.start - step;
                let (y, h) = (&y_before[last..], &h_before[last..]);
                State { y, h, trace: &trace_before[last..] }
            }
        };
        let from_events = recurrent.multiply(before.y, w.recurrent_bias);
        let mut rows = Vec::with_capacity(s.batch);
        let mut gates = saved.gates[3 * at.start..3 * at.end].chunks_exact_mut(h3);
        let mut kept = saved.from_events[at.clone()].chunks_exact_mut(s.hidden);
        let mut c = saved.c[at.clone()].chunks_exact_mut(s.hidden);
        let mut o = out.o[at.clone()].chunks_exact_mut(s.hidden);
        let mut y = y.chunks_exact_mut(s.hidden);
        let mut h = h.chunks_exact_mut(s.hidden);
        let mut trace = trace.chunks_exact_mut(s.hidden);
        for (b, from_events) in from_events.chunks_exact(h3).enumerate() {
            let unit = b * s.hidden..(b + 1) * s.hidden;
            let mask = match zoneout {
                Zoneout::Mask(mask) => &mask[at.start + unit.start..at.start + unit.end],
                Zoneout::Share(_) => &[],
            };
            let written = [&mut kept, &mut c, &mut o, &mut y, &mut h, &mut trace]
                .map(|rows| rows.next().expect("a row for every sequence"));
            rows.push(Row {
                gates: gates.next().expect("a row for every sequence"),
                from_events,
                before: [&before.h[unit.clone()], &before.trace[unit]],
                mask,
                written,
            });
        }
        let share = if let Zoneout::Share(share) = zoneout { share } else { 1.0 };
        for_each(rows, step, |row| row.run(w.threshold, share));
    }
    (out, saved)
}

/// One sequence in one step.
struct Row<'a> {
    /// `A` before, `z`, `r` and `g` after.
    gates: &'a mut [f32],
    from_events: &'a [f32],
    /// State and trace of the step before.
    before: [&'a [f32]; 2],
    /// Zoneout, if it is drawn.
    mask: &'a [f32],
    /// `B` of `g`, `c`, `o`, `y`, `h`, trace.
    written: [&'a mut [f32]; 6],
}

impl Row<'_> {
    fn run(self, threshold: &[f32], share: f32) {
        dispatch(
            #[inline(always)]
            || match self.mask.is_empty() {
                true => self.advance(threshold, |_| share),
                false => {
                    let mask = &self.mask[..threshold.len()];
                    self.advance(threshold, |j| mask[j]);
                }
            },
        );
    }

    #[inline(always)]
    fn advance(self, threshold: &[f32], share: impl Fn(usize) -> f32) {
        let n = threshold.len();
        let (z, rest) = self.gates.split_at_mut(n);
        let (r, g) = rest.split_at_mut(n);
        let (b_z, rest) = self.from_events.split_at(n);
        let (b_r, b_g) = rest.split_at(n);
        let [kept, c, o, y, h, trace] = self.written;
        let [h_before, trace_before] = self.before;
        let (g, b_g, kept, c, o) =
            (&mut g[..n], &b_g[..n], &mut kept[..n], &mut c[..n], &mut o[..n]);
        let (y, h, trace) = (&mut y[..n], &mut h[..n], &mut trace[..n]);
        let (h_before, trace_before) = (&h_before[..n], &trace_before[..n]);
        for j in 0..n {
            [z[j], r[j], g[j]] = gates([z[j], r[j], g[j]], [b_z[j], b_r[j], b_g[j]]);
            kept[j] = b_g[j];
            c[j] = candidate(z[j], g[j], share(j), h_before[j]);
            o[j] = if c[j] > threshold[j] { 1.0 } else { 0.0 };
            y[j] = o[j] * c[j];
            h[j] = c[j] - o[j] * threshold[j];
            trace[j] = TRACE_DECAY * trace_before[j] + TRACE_GAIN * y[j];
        }
    }
}

/// That every length is right.
fn check(s: &Shape, w: &Weights<'_>, state: &State<'_>, zoneout: Zoneout<'_>, x: &[f32]) {
    let h3 = 3 * s.hidden;
    assert!(s.input > 0 && s.hidden > 0, "egru: inputs and units");
    assert_eq!(x.len(), s.time * s.batch * s.input, "egru: length of x");
    assert_eq!(w.kernel.len(), s.input * h3, "egru: length of the kernel");
    assert_eq!(w.recurrent.len(), s.hidden * h3, "egru: length of the recurrent kernel");
    assert!(w.bias.len() == h3 && w.recurrent_bias.len() == h3, "egru: length of a bias");
    assert_eq!(w.threshold.len(), s.hidden, "egru: length of the thresholds");
    for part in [state.y, state.h, state.trace] {
        assert_eq!(part.len(), s.batch * s.hidden, "egru: length of the state");
    }
    if let Zoneout::Mask(mask) = zoneout {
        assert_eq!(mask.len(), s.time * s.batch * s.hidden, "egru: length of the zoneout mask");
    }
}
