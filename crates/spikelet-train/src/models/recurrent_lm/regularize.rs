//! What is added to the loss of a recurrent language model, so that it learns to say less.

use crate::models::ModelError;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Weights of what is added to the loss; all are 0 unless given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regularizers {
    /// Of the mean square of what the decoder reads (AWD-LSTM's alpha).
    #[serde(default)]
    pub activation: f32,
    /// Of the mean square of the change of the last layer's output from step to step (AWD-LSTM's
    /// beta).
    #[serde(default)]
    pub temporal: f32,
    /// Of the activity of EGRU layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
}

/// As EGRU's official gesture network has it, for all layers together: `weight` times the sum of
/// `(a - target)^2`, where `a` is the fraction of units with an event, and the mean of
/// `h - (threshold - target)` of every layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activity {
    /// What it weighs in the loss.
    pub weight: f32,
    /// Fraction of units that should have an event.
    pub target: f32,
}

impl Regularizers {
    /// Whether anything is added.
    pub fn any(&self) -> bool {
        *self != Regularizers::default()
    }

    /// Whether these are weights.
    ///
    /// # Errors
    /// Numbers out of range.
    pub fn check(&self) -> Result<(), ModelError> {
        let (weight, target) = self.activity.map_or((0.0, 0.0), |a| (a.weight, a.target));
        let weights = [
            ("regularize.activation", self.activation),
            ("regularize.temporal", self.temporal),
            ("regularize.activity.weight", weight),
        ];
        for (name, value) in weights {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(ModelError::Setting { name, value, range: "0 or above" });
            }
        }
        match (0.0..=1.0).contains(&target) {
            true => Ok(()),
            false => {
                let (name, value) = ("regularize.activity.target", target);
                Err(ModelError::Setting { name, value, range: "from 0 to 1" })
            }
        }
    }

    /// What is added: `raw` is what the last layer gives, `read` what of it the decoder reads, both
    /// `[time, batch, units]`; `activities` the fraction of events of every layer and the mean of
    /// its distance.
    pub fn penalty(
        &self,
        raw: Tensor<3>,
        read: Tensor<3>,
        activities: Vec<[Tensor<1>; 2]>,
    ) -> Option<Tensor<1>> {
        let mut sum: Option<Tensor<1>> = None;
        let mut add = |value: Tensor<1>| {
            sum = Some(match sum.take() {
                Some(sum) => sum + value,
                None => value,
            });
        };
        let [time, ..] = raw.dims();
        if self.activation > 0.0 {
            add((read.clone() * read).mean().mul_scalar(self.activation));
        }
        if self.temporal > 0.0 && time > 1 {
            let change = raw.clone().narrow(0, 1, time - 1) - raw.narrow(0, 0, time - 1);
            add((change.clone() * change).mean().mul_scalar(self.temporal));
        }
        if let Some(Activity { weight, target }) = self.activity
            && !activities.is_empty()
        {
            let layers = activities.len() as f32;
            let mut fractions: Option<Tensor<1>> = None;
            for [fraction, distance] in activities {
                add(distance.mul_scalar(weight));
                fractions = Some(match fractions {
                    Some(fractions) => fractions + fraction,
                    None => fraction,
                });
            }
            if let Some(fractions) = fractions {
                let beyond = fractions.mul_scalar(1.0 / layers).sub_scalar(target);
                add((beyond.clone() * beyond).mul_scalar(weight));
            }
        }
        sum
    }
}
