//! Learning rules: how gradients flow through time.

use crate::model::{SequenceModel, read_out};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Int, Tensor};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A learning rule. It alone decides what is detached, when `backward` runs and how gradients add
/// up, for every model alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LearningRule {
    /// Backpropagation through time over the whole sequence; the loss is that of the read-out.
    #[default]
    Bptt,
    /// Spatial learning through time (Meng et al. 2023): the state is detached after every step
    /// and each step has its own loss, the mean of which is minimised; memory does not grow with
    /// the number of steps.
    Sltt,
    /// SLTT that runs `backward` at `k` steps drawn at random for every batch.
    SlttK(usize),
}

impl fmt::Display for LearningRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LearningRule::Bptt => write!(f, "bptt"),
            LearningRule::Sltt => write!(f, "sltt"),
            LearningRule::SlttK(k) => write!(f, "sltt-k={k}"),
        }
    }
}

impl FromStr for LearningRule {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "bptt" => Ok(LearningRule::Bptt),
            "sltt" => Ok(LearningRule::Sltt),
            _ => match s.strip_prefix("sltt-k=").map(str::parse) {
                Some(Ok(k)) if k > 0 => Ok(LearningRule::SlttK(k)),
                _ => Err(format!(
                    "unknown learning rule `{s}`: use bptt, sltt or sltt-k=K with K of 1 or more"
                )),
            },
        }
    }
}

impl TryFrom<String> for LearningRule {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<LearningRule> for String {
    fn from(rule: LearningRule) -> String {
        rule.to_string()
    }
}

/// What one batch gave.
pub struct Outcome {
    /// Gradients by parameter.
    pub gradients: GradientsParams,
    /// The loss that was minimised.
    pub loss: f32,
    /// Logits of the read-out `[batch, classes]`, on the plain device.
    pub logits: Tensor<2>,
}

impl LearningRule {
    /// Gradients of `loss` (of logits `[batch, classes]` and targets `[batch]`) for one batch `x`
    /// `[time, batch, channels]`. `seed` decides the steps SLTT-K draws.
    pub fn gradients<M: SequenceModel>(
        self,
        model: &M,
        x: Tensor<3>,
        targets: Tensor<1, Int>,
        loss: &dyn Fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>,
        seed: u64,
    ) -> Outcome {
        match self {
            LearningRule::Bptt => {
                let logits = read_out(model.readout(), model.sequence(x));
                let value = loss(logits.clone(), targets);
                let gradients = GradientsParams::from_grads(value.backward(), model);
                Outcome { gradients, loss: value.into_scalar(), logits: logits.inner() }
            }
            LearningRule::Sltt | LearningRule::SlttK(_) => {
                self.online(model, x, targets, loss, seed)
            }
        }
    }

    fn online<M: SequenceModel>(
        self,
        model: &M,
        x: Tensor<3>,
        targets: Tensor<1, Int>,
        loss: &dyn Fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>,
        seed: u64,
    ) -> Outcome {
        let [time, batch, _] = x.dims();
        // Steps that do not learn run on a copy without a graph: values only.
        let plain = model.valid();
        let mut sum = GradientsAccumulator::new();
        let mut total = 0.0;
        let mut state = plain.initial_state(batch, &x.device().inner());
        let mut outputs = Vec::with_capacity(time);
        for (x, learns) in x.iter_dim(0).zip(self.steps(time, seed)) {
            let x = x.squeeze_dim::<2>(0);
            let (out, next) = if learns {
                let state = state.into_iter().map(Tensor::autodiff).collect();
                let (out, next) = model.step(x, state);
                let value = loss(out.clone(), targets.clone()).div_scalar(time as f32);
                // Frees the graph of this step.
                sum.accumulate(model, GradientsParams::from_grads(value.backward(), model));
                total += value.into_scalar::<f32>();
                (out.inner(), next.into_iter().map(Tensor::inner).collect())
            } else {
                plain.step(x.inner(), state)
            };
            outputs.push(out);
            state = next;
        }
        let logits = read_out(model.readout(), Tensor::stack(outputs, 0));
        Outcome { gradients: sum.grads(), loss: total, logits }
    }

    /// Which steps run `backward`.
    fn steps(self, time: usize, seed: u64) -> Vec<bool> {
        let LearningRule::SlttK(k) = self else { return vec![true; time] };
        let mut learns: Vec<bool> = (0..time).map(|t| t < k).collect();
        learns.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        learns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for rule in [LearningRule::Bptt, LearningRule::Sltt, LearningRule::SlttK(3)] {
            assert_eq!(rule.to_string().parse::<LearningRule>().unwrap(), rule);
        }
        assert!("sltt-k=0".parse::<LearningRule>().is_err());
        assert!("btt".parse::<LearningRule>().is_err());
    }

    #[test]
    fn k_steps_are_drawn_by_seed() {
        let count = |seed| LearningRule::SlttK(2).steps(9, seed).iter().filter(|&&l| l).count();
        assert_eq!(count(1), 2);
        assert_eq!(LearningRule::SlttK(2).steps(9, 1), LearningRule::SlttK(2).steps(9, 1));
        assert!(
            (0..20)
                .any(|s| LearningRule::SlttK(2).steps(9, s) != LearningRule::SlttK(2).steps(9, 0))
        );
        assert_eq!(LearningRule::SlttK(20).steps(3, 0), [true; 3]);
    }
}
