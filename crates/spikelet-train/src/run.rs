//! The state of a training run on disk: one checkpoint file, replaced atomically.

use crate::params::Tensors;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Where a run stands besides its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Epoch in progress, from 0.
    pub epoch: usize,
    /// Batches of that epoch already learned.
    pub batch: usize,
    /// Sum of the losses of those batches, weighted by their size.
    pub loss_sum: f64,
    /// Right answers in those batches.
    pub correct: usize,
    /// Labels in those batches: of their sequences, or of every step of text.
    pub seen: usize,
    /// Validation accuracy of the best epoch so far.
    pub best_accuracy: Option<f64>,
    /// Its validation loss, which chooses the best epoch of text.
    #[serde(default)]
    pub best_loss: Option<f64>,
    /// The epoch that gave it.
    pub best_epoch: usize,
    /// Validation losses of all epochs, where they decide when weights are averaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub val_losses: Vec<f64>,
    /// Steps whose weights have been averaged.
    #[serde(default)]
    pub averaged: usize,
    /// Whether averaging has begun.
    #[serde(default)]
    pub averages: bool,
    /// Seconds spent so far.
    pub seconds: f64,
}

/// Everything needed to go on as if nothing had happened.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// Where the run stands.
    pub position: Position,
    /// The weights.
    pub weights: Tensors,
    /// The weights of the best epoch.
    pub best: Tensors,
    /// Which weights pruning keeps (1) and which it holds at zero (0); empty without pruning.
    pub masks: Tensors,
    /// The mean of the weights over steps; empty without averaging.
    pub average: Tensors,
    /// What the next window of a text takes over, by number; empty at the start of an epoch.
    pub carried: Tensors,
    /// The optimiser's own record.
    pub optimizer: Vec<u8>,
}

/// A checkpoint that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content is not a checkpoint.
    #[error("{path}: not a checkpoint of a training run: {reason}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Checkpoint {
    /// Writes to `path`, atomically.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let mut tensors: Vec<(String, Vec<usize>, Dtype, Vec<u8>)> = Vec::new();
        for (prefix, set) in [
            ("weights.", &self.weights),
            ("best.", &self.best),
            ("masks.", &self.masks),
            ("average.", &self.average),
            ("carried.", &self.carried),
        ] {
            for (name, (shape, values)) in set {
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                tensors.push((format!("{prefix}{name}"), shape.clone(), Dtype::F32, bytes));
            }
        }
        let optimizer = self.optimizer.clone();
        tensors.push(("optimizer".to_owned(), vec![optimizer.len()], Dtype::U8, optimizer));
        let views = tensors.iter().map(|(name, shape, dtype, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).expect("sizes fit");
            (name.as_str(), view)
        });
        let position = serde_json::to_string(&self.position).expect("plain numbers");
        let metadata = HashMap::from([("spikelet.run".to_owned(), position)]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| {
            CheckpointError::Format { path: path.to_owned(), reason: e.to_string() }
        })?;
        write_atomically(path, &bytes)
            .map_err(|source| CheckpointError::Io { path: path.to_owned(), source })
    }

    /// Reads what [`save`](Self::save) wrote.
    pub fn load(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let bytes = fs::read(path)
            .map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        let format = |reason: String| CheckpointError::Format { path: path.to_owned(), reason };
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| format(e.to_string()))?;
        let position = metadata
            .metadata()
            .as_ref()
            .and_then(|m| m.get("spikelet.run"))
            .ok_or_else(|| format("the header has no field `spikelet.run`".to_owned()))?;
        let position =
            serde_json::from_str(position).map_err(|e| format(format!("`spikelet.run`: {e}")))?;
        let mut checkpoint = Checkpoint { position, ..Checkpoint::default() };
        let file = SafeTensors::deserialize(&bytes).map_err(|e| format(e.to_string()))?;
        for (name, view) in file.tensors() {
            if name == "optimizer" {
                checkpoint.optimizer = view.data().to_vec();
                continue;
            }
            let (set, name) = match name.split_once('.') {
                Some(("weights", rest)) => (&mut checkpoint.weights, rest),
                Some(("best", rest)) => (&mut checkpoint.best, rest),
                Some(("masks", rest)) => (&mut checkpoint.masks, rest),
                Some(("average", rest)) => (&mut checkpoint.average, rest),
                Some(("carried", rest)) => (&mut checkpoint.carried, rest),
                _ => return Err(format(format!("unexpected tensor `{name}`"))),
            };
            if view.dtype() != Dtype::F32 {
                return Err(format(format!("tensor `{name}` is not f32")));
            }
            let values = view.data().chunks_exact(4);
            let values = values.map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")));
            set.insert(name.to_owned(), (view.shape().to_vec(), values.collect()));
        }
        Ok(checkpoint)
    }
}

/// Writes a file by way of a temporary one beside it, so that a reader (or a power cut) sees the
/// old content or the new, never a part.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let mut file = fs::File::create(&temporary)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Checkpoint {
        Checkpoint {
            position: Position { epoch: 3, best_accuracy: Some(0.5), ..Position::default() },
            weights: Tensors::from([("a.b".to_owned(), (vec![2, 1], vec![1.5, f32::MIN]))]),
            best: Tensors::from([("a.b".to_owned(), (vec![2, 1], vec![0.25, -0.0]))]),
            masks: Tensors::new(),
            average: Tensors::from([("a".to_owned(), (vec![1], vec![0.5]))]),
            carried: Tensors::from([("0".to_owned(), (vec![1, 2], vec![0.5, 1.0]))]),
            optimizer: vec![1, 2, 3],
        }
    }

    #[test]
    fn round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.safetensors");
        example().save(&path).unwrap();
        let back = Checkpoint::load(&path).unwrap();
        assert_eq!(back.position, example().position);
        assert_eq!(back.weights, example().weights);
        assert_eq!(back.best, example().best);
        assert_eq!((back.average, back.carried), (example().average, example().carried));
        assert_eq!(back.optimizer, example().optimizer);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.safetensors");
        example().save(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = Checkpoint::load(&path).unwrap_err().to_string();
            assert!(error.contains("checkpoint.safetensors"), "{error}");
        }
    }
}
