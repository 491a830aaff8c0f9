//! Averages of the weights of all steps: NT-ASGD (Merity et al. 2018), which begins with them when
//! the validation loss no longer falls.

use crate::params::{self, Tensors};
use burn::module::Module;
use serde::{Deserialize, Serialize};

/// When weights are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Averaging {
    /// From the first epoch on whose validation loss is above the least one of all that are more than
    /// so many epochs older.
    pub patience: usize,
}

impl Averaging {
    /// Whether the losses of all epochs so far say that it begins.
    pub fn begins(&self, losses: &[f64]) -> bool {
        let Some((last, before)) = losses.split_last() else { return false };
        let old = &before[..before.len().saturating_sub(self.patience)];
        old.iter().any(|loss| last > loss)
    }
}

/// The mean of the weights of some steps.
#[derive(Clone, Debug, Default)]
pub struct Mean {
    /// Steps in it.
    pub steps: usize,
    /// The weights.
    pub weights: Tensors,
}

impl Mean {
    /// Adds the weights of a step.
    pub fn add<M: Module>(&mut self, model: &M) {
        self.steps += 1;
        if self.weights.is_empty() {
            self.weights = params::collect(model);
            return;
        }
        let share = 1.0 / self.steps as f32;
        for (name, (_, values)) in params::collect(model) {
            let Some((_, mean)) = self.weights.get_mut(&name) else { continue };
            for (mean, value) in mean.iter_mut().zip(values) {
                *mean += (value - *mean) * share;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_when_the_loss_no_longer_falls() {
        let averaging = Averaging { patience: 2 };
        assert!(!averaging.begins(&[]) && !averaging.begins(&[3.0, 4.0, 5.0]));
        assert!(averaging.begins(&[3.0, 2.9, 2.8, 3.1]), "above the one three epochs older");
        assert!(!averaging.begins(&[3.0, 2.5, 2.6, 2.7]), "below it");
    }
}
