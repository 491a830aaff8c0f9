//! The training loop: the same for every model and learning rule.

use crate::{
    config::Config,
    constraint::Constraint,
    evaluate::{Evaluation, evaluate},
    loss::{Loss, Teacher},
    model::{SequenceModel, State},
    optimizer::{add_share, clip_norm},
    params::{self, LoadError},
    prepare::Prepared,
    rule::Outcome,
    run::{Checkpoint, CheckpointError, Position},
    sample::sample,
};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Bytes, Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use spikelet_data::{
    metrics::{Language, Segmentation},
    samples::NO_LABEL,
    split::{rng, shuffle},
};
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
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
    /// Learning rate at the end of the epoch.
    pub lr: f64,
    /// Whether this is the best epoch so far.
    pub best: bool,
    /// Seconds this epoch took, validation included.
    pub seconds: f64,
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

/// The checkpoint of a run.
pub fn checkpoint_path(run: &Path) -> PathBuf {
    run.join("checkpoint.safetensors")
}

/// The epochs of a run, one JSON object a line.
pub fn metrics_path(run: &Path) -> PathBuf {
    run.join("metrics.jsonl")
}

/// Trains `model` (on an autodiff device) in the folder `run`, going on from the checkpoint found
/// there, if any.
pub fn train<M: SequenceModel>(
    config: &Config,
    model: M,
    data: &Prepared,
    run: &Path,
    observer: &mut dyn Observer,
) -> Result<Trained<M>, TrainError> {
    let mut trainer = Trainer::start(config, params::name_ids(model), data, run)?;
    let end = trainer.run(observer)?;
    let best = match trainer.best.is_empty() {
        true => trainer.model.valid(),
        false => trainer.load(trainer.model.valid(), &trainer.best)?,
    };
    let result = (end != End::Interrupted).then(|| {
        let part = if data.split.test.is_empty() { &data.split.val } else { &data.split.test };
        trainer.evaluate(&best, part)
    });
    let best = trainer.constraint.effective(best);
    Ok(Trained { best, position: trainer.position, end, result })
}

struct Trainer<'a, M> {
    config: &'a Config,
    data: &'a Prepared,
    run: &'a Path,
    device: Device,
    model: M,
    optimizer: ModuleOptimizer,
    constraint: Constraint,
    loss: Loss,
    position: Position,
    best: params::Tensors,
}

impl<'a, M: SequenceModel> Trainer<'a, M> {
    fn start(
        config: &'a Config,
        model: M,
        data: &'a Prepared,
        run: &'a Path,
    ) -> Result<Self, TrainError> {
        let train = &config.train;
        let mut trainer = Trainer {
            config,
            data,
            run,
            device: Device::flex().autodiff(),
            constraint: Constraint::new(&model, train.prune, train.quantize_bits),
            model,
            optimizer: train.optimizer.init(),
            loss: Loss {
                config: train.loss,
                logit_scale: train.logit_scale,
                class_weights: train.class_weights.then(|| data.class_weights()),
                teacher: None,
            },
            position: Position::default(),
            best: params::Tensors::new(),
        };
        let path = checkpoint_path(run);
        if path.exists() {
            trainer.restore(Checkpoint::load(&path)?, &path)?;
        }
        trainer.model = trainer.constraint.project(trainer.model);
        truncate_metrics(&metrics_path(run), trainer.position.epoch)?;
        Ok(trainer)
    }

    fn restore(&mut self, checkpoint: Checkpoint, path: &Path) -> Result<(), TrainError> {
        self.model = self.load(self.model.clone(), &checkpoint.weights)?;
        self.constraint = Constraint::with_masks(checkpoint.masks, self.config.train.quantize_bits);
        let reason = |e: &dyn std::fmt::Display| TrainError::Optimizer {
            path: path.to_owned(),
            reason: e.to_string(),
        };
        let bytes = Bytes::from_bytes_vec(checkpoint.optimizer);
        self.optimizer = self.optimizer.clone().from_bytes(bytes).map_err(|e| reason(&e))?;
        self.position = checkpoint.position;
        self.best = checkpoint.best;
        Ok(())
    }

    fn load(&self, model: M, weights: &params::Tensors) -> Result<M, TrainError> {
        params::load(model, weights)
            .map_err(|source| TrainError::Load { path: checkpoint_path(self.run), source })
    }

    fn save(&self) -> Result<(), TrainError> {
        let optimizer = self.optimizer.into_bytes().map_err(|e| TrainError::Optimizer {
            path: checkpoint_path(self.run),
            reason: e.to_string(),
        })?;
        let checkpoint = Checkpoint {
            position: self.position.clone(),
            weights: params::collect(&self.model),
            best: self.best.clone(),
            masks: self.constraint.masks().clone(),
            optimizer: optimizer.to_vec(),
        };
        Ok(checkpoint.save(&checkpoint_path(self.run))?)
    }

