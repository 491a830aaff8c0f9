//! One training run of the command line: a folder with everything about it.

use crate::{
    config::Layers,
    convert,
    evaluate::vocabulary,
    failure::{Failure, Kind, Result},
    files::AtomicFile,
    labelled::DATA_NOTE,
    model::{MODEL_FILE, Model},
    teacher, training_report,
    ui::Ui,
};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use spikelet_data::{
    checkpoint::Checkpoint as OfficialCheckpoint,
    metrics::{Language, Segmentation},
    text::Text,
    vocabulary::{Unit, Vocabulary},
};
use spikelet_graph::Graph;
use spikelet_train::{
    config::Config,
    evaluate::Evaluation,
    prepare::Prepared,
    run::Checkpoint,
    session::{self, Initial},
    sparsity::Sparsity,
    trainer::{End, EpochReport, Observer, checkpoint_path},
};
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The resolved configuration, in the folder of a run.
pub const CONFIG_FILE: &str = "config.toml";
/// What came out, in the folder of a run.
pub const RESULT_FILE: &str = "result.json";
/// Curves, confusion matrix, spikes, in the folder of a run.
pub const REPORT_FILE: &str = "report.html";

/// What a finished run gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// Kind of the model.
    pub model: String,
    /// What it learned from.
    pub dataset: String,
    /// The split in words.
    pub split: String,
    /// `test`, or `validation` where the data has no test part.
    pub part: String,
    /// Accuracy of the best epoch's model on that part.
    pub accuracy: f64,
    /// Its cross entropy.
    pub loss: f64,
    /// Figures of a segmenting network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<Segmentation>,
    /// Figures of a language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// How much of each event-based layer is silent, on that part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sparsity: Vec<Sparsity>,
    /// Fraction of the weights of pruned matrices that is zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<f64>,
    /// Best accuracy on the validation part.
    pub val_accuracy: f64,
    /// The epoch that gave it, from 1.
    pub best_epoch: usize,
    /// Epochs trained.
    pub epochs: usize,
    /// Why the run ended.
    pub end: End,
    /// Learned parameters.
    pub parameters: usize,
    /// Sequences in the training part.
    pub train_sequences: usize,
    /// Sequences in the part measured; of text, tokens; of images with masks, pixels.
    pub sequences: usize,
    /// Seconds of training.
    pub seconds: f64,
}

/// A run that ended and its data.
pub struct Finished {
    /// What it gave.
    pub result: RunResult,
    /// The best model.
    pub graph: Graph,
    /// The data it was trained on.
    pub data: Prepared,
}

/// The typed configuration of layers; `[tune]` is no part of a run.
pub fn configuration(layers: Layers) -> Result<Config> {
    layers.split("tune").0.read()
}

/// Trains in the folder `run`, going on from a checkpoint found there.
pub fn train(
    config: &Config,
    folder: Option<&Path>,
    run: &Path,
    observer: &mut dyn Observer,
) -> Result<Finished> {
    let initial = match &config.train.init {
        Some(path) => Some(initial_weights(Path::new(path))?),
        None => None,
    };
    let known = known_vocabulary(config, initial.as_ref())?;
    let mut data = Prepared::new(&config.data, folder, config.model.steps(), known.as_ref())?;
    if let Some(distill) = &config.train.distill {
        data.teacher = Some(teacher::logits(Path::new(&distill.teacher), &data)?);
    }
    std::fs::create_dir_all(run).map_err(|e| {
        Failure::from(e).context(format!("cannot make the folder {}", run.display()))
    })?;
    let text = toml::to_string(config)?;
    write(&run.join(CONFIG_FILE), text.as_bytes())?;
    let mut outcome = session::run(config, &data, initial.as_ref(), run, observer)?;
    let note = serde_json::to_string(&config.data)?;
    outcome.graph.task.notes.insert(DATA_NOTE.to_owned(), note);
    let Some(evaluation) = outcome.result else {
        if outcome.position.best_accuracy.is_some() {
            outcome.graph.save(run.join(MODEL_FILE))?;
        }
        let help = format!("go on with: spikelet train --resume {}", run.display());
        return Err(Failure::new(Kind::Interrupted, "stopped; the state is saved").help(help));
    };
    outcome.graph.save(run.join(MODEL_FILE))?;
    let (part, measured) = match data.split.test.is_empty() {
        true => ("validation", &data.split.val),
        false => ("test", &data.split.test),
    };
    let language = |text: &Text| Language::of(evaluation.loss, text.bytes_per_token(measured));
    let result = RunResult {
        model: config.model.kind().to_owned(),
        dataset: data.dataset.clone(),
        split: data.split_name.clone(),
        part: part.to_owned(),
        accuracy: evaluation.accuracy,
        loss: evaluation.loss,
        segmentation: evaluation.segmentation.clone(),
        language: data.samples.text().map(language),
        sparsity: outcome.sparsity,
        pruned: outcome.pruned,
        val_accuracy: outcome.position.best_accuracy.unwrap_or_default(),
        best_epoch: outcome.position.best_epoch + 1,
        epochs: outcome.position.epoch,
        end: outcome.end,
        parameters: outcome.parameters,
        train_sequences: data.split.train.len(),
        sequences: match data.samples.masked() {
            Some(_) => evaluation.pixels as usize,
            None => evaluation.labels.len(),
        },
        seconds: outcome.position.seconds,
    };
    write(&run.join(RESULT_FILE), serde_json::to_string_pretty(&result)?.as_bytes())?;
    report(run, &text, &result, &evaluation, &outcome.graph, &data)?;
    Ok(Finished { result, graph: outcome.graph, data })
}

