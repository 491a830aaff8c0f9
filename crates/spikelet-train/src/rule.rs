//! Learning rules: how gradients flow through time.

use crate::{
    gradient_sum::GradientSum,
    loss::Loss,
    model::{SequenceModel, State, read_out},
};
use burn::optim::GradientsParams;
use burn::tensor::{Int, Tensor};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A learning rule. It alone decides what is detached, when `backward` runs and how gradients add
/// up, for every model alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LearningRule {
    /// Backpropagation through time over the whole sequence.
    #[default]
    Bptt,
    /// The gradients of BPTT, one segment of this many steps at a time: only the states between
    /// segments are kept, and each segment runs again for its backward pass (Chen et al. 2016).
    BpttCheckpoint(usize),
    /// Backpropagation through segments of this many steps: values go on from one to the next,
    /// gradients do not.
    BpttTruncated(usize),
    /// Spatial learning through time (Meng et al. 2023): the state is detached after every step
    /// and each step has its own loss, the mean of which is minimised; memory does not grow with
    /// the number of steps.
    Sltt,
    /// SLTT that runs `backward` at `k` steps drawn at random for every batch.
    SlttK(usize),
    /// SLTT that runs `backward` at these steps, from 0.
    SlttAt(Vec<usize>),
}

impl fmt::Display for LearningRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LearningRule::Bptt => write!(f, "bptt"),
            LearningRule::BpttCheckpoint(steps) => write!(f, "bptt-checkpoint={steps}"),
            LearningRule::BpttTruncated(steps) => write!(f, "bptt-truncated={steps}"),
            LearningRule::Sltt => write!(f, "sltt"),
            LearningRule::SlttK(k) => write!(f, "sltt-k={k}"),
            LearningRule::SlttAt(steps) => {
                let steps: Vec<String> = steps.iter().map(usize::to_string).collect();
                write!(f, "sltt-at={}", steps.join(","))
            }
        }
    }
}

impl FromStr for LearningRule {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|n: &usize| *n > 0);
        let listed =
            |text: &str| text.split(',').map(|t| t.parse().ok()).collect::<Option<Vec<usize>>>();
        let found = match s.split_once('=') {
            None if s == "bptt" => Some(LearningRule::Bptt),
            None if s == "sltt" => Some(LearningRule::Sltt),
            Some(("bptt-checkpoint", n)) => number(n).map(LearningRule::BpttCheckpoint),
            Some(("bptt-truncated", n)) => number(n).map(LearningRule::BpttTruncated),
            Some(("sltt-k", n)) => number(n).map(LearningRule::SlttK),
            Some(("sltt-at", list)) => listed(list).map(LearningRule::SlttAt),
            _ => None,
        };
        found.ok_or_else(|| {
            format!(
                "unknown learning rule `{s}`: use bptt, bptt-checkpoint=N (segments of N steps), \
                 bptt-truncated=N (no gradient from one segment to another), sltt, sltt-k=K (K steps at random) or sltt-at=0,2 (listed steps, from 0)"
            )
        })
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
    /// The loss of the outputs, which was minimised.
    pub loss: f32,
    /// What the model adds to it ([`SequenceModel::penalty`]), which was minimised too.
    pub penalty: f32,
    /// Outputs of all steps `[time, batch, classes]`, on the plain device.
    pub outputs: Tensor<3>,
    /// Logits of the read-out `[batch, classes]`, on the plain device.
    pub logits: Tensor<2>,
    /// What [`SequenceModel::learned`] takes.
    pub state: State,
}

impl LearningRule {
    /// Gradients of the loss for one batch `x` `[time, batch, channels]` and its targets
    /// `[batch]`, or `[time * batch]` where every step has targets of its own. `seed` decides the steps SLTT-K draws and what a model drops.
    pub fn gradients<M: SequenceModel>(
        &self,
        model: &M,
        x: Tensor<3>,
        targets: Tensor<1, Int>,
        loss: &Loss,
        seed: u64,
    ) -> Outcome {
        self.window_gradients(model, x, targets, loss, seed, None)
    }

