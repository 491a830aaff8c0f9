//! The event-based gated recurrent unit (Subramoney et al. 2023), as its official code computes it.
//!
//! A layer of `hidden` units reads `x[t]` and its own events `y[t-1]`, never its state:
//!
//! ```text
//! z, r = sigmoid(..), g = tanh(..) of  A + B, A + B, A + r B
//!     with A = x[t] W + b,  B = y[t-1] R + b'          (gates in the order z, r, g)
//! c = z h[t-1] + (1 - z) g                              the paper's update gate is 1 - z
//! c = (1 - k) h[t-1] + k c                              zoneout: k is 1 without
//! o = [c > threshold]                                   strictly
//! y = o c;   h = c - o threshold;   trace = 0.9 trace + 0.1 y
//! ```
//!
//! The derivative of `o` by `c - threshold` is taken as `D max(0, 1 - S |c - threshold|)` with the
//! dampening `D` and the support `S`.
//!
//! What is skipped: units without an event in the recurrent product and in the gradient of its
//! weights, inputs that are zero in the product with `W` and in the gradient of `W`, and in the
//! gradient that flows back to the events the units that cannot use it: those without an event and
//! outside the window of their pseudo-derivative.
//!
//! Where the paper's text and the official code (EvNN) differ, the code is followed: the reset
//! subtracts the threshold (an earlier text clears the state), and the reset gate multiplies the
//! recurrent product with its bias inside, as cuDNN does.

#[cfg(feature = "std")]
mod backward;
#[cfg(feature = "std")]
mod forward;
#[cfg(feature = "std")]
mod needed;
#[cfg(feature = "std")]
mod product;
mod step;

#[cfg(feature = "std")]
pub use backward::{Gradients, OutputGradients, Pass, backward};
#[cfg(feature = "std")]
pub use forward::{Outputs, Saved, forward};
pub use step::step;

/// What a trace keeps per step.
pub const TRACE_DECAY: f32 = 0.9;
/// What an event adds to it.
pub const TRACE_GAIN: f32 = 0.1;

/// Sizes of a layer that runs over sequences side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Time steps.
    pub time: usize,
    /// Sequences side by side.
    pub batch: usize,
    /// Input channels.
    pub input: usize,
    /// Units.
    pub hidden: usize,
}

/// The parameters of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `W`, `[input, 3 hidden]`.
    pub kernel: &'a [f32],
    /// `R`, `[hidden, 3 hidden]`.
    pub recurrent: &'a [f32],
    /// `b`, `[3 hidden]`.
    pub bias: &'a [f32],
    /// `b'`, `[3 hidden]`.
    pub recurrent_bias: &'a [f32],
    /// `[hidden]`.
    pub threshold: &'a [f32],
}

/// What a layer hands to the next step, `[batch, hidden]` each.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// Events with their values.
    pub y: &'a [f32],
    /// Internal state, after the reset.
    pub h: &'a [f32],
    /// Trace of the events.
    pub trace: &'a [f32],
}

/// How much of the new state is taken.
#[derive(Clone, Copy, Debug)]
pub enum Zoneout<'a> {
    /// The same share for all units, as in evaluation: 1 less the fraction zoned out.
    Share(f32),
    /// 1 or 0 for every unit and step, `[time, batch, hidden]`, as in training.
    Mask(&'a [f32]),
}

/// The stand-in for the derivative of an event by the distance from the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PseudoDerivative {
    /// Its largest value `D`, at the threshold.
    pub dampening: f32,
    /// The inverse `S` of the distance at which it is zero.
    pub support: f32,
}

impl PseudoDerivative {
    /// At the distance `u` from the threshold.
    #[inline(always)]
    pub fn at(self, u: f32) -> f32 {
        self.dampening * (1.0 - self.support * u.abs()).max(0.0)
    }
}
