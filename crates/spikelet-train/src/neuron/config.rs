//! Settings of a population of neurons.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use spikelet_kernels::neuron::{Model, NeuronSpec, Reset};
use spikelet_kernels::surrogate::Surrogate;

use super::Dynamics;

/// How the membrane integrates; equations in [`spikelet_kernels::neuron`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeuronModel {
    /// Integrate and fire, no leak.
    If,
    /// Leaky integrate and fire.
    Lif,
    /// Current-based LIF (snnTorch's `Synaptic`).
    CubaLif,
    /// LIF with an adaptive threshold.
    AdaptiveLif,
    /// Leaky integrator, never spikes.
    Li,
}

/// What a spike does to the potential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetKind {
    /// Nothing.
    None,
    /// The threshold is subtracted.
    Subtract,
    /// The potential becomes zero.
    Zero,
}

/// A parameter of a population: its initial value, and whether it is learned. In a file a bare
/// number is a fixed, shared parameter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ParameterConfig {
    /// Value, or the one learning starts from.
    pub value: f32,
    /// Learned with the weights.
    pub learnable: bool,
    /// A value of its own for every neuron (last axis), instead of one for all.
    pub per_neuron: bool,
}

impl From<f32> for ParameterConfig {
    fn from(value: f32) -> Self {
        Self { value, learnable: false, per_neuron: false }
    }
}

