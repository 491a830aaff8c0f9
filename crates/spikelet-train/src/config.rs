//! Everything a training run is made of, as TOML.

use crate::{
    averaging::Averaging, distillation::Distillation, loss::LossConfig, models::ModelConfig,
    optimizer::Optimizer, pruning::GradualPruning, rule::LearningRule, schedule::Schedule,
};
use serde::{Deserialize, Serialize};
pub use spikelet_data::source::{DataConfig, SplitConfig};

/// A training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is learned from.
    pub data: DataConfig,
    /// What learns.
    pub model: ModelConfig,
    /// How it learns.
    pub train: TrainConfig,
    /// Where this recipe comes from and what it is known to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
}

/// A preset's own record of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// One line.
    pub summary: String,
    /// Paper or code the recipe follows.
    #[serde(default)]
    pub source: String,
    /// The figure published for it, with its conditions.
    #[serde(default)]
    pub published: String,
    /// "run here" with the figure, or "not run here" with the reason.
    #[serde(default)]
    pub here: String,
}

/// How a model learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training part.
    pub epochs: usize,
    /// Sequences in a batch; the last batch of an epoch may be smaller. Columns in which a text with
    /// carried windows is read.
    #[serde(default = "batch_size")]
    pub batch_size: usize,
    /// Parts a batch is computed in, one after the other, for batches that memory does not hold at
    /// once; their gradients add up. Batch statistics are those of a part.
    #[serde(default = "one_part")]
    pub accumulate: usize,
    /// `bptt`, `bptt-checkpoint=N`, `bptt-truncated=N`, `sltt`, `sltt-k=K` or `sltt-at=0,2`.
    #[serde(default)]
    pub rule: LearningRule,
    /// What is minimised; cross entropy of the read-out by default.
    #[serde(default)]
    pub loss: LossConfig,
    /// Decides initial weights, order of the data, augmentation and SLTT-K's steps.
    #[serde(default)]
    pub seed: u64,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// How the learning rate changes.
    #[serde(default)]
    pub schedule: Schedule,
    /// Limit on the norm of the whole gradient; 0 for none.
    #[serde(default)]
    pub clip_norm: f32,
    /// Stop after this many epochs without a better validation accuracy; 0 for never.
    #[serde(default)]
    pub patience: usize,
    /// Weigh classes in the loss by the inverse of their frequency.
    #[serde(default)]
    pub class_weights: bool,
    /// What the logits are multiplied by in the loss. Spike counts over many steps saturate the
    /// soft maximum; a factor below 1 softens them.
    #[serde(default = "one")]
    pub logit_scale: f32,
    /// Tokens of text a language model writes after every epoch, to be looked at; 0 for none.
    #[serde(default)]
    pub sample: usize,
    /// Start from the weights of this run or graph instead of fresh ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Learn from a teacher too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillConfig>,
    /// Fraction of each weight matrix kept at zero: magnitude pruning at the start, masked since.
    #[serde(default)]
    pub prune: f64,
    /// Prune more and more of them while training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_gradually: Option<GradualPruning>,
    /// Average weights over steps from the epoch on in which the validation loss no longer falls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<Averaging>,
    /// Train through weights rounded to this many bits (8 or 4); 0 for float.
    #[serde(default)]
    pub quantize_bits: u32,
}

/// A teacher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// A graph or the folder of a run, which is asked once for every training image as it is, or recorded
    /// logits: a NumPy file `[samples, classes]` (`.npy`) in the order of the data set.
    pub teacher: String,
    /// What is taken from its logits: `"hard"`, or `{ soft = { temperature = 3 } }`.
    #[serde(default = "hard")]
    pub kind: Distillation,
    /// Weight of its loss; that of the labels has the rest.
    #[serde(default = "half")]
    pub share: f32,
}

fn hard() -> Distillation {
    Distillation::Hard
}

fn half() -> f32 {
    0.5
}

fn batch_size() -> usize {
    64
}

fn one_part() -> usize {
    1
}

fn one() -> f32 {
    1.0
}