    fn run(&mut self, observer: &mut dyn Observer) -> Result<End, TrainError> {
        let train = &self.config.train;
        while self.position.epoch < train.epochs {
            let stale = self.position.epoch.saturating_sub(self.position.best_epoch + 1);
            if train.patience > 0
                && self.position.best_accuracy.is_some()
                && stale >= train.patience
            {
                return Ok(End::EarlyStop);
            }
            let started = Instant::now();
            if !self.epoch(observer)? {
                self.position.seconds += started.elapsed().as_secs_f64();
                self.save()?;
                return Ok(End::Interrupted);
            }
            self.check_weights()?;
            let report = self.finish_epoch(started);
            append_line(&metrics_path(self.run), &report)?;
            self.save()?;
            observer.epoch(&report);
            self.show_sample(observer);
        }
        Ok(End::Finished)
    }

    /// What the model writes after the first token of the validation part.
    fn show_sample(&self, observer: &mut dyn Observer) {
        let (train, data) = (&self.config.train, self.data);
        let Some(text) = data.samples.text().filter(|_| train.sample > 0) else { return };
        let first = text.inputs(&text.starts(&data.split.val[..1]))[0] as u32;
        let model = self.constraint.effective(self.model.valid());
        let seed = train.seed ^ stream(SAMPLES, self.position.epoch);
        observer.sample(&text.vocabulary.decode(&sample(&model, first, train.sample, seed)));
    }

