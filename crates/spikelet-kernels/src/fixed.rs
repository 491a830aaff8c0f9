//! Fixed-point loops of integer-only graphs. Every value is a 32-bit integer; `program::fixed` of
//! `spikelet-graph` has the equations and proves that sums stay within 32 bits.

use crate::{conv::Conv, neuron::Reset, simd::dispatch};

/// Fraction bits of decays and adaptations.
pub const DECAY: u32 = 16;

/// `(x factor + 2^(shift - 1)) >> shift`, for `1 <= shift <= 62`.
#[inline(always)]
pub fn scale(x: i32, factor: i32, shift: u32) -> i32 {
    ((i64::from(x) * i64::from(factor) + (1_i64 << (shift - 1))) >> shift) as i32
}

/// `x 2^shift`, rounded half up for negative shifts.
#[inline(always)]
pub fn shifted(x: i32, shift: i32) -> i32 {
    match shift {
        0.. => x << shift,
        _ => scale(x, 1, shift.unsigned_abs()),
    }
}

/// `x 2^fraction`, rounded half away from zero, within `-limit..=limit`; NaN and the infinities
/// give 0, as readings that are none.
#[inline]
pub fn quantize(x: f32, fraction: u32, limit: i32) -> i32 {
    let y = if x.is_finite() { x * (1_u32 << fraction) as f32 } else { 0.0 };
    let y = if y < 0.0 { y - 0.5 } else { y + 0.5 };
    (y as i32).clamp(-limit, limit)
}

/// `to += scale(sums)`, with one factor for all or one a channel, repeated over positions.
///
/// # Panics
/// Here and below: when lengths do not fit.
pub fn add_scaled(to: &mut [i32], sums: &[i32], factor: &[i32], shift: u32) {
    assert_eq!(to.len(), sums.len(), "one sum an output");
    let channels = factor.len();
    for (to, sums) in to.chunks_exact_mut(channels).zip(sums.chunks_exact(channels)) {
        add_scaled_row(to, sums, factor, shift);
    }
}

fn add_scaled_row(to: &mut [i32], sums: &[i32], factor: &[i32], shift: u32) {
    for ((y, x), f) in to.iter_mut().zip(sums).zip(factor) {
        *y = y.wrapping_add(scale(*x, *f, shift));
    }
}

/// `sums += x W` with rows by input; what is zero adds nothing. Sums that leave 32 bits wrap: only
/// those of a state that was tampered with do.
pub fn add_rows_graded(sums: &mut [i32], rows: &[i8], x: &[i32]) {
    dispatch(
        #[inline(always)]
        || {
            for (x, row) in x.iter().zip(rows.chunks_exact(sums.len())) {
                if *x != 0 {
                    for (y, w) in sums.iter_mut().zip(row) {
                        *y = y.wrapping_add(x.wrapping_mul(i32::from(*w)));
                    }
                }
            }
        },
    );
}

/// A convolution of values with 8-bit weights `[kh, kw, in / groups, out]`.
pub fn convolve_graded(conv: &Conv, sums: &mut [i32], weights: &[i8], x: &[i32]) {
    dispatch(
        #[inline(always)]
        || {
            for (index, x) in x.iter().enumerate().filter(|(_, x)| **x != 0) {
                conv.for_each_row(index as u32, |row, start, length, to| {
                    let from = row * conv.outputs + start;
                    let row = &weights[from..from + length];
                    for (y, w) in sums[to..to + length].iter_mut().zip(row) {
                        *y += *x * i32::from(*w);
                    }
                });
            }
        },
    );
}

/// A population, its parameters in the fraction of its potentials; decays in units of `2^-DECAY`.
/// Parameters have one value for all neurons, one a neuron, or one a channel, repeated.
#[derive(Clone, Copy, Debug)]
pub struct Population<'a> {
    /// What a spike does.
    pub reset: Reset,
    /// It does so in the next step.
    pub reset_delayed: bool,
    /// Fires at the threshold, not only above.
    pub fires_at_threshold: bool,
    /// The second value is a synaptic current.
    pub has_current: bool,
    /// Thresholds.
    pub threshold: &'a [i32],
    /// Decays of the potential; empty: none.
    pub beta: &'a [i32],
    /// What the current is multiplied by; empty: nothing.
    pub drive: &'a [i32],
    /// Decays of the second value; empty: there is none.
    pub second_decay: &'a [i32],
    /// What an adaptation of 1 adds to the threshold; empty: there is none.
    pub gain: &'a [i32],
    /// The largest magnitude of what is stored.
    pub limit: i32,
}

