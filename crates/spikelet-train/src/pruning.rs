//! Gradual magnitude pruning (Zhu and Gupta 2017): the fraction of weights that are zero grows with
//! the cube of what is left of the time.

use serde::{Deserialize, Serialize};

/// When how many weights are pruned while a run goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradualPruning {
    /// Fraction of every weight matrix that is zero at the end.
    pub to: f64,
    /// Epoch, maybe a fraction of one, at which pruning begins.
    #[serde(default)]
    pub from_epoch: f64,
    /// Epoch at which it has reached its aim. Only later epochs can be the best.
    pub until_epoch: f64,
    /// Batches after which more weights are pruned.
    #[serde(default = "every")]
    pub every: usize,
    /// Beginnings of the names of matrices that stay whole.
    #[serde(default)]
    pub keep: Vec<String>,
}

fn every() -> usize {
    100
}

impl GradualPruning {
    /// The fraction at `epoch` (fractional, from 0) of a run that begins with the fraction `start`.
    pub fn fraction(&self, epoch: f64, start: f64) -> f64 {
        let span = (self.until_epoch - self.from_epoch).max(f64::EPSILON);
        let left = 1.0 - ((epoch - self.from_epoch) / span).clamp(0.0, 1.0);
        self.to + (start - self.to) * left.powi(3)
    }

    /// Whether the aim is reached at `epoch`.
    pub fn is_done(&self, epoch: f64) -> bool {
        epoch >= self.until_epoch
    }

    /// What is wrong with these settings for a run of so many epochs that begins with the fraction
    /// `start`.
    pub fn problem(&self, epochs: usize, start: f64) -> Option<String> {
        if !(start..=1.0).contains(&self.to) {
            return Some(format!(
                "train.prune_gradually.to = {}: it must be between train.prune = {start} and 1",
                self.to
            ));
        }
        let ordered = self.from_epoch >= 0.0 && self.from_epoch <= self.until_epoch;
        if !ordered || self.until_epoch > epochs as f64 || self.every == 0 {
            return Some(format!(
                "train.prune_gradually: from_epoch = {} must not be after until_epoch = {}, that not after the last of \
                 {epochs} epochs, and every = {} must be 1 or more",
                self.from_epoch, self.until_epoch, self.every
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fraction_grows_with_a_cube() {
        let pruning =
            GradualPruning { to: 0.8, from_epoch: 1.0, until_epoch: 5.0, every: 10, keep: vec![] };
        assert_eq!(pruning.fraction(0.5, 0.0), 0.0);
        assert!((pruning.fraction(3.0, 0.0) - 0.7).abs() < 1e-12);
        assert!((pruning.fraction(3.0, 0.4) - 0.75).abs() < 1e-12);
        assert_eq!(pruning.fraction(7.0, 0.4), 0.8);
        assert!(!pruning.is_done(4.9) && pruning.is_done(5.0));
        assert_eq!(pruning.problem(5, 0.0), None);
        assert!(pruning.problem(4, 0.0).is_some() && pruning.problem(5, 0.9).is_some());
        assert!(GradualPruning { every: 0, ..pruning }.problem(5, 0.0).is_some());
    }
}
