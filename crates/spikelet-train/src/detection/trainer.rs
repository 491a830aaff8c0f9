//! The training loop of detectors.

use super::{
    detect::figures,
    learn::{Batch, Losses, learn},
};
use crate::{
    config::About,
    init::Init,
    models::{
        ModelError,
        spike_detector::{Detector, DetectorConfig, lower},
    },
    optimizer::{Optimizer, clip_norm},
    params::{self, LoadError, Tensors},
    run::{Checkpoint, CheckpointError, Position, write_atomically},
    schedule::Schedule,
    trainer::{End, TrainError, checkpoint_path, metrics_path},
};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Bytes, Device};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use spikelet_data::{
    DataError,
    coco_eval::CocoFigures,
    scenes_source::{DividedScenes, ScenesConfig, Seen},
    split::{rng, shuffle},
};
use spikelet_graph::{Graph, GraphError, Task};
use std::{path::Path, time::Instant};

/// Mean of the colours of photographs (ImageNet's), from 0 to 1.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Their deviation.
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// A training run of a detector, as TOML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionConfig {
    /// What is learned from.
    pub data: ScenesConfig,
    /// What learns.
    pub model: DetectionModel,
    /// How it learns.
    pub train: DetectionTrain,
    /// Where this recipe comes from and what it is known to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
}

/// A detector with its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DetectionModel {
    /// On Meta-SpikeFormer.
    SpikeDetector(DetectorConfig),
}

/// How a detector learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionTrain {
    /// Passes over the training part.
    pub epochs: usize,
    /// Scenes in a batch; the last batch of an epoch may be smaller.
    pub batch_size: usize,
    /// Decides initial weights, order of the data and its changes.
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
    /// Start from the weights of this run, or of one of a classifier with the same backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
}

/// What one epoch gave; a line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectionEpoch {
    /// From 1.
    pub epoch: usize,
    /// Mean training loss.
    pub loss: f64,
    /// Its parts.
    pub losses: Vec<(String, f64)>,
    /// Learning rate at the end of the epoch.
    pub lr: f64,
    /// Seconds this epoch took.
    pub seconds: f64,
}

/// What happens while a run goes on.
pub trait DetectionObserver {
    /// After every batch: epoch from 0, batches done, batches in an epoch, loss. `false` stops the
    /// run after saving its state.
    fn batch(&mut self, epoch: usize, done: usize, batches: usize, loss: f32) -> bool;

    /// After every epoch.
    fn epoch(&mut self, report: &DetectionEpoch);
}

/// A run that ended.
#[derive(Debug)]
pub struct Trained {
    /// The detector, on the plain device.
    pub detector: Detector,
    /// Its graph, or why it has none.
    pub graph: Result<Graph, GraphError>,
    /// Learned parameters.
    pub parameters: usize,
    /// Where the run stands.
    pub position: Position,
    /// Why it ended.
    pub end: End,
    /// COCO's figures of boxes and masks on the test part; nothing if the run was interrupted.
    pub figures: Option<(CocoFigures, Option<CocoFigures>)>,
}

/// A run that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum DetectionError {
    /// No such detector.
    #[error("model: {0}")]
    Model(#[from] ModelError),
    /// Scenes.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Weights to start from that fit nothing.
    #[error("initial weights: {0}")]
    Load(#[from] LoadError),
    /// A number out of range.
    #[error("`train.{name}` = {value} is not {range}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: usize,
        /// What it may be.
        range: &'static str,
    },
    /// Checkpoints, metrics, losses that are no numbers.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl From<CheckpointError> for DetectionError {
    fn from(error: CheckpointError) -> Self {
        DetectionError::Train(error.into())
    }
}

/// Trains in the folder `run`, which exists, going on from a checkpoint found there; `initial` are
/// weights by name, of a detector or of a backbone.
///
/// # Errors
/// Settings no detector can be made of, files that cannot be used, a loss that diverges.
pub fn train(
    config: &DetectionConfig,
    data: &DividedScenes,
    initial: Option<&Tensors>,
    run: &Path,
    observer: &mut dyn DetectionObserver,
) -> Result<Trained, DetectionError> {
    let mut trainer = Trainer::start(config, data, initial, run)?;
    let end = trainer.run(observer)?;
    let mut detector = trainer.detector;
    detector.network = detector.network.valid();
    let figures = match end {
        End::Interrupted => None,
        _ => Some(figures(&detector, data, &data.split.test, &MEAN, &STD)?),
    };
    let task = Task {
        dataset: Some(config.data.dataset.clone()),
        classes: data.scenes.categories.clone(),
        channels: ["red", "green", "blue"].map(str::to_owned).to_vec(),
        mean: MEAN.to_vec(),
        std: STD.to_vec(),
        notes: [("split".to_owned(), data.split_name.clone())].into(),
        ..Task::default()
    };
    let graph = lower(&detector, "spike-detector", task);
    let parameters = detector.network.num_params();
    Ok(Trained { detector, graph, parameters, position: trainer.position, end, figures })
}