#[inline(always)]
fn at(values: &[i32], j: usize) -> Option<i32> {
    match values {
        [] => None,
        [one] => Some(*one),
        _ => Some(values[j % values.len()]),
    }
}

/// Advances a population by one step and calls `spike(j)` for every neuron that fires, in order.
/// `second` is empty where the model has no second value. [`crate::neuron`] says when a spike
/// resets.
pub fn step(
    p: &Population,
    v: &mut [i32],
    second: &mut [i32],
    current: &[i32],
    mut spike: impl FnMut(usize),
) {
    assert_eq!(v.len(), current.len(), "one current a neuron");
    let delayed = p.reset_delayed && p.reset != Reset::None;
    let adapts = !p.gain.is_empty();
    for (j, (v, current)) in v.iter_mut().zip(current).enumerate() {
        let mut drive = decayed(*current, p.drive, j);
        if p.has_current {
            drive = p.limited(decayed(second[j], p.second_decay, j) + drive);
            second[j] = drive;
        }
        let w = p.limited(decayed(*v, p.beta, j) + drive);
        let mut threshold = p.threshold(j, second);
        let mut fired = p.fires(if delayed { *v } else { w }, threshold);
        *v = match p.reset {
            Reset::Subtract if fired => w - threshold,
            Reset::Zero if fired => 0,
            _ => w,
        };
        if adapts {
            let a = decayed(second[j], p.second_decay, j) + (i32::from(fired) << DECAY);
            second[j] = p.limited(a);
        }
        if delayed {
            threshold = p.threshold(j, second);
            fired = p.fires(*v, threshold);
        }
        if fired {
            spike(j);
        }
    }
}

/// Advances leaky integrators: the output is the potential.
pub fn integrate(p: &Population, v: &mut [i32], current: &[i32], to: &mut [i32]) {
    assert_eq!(v.len(), current.len(), "one current a neuron");
    for (j, ((v, current), to)) in v.iter_mut().zip(current).zip(to).enumerate() {
        *v = p.limited(decayed(*v, p.beta, j) + *current);
        *to = *v;
    }
}

#[inline(always)]
fn decayed(x: i32, decay: &[i32], j: usize) -> i32 {
    at(decay, j).map_or(x, |decay| scale(x, decay, DECAY))
}

impl Population<'_> {
    #[inline(always)]
    fn limited(&self, x: i32) -> i32 {
        x.clamp(-self.limit, self.limit)
    }

    #[inline(always)]
    fn threshold(&self, j: usize, adaptation: &[i32]) -> i32 {
        let base = at(self.threshold, j).unwrap_or(0);
        at(self.gain, j).map_or(base, |gain| base + scale(adaptation[j], gain, DECAY))
    }

    #[inline(always)]
    fn fires(&self, v: i32, threshold: i32) -> bool {
        v > threshold || (self.fires_at_threshold && v == threshold)
    }
}

/// Fraction bits of what tables of gates give.
const GATE: u32 = 15;

/// The units of an event-based GRU: [`egru`].
#[derive(Clone, Copy, Debug)]
pub struct Units<'a> {
    /// One a unit, in the fraction of the states, `2^(GATE + lift)`.
    pub threshold: &'a [i32],
    /// What zoneout leaves of a change, in units of `2^-DECAY`; `None` without it.
    pub share: Option<i32>,
    /// Tables of tanh and of the logistic function, of 15 bits.
    pub tables: [Table<'a>; 2],
    /// Fraction bits of the states beyond those of a gate.
    pub lift: u32,
    /// Fraction bits of the states beyond those of the events.
    pub drop: u32,
}

