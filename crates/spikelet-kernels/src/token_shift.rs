//! The token shift of RWKV: every channel mixed with its own value one token before.
//!
//! `y[m][t] = x[t] mix[m] + x[t-1] (1 - mix[m])` for several mixes at once, so that the inputs of
//! key, value and receptance are made in one pass. `x` is `[time, width]` with width batch times
//! channels, every mix `[channels]`.

use crate::{
    batch::{add, map},
    fill::fill,
    simd::dispatch,
};
use alloc::{vec, vec::Vec};

/// Values a part of the sum over all tokens covers, about.
const PART: usize = 1 << 15;

/// `[mixes, time, width]` of `x` `[time, width]`; `before`, `[width]`, is the token before the
/// first one; `mix` is `[mixes, channels]`.
///
/// # Panics
/// When slices do not fit each other.
pub fn forward(x: &[f32], before: &[f32], mix: &[f32], channels: usize) -> Vec<f32> {
    let width = check(x, before, mix, channels);
    let time = x.len() / width;
    let [out] = fill(mix.len() / channels * x.len(), width, |row, [out]| {
        let (m, t) = (row / time, row % time);
        let (mix, now) = (&mix[m * channels..][..channels], &x[t * width..][..width]);
        let last = previous(x, before, width, t);
        dispatch(
            #[inline(always)]
            || {
                for (start, out) in out.chunks_exact_mut(channels).enumerate() {
                    let at = start * channels..(start + 1) * channels;
                    step(&now[at.clone()], &last[at], mix, out);
                }
            },
        );
    });
    out
}

/// One token of one sequence, every slice `[channels]`.
///
/// # Panics
/// When a slice is shorter than `out`.
#[inline(always)]
pub fn step(now: &[f32], before: &[f32], mix: &[f32], out: &mut [f32]) {
    let n = out.len();
    let (now, before, mix) = (&now[..n], &before[..n], &mix[..n]);
    for j in 0..n {
        out[j] = now[j] * mix[j] + before[j] * (1.0 - mix[j]);
    }
}

/// Gradients of [`forward`].
#[derive(Debug)]
pub struct Gradients {
    /// Of `x`, `[time, width]`.
    pub x: Vec<f32>,
    /// Of the token before the first one, `[width]`.
    pub before: Vec<f32>,
    /// Of the mixes, `[mixes, channels]`.
    pub mix: Vec<f32>,
}

/// The gradients, given `d_out` `[mixes, time, width]`.
///
/// # Panics
/// When slices do not fit each other.
pub fn backward(
    x: &[f32],
    before: &[f32],
    mix: &[f32],
    channels: usize,
    d_out: &[f32],
) -> Gradients {
    let width = check(x, before, mix, channels);
    let (time, mixes) = (x.len() / width, mix.len() / channels);
    assert_eq!(d_out.len(), mixes * x.len(), "token shift: length of the gradient");
    let mixed = Mixed { d_out, mix, channels, time, width };
    let [d_x] = fill(x.len(), width, |t, [out]| {
        dispatch(
            #[inline(always)]
            || mixed.gather(Some(t), t + 1, out),
        );
    });
    let mut d_before = vec![0.0; width];
    mixed.gather(None, 0, &mut d_before);

    let tokens: Vec<usize> = (0..time).step_by((PART / width).max(1)).collect();
    let parts = map(&tokens, |_, &start| {
        let mut sums = vec![0.0; mix.len()];
        dispatch(
            #[inline(always)]
            || {
                for t in start..time.min(start + (PART / width).max(1)) {
                    let (now, last) = (&x[t * width..][..width], previous(x, before, width, t));
                    for (m, sums) in sums.chunks_exact_mut(channels).enumerate() {
                        add_slopes(sums, mixed.row(m, t), now, last);
                    }
                }
            },
        );
        sums
    });
    let mut d_mix = vec![0.0; mix.len()];
    parts.iter().for_each(|part| add(&mut d_mix, part));
    Gradients { x: d_x, before: d_before, mix: d_mix }
}

/// The gradient of all mixes of all tokens.
struct Mixed<'a> {
    d_out: &'a [f32],
    mix: &'a [f32],
    channels: usize,
    time: usize,
    width: usize,
}

impl Mixed<'_> {
    /// What token `t` adds through its own mix, and through that of the token after it.
    #[inline(always)]
    fn gather(&self, t: Option<usize>, next: usize, out: &mut [f32]) {
        for (m, mix) in self.mix.chunks_exact(self.channels).enumerate() {
            if let Some(t) = t {
                add_product(out, self.row(m, t), mix, |mix| mix);
            }
            if next < self.time {
                add_product(out, self.row(m, next), mix, |mix| 1.0 - mix);
            }
        }
    }

    #[inline(always)]
    fn row(&self, m: usize, t: usize) -> &[f32] {
        &self.d_out[(m * self.time + t) * self.width..][..self.width]
    }
}

/// The width, after checking all lengths.
fn check(x: &[f32], before: &[f32], mix: &[f32], channels: usize) -> usize {
    let width = before.len();
    assert!(channels > 0 && width > 0 && width.is_multiple_of(channels), "token shift: channels");
    assert!(mix.len().is_multiple_of(channels), "token shift: whole mixes");
    assert!(x.len().is_multiple_of(width), "token shift: whole rows");
    width
}

#[inline(always)]
fn previous<'a>(x: &'a [f32], before: &'a [f32], width: usize, t: usize) -> &'a [f32] {
    match t.checked_sub(1) {
        Some(t) => &x[t * width..][..width],
        None => before,
    }
}

#[inline(always)]
fn add_product(out: &mut [f32], d: &[f32], mix: &[f32], factor: impl Fn(f32) -> f32) {
    for (out, d) in out.chunks_exact_mut(mix.len()).zip(d.chunks_exact(mix.len())) {
        for ((out, d), mix) in out.iter_mut().zip(d).zip(mix) {
            *out += d * factor(*mix);
        }
    }
}

#[inline(always)]
fn add_slopes(sums: &mut [f32], d: &[f32], now: &[f32], last: &[f32]) {
    let n = sums.len();
    for ((d, now), last) in d.chunks_exact(n).zip(now.chunks_exact(n)).zip(last.chunks_exact(n)) {
        for j in 0..n {
            sums[j] += d[j] * (now[j] - last[j]);
        }
    }
}
