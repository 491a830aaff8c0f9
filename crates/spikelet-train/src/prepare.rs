//! From a data configuration to samples, parts and normalisation.

use burn::tensor::{Device, Tensor, TensorData};
use spikelet_data::{
    DataError, Samples, Sequences, Split,
    augment::{AugmentConfig, Augmenter},
    event_frames::EventFramesConfig,
    frame_augment::{FrameAugmentConfig, FrameAugmenter},
    mask_augment::MaskAugmentConfig,
    normalize::Normalization,
    source::{DataConfig, Divided},
    text_source::DividedText,
    vocabulary::Vocabulary,
};
use std::path::Path;

/// Data ready to train on.
pub struct Prepared {
    /// Name of the data set.
    pub dataset: String,
    /// All samples, normalised if asked for.
    pub samples: Samples,
    /// The parts.
    pub split: Split,
    /// What normalised them.
    pub normalization: Option<Normalization>,
    /// The split in words, for reports.
    pub split_name: String,
    /// Logits of a teacher for every sample, `[samples, classes]`, if there is one.
    pub teacher: Option<Vec<f32>>,
    /// How recordings became frames, if they did.
    pub events: Option<EventFramesConfig>,
    changes: Changes,
}

/// Random changes to training samples.
enum Changes {
    None,
    Sequences(Augmenter),
    Frames(FrameAugmenter),
    Masks(MaskAugmentConfig),
}

impl Prepared {
    /// Loads, splits and normalises. `folder` is what the user gave as `--data`; a still image is
    /// `shown` so many times; text takes the vocabulary `known`, if there is one.
    ///
    /// # Errors
    /// If the data is not found or broken, or a part would be empty.
    pub fn new(
        config: &DataConfig,
        folder: Option<&Path>,
        shown: usize,
        known: Option<&Vocabulary>,
    ) -> Result<Prepared, DataError> {
        if config.has_frames() {
            return Self::frames(config, folder, shown);
        }
        if config.has_masks() {
            let divided = config.load_masked(folder, shown)?;
            let normalization = divided.masked.normalization().cloned();
            let (dataset, samples) = (config.dataset.clone(), Samples::Masked(divided.masked));
            let changes = Changes::Masks(config.masks.augment);
            let (split, split_name) = (divided.split, divided.split_name);
            return Ok(Prepared {
                dataset,
                samples,
                split,
                normalization,
                split_name,
                teacher: None,
                events: None,
                changes,
            });
        }
        if config.has_sentences() {
            let divided = config.load_sentences(folder, None)?;
            let (dataset, samples) =
                (config.dataset.clone(), Samples::Sentences(divided.sentences));
            let (changes, normalization) = (Changes::None, None);
            let (split, split_name) = (divided.split, divided.split_name);
            let events = None;
            return Ok(Prepared {
                dataset,
                samples,
                split,
                normalization,
                split_name,
                teacher: None,
                events,
                changes,
            });
        }
        if config.has_text() {
            let DividedText { text, split, split_name } = config.load_text(folder, known)?;
            let (dataset, samples) = (config.dataset.clone(), Samples::Text(text));
            let (changes, normalization) = (Changes::None, None);
            let events = None;
            return Ok(Prepared {
                dataset,
                samples,
                split,
                normalization,
                split_name,
                teacher: None,
                events,
                changes,
            });
        }
        let Divided { mut sequences, split, split_name } = config.load(folder)?;
        let fitted = Normalization::fit(&sequences, &split.train)?;
        if config.normalize {
            fitted.apply(&mut sequences.x);
        }
        let unit = vec![1.0; sequences.channels];
        let std = if config.normalize { &unit } else { &fitted.std };
        let changes = match config.augment == AugmentConfig::default() {
            true => Changes::None,
            false => Changes::Sequences(Augmenter::new(config.augment, std)?),
        };
        let normalization = config.normalize.then_some(fitted);
        let (dataset, samples, events) = (config.dataset.clone(), sequences.into(), None);
        let teacher = None;
        Ok(Prepared {
            dataset,
            samples,
            split,
            normalization,
            split_name,
            teacher,
            events,
            changes,
        })
    }

    fn frames(
        config: &DataConfig,
        folder: Option<&Path>,
        shown: usize,
    ) -> Result<Prepared, DataError> {
        let divided = config.load_frames(folder)?;
        let (frames, split, split_name) = (divided.frames, divided.split, divided.split_name);
        let augment = config.frames.augment;
        let changes = match augment == FrameAugmentConfig::default() {
            true => Changes::None,
            false => Changes::Frames(FrameAugmenter::new(augment, frames.shape)?),
        };
        let normalization = frames.normalization().cloned();
        let (dataset, samples) = (config.dataset.clone(), Samples::Frames { frames, shown });
        let events = config.has_recordings().then(|| config.frames.events.clone());
        let teacher = None;
        Ok(Prepared {
            dataset,
            samples,
            split,
            normalization,
            split_name,
            teacher,
            events,
            changes,
        })
    }