/// Advances the units by one step: `a` and `b` are `[3, hidden]`, what the input and the events add
/// to the gates; `h` is updated, `y` written (0: no event).
///
/// # Panics
/// When lengths do not fit.
pub fn egru(p: &Units, a: &[i32], b: &[i32], h: &mut [i32], y: &mut [i32]) {
    let n = h.len();
    assert!(a.len() == 3 * n && b.len() == 3 * n && y.len() == n, "egru: three gates a unit");
    let [tanh, sigmoid] = p.tables;
    for (j, (h, y)) in h.iter_mut().zip(y).enumerate() {
        let z = sigmoid.look_up(a[j].wrapping_add(b[j]));
        let r = sigmoid.look_up(a[n + j].wrapping_add(b[n + j]));
        let g = tanh.look_up(a[2 * n + j].wrapping_add(scale(b[2 * n + j], r, GATE))) << p.lift;
        let mut c = g + scale(*h - g, z, GATE);
        if let Some(share) = p.share {
            c = *h + scale(c - *h, share, DECAY);
        }
        let fired = c > p.threshold[j];
        *y = if fired { shifted(c, -(p.drop as i32)) } else { 0 };
        *h = if fired { c - p.threshold[j] } else { c };
    }
}

/// A table over `-range..range` of values whose distance is `2^step` units of the input.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Values at the points, one more than there are intervals.
    pub values: &'a [i32],
    /// Bits of the part of an input that lies between two points.
    pub step: u32,
}

