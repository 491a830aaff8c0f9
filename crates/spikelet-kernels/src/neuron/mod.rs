//! Populations of spiking neurons: inference steps, sequences, and their gradients.
//!
//! One step of every model, with input current `I`, potential `v` and spikes `s`, where `v'`,
//! `i'`, `a'` are the values of the step before:
//!
//! ```text
//! IF            v = v' + I
//! LIF           v = beta v' + I                  (input_decay: beta v' + (1 - beta) I)
//! CuBa-LIF      i = alpha i' + I;  v = beta v' + i
//! adaptive LIF  v = beta v' + I;  th = threshold + gain a';  a = rho a' + s
//! LI            v = beta v' + I; the output is v itself
//! s = [v - th > 0] or [v - th >= 0]              (th = threshold unless stated)
//! ```
//!
//! Decays are clamped to `0..=1`, and have no gradient outside.
//!
//! An **immediate** reset changes `v` in the step that spiked, and the stored state is the one
//! after it. A **delayed** reset (snnTorch) takes effect in the next step, after decay and
//! current: `v = beta v' + I - [v' - th' > 0] th'`, or `v = 0` where the step before spiked; the
//! stored state is the one before its spikes have any effect, on `v` as on `a`. Both store all
//! that the next step needs.
//!
//! A neuron of LI type never spikes and never resets.

mod backward;
mod dynamics;
#[cfg(feature = "std")]
pub mod normalized;
mod sequence;
mod shared;
mod step;

pub use backward::{ParamGradients, Run, backward};
pub use sequence::{Saved, sequence};
#[cfg(feature = "std")]
pub use shared::one_step;
pub use step::{first_step_events, step, step_events};

/// How the membrane integrates (equations in the [module](self)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Integrate and fire: no leak.
    If,
    /// Leaky integrate and fire.
    Lif {
        /// The current enters as `(1 - beta) I`.
        input_decay: bool,
    },
    /// Current-based LIF: the current itself leaks.
    CubaLif,
    /// LIF whose threshold rises with every spike and falls back.
    AdaptiveLif,
    /// Leaky integrator: its output is the potential.
    Li,
}

/// What a spike does to the potential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Nothing.
    None,
    /// Soft reset: the threshold (of an adaptive neuron: the one that was crossed) is subtracted.
    Subtract,
    /// Hard reset: the potential becomes zero.
    Zero,
}

/// The dynamics of a population, without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeuronSpec {
    /// How the membrane integrates.
    pub model: Model,
    /// What a spike does to the potential.
    pub reset: Reset,
    /// The reset takes effect in the next step.
    pub reset_delayed: bool,
    /// Fires at `v - th >= 0` instead of `v - th > 0`.
    pub fires_at_threshold: bool,
}

impl NeuronSpec {
    /// Whether neurons carry a second value besides the potential: the synaptic current of
    /// CuBa-LIF, the adaptation of adaptive LIF.
    pub fn has_second(&self) -> bool {
        matches!(self.model, Model::CubaLif | Model::AdaptiveLif)
    }

    /// Checks that a state of `width` neurons fits this spec and `total` currents.
    fn check(&self, width: usize, second: usize, total: usize) {
        assert!(
            width > 0 && total.is_multiple_of(width),
            "{total} currents for {width} potentials"
        );
        let seconds = if self.has_second() { width } else { 0 };
        assert_eq!(second, seconds, "second state value per neuron");
    }

    /// Whether the effects of a spike wait for the next step.
    fn delayed(&self) -> bool {
        self.reset_delayed && self.reset != Reset::None && self.model != Model::Li
    }
}

/// A parameter of a population.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Param<'a> {
    /// The same value for every neuron.
    Shared(f32),
    /// One value per neuron, repeated over the population: neuron `j` takes value
    /// `j % values.len()`, so that a channel's value serves all positions of a channels-last map,
    /// and a neuron's all samples of a batch.
    PerNeuron(&'a [f32]),
}

/// The parameters of a population. A model reads only those in its equation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params<'a> {
    /// Firing threshold.
    pub threshold: Param<'a>,
    /// Decay of the potential per step (all but IF).
    pub beta: Param<'a>,
    /// Decay of the second value per step: `alpha` of CuBa-LIF, `rho` of adaptive LIF.
    pub second_decay: Param<'a>,
    /// What one unit of adaptation adds to the threshold (adaptive LIF).
    pub gain: Param<'a>,
}

impl<'a> Params<'a> {
    /// Parameters of an IF population.
    pub fn threshold(threshold: Param<'a>) -> Self {
        let unused = Param::Shared(0.0);
        Self { threshold, beta: unused, second_decay: unused, gain: unused }
    }

    /// Parameters of a LIF population (or LI, which ignores the threshold).
    pub fn lif(beta: Param<'a>, threshold: Param<'a>) -> Self {
        Self { beta, ..Self::threshold(threshold) }
    }

    /// Parameters of a CuBa-LIF population.
    pub fn cuba_lif(alpha: Param<'a>, beta: Param<'a>, threshold: Param<'a>) -> Self {
        Self { second_decay: alpha, ..Self::lif(beta, threshold) }
    }

    /// Parameters of an adaptive LIF population.
    pub fn adaptive_lif(
        beta: Param<'a>,
        rho: Param<'a>,
        gain: Param<'a>,
        threshold: Param<'a>,
    ) -> Self {
        Self { second_decay: rho, gain, ..Self::lif(beta, threshold) }
    }
}

/// The state of a population between two steps; all zero at the start.
#[derive(Debug)]
pub struct State<'a> {
    /// Potentials, one per neuron.
    pub v: &'a mut [f32],
    /// Synaptic currents (CuBa-LIF) or adaptations (adaptive LIF), one per neuron; empty for the
    /// other models.
    pub second: &'a mut [f32],
}
