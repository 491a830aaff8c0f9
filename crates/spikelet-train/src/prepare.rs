//! From a data configuration to sequences, parts and normalisation.

use burn::tensor::{Device, Tensor, TensorData};
use spikelet_data::{
    DataError, Sequences, Split,
    augment::{AugmentConfig, Augmenter},
    normalize::Normalization,
    source::{DataConfig, Divided},
};
use std::path::Path;

/// Data ready to train on.
pub struct Prepared {
    /// Name of the data set.
    pub dataset: String,
    /// All sequences, normalised if asked for.
    pub sequences: Sequences,
    /// The parts.
    pub split: Split,
    /// What normalised them.
    pub normalization: Option<Normalization>,
    /// The split in words, for reports.
    pub split_name: String,
    augmenter: Option<Augmenter>,
}

impl Prepared {
    /// Loads, splits and normalises. `folder` is what the user gave as `--data`.
    ///
    /// # Errors
    /// If the data is not found or broken, or a part would be empty.
    pub fn new(config: &DataConfig, folder: Option<&Path>) -> Result<Prepared, DataError> {
        let Divided { mut sequences, split, split_name } = config.load(folder)?;
        let fitted = Normalization::fit(&sequences, &split.train)?;
        if config.normalize {
            fitted.apply(&mut sequences.x);
        }
        let unit = vec![1.0; sequences.channels];
        let std = if config.normalize { &unit } else { &fitted.std };
        let augmenter = match config.augment == AugmentConfig::default() {
            true => None,
            false => Some(Augmenter::new(config.augment, std)?),
        };
        let normalization = config.normalize.then_some(fitted);
        let dataset = config.dataset.clone();
        Ok(Prepared { dataset, sequences, split, normalization, split_name, augmenter })
    }

    /// Whether all values are 0 or 1.
    pub fn is_binary(&self) -> bool {
        self.sequences.x.iter().all(|&v| v == 0.0 || v == 1.0)
    }

    /// Inverse frequency of each class in the training part, 1 on average over its sequences.
    pub fn class_weights(&self) -> Vec<f32> {
        let mut counts = vec![0usize; self.sequences.classes.len()];
        for &i in &self.split.train {
            counts[self.sequences.y[i] as usize] += 1;
        }
        let (n, classes) = (self.split.train.len() as f32, counts.len() as f32);
        counts.into_iter().map(|c| if c > 0 { n / (classes * c as f32) } else { 0.0 }).collect()
    }

    /// Sequences as `[time, batch, channels]`.
    pub fn batch(&self, index: &[usize], device: &Device) -> Tensor<3> {
        let mut values = Vec::new();
        self.sequences.batch(index, &mut values);
        let shape = [self.sequences.time, index.len(), self.sequences.channels];
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// Training sequences with this epoch's random changes.
    pub(crate) fn train_batch(
        &self,
        index: &[usize],
        seed: u64,
        epoch: usize,
        device: &Device,
    ) -> Tensor<3> {
        let Some(augmenter) = &self.augmenter else { return self.batch(index, device) };
        let Sequences { time, channels, .. } = self.sequences;
        let mut values = vec![0.0; time * index.len() * channels];
        for (b, &i) in index.iter().enumerate() {
            let mut sample = self.sequences.sample(i).to_vec();
            augmenter.apply(&mut sample, seed, epoch as u64, i as u64);
            for (t, row) in sample.chunks_exact(channels).enumerate() {
                values[(t * index.len() + b) * channels..][..channels].copy_from_slice(row);
            }
        }
        Tensor::from_data(TensorData::new(values, [time, index.len(), channels]), device)
    }
}
