//! Learning-rate schedules, as a function of the fraction of training done.

use serde::{Deserialize, Serialize};

/// How the learning rate changes over training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Does not change.
    #[default]
    Constant,
    /// Half a cosine from the full rate to `floor` of it.
    Cosine {
        /// Final fraction of the rate.
        #[serde(default)]
        floor: f64,
        /// Epochs of linear warm-up from zero.
        #[serde(default)]
        warmup_epochs: f64,
        /// Epochs at the full rate between warm-up and cosine.
        #[serde(default)]
        hold_epochs: f64,
    },
    /// A straight line from the full rate to zero (`poly` of power 1).
    Linear {
        /// Epochs of linear warm-up from zero.
        #[serde(default)]
        warmup_epochs: f64,
    },
    /// Multiplied by `factor` at each of the given epochs.
    Step {
        /// Epochs at which the rate drops.
        epochs: Vec<f64>,
        /// What it is multiplied by.
        factor: f64,
        /// Epochs of linear warm-up from zero.
        #[serde(default)]
        warmup_epochs: f64,
    },
}

impl Schedule {
    /// The factor on the learning rate at `epoch` (fractional, from 0) of `epochs`.
    pub fn factor(&self, epoch: f64, epochs: f64) -> f64 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Cosine { floor, warmup_epochs, hold_epochs } => {
                if epoch < *warmup_epochs {
                    return epoch / warmup_epochs;
                }
                let start = warmup_epochs + hold_epochs;
                let done = (epoch - start) / (epochs - start).max(f64::EPSILON);
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.clamp(0.0, 1.0)).cos());
                floor + (1.0 - floor) * cosine
            }
            Schedule::Linear { warmup_epochs } => {
                if epoch < *warmup_epochs {
                    return epoch / warmup_epochs;
                }
                let left = (epochs - epoch) / (epochs - warmup_epochs).max(f64::EPSILON);
                left.clamp(0.0, 1.0)
            }
            Schedule::Step { epochs: drops, factor, warmup_epochs } => {
                if epoch < *warmup_epochs {
                    return epoch / warmup_epochs;
                }
                factor.powi(drops.iter().filter(|&&drop| epoch >= drop).count() as i32)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors() {
        assert_eq!(Schedule::Constant.factor(3.0, 10.0), 1.0);
        let cosine = Schedule::Cosine { floor: 0.1, warmup_epochs: 2.0, hold_epochs: 0.0 };
        assert_eq!(cosine.factor(1.0, 10.0), 0.5);
        assert_eq!(cosine.factor(2.0, 10.0), 1.0);
        assert!((cosine.factor(6.0, 10.0) - 0.55).abs() < 1e-12);
        assert!((cosine.factor(10.0, 10.0) - 0.1).abs() < 1e-12);
        let linear = Schedule::Linear { warmup_epochs: 2.0 };
        assert_eq!(
            [1.0, 2.0, 6.0, 10.0].map(|epoch| linear.factor(epoch, 10.0)),
            [0.5, 1.0, 0.5, 0.0]
        );
        let late = Schedule::Cosine { floor: 0.0, warmup_epochs: 0.0, hold_epochs: 7.0 };
        assert_eq!((late.factor(6.9, 10.0), late.factor(7.0, 10.0)), (1.0, 1.0));
        assert!((late.factor(8.5, 10.0) - 0.5).abs() < 1e-12);
        let step = Schedule::Step { epochs: vec![5.0, 8.0], factor: 0.1, warmup_epochs: 0.0 };
        assert_eq!(step.factor(4.9, 10.0), 1.0);
        assert!((step.factor(8.0, 10.0) - 0.01).abs() < 1e-12);
    }
}