    /// The rest of the epoch in progress; `false` if the observer stopped it.
    fn epoch(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        let train = &self.config.train;
        let epoch = self.position.epoch;
        let mut order = self.data.split.train.clone();
        shuffle(&mut order, &mut rng(train.seed, stream(ORDER, epoch)));
        let batches = order.len().div_ceil(train.batch_size);
        for (index, batch) in order.chunks(train.batch_size).enumerate() {
            if index < self.position.batch {
                continue;
            }
            let done = epoch as f64 + index as f64 / batches as f64;
            let loss = self.learn(batch, done, stream(STEPS, epoch * batches + index))?;
            if !loss.is_finite() {
                return Err(TrainError::Diverged { epoch: epoch + 1, batch: index + 1, loss });
            }
            self.position.batch = index + 1;
            if !observer.batch(epoch, index + 1, batches, loss) && index + 1 < batches {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One batch: gradients by the rule, one step of the optimiser.
    fn learn(&mut self, batch: &[usize], done: f64, stream: u64) -> Result<f32, TrainError> {
        let train = &self.config.train;
        // With a constraint on the weights, gradients are taken where the constrained network
        // stands and applied to the free weights (straight-through).
        let model = self.constraint.effective(self.model.clone());
        let seed = train.seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (mut loss, mut state, mut sum) = (0.0, State::new(), GradientsParams::new());
        let size = batch.len().div_ceil(train.accumulate.max(1));
        for (index, part) in batch.chunks(size).enumerate() {
            let outcome = self.part(&model, part, seed.wrapping_add(index as u64));
            let share = part.len() as f32 / batch.len() as f32;
            sum = match part.len() == batch.len() {
                true => outcome.gradients,
                false => add_share(&model, sum, outcome.gradients, share),
            };
            loss += outcome.loss * share;
            state = outcome.state;
        }
        let train = &self.config.train;
        let gradients = match train.clip_norm > 0.0 {
            true => clip_norm(&model, sum, train.clip_norm).0,
            false => sum,
        };
        let lr = train.optimizer.lr() * train.schedule.factor(done, train.epochs as f64);
        let stepped = self.optimizer.step(lr, self.model.clone(), gradients);
        self.model = self.constraint.project(stepped.learned(state));
        Ok(loss)
    }

    /// The gradients of a batch, or of a part of one, and its right answers.
    fn part(&mut self, model: &M, part: &[usize], seed: u64) -> Outcome {
        let train = &self.config.train;
        let epoch = self.position.epoch;
        let (x, labels) = self.data.train_batch(part, train.seed, epoch, &self.device);
        let targets = targets(&labels, &self.device);
        let mut loss = self.loss.clone();
        if let (Some(distill), Some(logits)) =
            (&train.distill, self.data.taught(part, &self.device))
        {
            loss.teacher = Some(Teacher { logits, kind: distill.kind, share: distill.share });
        }
        let outcome = train.rule.gradients(model, x, targets, &loss, seed);
        let logits = scored(outcome.outputs.clone(), outcome.logits.clone(), labels.len());
        let logits = one_head(logits, self.data.samples.classes().len());
        let predicted = logits.argmax(1).into_data();
        let predicted = predicted.iter::<i64>();
        self.position.correct +=
            predicted.zip(&labels).filter(|(p, y)| *p == i64::from(**y)).count();
        let labelled = labels.iter().filter(|&&label| label != NO_LABEL).count();
        self.position.loss_sum += f64::from(outcome.loss) * labelled as f64;
        self.position.seen += labelled;
        outcome
    }

    /// A spiking network can have a finite loss with weights that are no longer numbers.
    fn check_weights(&self) -> Result<(), TrainError> {
        let weights = params::collect(&self.model);
        match weights.values().flat_map(|(_, values)| values).find(|w| !w.is_finite()) {
            None => Ok(()),
            Some(&loss) => Err(TrainError::Diverged {
                epoch: self.position.epoch + 1,
                batch: self.position.batch,
                loss,
            }),
        }
    }

    fn finish_epoch(&mut self, started: Instant) -> EpochReport {
        let train = &self.config.train;
        let validation = self.evaluate(&self.model.valid(), &self.data.split.val);
        // What a language model is asked for are probabilities.
        let best = match self.data.samples.text() {
            Some(_) => self.position.best_loss.is_none_or(|best| validation.loss < best),
            None => self.position.best_accuracy.is_none_or(|best| validation.score() > best),
        };
        if best {
            self.position.best_accuracy = Some(validation.score());
            self.position.best_loss = Some(validation.loss);
            self.position.best_epoch = self.position.epoch;
            self.best = params::collect(&self.model);
        }
        let seconds = started.elapsed().as_secs_f64();
        let position = &mut self.position;
        let seen = position.seen.max(1) as f64;
        let report = EpochReport {
            epoch: position.epoch + 1,
            loss: position.loss_sum / seen,
            train_accuracy: position.correct as f64 / seen,
            val_loss: validation.loss,
            val_accuracy: validation.accuracy,
            segmentation: validation.segmentation,
            language: (self.data.samples.text())
                .map(|text| Language::of(validation.loss, text.bytes_per_token)),
            lr: train.optimizer.lr()
                * train.schedule.factor(position.epoch as f64 + 1.0, train.epochs as f64),
            best,
            seconds,
        };
        position.epoch += 1;
        (position.batch, position.loss_sum, position.correct, position.seen) = (0, 0.0, 0, 0);
        position.seconds += seconds;
        report
    }

    fn evaluate(&self, model: &M, part: &[usize]) -> Evaluation {
        let model = self.constraint.effective(model.clone());
        evaluate(&model, self.data, part, self.config.train.logit_scale)
    }
}

const ORDER: u64 = 1;
const STEPS: u64 = 2;
const SAMPLES: u64 = 4;

/// The random stream of one purpose at one place of the run.
fn stream(purpose: u64, index: usize) -> u64 {
    purpose << 48 | index as u64
}

/// What is compared with `labels` labels: the logits of the read-out, or the outputs of all steps
/// where every step, or every position of an image, has a label.
pub(crate) fn scored(outputs: Tensor<3>, logits: Tensor<2>, labels: usize) -> Tensor<2> {
    let [time, batch, values] = outputs.dims();
    match labels == batch {
        true => logits,
        false => outputs.reshape([labels, time * batch * values / labels]),
    }
}

/// The mean of two heads side by side, `[rows, 2 * classes]`, where there are two.
fn one_head(logits: Tensor<2>, classes: usize) -> Tensor<2> {
    match logits.dims()[1] == 2 * classes {
        true => (logits.clone().narrow(1, 0, classes) + logits.narrow(1, classes, classes))
            .mul_scalar(0.5),
        false => logits,
    }
}

/// Class indices as a tensor.
pub(crate) fn targets(labels: &[u32], device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i32> = labels.iter().map(|&y| y as i32).collect();
    let n = labels.len();
    Tensor::from_data(TensorData::new(labels, [n]), device)
}

/// Drops the lines of epochs after `epoch`: a run killed after writing a line and before saving
/// its state runs that epoch again.
fn truncate_metrics(path: &Path, epoch: usize) -> Result<(), TrainError> {
    let io = |source| TrainError::Io { path: path.to_owned(), source };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io(e)),
    };
    let kept: String = text.split_inclusive('\n').take(epoch).collect();
    if kept.len() < text.len() {
        crate::run::write_atomically(path, kept.as_bytes()).map_err(io)?;
    }
    Ok(())
}

fn append_line(path: &Path, report: &EpochReport) -> Result<(), TrainError> {
    let io = |source| TrainError::Io { path: path.to_owned(), source };
    let mut line = serde_json::to_string(report).expect("plain numbers");
    line.push('\n');
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    file.write_all(line.as_bytes()).map_err(io)
}
