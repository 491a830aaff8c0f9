//! Spiking neurons as differentiable operations and as a Burn module.
//!
//! On the CPU backend Flex, in f32, a step or a whole sequence is one fused operation over
//! [`spikelet_kernels::neuron`], with its backward pass written by hand. Every other backend runs
//! the same equations composed of tensor operations.

mod composed;
mod config;
mod fused;
mod module;
#[cfg(test)]
mod tests;

use burn::tensor::{DType, Tensor};
use spikelet_kernels::neuron::NeuronSpec;
use spikelet_kernels::surrogate::Surrogate;

pub use config::{NeuronConfig, NeuronConfigError, NeuronModel, ParameterConfig, ResetKind};
pub use module::Neurons;

/// What a population does, apart from the values of its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dynamics {
    /// Model, reset and comparison.
    pub spec: NeuronSpec,
    /// The derivative of a spike.
    pub surrogate: Surrogate,
    /// No gradient flows through the spikes in the reset. (Through the threshold that a soft reset
    /// subtracts it does, as in snnTorch.)
    pub detach_reset: bool,
}

/// The parameters of a population, each one value for all neurons or one per neuron (index of the
/// last axis of the current). Decays act clamped to `0..=1` and have no gradient outside.
#[derive(Clone, Debug)]
pub struct NeuronTensors {
    /// Decay of the potential per step; IF ignores it.
    pub beta: Tensor<1>,
    /// Firing threshold; LI ignores it.
    pub threshold: Tensor<1>,
    /// Decay of the second value: `alpha` of CuBa-LIF, `rho` of adaptive LIF.
    pub second_decay: Option<Tensor<1>>,
    /// What one unit of adaptation adds to the threshold (adaptive LIF).
    pub gain: Option<Tensor<1>>,
}

/// What a population hands to the next step, each tensor `[rows, neurons]`: rows are all axes of
/// the current but the last (batch, positions), without time.
#[derive(Clone, Debug)]
pub struct NeuronState {
    /// Potentials.
    pub v: Tensor<2>,
    /// Synaptic currents (CuBa-LIF) or adaptations (adaptive LIF).
    pub second: Option<Tensor<2>>,
}

impl NeuronState {
    /// The state before the first step, for a current whose shape without time is `shape`.
    pub fn zeros(spec: &NeuronSpec, shape: &[usize], like: &burn::tensor::Device) -> Self {
        let (neurons, rows) = shape.split_last().unwrap_or((&1, &[]));
        let zeros = || Tensor::zeros([rows.iter().product(), *neurons], like);
        Self { v: zeros(), second: spec.has_second().then(zeros) }
    }

    /// The same values, without a gradient to where they come from.
    pub fn detach(self) -> Self {
        Self { v: self.v.detach(), second: self.second.map(Tensor::detach) }
    }

    fn cast(self, dtype: DType) -> Self {
        Self { v: self.v.cast(dtype), second: self.second.map(|second| second.cast(dtype)) }
    }
}

/// One time step: `current`, `[.., neurons]`, to spikes (the potential, for LI) of the same shape.
///
/// # Panics
/// When state or parameters do not fit the current or the model.
pub fn neuron_step<const D: usize>(
    current: Tensor<D>,
    state: NeuronState,
    params: NeuronTensors,
    dynamics: Dynamics,
) -> (Tensor<D>, NeuronState) {
    if fused::applies(&current, &state) {
        fused::run(current, state, params, dynamics)
    } else {
        composed::step_of_any_rank(current, state, params, dynamics)
    }
}

/// All time steps from a zero state: `current`, `[time, .., neurons]`, to spikes (the potential,
/// for LI) of the same shape.
///
/// # Panics
/// When parameters do not fit the current or the model.
pub fn neuron_sequence<const D: usize>(
    current: Tensor<D>,
    params: NeuronTensors,
    dynamics: Dynamics,
) -> Tensor<D> {
    let state = NeuronState::zeros(&dynamics.spec, &current.dims()[1..], &current.device())
        .cast(current.dtype());
    neuron_sequence_from(current, state, params, dynamics).0
}

/// [`neuron_sequence`] from a given state; returns the final one too.
///
/// # Panics
/// When state or parameters do not fit the current or the model.
pub fn neuron_sequence_from<const D: usize>(
    current: Tensor<D>,
    state: NeuronState,
    params: NeuronTensors,
    dynamics: Dynamics,
) -> (Tensor<D>, NeuronState) {
    if fused::applies(&current, &state) {
        fused::run(current, state, params, dynamics)
    } else {
        composed::sequence(current, state, params, dynamics)
    }
}
