//! `spikelet train`.

use crate::{
    config::{Layer, Layers},
    detection,
    failure::{Failure, Outcome, Result},
    training::{self, CONFIG_FILE, Watcher},
    ui::Ui,
};
use std::path::PathBuf;

/// Train a model from a preset or a configuration file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet train quick/synthetic                 seconds, without data
  spikelet train l2mu/wisdm --set train.epochs=30 --seed 1 --out runs/wisdm-1
  spikelet train l2mu/braille --rule sltt
  spikelet train quick/fashion-mnist --rule sltt-k=1 --seed 2 --out runs/fashion-k1
  spikelet train --resume runs/wisdm-1           go on where a run stopped
  spikelet train l2mu/wisdm --init runs/wisdm-1 --set train.prune=0.5 --out runs/pruned

The folder of a run holds config.toml, metrics.jsonl (a line an epoch), checkpoint.safetensors,
model.safetensors (the best epoch as an event graph), result.json and report.html. Ctrl-C saves
the state; a killed run loses at most the epoch it was in.")]
pub struct Args {
    /// A preset (as in `presets/`) or a .toml file.
    #[arg(required_unless_present = "resume")]
    config: Option<String>,
    /// Override a key, for example train.epochs=30 (may be repeated).
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Learning rule: bptt, bptt-checkpoint=STEPS, sltt, sltt-k=K (K steps at random) or sltt-at=0,2.
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Seed of weights, order and augmentation.
    #[arg(long, value_name = "N")]
    seed: Option<i64>,
    /// Start from the weights of a graph file or run.
    #[arg(long, value_name = "MODEL")]
    init: Option<String>,
    /// Folder of the data set [default: where it is found].
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder of the run [default: runs/NAME].
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Go on with the run in this folder.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "rule", "seed", "init"])]
    resume: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let (mut layers, folder) = match (&args.resume, &args.config) {
        (Some(run), _) => {
            let config = run.join(CONFIG_FILE);
            if !config.is_file() {
                return Err(Failure::input(format!("{} holds no run", run.display()))
                    .help("--resume takes the folder that `spikelet train` wrote"));
            }
            (Layers::from_file(&config)?, run.clone())
        }
        (None, Some(name)) => {
            let folder = args.out.clone().unwrap_or_else(|| training::default_folder(name));
            training::new_folder(&folder)?;
            (Layers::from_argument(name)?, folder)
        }
        (None, None) => return Err(Failure::usage("nothing to train")),
    };
    for assignment in &args.set {
        layers.set(assignment)?;
    }
    if let Some(rule) = &args.rule {
        layers.push(Layer::option("--rule", "train.rule", rule.as_str())?);
    }
    if let Some(seed) = args.seed {
        layers.push(Layer::option("--seed", "train.seed", seed)?);
    }
    if let Some(init) = &args.init {
        layers.push(Layer::option("--init", "train.init", init.as_str())?);
    }
    if detection::is_detector(&layers) {
        let config = detection::configuration(layers)?;
        let stop = ui.catch_ctrl_c()?;
        let mut watcher = Watcher::new(ui, detection::KIND, config.train.epochs, stop);
        let result = detection::train(&config, args.data.as_deref(), &folder, &mut watcher)?;
        drop(watcher);
        ui.print(|| result.text(&folder), &result)?;
        return Ok(Outcome::Done);
    }
    let config = training::configuration(layers)?;
    let stop = ui.catch_ctrl_c()?;
    let mut watcher = Watcher::new(ui, config.model.kind(), config.train.epochs, stop);
    let finished = training::train(&config, args.data.as_deref(), &folder, &mut watcher)?;
    drop(watcher);
    let result = finished.result;
    let (unit, figures) = match (finished.data.samples.text(), result.language) {
        (Some(text), Some(language)) => {
            ("tokens", format!("{}\n", language.text(text.vocabulary.unit().name())))
        }
        _ => ("sequences", String::new()),
    };
    let text = || {
        format!(
            "{} on {}: {:.2} % on the {} part ({} {unit}, {}), best epoch {} of {}, {} parameters, {:.1} s\n{figures}{}",
            result.model,
            result.dataset,
            100.0 * result.accuracy,
            result.part,
            result.sequences,
            result.split,
            result.best_epoch,
            result.epochs,
            result.parameters,
            result.seconds,
            folder.display()
        )
    };
    ui.print(text, &result)?;
    Ok(Outcome::Done)
}
