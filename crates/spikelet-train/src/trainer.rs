//! The training loop: the same for every model and learning rule.

use crate::{
    averaging::Mean,
    config::Config,
    constraint::Constraint,
    evaluate::{Evaluation, evaluate, one_head, scored},
    loss::{Loss, Teacher},
    model::{SequenceModel, State},
    optimizer::{add_share, clip_norm},
    params,
    prepare::Prepared,
    progress::{append_line, truncate_metrics},
    rule::Outcome,
    run::{Checkpoint, Position},
    sample::sample,
    sparsity::Sparsity,
    windows::{Batches, Stream, restored, saved},
};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Bytes, Device, Int, Tensor, TensorData};
use spikelet_data::{metrics::Language, samples::NO_LABEL};
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

pub use crate::{
    progress::{EpochReport, Observer, Silent, metrics_path},
    trained::{End, TrainError, Trained},
};

/// The checkpoint of a run.
pub fn checkpoint_path(run: &Path) -> PathBuf {
    run.join("checkpoint.safetensors")
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
    let part = if data.split.test.is_empty() { &data.split.val } else { &data.split.test };
    let result = (end != End::Interrupted).then(|| trainer.evaluate(&best, part));
    let silent = |result: &Evaluation| trainer.sparsity(&best, part, result);
    let sparsity = result.as_ref().map(silent).unwrap_or_default();
    let (best, pruned) = (trainer.constraint.effective(best), trainer.constraint.pruned());
    Ok(Trained { best, position: trainer.position, end, sparsity, pruned, result })
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
    mean: Mean,
    /// What the next window of a text takes over, on the plain device.
    carried: Option<State>,
}

/// Samples of a part whose silence is measured where they do not follow each other.
const MEASURED: usize = 16;

