//! The WKV scan of RWKV (Peng et al. 2023): attention whose weights decay with distance, as a
//! recurrence with a state of constant size.
//!
//! ```text
//! a[t+1] = e^w a[t] + e^k[t] v[t]        b[t+1] = e^w b[t] + e^k[t]
//! y[t] = (a[t] + e^(u + k[t]) v[t]) / (b[t] + e^(u + k[t]))
//! ```
//!
//! for every channel on its own, with `w <= 0` the decay per step and `u` the bonus of the present
//! token. The exponentials overflow, so what is kept are `p = a e^-o`, `q = b e^-o` and the largest
//! exponent `o` so far: nothing is ever raised to a positive power.
//!
//! Sequences are `[time, width]` with width batch times channels; `w` and `u` are `[channels]`.

mod backward;
mod forward;

pub use backward::{Gradients, Run, backward};
pub use forward::{Saved, sequence, step};

use crate::math::exp;

/// The exponent before the first token: so small that nothing remains of it.
pub const NOTHING: f32 = -1e38;

/// What a scan hands to the next token, each `[width]`. Before the first one `p` and `q` are zero
/// and `o` is [`NOTHING`].
#[derive(Debug)]
pub struct State<'a> {
    /// Weighted sum of values, times `e^-o`.
    pub p: &'a mut [f32],
    /// Sum of weights, times `e^-o`.
    pub q: &'a mut [f32],
    /// Largest exponent.
    pub o: &'a mut [f32],
}

/// The parameters, each `[channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    /// `w`: what is added to every exponent per token.
    pub decay: &'a [f32],
    /// `u`: the bonus of the present token.
    pub first: &'a [f32],
}

impl Params<'_> {
    fn check(&self, width: usize) {
        let channels = self.decay.len();
        assert!(channels > 0 && width.is_multiple_of(channels), "wkv: whole rows of channels");
        assert_eq!(self.first.len(), channels, "wkv: one bonus per channel");
    }
}

/// `e^(a - m)` and `e^(b - m)` with `m` the larger one: one of them is 1.
#[inline(always)]
fn weights(a: f32, b: f32) -> (f32, f32) {
    let difference = a - b;
    let smaller = exp(-difference.abs());
    if difference >= 0.0 { (1.0, smaller) } else { (smaller, 1.0) }
}

/// One token of one channel: its output and the next state.
#[inline(always)]
fn advance([w, u]: [f32; 2], [p, q, o]: [f32; 3], k: f32, v: f32) -> (f32, [f32; 3]) {
    let (before, now) = weights(o, u + k);
    let y = (before * p + now * v) / (before * q + now);
    let (before, now) = weights(w + o, k);
    (y, [before * p + now * v, before * q + now, (w + o).max(k)])
}
