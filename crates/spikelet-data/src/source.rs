//! Where labelled data comes from and how it is divided: the `[data]` table of a configuration, and what a
//! trained model remembers of it.

use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::augment::AugmentConfig;
use crate::csv::{self, CsvConfig};
use crate::error::{DataError, Result};
use crate::find::{find, find_shipped};
use crate::frames_source::FramesConfig;
use crate::masked::MasksConfig;
use crate::sequences::Sequences;
use crate::sequences_file;
use crate::split::{Split, by_group, stratified, stratified_fold};
use crate::synthetic::{self, SyntheticConfig};
use crate::text_source::TextConfig;
use crate::wisdm::{self, WisdmConfig};
use crate::{braille, registry};

/// What is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A name of the registry, `synthetic`, or the path of a CSV file, a file of sequences, a folder of images or a
    /// text (`.txt`, `.jsonl`, both also `.gz`; `.idx` for tokens of Megatron).
    pub dataset: String,
    /// Class set of WISDM: `hand`, `all`, or activity letters such as `FGO`.
    #[serde(default = "hand")]
    pub classes: String,
    /// Overlap of successive windows, 0 to below 1 (WISDM and CSV files).
    #[serde(default)]
    pub overlap: f64,
    /// Steps in a window (WISDM, CSV files and text); 2 s of WISDM are 40.
    #[serde(default = "window")]
    pub window: usize,
    /// Use the subset shipped in the repository even where the full set is found (WISDM).
    #[serde(default)]
    pub shipped: bool,
    /// Columns of the channels in a CSV file, in order. Empty: all that are not time, label or group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Column of the class in a CSV file.
    #[serde(default = "label")]
    pub label: String,
    /// Column of the time in a CSV file; where it goes backwards, a new recording starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Column of the subject or recording in a CSV file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How training, validation and test parts are chosen.
    pub split: SplitConfig,
    /// Mean 0 and standard deviation 1 per channel, fitted on the training part.
    #[serde(default)]
    pub normalize: bool,
    /// Random changes to training sequences.
    #[serde(default)]
    pub augment: AugmentConfig,
    /// Images and event recordings only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub frames: FramesConfig,
    /// Images with masks only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub masks: MasksConfig,
    /// Text only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub text: TextConfig,
}

/// How training, validation and test parts are chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SplitConfig {
    /// Folds of whole groups (subjects); the fold is the test part.
    Subject {
        /// Which fold, from 0.
        #[serde(default)]
        fold: usize,
        /// How many folds.
        #[serde(default = "five")]
        folds: usize,
        /// Fraction of the rest that becomes the validation part.
        #[serde(default = "tenth")]
        validation: f64,
        /// Decides the folds.
        #[serde(default)]
        seed: u64,
    },
    /// Random sequences, stratified by class: sequences of one subject on all sides.
    Random {
        /// Fraction in the validation part.
        #[serde(default = "fifth")]
        validation: f64,
        /// Fraction in the test part.
        #[serde(default = "fifth")]
        test: f64,
        /// Decides the parts.
        #[serde(default)]
        seed: u64,
    },
    /// Folds, stratified by class; the fold is the test part.
    Folds {
        /// Which fold, from 0.
        #[serde(default)]
        fold: usize,
        /// How many folds.
        #[serde(default = "ten")]
        folds: usize,
        /// Fraction of the rest that becomes the validation part.
        #[serde(default = "tenth")]
        validation: f64,
        /// Decides the folds.
        #[serde(default)]
        seed: u64,
    },
    /// Text from the first to the last: training, validation, test part.
    Contiguous {
        /// Fraction in the validation part.
        #[serde(default = "twentieth")]
        validation: f64,
        /// Fraction in the test part.
        #[serde(default = "twentieth")]
        test: f64,
    },
    /// The split that belongs to the data set. Braille: ten validation sets, no test part. Frames: their training
    /// and test parts.
    Official {
        /// Which.
        #[serde(default)]
        index: usize,
        /// Fraction of the training part that becomes the validation part, where the data set has none of its
        /// own; 0.1 if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        validation: Option<f64>,
        /// Decides the validation part.
        #[serde(default, skip_serializing_if = "is_zero")]
        seed: u64,
    },
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn hand() -> String {
    "hand".to_owned()
}

fn window() -> usize {
    40
}

fn label() -> String {
    "label".to_owned()
}

fn five() -> usize {
    5
}

fn ten() -> usize {
    10
}

fn twentieth() -> f64 {
    0.05
}

fn tenth() -> f64 {
    0.1
}

fn fifth() -> f64 {
    0.2
}

/// Sequences in the units of their source, and their parts.
#[derive(Clone, Debug)]
pub struct Divided {
    /// All sequences.
    pub sequences: Sequences,
    /// The parts.
    pub split: Split,
    /// The split in words, for reports.
    pub split_name: String,
}