impl<'a, M: SequenceModel> Trainer<'a, M> {
    fn start(
        config: &'a Config,
        model: M,
        data: &'a Prepared,
        run: &'a Path,
    ) -> Result<Self, TrainError> {
        let train = &config.train;
        check(config, &model, data)?;
        let keep =
            train.prune_gradually.as_ref().map_or(&[][..], |pruning| pruning.keep.as_slice());
        let mut trainer = Trainer {
            config,
            data,
            run,
            device: Device::flex().autodiff(),
            constraint: Constraint::new(&model, train.prune, keep, train.quantize_bits),
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
            mean: Mean::default(),
            carried: None,
        };
        let path = checkpoint_path(run);
        if path.exists() {
            trainer.restore(Checkpoint::load(&path)?, &path)?;
        }
        trainer.model = trainer.constraint.project(trainer.model);
        let metrics = metrics_path(run);
        truncate_metrics(&metrics, trainer.position.epoch)
            .map_err(|source| TrainError::Io { path: metrics, source })?;
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
        self.mean = Mean { steps: self.position.averaged, weights: checkpoint.average };
        self.carried = restored(&checkpoint.carried);
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
            average: self.mean.weights.clone(),
            carried: saved(self.carried.as_ref()),
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
            let report = self.finish_epoch(started)?;
            let metrics = metrics_path(self.run);
            append_line(&metrics, &report)
                .map_err(|source| TrainError::Io { path: metrics, source })?;
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
        let parts = Batches::new(self.data, train, epoch, stream(ORDER, epoch))?;
        let batches = parts.len();
        for index in self.position.batch..batches {
            let done = epoch as f64 + index as f64 / batches as f64;
            let number = epoch * batches + index;
            if let Some(pruning) = &train.prune_gradually
                && number.is_multiple_of(pruning.every)
            {
                self.prune(done);
            }
            let stream = stream(STEPS, number);
            let loss = match &parts {
                Batches::Shuffled { order, size } => {
                    let batch = order.chunks(*size).nth(index).unwrap_or_default();
                    self.learn(batch, done, stream)?
                }
                Batches::Carried(windows) => self.learn_window(windows, index, done, stream),
            };
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

    /// Chooses anew which weights are zero at this place of the run.
    fn prune(&mut self, done: f64) {
        let train = &self.config.train;
        let Some(pruning) = &train.prune_gradually else { return };
        if done <= pruning.from_epoch {
            return;
        }
        self.constraint.tighten(&self.model, pruning.fraction(done, train.prune), &pruning.keep);
        self.model = self.constraint.project(self.model.clone());
    }

    /// The model that gradients are taken of at this place of the run. With a constraint on the weights
    /// they are taken where the constrained network stands and applied to the free weights
    /// (straight-through).
    fn learning(&self, done: f64) -> M {
        self.constraint.effective(self.model.clone()).at(done)
    }

    /// A window of every column of a text, from the state behind the one before it.
    fn learn_window(&mut self, windows: &Stream<'_>, index: usize, done: f64, stream: u64) -> f32 {
        let train = &self.config.train;
        let model = self.learning(done);
        let window = windows.window(index, &self.device);
        let targets = targets(&window.labels, &self.device);
        // An epoch begins with the first words of every column.
        let carried = if index == 0 { None } else { self.carried.take() };
        let seed = seed_of(train.seed, stream);
        let outcome =
            train.rule.window_gradients(&model, window.x, targets, &self.loss, seed, carried);
        self.count(&outcome, &window.labels);
        let plain = |t: Tensor<2>| if t.device().is_autodiff() { t.inner() } else { t };
        let state: State = outcome.state.into_iter().map(plain).collect();
        self.carried = Some(model.carried(state.clone()));
        self.advance(&model, outcome.gradients, done, window.share, state);
        outcome.loss
    }

    /// One batch: gradients by the rule, one step of the optimiser.
    fn learn(&mut self, batch: &[usize], done: f64, stream: u64) -> Result<f32, TrainError> {
        let train = &self.config.train;
        let model = self.learning(done);
        let seed = seed_of(train.seed, stream);
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
        self.advance(&model, sum, done, 1.0, state);
        Ok(loss)
    }

    /// One step of the optimiser, with `share` of the learning rate at this place of the run.
    fn advance(
        &mut self,
        model: &M,
        gradients: GradientsParams,
        done: f64,
        share: f64,
        state: State,
    ) {
        let train = &self.config.train;
        let gradients = match train.clip_norm > 0.0 {
            true => clip_norm(model, gradients, train.clip_norm).0,
            false => gradients,
        };
        let lr = train.optimizer.lr() * train.schedule.factor(done, train.epochs as f64) * share;
        let stepped = self.optimizer.step(lr, self.model.clone(), gradients);
        self.model = self.constraint.project(stepped.learned(state));
        if self.position.averages {
            self.mean.add(&self.model);
            self.position.averaged = self.mean.steps;
        }
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
        self.count(&outcome, &labels);
        outcome
    }

    /// Adds what came out of a batch to the figures of the epoch.
    fn count(&mut self, outcome: &Outcome, labels: &[u32]) {
        let logits = scored(outcome.outputs.clone(), outcome.logits.clone(), labels.len());
        let logits = one_head(logits, self.data.samples.classes().len());
        let predicted = logits.argmax(1).into_data();
        let predicted = predicted.iter::<i64>();
        self.position.correct +=
            predicted.zip(labels).filter(|(p, y)| *p == i64::from(**y)).count();
        let labelled = labels.iter().filter(|&&label| label != NO_LABEL).count();
        self.position.loss_sum += f64::from(outcome.loss) * labelled as f64;
        self.position.seen += labelled;
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

    /// The model that is judged: that of the last step, or the mean over steps.
    fn judged(&self) -> Result<M, TrainError> {
        match self.mean.steps {
            0 => Ok(self.model.valid()),
            _ => Ok(self.constraint.project(self.load(self.model.valid(), &self.mean.weights)?)),
        }
    }

    fn finish_epoch(&mut self, started: Instant) -> Result<EpochReport, TrainError> {
        let train = &self.config.train;
        let after = self.position.epoch as f64 + 1.0;
        self.prune(after);
        let judged = self.judged()?;
        let validation = self.evaluate(&judged, &self.data.split.val);
        // Before pruning has reached its aim and all of the loss is there, an epoch is not one of the
        // network asked for.
        let pruned = train.prune_gradually.as_ref().is_none_or(|pruning| pruning.is_done(after));
        let counts = pruned && after > self.model.whole_from();
        // What a language model is asked for are probabilities.
        let best = counts
            && match self.data.samples.text() {
                Some(_) => self.position.best_loss.is_none_or(|best| validation.loss < best),
                None => self.position.best_accuracy.is_none_or(|best| validation.score() > best),
            };
        if best {
            self.position.best_accuracy = Some(validation.score());
            self.position.best_loss = Some(validation.loss);
            self.position.best_epoch = self.position.epoch;
            self.best = params::collect(&judged);
        }
        if let Some(average) = &train.average {
            self.position.val_losses.push(validation.loss);
            self.position.averages |= average.begins(&self.position.val_losses);
        }
        let sparsity = self.sparsity(&judged, &self.data.split.val, &validation);
        let pruned = self.constraint.pruned();
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
            language: (self.data.samples.text()).map(|text| {
                Language::of(validation.loss, text.bytes_per_token(&self.data.split.val))
            }),
            sparsity,
            pruned,
            lr: train.optimizer.lr()
                * train.schedule.factor(position.epoch as f64 + 1.0, train.epochs as f64),
            best,
            seconds,
        };
        position.epoch += 1;
        self.carried = None;
        (position.batch, position.loss_sum, position.correct, position.seen) = (0, 0.0, 0, 0);
        position.seconds += seconds;
        Ok(report)
    }

    /// How much of event-based layers is silent: as the evaluation of a part counted where windows
    /// are carried, otherwise over some samples of it.
    fn sparsity(&self, model: &M, part: &[usize], evaluation: &Evaluation) -> Vec<Sparsity> {
        if self.data.samples.text().is_some_and(|text| text.windows.carried()) {
            return evaluation.sparsity.clone();
        }
        let model = self.constraint.effective(model.clone());
        model.sparsity(self.data.batch(&part[..part.len().min(MEASURED)], &Device::flex()))
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

/// The seed of a batch.
fn seed_of(seed: u64, stream: u64) -> u64 {
    seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// That settings go together.
fn check<M: SequenceModel>(config: &Config, model: &M, data: &Prepared) -> Result<(), TrainError> {
    let train = &config.train;
    let problem = |text: &str| Err(TrainError::Setting(text.to_owned()));
    if let Some(pruning) = &train.prune_gradually
        && let Some(text) = pruning.problem(train.epochs, train.prune)
    {
        return problem(&text);
    }
    let whole = model.whole_from();
    if whole > 0.0 && whole >= train.epochs as f64 {
        return problem(&format!(
            "`model.regularise`: from_epoch = {whole} must be before the end of the last of {} epochs",
            train.epochs
        ));
    }
    let state = model.training_state(1, &Device::flex().autodiff(), train.seed);
    if train.rule.is_online() && model.penalty(&state).is_some() {
        return problem(&format!(
            "`model.regularise` looks at all steps together, `train.rule = \"{}\"` at one at a time: use bptt, \
             bptt-checkpoint=N or bptt-truncated=N, or leave `model.regularise` out",
            train.rule
        ));
    }
    let carried = data.samples.text().is_some_and(|text| text.windows.carried());
    if carried && train.accumulate > 1 {
        return problem("train.accumulate: windows that are carried are not computed in parts");
    }
    Ok(())
}

/// Class indices as a tensor.
pub(crate) fn targets(labels: &[u32], device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i32> = labels.iter().map(|&y| y as i32).collect();
    let n = labels.len();
    Tensor::from_data(TensorData::new(labels, [n]), device)
}
