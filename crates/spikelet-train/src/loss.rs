//! Losses of logits `[batch, classes]` against class indices `[batch]`.

use crate::{
    distillation::Distillation,
    ops::{self, flex::is_f32_on_flex},
};
use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};
use serde::{Deserialize, Serialize};

/// What a loss is made of and where it is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// Take the mean of the losses of all steps' outputs, not the loss of the read-out. SLTT
    /// always does.
    #[serde(default)]
    pub per_step: bool,
    /// Weight of the mean squared error; the cross entropy has the rest.
    #[serde(default)]
    pub mse: f32,
    /// What outputs are squared against.
    #[serde(default)]
    pub mse_target: MseTarget,
    /// Share of the goal that is spread evenly over all classes, in the cross entropy.
    #[serde(default)]
    pub label_smoothing: f32,
    /// Pull the largest logit of every row towards zero, as RWKV's `L2Wrap` does: its gradient gets
    /// 0.0001 times the logit, divided by the rows. The value of the loss stays.
    #[serde(default)]
    pub l2_wrap: bool,
}

/// What the largest logit is pulled with.
const L2_WRAP: f32 = 1e-4;

/// What outputs are squared against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MseTarget {
    /// 1 for the right class, 0 for the others.
    #[default]
    OneHot,
    /// 1 for every class: a pull against large outputs (Meng et al. 2023).
    Ones,
}

/// The loss of a run.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What it is made of.
    pub config: LossConfig,
    /// What logits are multiplied by before.
    pub logit_scale: f32,
    /// One weight a class, in the cross entropy.
    pub class_weights: Option<Vec<f32>>,
    /// Who else says what the answer is.
    pub teacher: Option<Teacher>,
}

/// A teacher's answers to a batch.
#[derive(Clone, Debug)]
pub struct Teacher {
    /// Its logits, `[batch, classes]`.
    pub logits: Tensor<2>,
    /// What is taken from them.
    pub kind: Distillation,
    /// Weight of its loss; that of the labels has the rest.
    pub share: f32,
}

impl Loss {
    /// A loss on logits as they are.
    pub fn new(config: LossConfig) -> Loss {
        Loss { config, logit_scale: 1.0, class_weights: None, teacher: None }
    }

    /// The loss of logits `[batch, classes]` and targets `[batch]`. With a teacher there may be two
    /// heads' logits side by side, of which the first learns from the labels, the second from the
    /// teacher.
    pub fn of(&self, logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let Some(Teacher { logits: teacher, kind, share }) = &self.teacher else {
            return self.of_labels(logits, targets);
        };
        let ([rows, width], [batch, classes]) = (logits.dims(), teacher.dims());
        let (first, second) = match width == 2 * classes {
            true => (logits.clone().narrow(1, 0, classes), logits.narrow(1, classes, classes)),
            false => (logits.clone(), logits),
        };
        // Every step of a sequence has the same teacher.
        let teacher = teacher.clone().repeat_dim(0, rows / batch);
        let taught = kind.loss(second, teacher);
        self.of_labels(first, targets).mul_scalar(1.0 - share) + taught.mul_scalar(*share)
    }

    /// Rows whose target is negative have none and do not count.
    fn of_labels(&self, logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let Some((logits, targets)) = labelled(&logits, targets) else {
            // Nothing is learned where there is no label at all.
            return logits.sum().mul_scalar(0.0);
        };
        let logits = match self.logit_scale {
            1.0 => logits,
            scale => logits.mul_scalar(scale),
        };
        let [_, classes] = logits.dims();
        let pull = if self.config.l2_wrap { L2_WRAP } else { 0.0 };
        let weights = self.class_weights.as_deref();
        let entropy = pulled(logits.clone(), targets.clone(), weights, pull);
        let smoothing = self.config.label_smoothing;
        let entropy = match smoothing > 0.0 {
            true => {
                let even = log_softmax(logits.clone(), 1).mean().neg();
                entropy.mul_scalar(1.0 - smoothing) + even.mul_scalar(smoothing)
            }
            false => entropy,
        };
        let share = self.config.mse;
        if share == 0.0 {
            return entropy;
        }
        let goal = match self.config.mse_target {
            MseTarget::Ones => logits.ones_like(),
            MseTarget::OneHot => targets.one_hot::<2>(classes).float().cast(logits.dtype()),
        };
        let error = logits - goal;
        let squared = (error.clone() * error).mean();
        entropy.mul_scalar(1.0 - share) + squared.mul_scalar(share)
    }

    /// The mean loss of the outputs `[time, batch, classes]` of all steps, with targets `[batch]`
    /// for all of them or `[time * batch]`; also of outputs `[1, batch, positions * classes]` with
    /// targets `[batch * positions]`.
    pub fn of_steps(&self, outputs: Tensor<3>, targets: Tensor<1, Int>) -> Tensor<1> {
        let [time, batch, values] = outputs.dims();
        let targets = match targets.dims()[0] == batch {
            true => targets.repeat_dim(0, time),
            false => targets,
        };
        let [rows] = targets.dims();
        self.of(outputs.reshape([rows, time * batch * values / rows]), targets)
    }
}

/// The rows that have a target, and these; `None` if none has.
fn labelled(logits: &Tensor<2>, targets: Tensor<1, Int>) -> Option<(Tensor<2>, Tensor<1, Int>)> {
    let found: Vec<i64> = targets.to_data().iter::<i64>().collect();
    if found.iter().all(|&target| target >= 0) {
        return Some((logits.clone(), targets));
    }
    let rows: Vec<i32> = (0..).zip(found).filter(|(_, y)| *y >= 0).map(|(row, _)| row).collect();
    if rows.is_empty() {
        return None;
    }
    let shape = [rows.len()];
    let index: Tensor<1, Int> = Tensor::from_data(TensorData::new(rows, shape), &targets.device());
    Some((logits.clone().select(0, index.clone()), targets.select(0, index)))
}

/// Mean cross entropy; with class weights, the weighted mean (PyTorch's definition).
pub fn cross_entropy(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Option<&[f32]>,
) -> Tensor<1> {
    pulled(logits, targets, weights, 0.0)
}

/// The same with a pull on the largest logit of every row.
fn pulled(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Option<&[f32]>,
    pull: f32,
) -> Tensor<1> {
    if weights.is_none() && is_f32_on_flex(&logits) {
        let targets = targets.into_data().iter::<u32>().collect();
        return ops::cross_entropy::cross_entropy(logits, targets, pull);
    }
    let [rows, _] = logits.dims();
    let picked = log_softmax(logits.clone(), 1).gather(1, targets.clone().reshape([rows, 1]));
    let picked = picked.reshape([rows]);
    let entropy = match weights {
        None => picked.mean().neg(),
        Some(weights) => {
            let device = picked.device();
            let weights = Tensor::<1>::from_floats(weights, &device).select(0, targets);
            (picked * weights.clone()).sum().neg() / weights.sum()
        }
    };
    let largest = logits.max_dim(1);
    let pull = (largest.clone() * largest).sum().mul_scalar(0.5 * pull / rows as f32);
    entropy + (pull.clone() - pull.detach())
}
