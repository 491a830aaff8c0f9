//! One step of a layer, behind its matrix products.

use crate::{
    math::{sigmoid, tanh},
    simd::dispatch,
};

/// Advances the units of one sequence. `from_input` holds `A` and `from_events` `B`, `[3, hidden]`
/// each; `share` is that of the new state under zoneout (1 without). `h` is updated, `y` written.
///
/// # Panics
/// When the lengths do not fit.
pub fn step(
    from_input: &[f32],
    from_events: &[f32],
    threshold: &[f32],
    share: f32,
    h: &mut [f32],
    y: &mut [f32],
) {
    let n = h.len();
    assert!(from_input.len() == 3 * n && from_events.len() == 3 * n, "egru: three gates a unit");
    assert!(threshold.len() == n && y.len() == n, "egru: one threshold and one event a unit");
    let (a, b) = (Gates::of(from_input), Gates::of(from_events));
    dispatch(
        #[inline(always)]
        || {
            for j in 0..n {
                let [z, _, g] = gates([a.z[j], a.r[j], a.g[j]], [b.z[j], b.r[j], b.g[j]]);
                let c = candidate(z, g, share, h[j]);
                let o = if c > threshold[j] { 1.0 } else { 0.0 };
                y[j] = o * c;
                h[j] = c - o * threshold[j];
            }
        },
    );
}

/// The three gates of a row.
#[derive(Clone, Copy)]
pub(super) struct Gates<'a> {
    pub(super) z: &'a [f32],
    pub(super) r: &'a [f32],
    pub(super) g: &'a [f32],
}

impl<'a> Gates<'a> {
    #[inline(always)]
    pub(super) fn of(row: &'a [f32]) -> Gates<'a> {
        let n = row.len() / 3;
        Gates { z: &row[..n], r: &row[n..2 * n], g: &row[2 * n..3 * n] }
    }
}

/// `z`, `r` and `g` from what the input and the events add.
#[inline(always)]
pub(super) fn gates(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    let z = sigmoid(a[0] + b[0]);
    let r = sigmoid(a[1] + b[1]);
    [z, r, tanh(a[2] + r * b[2])]
}

/// The state in front of the threshold.
#[inline(always)]
pub(super) fn candidate(z: f32, g: f32, share: f32, before: f32) -> f32 {
    let c = z * before + (1.0 - z) * g;
    (1.0 - share) * before + share * c
}
