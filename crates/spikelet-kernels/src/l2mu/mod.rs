//! The L2MU cell over a whole sequence: forward and backward through time.
//!
//! Source: Fra et al. 2024 (HAR) and the code of its Braille successor; per step
//!
//! ```text
//! I_u = E_x x[t] + E_h s_h[t-1] + E_m s_m[t-1]      s_u[t] = neuron(I_u)
//! I_m[k] = A s_m[t-1][k] + B s_u[t][k]              s_m[t] = neuron(I_m)
//! I_h = W_x x[t] + W_h s_h[t-1] + W_m s_m[t]        s_h[t] = neuron(I_h)
//! I_o = W_o s_h[t] + b_o                            s_o[t] = neuron(I_o)
//! ```
//!
//! with LIF or CuBa-LIF neurons, soft reset, one decay and one threshold per population. The reset
//! comes one step late: `v = beta v' + I - R threshold`, or, immediate, inside of the decay:
//! `v = beta (v' - R threshold) + I`, with `R = [v' > threshold]` either way. Forward and weight gradients are event-driven: an event adds one contiguous row
//! (a row of the packed weights, or of the gradient). Only the gradient that reaches the spikes is
//! dense, because the arctan surrogate is open everywhere; it is two matrix products a step.
//!
//! The batch is cut in blocks whose gradients are added in order, so results do not depend on the
//! number of threads.
//!
//! Inside, a memory state lies order-major (`i * memories + k`), which makes `A` a handful of
//! vector operations; outside it is memory-major (`k * order + i`) as in the papers' checkpoints.

mod backward;
mod events;
mod forward;
mod pack;

pub use backward::{Gradients, backward};
pub use forward::{Saved, forward};

use crate::surrogate::Surrogate;

/// Sizes of the cell and of the batch it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Time steps.
    pub time: usize,
    /// Sequences side by side.
    pub batch: usize,
    /// Input channels.
    pub input: usize,
    /// Legendre memories, and neurons in `u`.
    pub memories: usize,
    /// States of one memory.
    pub order: usize,
    /// Neurons in `h`.
    pub hidden: usize,
    /// Output neurons.
    pub output: usize,
}

/// Decay and threshold of one population.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Population {
    /// Decay of the membrane potential, used clamped to 0..=1.
    pub beta: f32,
    /// Firing threshold.
    pub threshold: f32,
    /// Decay of the synaptic current, used clamped to 0..=1 (CuBa-LIF only).
    pub alpha: f32,
}

/// Index of a population in the arrays of four.
pub const U: usize = 0;
/// Memory neurons.
pub const M: usize = 1;
/// Hidden neurons.
pub const H: usize = 2;
/// Output neurons.
pub const OUT: usize = 3;

/// What does not change while training.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Sizes.
    pub shape: Shape,
    /// CuBa-LIF instead of LIF.
    pub synaptic: bool,
    /// The soft reset comes after the decay of the next step, instead of at once.
    pub reset_delayed: bool,
    /// Pseudo-derivative of the spike.
    pub surrogate: Surrogate,
}

/// The parameters, weights as `[output, input]` (PyTorch), memory-major.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `[memories, input]`.
    pub e_x: &'a [f32],
    /// `[memories, hidden]`.
    pub e_h: &'a [f32],
    /// `[memories, memories * order]`.
    pub e_m: &'a [f32],
    /// `[order, order]`, applied as `(A m)_i = sum_j a[i][j] m_j`.
    pub a: &'a [f32],
    /// `[order]`.
    pub b: &'a [f32],
    /// `[hidden, input]`.
    pub w_x: &'a [f32],
    /// `[hidden, hidden]`.
    pub w_h: &'a [f32],
    /// `[hidden, memories * order]`.
    pub w_m: &'a [f32],
    /// `[output, hidden]`.
    pub w_o: &'a [f32],
    /// `[output]`.
    pub b_o: &'a [f32],
    /// `u`, `m`, `h`, output.
    pub populations: [Population; 4],
}

impl Shape {
    /// Neurons of each population: `u`, `m`, `h`, output.
    pub fn neurons(&self) -> [usize; 4] {
        [self.memories, self.memories * self.order, self.hidden, self.output]
    }
}

impl Weights<'_> {
    /// # Panics
    /// If a slice does not have the length its shape asks for.
    fn check(&self, s: &Shape) {
        let m = s.memories * s.order;
        let lengths = [
            (self.e_x.len(), s.memories * s.input, "e_x"),
            (self.e_h.len(), s.memories * s.hidden, "e_h"),
            (self.e_m.len(), s.memories * m, "e_m"),
            (self.a.len(), s.order * s.order, "a"),
            (self.b.len(), s.order, "b"),
            (self.w_x.len(), s.hidden * s.input, "w_x"),
            (self.w_h.len(), s.hidden * s.hidden, "w_h"),
            (self.w_m.len(), s.hidden * m, "w_m"),
            (self.w_o.len(), s.output * s.hidden, "w_o"),
            (self.b_o.len(), s.output, "b_o"),
        ];
        for (found, expected, name) in lengths {
            assert_eq!(found, expected, "l2mu: length of {name}");
        }
    }
}