struct Trainer<'a> {
    config: &'a DetectionConfig,
    data: &'a DividedScenes,
    run: &'a Path,
    detector: Detector,
    optimizer: ModuleOptimizer,
    position: Position,
    /// Sums of the parts of the loss over the epoch.
    parts: Vec<(String, f64)>,
}

impl<'a> Trainer<'a> {
    fn start(
        config: &'a DetectionConfig,
        data: &'a DividedScenes,
        initial: Option<&Tensors>,
        run: &'a Path,
    ) -> Result<Self, DetectionError> {
        let train = &config.train;
        for (name, value) in [("epochs", train.epochs), ("batch_size", train.batch_size)] {
            if !(1..=1 << 20).contains(&value) {
                let range = "1 to 1048576";
                return Err(DetectionError::Setting { name, value, range });
            }
        }
        let DetectionModel::SpikeDetector(model) = &config.model;
        let mut init = Init::new(train.seed, &Device::flex().autodiff());
        let [height, width] = config.data.size;
        let classes = data.scenes.categories.len();
        let mut detector = Detector::new(model, [height, width, 3], classes, &mut init)?;
        if let Some(weights) = initial {
            detector.network = started(detector.network, weights)?;
        }
        detector.network = params::name_ids(detector.network);
        let mut trainer = Trainer {
            config,
            data,
            run,
            detector,
            optimizer: train.optimizer.init(),
            position: Position::default(),
            parts: Vec::new(),
        };
        let path = checkpoint_path(run);
        if path.exists() {
            trainer.restore(Checkpoint::load(&path)?, &path)?;
        }
        trainer.truncate_metrics()?;
        Ok(trainer)
    }

    fn restore(&mut self, checkpoint: Checkpoint, path: &Path) -> Result<(), DetectionError> {
        let network = self.detector.network.clone();
        self.detector.network = params::load(network, &checkpoint.weights)
            .map_err(|source| TrainError::Load { path: path.to_owned(), source })?;
        let bytes = Bytes::from_bytes_vec(checkpoint.optimizer);
        self.optimizer = self
            .optimizer
            .clone()
            .from_bytes(bytes)
            .map_err(|e| TrainError::Optimizer { path: path.to_owned(), reason: e.to_string() })?;
        self.position = checkpoint.position;
        Ok(())
    }

    fn save(&self) -> Result<(), DetectionError> {
        let path = checkpoint_path(self.run);
        let optimizer = self
            .optimizer
            .into_bytes()
            .map_err(|e| TrainError::Optimizer { path: path.clone(), reason: e.to_string() })?;
        let checkpoint = Checkpoint {
            position: self.position.clone(),
            weights: params::collect(&self.detector.network),
            optimizer: optimizer.to_vec(),
            ..Checkpoint::default()
        };
        Ok(checkpoint.save(&path)?)
    }

    /// Drops the lines of epochs that a killed run had written before it saved its state.
    fn truncate_metrics(&self) -> Result<(), TrainError> {
        let path = metrics_path(self.run);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
        let kept: String = text.split_inclusive('\n').take(self.position.epoch).collect();
        write_atomically(&path, kept.as_bytes()).map_err(|source| TrainError::Io { path, source })
    }

    fn run(&mut self, observer: &mut dyn DetectionObserver) -> Result<End, DetectionError> {
        let train = &self.config.train;
        while self.position.epoch < train.epochs {
            let started = Instant::now();
            let whole = self.epoch(observer)?;
            let seconds = started.elapsed().as_secs_f64();
            self.position.seconds += seconds;
            if !whole {
                self.save()?;
                return Ok(End::Interrupted);
            }
            let seen = self.position.seen.max(1) as f64;
            self.position.epoch += 1;
            let epoch = self.position.epoch;
            let report = DetectionEpoch {
                epoch,
                loss: self.position.loss_sum / seen,
                losses: std::mem::take(&mut self.parts)
                    .into_iter()
                    .map(|(name, sum)| (name, sum / seen))
                    .collect(),
                lr: self.lr(epoch as f64),
                seconds,
            };
            let position = &mut self.position;
            (position.batch, position.loss_sum, position.seen) = (0, 0.0, 0);
            self.report(&report)?;
            self.save()?;
            observer.epoch(&report);
        }
        Ok(End::Finished)
    }

