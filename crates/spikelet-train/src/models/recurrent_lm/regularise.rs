//! What is added to the loss of a recurrent language model, so that it learns to say less.

use crate::models::{
    ModelError,
    egru::{RegulariserConfig, regulariser::SUMS as ACTIVITY_SUMS},
};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// Weights of what is added to the loss; all are 0 unless given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regularisers {
    /// Of the mean square of what the decoder reads (AWD-LSTM's alpha).
    #[serde(default)]
    pub activation: f32,
    /// Of the mean square of the change of the last layer's output from step to step (AWD-LSTM's
    /// beta).
    #[serde(default)]
    pub temporal: f32,
    /// Of the activity of EGRU layers, as in EGRU's official gesture network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<RegulariserConfig>,
}

/// What a training state holds of them.
pub(super) struct Sums {
    /// Sum over steps of the mean square of what the decoder reads, `[1]`.
    squares: Tensor<1>,
    /// Sum over changes of their mean square, `[1]`.
    changes: Tensor<1>,
    /// Steps so far.
    steps: f32,
    /// Those of [`RegulariserConfig`].
    pub(super) activity: Tensor<2>,
}

impl Sums {
    /// Before the first step.
    pub(super) fn nothing(device: &Device) -> Sums {
        let zero = Tensor::zeros([1], device);
        let activity = RegulariserConfig::nothing(device);
        Sums { squares: zero.clone(), changes: zero, steps: 0.0, activity }
    }

    /// Those of a tensor of a state.
    pub(super) fn of_state(state: Tensor<2>) -> Sums {
        let of = |at: usize| -> Tensor<1> { state.clone().narrow(1, at, 1).reshape([1]) };
        let (squares, changes, steps) = (of(0), of(1), of(2).into_scalar());
        Sums { squares, changes, steps, activity: state.narrow(1, 3, ACTIVITY_SUMS) }
    }

    /// As a tensor of a state, `[1, values]`.
    pub(super) fn into_state(self) -> Tensor<2> {
        let steps = Tensor::from_floats([self.steps], &self.squares.device());
        let sums = Tensor::cat(vec![self.squares, self.changes, steps], 0);
        Tensor::cat(vec![sums.unsqueeze(), self.activity], 1)
    }
}

impl Regularisers {
    /// Whether anything is added.
    pub fn any(&self) -> bool {
        *self != Regularisers::default()
    }

    /// Whether these are weights.
    ///
    /// # Errors
    /// Numbers out of range.
    pub fn check(&self) -> Result<(), ModelError> {
        let weights =
            [("regularise.activation", self.activation), ("regularise.temporal", self.temporal)];
        for (name, value) in weights {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(ModelError::Setting { name, value, range: "0 or above" });
            }
        }
        self.activity.map_or(Ok(()), |activity| activity.check())
    }

    /// Adds some steps: `raw` is what the last layer gives, `read` what of it the decoder reads, both
    /// `[time, batch, units]`; `before` what that layer gave in the step before, `[batch, units]`. The
    /// change from there counts if that step does.
    pub(super) fn add(
        &self,
        sums: &mut Sums,
        [raw, read]: [Tensor<3>; 2],
        before: Option<Tensor<2>>,
    ) {
        let [time, ..] = raw.dims();
        if self.activation > 0.0 {
            let squares = (read.clone() * read).mean().mul_scalar(time as f32);
            sums.squares = sums.squares.clone() + squares;
        }
        if self.temporal > 0.0 {
            let all = match before.filter(|_| sums.steps > 0.0) {
                Some(before) => Tensor::cat(vec![before.unsqueeze(), raw], 0),
                None => raw,
            };
            let changes = all.dims()[0] - 1;
            if changes > 0 {
                let change = all.clone().narrow(0, 1, changes) - all.narrow(0, 0, changes);
                let squares = (change.clone() * change).mean().mul_scalar(changes as f32);
                sums.changes = sums.changes.clone() + squares;
            }
        }
        sums.steps += time as f32;
    }

    /// What is added to the loss of all steps of the sums.
    pub(super) fn of(&self, sums: Sums) -> Tensor<1> {
        let [steps, changes] = [sums.steps, sums.steps - 1.0].map(|count| count.max(1.0));
        let term = sums.squares.mul_scalar(self.activation / steps)
            + sums.changes.mul_scalar(self.temporal / changes);
        match self.activity {
            Some(activity) => term + activity.of(sums.activity),
            None => term,
        }
    }
}