impl<'de> Deserialize<'de> for ParameterConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            value: f32,
            #[serde(default)]
            learnable: bool,
            #[serde(default)]
            per_neuron: bool,
        }

        struct NumberOrTable;

        impl<'de> Visitor<'de> for NumberOrTable {
            type Value = ParameterConfig;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a number, or a table of `value`, `learnable` and `per_neuron`")
            }

            fn visit_f64<E>(self, value: f64) -> Result<ParameterConfig, E> {
                Ok((value as f32).into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<ParameterConfig, E> {
                Ok((value as f32).into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<ParameterConfig, E> {
                Ok((value as f32).into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ParameterConfig, A::Error> {
                let Table { value, learnable, per_neuron } =
                    Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ParameterConfig { value, learnable, per_neuron })
            }
        }

        deserializer.deserialize_any(NumberOrTable)
    }
}

/// A population of neurons. What is left out is as in snnTorch: threshold 1, soft reset one step
/// later and detached, `v > threshold`, arctangent surrogate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeuronConfig {
    /// How the membrane integrates.
    pub model: NeuronModel,
    /// Firing threshold.
    #[serde(default = "one")]
    pub threshold: ParameterConfig,
    /// Decay of the potential per step, 0 to 1 (all but `if`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta: Option<ParameterConfig>,
    /// Decay of the synaptic current per step, 0 to 1 (`cuba-lif`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<ParameterConfig>,
    /// Decay of the adaptation per step, 0 to 1 (`adaptive-lif`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rho: Option<ParameterConfig>,
    /// What one unit of adaptation adds to the threshold (`adaptive-lif`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<ParameterConfig>,
    /// Parametric LIF (Fang et al. 2021): what is learned is `w` with `beta = 1 - sigmoid(w)`, so
    /// that the decay stays between 0 and 1 (`lif`).
    #[serde(default)]
    pub parametric: bool,
    /// The current enters as `(1 - beta) I` (`lif`).
    #[serde(default)]
    pub input_decay: bool,
    /// What a spike does to the potential.
    #[serde(default = "subtract")]
    pub reset: ResetKind,
    /// The reset takes effect in the next step.
    #[serde(default = "yes")]
    pub reset_delayed: bool,
    /// No gradient flows through the spikes in the reset.
    #[serde(default = "yes")]
    pub detach_reset: bool,
    /// Fires at `v >= threshold` instead of `v > threshold`.
    #[serde(default)]
    pub fires_at_threshold: bool,
    /// The derivative of a spike.
    #[serde(default = "arctan")]
    pub surrogate: Surrogate,
}

fn one() -> ParameterConfig {
    1.0.into()
}

fn subtract() -> ResetKind {
    ResetKind::Subtract
}

fn yes() -> bool {
    true
}

fn arctan() -> Surrogate {
    Surrogate::ARCTAN
}

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NeuronConfigError {
    /// The model has this parameter and it is not given.
    #[error("neuron model {model:?} needs `{name}`: give it a value")]
    Missing {
        /// The model.
        model: NeuronModel,
        /// The parameter.
        name: &'static str,
    },
    /// The model does not have what is set.
    #[error("neuron model {model:?} has no `{name}`: remove it, or choose another model")]
    Unused {
        /// The model.
        model: NeuronModel,
        /// The setting.
        name: &'static str,
    },
    /// A value is outside its range.
    #[error("neuron parameter `{name}` = {value} is not {range}")]
    Range {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: f32,
        /// What it may be.
        range: &'static str,
    },
}

impl NeuronConfig {
    /// A population of `model` whose parameters are all to be given.
    pub fn new(model: NeuronModel) -> Self {
        Self {
            model,
            threshold: one(),
            beta: None,
            alpha: None,
            rho: None,
            gain: None,
            parametric: false,
            input_decay: false,
            reset: subtract(),
            reset_delayed: true,
            detach_reset: true,
            fires_at_threshold: false,
            surrogate: arctan(),
        }
    }

    /// Checks that exactly the parameters of the model are given, and that values are in range.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn check(&self) -> Result<(), NeuronConfigError> {
        use NeuronModel::{AdaptiveLif, CubaLif, If, Lif};
        let model = self.model;
        let parameters = [
            ("beta", &self.beta, model != If),
            ("alpha", &self.alpha, model == CubaLif),
            ("rho", &self.rho, model == AdaptiveLif),
            ("gain", &self.gain, model == AdaptiveLif),
        ];
        for (name, parameter, used) in parameters {
            match (parameter, used) {
                (None, true) => return Err(NeuronConfigError::Missing { model, name }),
                (Some(_), false) => return Err(NeuronConfigError::Unused { model, name }),
                (Some(p), true) if name != "gain" && !(0.0..=1.0).contains(&p.value) => {
                    let range = "between 0 and 1";
                    return Err(NeuronConfigError::Range { name, value: p.value, range });
                }
                (Some(p), true) => finite(name, p.value)?,
                (None, false) => {}
            }
        }
        finite("threshold", self.threshold.value)?;
        for (name, set) in [("parametric", self.parametric), ("input_decay", self.input_decay)] {
            if set && model != Lif {
                return Err(NeuronConfigError::Unused { model, name });
            }
        }
        match self.beta {
            Some(beta) if self.parametric && (beta.value <= 0.0 || beta.value >= 1.0) => {
                let range = "strictly between 0 and 1, as a parametric decay is";
                Err(NeuronConfigError::Range { name: "beta", value: beta.value, range })
            }
            _ => Ok(()),
        }
    }

    /// What the population does.
    pub fn dynamics(&self) -> Dynamics {
        let model = match self.model {
            NeuronModel::If => Model::If,
            NeuronModel::Lif => Model::Lif { input_decay: self.input_decay },
            NeuronModel::CubaLif => Model::CubaLif,
            NeuronModel::AdaptiveLif => Model::AdaptiveLif,
            NeuronModel::Li => Model::Li,
        };
        let reset = match self.reset {
            ResetKind::None => Reset::None,
            ResetKind::Subtract => Reset::Subtract,
            ResetKind::Zero => Reset::Zero,
        };
        Dynamics {
            spec: NeuronSpec {
                model,
                reset,
                reset_delayed: self.reset_delayed,
                fires_at_threshold: self.fires_at_threshold,
            },
            surrogate: self.surrogate,
            detach_reset: self.detach_reset,
        }
    }
}

fn finite(name: &'static str, value: f32) -> Result<(), NeuronConfigError> {
    if value.is_finite() {
        Ok(())
    } else {
        Err(NeuronConfigError::Range { name, value, range: "a finite number" })
    }
}