    /// The same of a window that goes on with the state `carried` (on the plain device) of the one
    /// before it, through which no gradient flows.
    pub fn window_gradients<M: SequenceModel>(
        &self,
        model: &M,
        x: Tensor<3>,
        targets: Tensor<1, Int>,
        loss: &Loss,
        seed: u64,
        carried: Option<State>,
    ) -> Outcome {
        match self {
            LearningRule::Bptt => {
                let (outputs, state) = match carried {
                    Some(carried) => {
                        let carried = carried.into_iter().map(Tensor::autodiff).collect();
                        model.resume(x, model.continued(carried, seed))
                    }
                    None => model.training_sequence(x, seed),
                };
                let value = whole(model, outputs.clone(), targets, loss);
                let penalty = model.penalty(&state);
                let objective = match &penalty {
                    Some(penalty) => value.clone() + penalty.clone(),
                    None => value.clone(),
                };
                let gradients = GradientsParams::from_grads(objective.backward(), model);
                let loss = value.into_scalar();
                let penalty = penalty.map_or(0.0, Tensor::into_scalar);
                Outcome::new(model, gradients, [loss, penalty], outputs.inner(), state)
            }
            LearningRule::BpttCheckpoint(steps) => {
                let segments = Segments { steps: *steps, truncated: false };
                segments.gradients(model, x, targets, loss, (seed, carried))
            }
            LearningRule::BpttTruncated(steps) => {
                let segments = Segments { steps: *steps, truncated: true };
                segments.gradients(model, x, targets, loss, (seed, carried))
            }
            LearningRule::Sltt | LearningRule::SlttK(_) | LearningRule::SlttAt(_) => {
                self.online(model, x, targets, loss, (seed, carried))
            }
        }
    }

    fn online<M: SequenceModel>(
        &self,
        model: &M,
        x: Tensor<3>,
        targets: Tensor<1, Int>,
        loss: &Loss,
        (seed, carried): (u64, Option<State>),
    ) -> Outcome {
        let [time, batch, _] = x.dims();
        // Steps that do not learn run on a copy without a graph: values only.
        let plain = model.valid();
        let mut sum = GradientSum::default();
        let mut total = 0.0;
        let mut state = first_state(&plain, batch, &x, seed, carried);
        let mut outputs = Vec::with_capacity(time);
        for (t, (x, learns)) in x.iter_dim(0).zip(self.steps(time, seed)).enumerate() {
            let x = x.squeeze_dim::<2>(0);
            let (out, next) = if learns {
                let (out, next) = model.detached_step(x, state);
                // Divided by all steps, also where few learn, as in the official code.
                let value = loss.of(out.clone(), of_step(&targets, t, batch));
                let value = value.div_scalar(time as f32);
                total += value.clone().into_scalar::<f32>();
                let value = sum.carried_by(model, value);
                // Frees the graph of this step.
                sum.add(model, value.backward());
                (out.inner(), next)
            } else {
                plain.detached_step(x.inner(), state)
            };
            outputs.push(out);
            state = next;
        }
        Outcome::new(model, sum.gradients(), [total, 0.0], Tensor::stack(outputs, 0), state)
    }

    /// Whether it looks at single steps.
    pub fn is_online(&self) -> bool {
        matches!(self, LearningRule::Sltt | LearningRule::SlttK(_) | LearningRule::SlttAt(_))
    }

    /// Which steps run `backward`.
    fn steps(&self, time: usize, seed: u64) -> Vec<bool> {
        match self {
            LearningRule::SlttK(k) => {
                let mut learns: Vec<bool> = (0..time).map(|t| t < *k).collect();
                learns.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
                learns
            }
            LearningRule::SlttAt(steps) => (0..time).map(|t| steps.contains(&t)).collect(),
            _ => vec![true; time],
        }
    }
}

impl Outcome {
    fn new<M: SequenceModel>(
        model: &M,
        gradients: GradientsParams,
        [loss, penalty]: [f32; 2],
        outputs: Tensor<3>,
        state: State,
    ) -> Outcome {
        let logits = read_out(model.readout(), outputs.clone());
        Outcome { gradients, loss, penalty, outputs, logits, state }
    }
}

/// What a window starts from, on the plain device.
fn first_state<M: SequenceModel>(
    plain: &M,
    batch: usize,
    x: &Tensor<3>,
    seed: u64,
    carried: Option<State>,
) -> State {
    match carried {
        Some(carried) => plain.continued(carried, seed),
        None => plain.training_state(batch, &x.device().inner(), seed),
    }
}