impl Table<'_> {
    /// The value at `x`, on a straight line between two points; beyond the ends, that of the end.
    #[inline]
    pub fn look_up(&self, x: i32) -> i32 {
        let intervals = (self.values.len() - 1) as i32;
        let at = x.saturating_add(intervals << (self.step - 1));
        let at = at.clamp(0, (intervals << self.step) - 1);
        let (point, rest) = ((at >> self.step) as usize, at & ((1 << self.step) - 1));
        let (low, high) = (self.values[point], self.values[point + 1]);
        low + (((high - low) * rest + (1 << (self.step - 1))) >> self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neuron::{self, Model, NeuronSpec, Param, Params, State};
    use alloc::{vec, vec::Vec};

    #[test]
    fn numbers_round_as_documented() {
        assert_eq!(scale(3, 1, 1), 2);
        assert_eq!(scale(-3, 1, 1), -1);
        assert_eq!((shifted(5, 2), shifted(-5, -1), shifted(5, -1)), (20, -2, 3));
        let inputs = [0.125, -0.125, 1e9, -1e9, f32::NAN, f32::INFINITY];
        let found = inputs.map(|x| quantize(x, 2, 100));
        assert_eq!(found, [1, -1, 100, -100, 0, 0]);
        let table = Table { values: &[-10, 0, 30], step: 4 };
        let found = [-100, -16, -8, 0, 8, 15, 100].map(|x| table.look_up(x));
        assert_eq!(found, [-10, -10, -5, 0, 15, 28, 28]);
    }

    /// Against the neurons in floats, with numbers that both represent exactly.
    #[test]
    fn populations_agree_with_floats() {
        const F: f32 = 256.0;
        let models = [
            Model::If,
            Model::Lif { input_decay: false },
            Model::Lif { input_decay: true },
            Model::CubaLif,
            Model::AdaptiveLif,
        ];
        let resets = [Reset::None, Reset::Subtract, Reset::Zero];
        let mut fired = 0;
        for (model, reset) in models.iter().flat_map(|m| resets.map(|r| (*m, r))) {
            for (delayed, at) in [(false, false), (true, false), (false, true), (true, true)] {
                let spec =
                    NeuronSpec { model, reset, reset_delayed: delayed, fires_at_threshold: at };
                let params = Params {
                    threshold: Param::Shared(1.0),
                    beta: Param::Shared(0.5),
                    second_decay: Param::Shared(0.5),
                    gain: Param::Shared(0.5),
                };
                let has_current = model == Model::CubaLif;
                let adapts = model == Model::AdaptiveLif;
                let half = [1 << 15];
                let p = Population {
                    reset,
                    reset_delayed: delayed,
                    fires_at_threshold: at,
                    has_current,
                    threshold: &[256],
                    beta: if model == Model::If { &[] } else { &half },
                    drive: match model {
                        Model::Lif { input_decay: true } => &half,
                        _ => &[],
                    },
                    second_decay: if has_current || adapts { &half } else { &[] },
                    gain: if adapts { &[128] } else { &[] },
                    limit: 1 << 29,
                };
                let n = if has_current || adapts { 8 } else { 0 };
                let (mut v, mut second) = (vec![0; 8], vec![0; n]);
                let (mut vf, mut sf) = (vec![0.0; 8], vec![0.0; n]);
                for t in 0..6 {
                    // Multiples of 2^-2: halving six times stays within 8 bits.
                    let current: Vec<f32> =
                        (0..8).map(|j| ((j * 5 + t * 3) % 9) as f32 / 4.0 - 0.5).collect();
                    let integers: Vec<i32> = current.iter().map(|c| (c * F) as i32).collect();
                    let mut found = vec![0.0; 8];
                    step(&p, &mut v, &mut second, &integers, |j| found[j] = 1.0);
                    let mut want = vec![0.0; 8];
                    let state = State { v: &mut vf, second: &mut sf };
                    neuron::step(&spec, &params, state, &current, &mut want);
                    assert_eq!(found, want, "{spec:?} step {t}");
                    fired += found.iter().filter(|s| **s == 1.0).count();
                }
                let back: Vec<f32> = v.iter().map(|v| *v as f32 / F).collect();
                assert!(back.iter().zip(&vf).all(|(a, b)| (a - b).abs() <= 2.0 / F), "{spec:?}");
            }
        }
        assert!(fired > 200, "{fired} spikes");
    }

    /// Against the layer in floats: as close as tables of 15 bits allow.
    #[test]
    fn event_based_grus_follow_floats() {
        let step = 11;
        let table = |function: fn(f32) -> f32| -> Vec<i32> {
            (0..513).map(|k| (function(k as f32 / 32.0 - 8.0) * 32768.0).round() as i32).collect()
        };
        let tables = [table(crate::math::tanh), table(crate::math::sigmoid)];
        let tables = [0, 1].map(|k| Table { values: &tables[k], step });
        for (share, exact) in [(None, 1.0), (Some(49152), 0.75)] {
            let p = Units { threshold: &[1 << 22, 1 << 23], share, tables, lift: 9, drop: 8 };
            let (mut h, mut y) = ([0; 2], [0; 2]);
            let (mut hf, mut yf) = ([0.0; 2], [0.0; 2]);
            let mut events = 0;
            for t in 0..200 {
                let gate = |k: usize| ((t * 7 + k * 13) % 41) as f32 / 8.0 - 2.0;
                let a: Vec<f32> = (0..6).map(gate).collect();
                let b: Vec<f32> = (6..12).map(gate).collect();
                let [ai, bi] = [&a, &b]
                    .map(|x| -> Vec<i32> { x.iter().map(|x| (x * 65536.0) as i32).collect() });
                egru(&p, &ai, &bi, &mut h, &mut y);
                crate::egru::step(&a, &b, &[0.25, 0.5], exact, &mut hf, &mut yf);
                for j in 0..2 {
                    let [state, event] = [h[j] as f32 / 16_777_216.0, y[j] as f32 / 65536.0];
                    assert!((state - hf[j]).abs() < 2e-3, "h {j} of step {t}: {state} {}", hf[j]);
                    assert!((event - yf[j]).abs() < 2e-3, "y {j} of step {t}: {event} {}", yf[j]);
                }
                events += y.iter().filter(|y| **y != 0).count();
            }
            assert!(events > 50, "{events} events");
        }
    }

    #[test]
    fn potentials_stop_at_the_limit() {
        let p = Population {
            reset: Reset::None,
            reset_delayed: false,
            fires_at_threshold: false,
            has_current: false,
            threshold: &[5],
            beta: &[],
            drive: &[],
            second_decay: &[],
            gain: &[],
            limit: 100,
        };
        let (mut v, mut out) = ([90, -90], [0, 0]);
        integrate(&p, &mut v, &[60, -60], &mut out);
        assert_eq!((v, out), ([100, -100], [100, -100]));
    }
}