/// The mean of a figure over layers; nothing without layers.
pub fn mean(layers: &[Sparsity], figure: fn(&Sparsity) -> f64) -> Option<f64> {
    let sum: f64 = layers.iter().map(figure).sum();
    (!layers.is_empty()).then(|| sum / layers.len() as f64)
}

/// The vocabulary of what a language model starts from: its tokens keep their numbers.
fn known_vocabulary(config: &Config, initial: Option<&Initial>) -> Result<Option<Vocabulary>> {
    let (Some(path), Some(initial), true) = (&config.train.init, initial, config.data.has_text())
    else {
        return Ok(None);
    };
    let known = match initial {
        Initial::Graph(graph) => vocabulary(graph)?,
        Initial::Weights(_) if Path::new(path).is_dir() => {
            vocabulary(&Model::load(Path::new(path))?.graph)?
        }
        Initial::Weights(_) => None,
    };
    let text = &config.data.text;
    if known.is_none() && text.unit == Unit::Characters && text.tokenizer.is_none() {
        return Err(Failure::input(format!(
            "{path} does not say which character has which number"
        ))
        .help("name the vocabulary of the model with data.text.tokenizer"));
    }
    Ok(known)
}

/// The best weights of a run's folder, those of a checkpoint of SpikeGPT's authors, or a graph.
pub(crate) fn initial_weights(path: &Path) -> Result<Initial> {
    if path.is_file()
        && let Ok(official) = OfficialCheckpoint::open(path)
        && let Some(weights) = convert::spikegpt::weights_of(&official)
    {
        return Ok(Initial::Weights(weights?));
    }
    let checkpoint = checkpoint_path(path);
    if checkpoint.exists() {
        let best = Checkpoint::load(&checkpoint)?.best;
        if !best.is_empty() {
            return Ok(Initial::Weights(best));
        }
    }
    Ok(Initial::Graph(Box::new(Model::load(path)?.graph)))
}

fn report(
    run: &Path,
    config: &str,
    result: &RunResult,
    evaluation: &Evaluation,
    graph: &Graph,
    data: &Prepared,
) -> Result<()> {
    let page = training_report::page(run, config, result, evaluation, graph, data)?;
    write(&run.join(REPORT_FILE), page.as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// The folder of a new run: it must not hold another one.
pub fn new_folder(run: &Path) -> Result<()> {
    if checkpoint_path(run).exists() {
        return Err(Failure::usage(format!("{} holds a run already", run.display())).help(
            format!(
                "go on with `spikelet train --resume {}`, or choose another folder with --out",
                run.display()
            ),
        ));
    }
    Ok(())
}

/// The default folder of a run: `runs/` and the name of what is trained.
pub fn default_folder(argument: &str) -> PathBuf {
    let name = argument.trim_end_matches(".toml").replace(['/', '\\', '.'], "-");
    Path::new("runs").join(name.trim_matches('-'))
}

/// Shows progress and listens for Ctrl-C.
pub struct Watcher {
    ui: Ui,
    bar: ProgressBar,
    epochs: usize,
    stop: Arc<AtomicBool>,
    /// What it is that trains, in front of every line.
    name: String,
}

impl Watcher {
    /// `stop` is the flag Ctrl-C raises.
    pub fn new(ui: &Ui, name: &str, epochs: usize, stop: Arc<AtomicBool>) -> Watcher {
        let bar = ui.progress(0, name);
        Watcher { ui: ui.clone(), bar, epochs, stop, name: name.to_owned() }
    }

    /// Epochs of the whole run.
    pub(crate) fn epochs(&self) -> usize {
        self.epochs
    }

    /// A line about the run, below the bar.
    pub(crate) fn line(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| self.ui.note(format!("{} {text}", self.name)));
    }

    /// What only `--verbose` shows.
    pub(crate) fn detail(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| self.ui.detail(text));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Watcher {
    fn batch(&mut self, epoch: usize, done: usize, batches: usize, loss: f32) -> bool {
        self.bar.set_length((self.epochs * batches) as u64);
        self.bar.set_position((epoch * batches + done) as u64);
        self.bar.set_message(format!("{} epoch {}, loss {loss:.3}", self.name, epoch + 1));
        !self.stop.load(Ordering::SeqCst)
    }

    fn epoch(&mut self, r: &EpochReport) {
        let bits = r.language.map(|l| format!(", {:.4} bits per token", l.bits_per_token));
        let overlap =
            r.segmentation.as_ref().map(|s| format!(", mIoU {:5.2} %", 100.0 * s.mean_overlap));
        let silent =
            mean(&r.sparsity, |s| s.activity).map(|s| format!(", {:.1} % silent", 100.0 * s));
        let pruned = r.pruned.map(|p| format!(", {:.1} % pruned", 100.0 * p));
        let more: String = [bits, overlap, silent, pruned].into_iter().flatten().collect();
        self.line(format!(
            "epoch {:3}/{}: loss {:.4} (validation {:.4}), training {:5.2} %, validation {:5.2} %{}{}  {:.1} s",
            r.epoch,
            self.epochs,
            r.loss,
            r.val_loss,
            100.0 * r.train_accuracy,
            100.0 * r.val_accuracy,
            more,
            if r.best { " (best)" } else { "" },
            r.seconds
        ));
    }

    fn sample(&mut self, text: &str) {
        self.bar.suspend(|| self.ui.note(format!("    {}", text.replace('\n', "\n    "))));
    }
}