/// The targets of a step: those of the sequences, or its own where every step has some.
fn of_step(targets: &Tensor<1, Int>, t: usize, batch: usize) -> Tensor<1, Int> {
    match targets.dims()[0] == batch {
        true => targets.clone(),
        false => targets.clone().narrow(0, t * batch, batch),
    }
}

/// The loss of a whole sequence.
fn whole<M: SequenceModel>(
    model: &M,
    outputs: Tensor<3>,
    targets: Tensor<1, Int>,
    loss: &Loss,
) -> Tensor<1> {
    let [_, batch, _] = outputs.dims();
    match loss.config.per_step || targets.dims()[0] != batch {
        true => loss.of_steps(outputs, targets),
        false => loss.of(read_out(model.readout(), outputs), targets),
    }
}

/// BPTT in segments. The first run has no graph; it gives the outputs, from them the loss and its
/// gradient at every output, and the state before every segment. Then segments run again, the last
/// one first: what each minimises is the sum of its outputs and its last state, weighted by their
/// gradients. Truncated, the last states weigh nothing. What sums over all steps for a penalty passes
/// through every segment as it is, so that its gradient is the same for all of them.
struct Segments {
    steps: usize,
    truncated: bool,
}

impl Segments {
    fn gradients<M: SequenceModel>(
        &self,
        model: &M,
        x: Tensor<3>,
        targets: Tensor<1, Int>,
        loss: &Loss,
        (seed, carried): (u64, Option<State>),
    ) -> Outcome {
        let [time, batch, _] = x.dims();
        let plain = model.valid();
        let mut state = first_state(&plain, batch, &x, seed, carried);
        let (mut before, mut outputs) = (Vec::new(), Vec::new());
        for start in (0..time).step_by(self.steps) {
            let x = x.clone().narrow(0, start, self.steps.min(time - start)).inner();
            before.push(state.clone());
            let (out, next) = plain.resume(x, state);
            outputs.push(out);
            state = next;
        }
        let outputs = Tensor::cat(outputs, 0);
        let leaf = outputs.clone().autodiff().require_grad();
        let value = whole(model, leaf.clone(), targets, loss);
        let mut figures = [value.clone().into_scalar::<f32>(), 0.0];
        let d_outputs = leaf.grad(&value.backward()).expect("the loss depends on the outputs");
        let mut d_last: Vec<Option<Tensor<2>>> = vec![None; state.len()];
        let leaves: State = state.iter().map(|t| t.clone().autodiff().require_grad()).collect();
        if let Some(penalty) = model.penalty(&leaves) {
            figures[1] = penalty.clone().into_scalar::<f32>();
            let gradients = penalty.backward();
            d_last = leaves.iter().map(|leaf| leaf.grad(&gradients)).collect();
        }

        let mut sum = GradientSum::default();
        let mut d_state = d_last.clone();
        for (segment, state) in before.into_iter().enumerate().rev() {
            let start = segment * self.steps;
            let length = self.steps.min(time - start);
            let leaves: State = state.into_iter().map(|t| t.autodiff().require_grad()).collect();
            let (out, next) = model.resume(x.clone().narrow(0, start, length), leaves.clone());
            let d_out = d_outputs.clone().narrow(0, start, length).autodiff();
            let mut objective = (out * d_out).sum();
            for (next, d) in next.into_iter().zip(d_state) {
                if let Some(d) = d {
                    objective = objective + (next * d.autodiff()).sum();
                }
            }
            let gradients = sum.carried_by(model, objective).backward();
            d_state = match self.truncated {
                true => d_last.clone(),
                false => leaves.iter().map(|leaf| leaf.grad(&gradients)).collect(),
            };
            sum.add(model, gradients);
        }
        Outcome::new(model, sum.gradients(), figures, outputs, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let rules = [
            LearningRule::Bptt,
            LearningRule::BpttCheckpoint(2),
            LearningRule::BpttTruncated(5),
            LearningRule::Sltt,
            LearningRule::SlttK(3),
            LearningRule::SlttAt(vec![0, 4]),
        ];
        for rule in rules {
            assert_eq!(rule.to_string().parse::<LearningRule>().unwrap(), rule);
        }
        assert!("sltt-k=0".parse::<LearningRule>().is_err());
        assert!("bptt-checkpoint=0".parse::<LearningRule>().is_err());
        assert!("sltt-at=".parse::<LearningRule>().is_err());
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