    fn report(&self, report: &DetectionEpoch) -> Result<(), TrainError> {
        let path = metrics_path(self.run);
        let mut text = std::fs::read_to_string(&path).unwrap_or_default();
        text.push_str(&serde_json::to_string(report).expect("plain numbers"));
        text.push('\n');
        write_atomically(&path, text.as_bytes()).map_err(|source| TrainError::Io { path, source })
    }

    fn lr(&self, epoch: f64) -> f64 {
        let train = &self.config.train;
        train.optimizer.lr() * train.schedule.factor(epoch, train.epochs as f64)
    }

    /// The rest of the epoch in progress; `false` if the observer stopped it.
    fn epoch(&mut self, observer: &mut dyn DetectionObserver) -> Result<bool, DetectionError> {
        let train = &self.config.train;
        let epoch = self.position.epoch;
        let mut order = self.data.split.train.clone();
        shuffle(&mut order, &mut rng(train.seed, stream(ORDER, epoch)));
        let batches = order.len().div_ceil(train.batch_size);
        for (index, part) in order.chunks(train.batch_size).enumerate() {
            if index < self.position.batch {
                continue;
            }
            let lr = self.lr(epoch as f64 + index as f64 / batches as f64);
            let loss = self.learn(part, lr, epoch, index, batches)?;
            if !loss.is_finite() {
                let (epoch, batch) = (epoch + 1, index + 1);
                return Err(TrainError::Diverged { epoch, batch, loss }.into());
            }
            self.position.batch = index + 1;
            if !observer.batch(epoch, index + 1, batches, loss) && index + 1 < batches {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One batch.
    fn learn(
        &mut self,
        part: &[usize],
        lr: f64,
        epoch: usize,
        index: usize,
        batches: usize,
    ) -> Result<f32, DetectionError> {
        let train = &self.config.train;
        let changes = train.seed ^ stream(CHANGES, epoch).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let augment = &self.config.data.augment;
        let changed = |&scene: &usize| self.data.changed(scene, augment, changes);
        let seen: Vec<Seen> = part.par_iter().map(changed).collect::<Result<_, _>>()?;
        let batch = Batch::new(seen, &MEAN, &STD, &Device::flex().autodiff());
        let DetectionModel::SpikeDetector(model) = &self.config.model;
        let seed = train.seed ^ stream(STEPS, epoch * batches + index);
        let (gradients, loss, losses, network) = learn(&self.detector, model, &batch, seed)?;
        let gradients = match train.clip_norm > 0.0 {
            true => clip_norm(&network, gradients, train.clip_norm).0,
            false => gradients,
        };
        self.detector.network = self.optimizer.step(lr, network, gradients);
        self.position.seen += part.len();
        self.position.loss_sum += f64::from(loss) * part.len() as f64;
        self.add(losses, part.len());
        Ok(loss)
    }

    fn add(&mut self, losses: Losses, scenes: usize) {
        for (name, loss) in losses {
            let loss = f64::from(loss) * scenes as f64;
            match self.parts.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += loss,
                None => self.parts.push((name.to_owned(), loss)),
            }
        }
    }
}

/// A network with given weights: all of a detector, or those of a backbone.
fn started<M: Module>(network: M, weights: &Tensors) -> Result<M, LoadError> {
    if weights.keys().any(|name| name.starts_with("features.")) {
        return params::load(network, weights);
    }
    let mut all = params::collect(&network);
    let mut used = 0;
    for (name, value) in weights {
        let place = format!("features.backbone.{name}");
        match all.get_mut(&place) {
            Some((shape, _)) if *shape != value.0 => {
                let (found, expected) = (value.0.clone(), shape.clone());
                return Err(LoadError::Shape { name: place, found, expected });
            }
            Some(old) => {
                *old = value.clone();
                used += 1;
            }
            // Heads of classifiers.
            None => {}
        }
    }
    match used {
        0 => Err(LoadError::Missing("features.backbone.*".to_owned())),
        _ => params::load(network, &all),
    }
}

const ORDER: u64 = 1;
const STEPS: u64 = 2;
const CHANGES: u64 = 3;

/// The random stream of one purpose at one place of the run.
fn stream(purpose: u64, index: usize) -> u64 {
    purpose << 48 | index as u64
}