    /// The teacher's logits for some samples, `[batch, classes]`.
    pub(crate) fn taught(&self, index: &[usize], device: &Device) -> Option<Tensor<2>> {
        let classes = self.samples.classes().len();
        let teacher = self.teacher.as_ref()?;
        let rows = index.iter().flat_map(|&i| &teacher[i * classes..(i + 1) * classes]);
        let data = TensorData::new(rows.copied().collect::<Vec<f32>>(), [index.len(), classes]);
        Some(Tensor::from_data(data, device))
    }

    /// Inverse frequency of each class in the training part, 1 on average over its samples.
    pub fn class_weights(&self) -> Vec<f32> {
        let train = &self.split.train;
        let counts = match &self.samples {
            Samples::Masked(masked) => masked.class_counts(train),
            samples => {
                let mut counts = vec![0; samples.classes().len()];
                let labels = samples.labels_of(train);
                labels.iter().for_each(|&label| counts[label as usize] += 1);
                counts
            }
        };
        let (n, classes) = (counts.iter().sum::<u64>() as f32, counts.len() as f32);
        counts.into_iter().map(|c| if c > 0 { n / (classes * c as f32) } else { 0.0 }).collect()
    }

    /// Samples as `[time, batch, values]`.
    pub fn batch(&self, index: &[usize], device: &Device) -> Tensor<3> {
        let mut values = Vec::new();
        match &self.samples {
            Samples::Frames { frames, .. } => frames.batch(index, &mut values),
            Samples::Masked(masked) => masked.batch(index, &mut values),
            samples => samples.batch(index, &mut values),
        }
        self.tensor(values, index.len(), device)
    }

    /// Training samples with this epoch's random changes, and their labels: windows of text lie
    /// anywhere in the training part.
    pub(crate) fn train_batch(
        &self,
        index: &[usize],
        seed: u64,
        epoch: usize,
        device: &Device,
    ) -> (Tensor<3>, Vec<u32>) {
        if let Some(text) = self.samples.text() {
            let start = |&i: &usize| text.random_start(seed, epoch as u64, i as u64);
            let starts: Vec<usize> = index.iter().map(start).collect();
            let x = self.tensor(text.inputs(&starts), index.len(), device);
            return (x, text.targets(&starts));
        }
        if let (Samples::Masked(masked), Changes::Masks(augment)) = (&self.samples, &self.changes) {
            let (x, labels) = masked.train_batch(index, augment, seed, epoch as u64);
            return (self.tensor(x, index.len(), device), labels);
        }
        (self.changed_batch(index, seed, epoch, device), self.samples.labels_of(index))
    }

    fn changed_batch(
        &self,
        index: &[usize],
        seed: u64,
        epoch: usize,
        device: &Device,
    ) -> Tensor<3> {
        let mut values = Vec::new();
        match (&self.samples, &self.changes) {
            (Samples::Sequences(sequences), Changes::Sequences(augmenter)) => {
                let Sequences { time, channels, .. } = *sequences;
                values.resize(time * index.len() * channels, 0.0);
                for (b, &i) in index.iter().enumerate() {
                    let mut sample = sequences.sample(i).to_vec();
                    augmenter.apply(&mut sample, seed, epoch as u64, i as u64);
                    for (t, row) in sample.chunks_exact(channels).enumerate() {
                        let start = (t * index.len() + b) * channels;
                        values[start..start + channels].copy_from_slice(row);
                    }
                }
            }
            (Samples::Frames { frames, .. }, Changes::Frames(augmenter)) => {
                frames.train_batch(index, augmenter, seed, epoch as u64, &mut values);
            }
            _ => return self.batch(index, device),
        }
        self.tensor(values, index.len(), device)
    }

    /// Stored steps `[stored, batch, values]` as a tensor of all steps; a still image is not
    /// copied.
    fn tensor(&self, values: Vec<f32>, batch: usize, device: &Device) -> Tensor<3> {
        let per_step = self.samples.values();
        let stored = values.len() / (batch * per_step).max(1);
        let time = match &self.samples {
            Samples::Sentences(_) => stored,
            samples => samples.time(),
        };
        let data = TensorData::new(values, [stored, batch, per_step]);
        Tensor::<3>::from_data(data, device).expand([time, batch, per_step])
    }
}
