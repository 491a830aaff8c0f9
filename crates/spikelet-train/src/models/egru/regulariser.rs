//! The pull on activity and states that the official gesture code adds to the loss.

use super::layer::EgruLayer;
use crate::{models::ModelError, ops::egru::EgruOutputs};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// `weight ((activity - target)^2 + states mean(h - (threshold - margin)))`: the mean share of units with
/// an event, and for every layer the mean of its states over batch, time and units, measured from a
/// little below the threshold, which is held fixed. The second term has no least value: it pulls
/// states down as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegulariserConfig {
    /// Weight of both terms.
    pub weight: f32,
    /// The share of units that should have an event.
    #[serde(default = "target")]
    pub activity: f32,
    /// How much the second term counts beside the first; 1 in the official code. In a language model it
    /// outweighs what there is to learn.
    #[serde(default = "one")]
    pub states: f32,
    /// How far below the threshold states are measured from.
    #[serde(default = "target")]
    pub margin: f32,
    /// Whether the first term learns.
    #[serde(default)]
    pub gradient: ActivityGradient,
    /// Epoch, maybe a fraction of one, from which both terms are there: a model that has learned bears
    /// what would keep a fresh one from learning. Only epochs that end later can be the best.
    #[serde(default)]
    pub from_epoch: f64,
}

/// Whether the activity learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActivityGradient {
    /// It does not: the official code counts events by comparing with zero, through which no
    /// gradient flows. The term is a figure only.
    #[default]
    Official,
    /// It does, through the pseudo-derivative of the events.
    Intended,
}

fn one() -> f32 {
    1.0
}

fn target() -> f32 {
    0.05
}

/// What a training state holds of it, `[1, 3]`: the sums over steps of the states above their
/// margins (all layers together) and of the activity, and the number of steps.
pub(in crate::models) const SUMS: usize = 3;

impl RegulariserConfig {
    /// Whether these settings make sense.
    ///
    /// # Errors
    /// Numbers out of range.
    pub fn check(&self) -> Result<(), ModelError> {
        let wrong = |name, value, range| Err(ModelError::Setting { name, value, range });
        if self.weight < 0.0 || !self.weight.is_finite() {
            return wrong("regularise.weight", self.weight, "0 or above");
        }
        if !(0.0..=1.0).contains(&self.activity) {
            return wrong("regularise.activity", self.activity, "from 0 to 1");
        }
        if self.states < 0.0 || !self.states.is_finite() {
            return wrong("regularise.states", self.states, "0 or above");
        }
        if !self.margin.is_finite() {
            return wrong("regularise.margin", self.margin, "a number");
        }
        if self.from_epoch < 0.0 || !self.from_epoch.is_finite() {
            return wrong("regularise.from_epoch", self.from_epoch as f32, "0 or above");
        }
        Ok(())
    }

    /// What of it there is at `epoch`.
    pub(in crate::models) fn at(self, epoch: f64) -> Option<RegulariserConfig> {
        (epoch >= self.from_epoch).then_some(self)
    }

    /// The sums before the first step.
    pub(in crate::models) fn nothing(device: &Device) -> Tensor<2> {
        Tensor::zeros([1, SUMS], device)
    }

    /// What a layer, one of `layers`, adds to the sums; steps are counted with the first.
    pub(in crate::models) fn add(
        &self,
        sums: Tensor<2>,
        layer: &EgruLayer,
        out: &EgruOutputs,
        [index, layers]: [usize; 2],
    ) -> Tensor<2> {
        let [time, batch, units] = out.h.dims();
        let each = 1.0 / (batch * units) as f32;
        let base = layer.thr.val().detach().sub_scalar(self.margin).mean().mul_scalar(time as f32);
        let above = out.h.clone().sum().mul_scalar(each) - base;
        let events = match self.gradient {
            ActivityGradient::Official => out.o.clone().detach(),
            ActivityGradient::Intended => out.o.clone(),
        };
        let events = events.sum().mul_scalar(each / layers as f32);
        let steps = if index == 0 { time as f32 } else { 0.0 };
        let steps = above.zeros_like().add_scalar(steps);
        sums + Tensor::cat(vec![above, events, steps], 0).unsqueeze()
    }

    /// The term of the loss.
    pub(in crate::models) fn of(&self, sums: Tensor<2>) -> Tensor<1> {
        let of = |at: usize| -> Tensor<1> { sums.clone().narrow(1, at, 1).reshape([1]) };
        let steps = of(2).detach();
        let off = (of(1) / steps.clone()).sub_scalar(self.activity);
        (off.clone() * off + (of(0) / steps).mul_scalar(self.states)).mul_scalar(self.weight)
    }
}
