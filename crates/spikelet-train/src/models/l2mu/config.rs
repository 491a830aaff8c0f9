//! Sizes and constants of an L2MU.

use crate::{
    init::Init,
    models::ModelError,
    neuron::{NeuronConfig, NeuronModel, Neurons, ParameterConfig},
};
use serde::{Deserialize, Serialize};
use spikelet_kernels::legendre::{Discretization, Form};
use spikelet_kernels::surrogate::Surrogate;

/// The neuron of every population.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeuronKind {
    /// Leaky integrate-and-fire (snnTorch's `Leaky`).
    #[default]
    Lif,
    /// Current-based LIF (snnTorch's `Synaptic`).
    CubaLif,
}

/// How real-valued input becomes spikes (HAR generation of the official code).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum InputModule {
    /// Values enter the cell as they are.
    #[default]
    Plain,
    /// One population of neurons a channel, each fed by its own linear map of the value.
    Single {
        /// Neurons a channel.
        population: usize,
    },
    /// The populations of `Single`, then two more layers.
    Stacked {
        /// Neurons a channel.
        population: usize,
        /// Neurons of the middle layer.
        encoding: usize,
        /// Neurons of the last layer, which feed the cell.
        output: usize,
    },
}

/// Initial (or fixed) decays and threshold of a population.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopulationConfig {
    /// Decay of the membrane potential per step.
    pub beta: f32,
    /// Firing threshold.
    pub threshold: f32,
    /// Decay of the synaptic current per step (CuBa-LIF only).
    #[serde(default)]
    pub alpha: f32,
}

/// An L2MU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct L2muConfig {
    /// Number of Legendre memories, and of neurons in `u`.
    pub memories: usize,
    /// States of one memory.
    pub order: usize,
    /// Length of the memory's window in time steps.
    pub theta: f64,
    /// Neurons in `h`.
    pub hidden: usize,
    /// The neuron of every population.
    #[serde(default)]
    pub neuron: NeuronKind,
    /// How real-valued input becomes spikes.
    #[serde(default)]
    pub input: InputModule,
    /// Population `u`.
    pub u: PopulationConfig,
    /// Population `m`.
    pub m: PopulationConfig,
    /// Population `h`.
    pub h: PopulationConfig,
    /// Output population.
    pub out: PopulationConfig,
    /// Every population of the input module.
    #[serde(default = "input_population")]
    pub encoder: PopulationConfig,
    /// Decays and thresholds are learned with the weights (Braille generation) or fixed (HAR).
    #[serde(default = "yes")]
    pub learn_neurons: bool,
    /// The soft reset comes after the decay of the next step (CuBa-LIF, and LIF of the Braille
    /// generation) instead of at once (LIF of the HAR generation, by snnTorch 0.7).
    #[serde(default = "yes")]
    pub reset_delayed: bool,
    /// How A and B are made discrete.
    #[serde(default)]
    pub discretization: Discretization,
    /// Official (transposed) or conventional Legendre update.
    #[serde(default)]
    pub legendre: Form,
    /// Pseudo-derivative of the spike.
    #[serde(default = "arctan")]
    pub surrogate: Surrogate,
}

impl L2muConfig {
    /// Populations of the cell's neurons: one value a parameter for each of `values` populations.
    pub(super) fn population(
        &self,
        p: &PopulationConfig,
        values: usize,
        init: &Init,
    ) -> Result<Neurons, ModelError> {
        let param = |value| ParameterConfig {
            value,
            learnable: self.learn_neurons,
            per_neuron: values > 1,
        };
        let model = match self.neuron {
            NeuronKind::Lif => NeuronModel::Lif,
            NeuronKind::CubaLif => NeuronModel::CubaLif,
        };
        let neurons = NeuronConfig {
            threshold: param(p.threshold),
            beta: Some(param(p.beta)),
            alpha: (self.neuron == NeuronKind::CubaLif).then(|| param(p.alpha)),
            reset_delayed: self.reset_delayed,
            surrogate: self.surrogate,
            ..NeuronConfig::new(model)
        };
        Ok(neurons.init(values, init.device())?)
    }
}

fn yes() -> bool {
    true
}

fn arctan() -> Surrogate {
    Surrogate::ARCTAN
}

fn input_population() -> PopulationConfig {
    PopulationConfig { beta: 0.5, threshold: 0.5, alpha: 0.5 }
}
