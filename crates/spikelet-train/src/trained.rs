//! What a run of training ends with.

use crate::{
    evaluate::Evaluation,
    params::LoadError,
    run::{CheckpointError, Position},
    sparsity::Sparsity,
};
use serde::{Deserialize, Serialize};
use spikelet_data::DataError;
use std::{io, path::PathBuf};

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// All epochs done.
    Finished,
    /// No better validation accuracy for `patience` epochs.
    EarlyStop,
    /// The observer said so; the run can be resumed.
    Interrupted,
}

/// A run that ended.
#[derive(Clone, Debug)]
pub struct Trained<M> {
    /// The model of the best epoch, on the plain device.
    pub best: M,
    /// Where the run stands.
    pub position: Position,
    /// Why it ended.
    pub end: End,
    /// How much of each event-based layer is silent: over all of the part of the result where the
    /// windows of a text are carried, otherwise over some samples of it; nothing if interrupted.
    pub sparsity: Vec<Sparsity>,
    /// Fraction of the weights of pruned matrices that is zero.
    pub pruned: Option<f64>,
    /// Result on the test part (on the validation part where there is none) of the best model;
    /// nothing if interrupted.
    pub result: Option<Evaluation>,
}

/// A run that failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint belongs to another model.
    #[error("{path}: {source}")]
    Load {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        source: LoadError,
    },
    /// The optimiser state cannot be used.
    #[error("{path}: optimiser state: {reason}")]
    Optimizer {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The metrics file cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Settings that do not go together.
    #[error("{0}")]
    Setting(String),
    /// The data does not allow what is asked for.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The loss or a weight is no longer a number.
    #[error(
        "the loss or a weight became {loss} in epoch {epoch}, batch {batch}: lower `train.optimizer.lr` or set `train.clip_norm`"
    )]
    Diverged {
        /// From 1.
        epoch: usize,
        /// From 1.
        batch: usize,
        /// What it became.
        loss: f32,
    },
}