impl DataConfig {
    /// The defaults for a data set.
    pub fn new(dataset: &str, split: SplitConfig) -> Self {
        Self {
            dataset: dataset.to_owned(),
            classes: hand(),
            overlap: 0.0,
            window: window(),
            shipped: false,
            channels: Vec::new(),
            label: label(),
            time: None,
            group: None,
            split,
            normalize: false,
            augment: AugmentConfig::default(),
            frames: FramesConfig::default(),
            masks: MasksConfig::default(),
            text: TextConfig::default(),
        }
    }

    /// Loads and divides. `folder` is what the user gave as `--data`.
    pub fn load(&self, folder: Option<&Path>) -> Result<Divided> {
        let (sequences, official) = self.sequences(folder)?;
        let (split, split_name) = self.split.divide(&sequences, official.as_ref())?;
        split.validate(sequences.n)?;
        Ok(Divided { sequences, split, split_name })
    }

    /// The sequences, and the data set again where it has official splits.
    fn sequences(&self, folder: Option<&Path>) -> Result<(Sequences, Option<braille::Braille>)> {
        match self.dataset.as_str() {
            "braille" => {
                let braille = braille::load(&find("braille", folder)?)?;
                Ok((braille.sequences.clone(), Some(braille)))
            }
            "wisdm-watch" => {
                let dir = match self.shipped {
                    true => find_shipped("wisdm-watch", folder)?,
                    false => find("wisdm-watch", folder)?,
                };
                let classes = wisdm::class_set(&self.classes)?;
                let (window, hop) = (self.window, self.hop()?);
                let config = WisdmConfig { classes, window, hop, subjects: None };
                Ok((wisdm::load(&dir, &config)?, None))
            }
            "synthetic" => Ok((synthetic::generate(&SyntheticConfig::default()), None)),
            name if self.has_frames() || self.has_text() || self.has_sentences() => {
                Err(DataError::request(format!(
                    "data.dataset = {name:?} holds {}, and sequences are needed here",
                    if self.has_frames() { "frames" } else { "text" }
                )))
            }
            path if self.is_path() => Ok((self.file(Path::new(path), &[])?, None)),
            name => Err(DataError::request(format!(
                "data.dataset = {name:?}: {}; the name of a file has an ending",
                registry::how_to_get(name)
            ))),
        }
    }

    /// Reads a file of the user's own: sequences (`.safetensors`) or labelled CSV. `classes` gives
    /// names and order of the classes of a CSV file; empty: as in the file.
    pub fn file(&self, path: &Path, classes: &[String]) -> Result<Sequences> {
        match path.extension().is_some_and(|extension| extension == "safetensors") {
            true => sequences_file::load(path),
            false => self.csv_file(path, classes),
        }
    }

    /// Reads a labelled CSV file. `classes` gives names and order of the classes; empty: as in the file.
    pub fn csv_file(&self, path: &Path, classes: &[String]) -> Result<Sequences> {
        let config = CsvConfig {
            time: self.time.clone(),
            channels: self.channels.clone(),
            label: self.label.clone(),
            group: self.group.clone(),
            classes: classes.to_vec(),
            window: self.window,
            hop: self.hop()?,
            step_ms: 0.0,
        };
        csv::load(path, &config)
    }

    /// Steps from the start of a window to the start of the next.
    fn hop(&self) -> Result<usize> {
        match (0.0..1.0).contains(&self.overlap) {
            true => Ok((((1.0 - self.overlap) * self.window as f64).round() as usize).max(1)),
            false => Err(DataError::request(format!(
                "data.overlap = {}: it must be 0 or more and below 1",
                self.overlap
            ))),
        }
    }
}

/// The error of a split for text over something else.
pub(crate) fn only_text() -> DataError {
    DataError::request(
        "data.split.kind = \"contiguous\" divides text: use \"subject\" or \"random\" here",
    )
}

impl SplitConfig {
    /// Official split `index`, with the defaults.
    pub fn official(index: usize) -> Self {
        Self::Official { index, validation: None, seed: 0 }
    }

    fn divide(
        &self,
        data: &Sequences,
        official: Option<&braille::Braille>,
    ) -> Result<(Split, String)> {
        match *self {
            SplitConfig::Subject { fold, folds, validation, seed } => Ok((
                by_group(&data.group, folds, fold, validation, seed)?,
                format!("by subject, fold {fold} of {folds}, seed {seed}"),
            )),
            SplitConfig::Random { validation, test, seed } => Ok((
                stratified(&data.y, validation, test, seed)?,
                format!("random sequences, {test} for testing, seed {seed}"),
            )),
            SplitConfig::Contiguous { .. } => Err(only_text()),
            SplitConfig::Folds { fold, folds, validation, seed } => Ok((
                stratified_fold(&data.y, folds, fold, validation, seed)?,
                format!("random sequences, fold {fold} of {folds}, seed {seed}"),
            )),
            SplitConfig::Official { validation: Some(_), .. } => Err(DataError::request(
                "data.split.validation: the official splits of this data set fix the validation part",
            )),
            SplitConfig::Official { index, .. } => match official {
                Some(braille) => Ok((braille.split(index)?, format!("official split {index}"))),
                None => Err(DataError::request(
                    "this data set has no official split: set data.split.kind to \"subject\" or \"random\"",
                )),
            },
        }
    }
}
