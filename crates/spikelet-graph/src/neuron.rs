//! Neurons as a graph describes them.
//!
//! One step of every model, with input current `I`, membrane potential `v` and spikes `s`:
//!
//! ```text
//! IF            v = v' + I
//! LIF           v = beta v' + I                  (input_decay: beta v' + (1 - beta) I)
//! CuBa-LIF      i = alpha i' + I;  v = beta v' + i
//! adaptive LIF  v = beta v' + I; threshold = b + gain a';  a = rho a' + s
//! LI            v = beta v' + I; the output is v itself
//! s = [v > threshold] or [v >= threshold]
//! ```
//!
//! `v'` is the potential after the reset of the previous step. An immediate reset is applied in
//! the step that spiked; a delayed one in the next step, so that the stored potential is the one
//! before its reset (snnTorch): `v = beta v' + I - [v' > threshold] threshold`, where decay
//! applies to the potential before the reset.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// A parameter of a population: one value for all, or a tensor of one value per neuron.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Param {
    /// The same value for every neuron.
    Shared(f32),
    /// The name of a tensor in the graph with one value per neuron (or per channel of the last
    /// axis).
    Tensor(String),
}

/// How the membrane integrates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "snake_case")]
pub enum Membrane {
    /// Integrate and fire: no leak.
    If,
    /// Leaky integrate and fire.
    Lif {
        /// Decay of the potential per step, 0..=1.
        beta: Param,
        /// The current enters as `(1 - beta) I`.
        input_decay: bool,
    },
    /// Current-based LIF: the current itself leaks.
    CubaLif {
        /// Decay of the synaptic current per step.
        alpha: Param,
        /// Decay of the potential per step.
        beta: Param,
    },
    /// LIF whose threshold rises with every spike and falls back.
    AdaptiveLif {
        /// Decay of the potential per step.
        beta: Param,
        /// Decay of the adaptation per step.
        rho: Param,
        /// What one unit of adaptation adds to the threshold.
        gain: Param,
    },
    /// Leaky integrator: never spikes, its output is the potential.
    Li {
        /// Decay of the potential per step.
        beta: Param,
    },
}

/// What a spike does to the potential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// Nothing.
    None,
    /// Soft reset: the threshold is subtracted.
    Subtract,
    /// Hard reset: the potential becomes zero. Delayed, the *new* potential (decay and current
    /// included) is set to zero, as snnTorch does.
    Zero,
}

/// A population of neurons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neuron {
    /// How the membrane integrates.
    #[serde(flatten)]
    pub membrane: Membrane,
    /// The firing threshold (not used by LI).
    pub threshold: Param,
    /// Fires at `v >= threshold` instead of `v > threshold`.
    pub fires_at_threshold: bool,
    /// What a spike does to the potential.
    pub reset: Reset,
    /// The reset takes effect in the next step.
    pub reset_delayed: bool,
}

impl Membrane {
    /// Whether it gives spikes; a leaky integrator gives its potential.
    pub fn is_spiking(&self) -> bool {
        !matches!(self, Membrane::Li { .. })
    }
}

impl Neuron {
    /// The name of the model, as in the file.
    pub fn model(&self) -> &'static str {
        match self.membrane {
            Membrane::If => "if",
            Membrane::Lif { .. } => "lif",
            Membrane::CubaLif { .. } => "cuba_lif",
            Membrane::AdaptiveLif { .. } => "adaptive_lif",
            Membrane::Li { .. } => "li",
        }
    }

    /// The parameters of the population in a fixed order: decays, then the threshold.
    pub fn params(&self) -> Vec<&Param> {
        let mut params = match &self.membrane {
            Membrane::If => Vec::new(),
            Membrane::Lif { beta, .. } | Membrane::Li { beta } => Vec::from([beta]),
            Membrane::CubaLif { alpha, beta } => Vec::from([alpha, beta]),
            Membrane::AdaptiveLif { beta, rho, gain } => Vec::from([beta, rho, gain]),
        };
        params.push(&self.threshold);
        params
    }

    pub(crate) fn push_names<'a>(&'a self, names: &mut Vec<&'a str>) {
        for param in self.params() {
            if let Param::Tensor(name) = param {
                names.push(name);
            }
        }
    }
}
