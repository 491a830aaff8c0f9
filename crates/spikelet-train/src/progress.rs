//! What is to be seen of a training run: a line for every epoch, and who looks at it.

use crate::sparsity::Sparsity;
use serde::{Deserialize, Serialize};
use spikelet_data::metrics::{Language, Segmentation};
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

/// What one epoch gave; a line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochReport {
    /// From 1.
    pub epoch: usize,
    /// Mean training loss.
    pub loss: f64,
    /// Accuracy on the training batches as they were learned.
    pub train_accuracy: f64,
    /// Loss on the validation part.
    pub val_loss: f64,
    /// Accuracy on the validation part.
    pub val_accuracy: f64,
    /// What a segmenting network makes of the validation part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<Segmentation>,
    /// What a language model makes of the validation part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// How much of each event-based layer is silent over a batch of the validation part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sparsity: Vec<Sparsity>,
    /// Fraction of the weights of pruned matrices that is zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<f64>,
    /// Learning rate at the end of the epoch.
    pub lr: f64,
    /// Whether this is the best epoch so far.
    pub best: bool,
    /// Seconds this epoch took, validation included.
    pub seconds: f64,
}

impl EpochReport {
    /// What trials are compared by, more is better: accuracy, or of text, whose models are asked for
    /// probabilities, one over the perplexity.
    pub fn score(&self) -> f64 {
        self.language.map_or(self.val_accuracy, |language| 1.0 / language.perplexity)
    }
}

/// What happens while a run goes on. Returning `false` from [`batch`](Observer::batch) stops the
/// run after saving its state.
pub trait Observer {
    /// After every batch: epoch from 0, batches done, batches in an epoch, loss of the batch.
    fn batch(&mut self, epoch: usize, done: usize, batches: usize, loss: f32) -> bool;

    /// After every epoch.
    fn epoch(&mut self, report: &EpochReport);

    /// What a language model writes after an epoch.
    fn sample(&mut self, _text: &str) {}
}

/// An observer that sees nothing and never stops.
pub struct Silent;

impl Observer for Silent {
    fn batch(&mut self, _: usize, _: usize, _: usize, _: f32) -> bool {
        true
    }

    fn epoch(&mut self, _: &EpochReport) {}
}

/// The epochs of a run, one JSON object a line.
pub fn metrics_path(run: &Path) -> PathBuf {
    run.join("metrics.jsonl")
}

/// Drops the lines of epochs after `epoch`: a run killed after writing a line and before saving
/// its state runs that epoch again.
pub(crate) fn truncate_metrics(path: &Path, epoch: usize) -> io::Result<()> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let kept: String = text.split_inclusive('\n').take(epoch).collect();
    if kept.len() < text.len() {
        crate::run::write_atomically(path, kept.as_bytes())?;
    }
    Ok(())
}

/// Adds the line of an epoch.
pub(crate) fn append_line(path: &Path, report: &EpochReport) -> io::Result<()> {
    let mut line = serde_json::to_string(report).expect("plain numbers");
    line.push('\n');
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(line.as_bytes())
}
