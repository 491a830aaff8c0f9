//! `spikelet sweep`.

use crate::{
    config::{Layers, merge, set_path},
    detection,
    evaluate::evaluate,
    experiments::{
        grid::{Run, Smaller, Sweep},
        results::Results,
    },
    failure::{Failure, Outcome, Result},
    segment,
    training::{self, Finished, Watcher},
    ui::Ui,
};
use serde_json::{Value, json};
use spikelet_graph::{
    Graph,
    compress::{Bits, quantize},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Train many variants and collect their results
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet sweep sweeps/braille-splits.toml
  spikelet sweep sweeps/braille-splits.toml --resume     go on after a kill
  spikelet sweep sweeps/braille-splits.toml --dry-run    list the runs

Each finished run is a line of docs/results/NAME.jsonl. A run is known by the hash of its whole
configuration: with --resume, runs already in the file are skipped, and the one that was cut off
goes on from its checkpoint. A [[compress]] section (name, bits, set) also measures smaller forms of
every model, trained on with `set` first. `spikelet docs` makes the tables in the documents of these files.")]
pub struct Args {
    /// The sweep file.
    sweep: PathBuf,
    /// Skip what is done, go on with what was cut off.
    #[arg(long)]
    resume: bool,
    /// List the runs and what is done; train nothing.
    #[arg(long)]
    dry_run: bool,
    /// Folder of the data set [default: where it is found].
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder of the results.
    #[arg(long, value_name = "PATH", default_value = "docs/results")]
    results: PathBuf,
    /// Folder of the runs.
    #[arg(long, value_name = "PATH", default_value = "runs")]
    runs: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let sweep = Sweep::read(&args.sweep)?;
    let runs = sweep.runs()?;
    let results = Results::new(&args.results.join(format!("{}.jsonl", sweep.name)));
    let lines = results.load()?;
    let done: BTreeSet<&str> = lines.iter().filter_map(|line| line["hash"].as_str()).collect();
    if args.dry_run {
        return list(&runs, &done, ui);
    }
    if !args.resume && runs.iter().any(|run| done.contains(run.hash.as_str())) {
        return Err(Failure::usage(format!("some runs of {} are done already", sweep.name))
            .help("--resume does the rest; to do all again, move its results file away"));
    }
    ui.detail(&sweep.about);
    let stop = ui.catch_ctrl_c()?;
    let folder = args.runs.join(&sweep.name);
    let mut finished = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        if done.contains(run.hash.as_str()) {
            continue;
        }
        let name = format!("[{}/{}] {}", index + 1, runs.len(), label(run));
        let layers = Layers::of_table(run.config.clone())?;
        let watch = |epochs| Watcher::new(ui, &name, epochs, stop.clone());
        let trained = match detection::is_detector(&layers) {
            true => detector(layers, run, &folder, args, watch),
            false => one(layers, run, &folder, args, watch),
        };
        let again = format!("spikelet sweep {} --resume", args.sweep.display());
        let trained = trained.map_err(|failure| failure.resumed_by(again))?;
        results.append(&trained)?;
        ui.note(format!("{name}: {}", headline(&trained)));
        finished.push(trained);
    }
    let text = || format!("{} runs done, {} were done before", finished.len(), done.len());
    ui.print(text, &json!({ "finished": finished, "before": done.len() }))?;
    Ok(Outcome::Done)
}

/// The figure of a run that says most.
fn headline(line: &Value) -> String {
    let percent = |key: &str| 100.0 * line[key].as_f64().unwrap_or(0.0);
    if line.get("map50").is_some() {
        return format!("mAP@0.5 {:.2} %, mAP@0.5:0.95 {:.2} %", percent("map50"), percent("map"));
    }
    let bits = line["bits_per_token"].as_f64();
    let bits = bits.map(|bits| format!(", {bits:.4} bits per token")).unwrap_or_default();
    format!("{:.2} %{bits}", percent("accuracy"))
}

/// Trains a detector and makes its line of the results.
fn detector(
    layers: Layers,
    run: &Run,
    folder: &Path,
    args: &Args,
    watch: impl FnOnce(usize) -> Watcher,
) -> Result<Value> {
    if !run.compress.is_empty() {
        return Err(Failure::usage("[[compress]] measures no detectors")
            .help("compress the model of the run: spikelet compress RUN --bits 8 --split test"));
    }
    let config = detection::configuration(layers)?;
    let mut watcher = watch(config.train.epochs);
    let data = args.data.as_deref();
    let result = detection::train(&config, data, &folder.join(&run.hash), &mut watcher)?;
    let mut line = serde_json::to_value(&result)?;
    line["map50"] = result.boxes.map50.into();
    line["map"] = result.boxes.map.into();
    if let Some(masks) = &result.masks {
        line["mask_ap50"] = masks.map50.into();
        line["mask_ap"] = masks.map.into();
    }
    identified(line, run)
}

/// Trains one run of anything else and makes its line of the results.
fn one(
    layers: Layers,
    run: &Run,
    folder: &Path,
    args: &Args,
    watch: impl FnOnce(usize) -> Watcher,
) -> Result<Value> {
    let config = &training::configuration(layers)?;
    let watcher = &mut watch(config.train.epochs);
    let trained = training::train(config, args.data.as_deref(), &folder.join(&run.hash), watcher)?;
    let mut line = serde_json::to_value(&trained.result)?;
    // Tables read figures that stand at the top of a line.
    if let Some(language) = trained.result.language {
        line["bits_per_token"] = language.bits_per_token.into();
        line["bits_per_byte"] = language.bits_per_byte.into();
        line["perplexity"] = language.perplexity.into();
    }
    if let Some(masked) = trained.data.samples.masked() {
        let split = &trained.data.split;
        let part = if split.test.is_empty() { &split.val } else { &split.test };
        let values = config.data.mask_values();
        let found = segment::evaluate(&trained.graph, masked, part, values)?;
        line["mean_overlap"] = found.segmentation.mean_overlap.into();
        line["otsu_overlap"] = found.otsu_overlap.into();
        if let [_, foreground] = found.segmentation.overlaps[..] {
            line["foreground_overlap"] = foreground.into();
        }
        if let Some(objects) = found.instances {
            line["mask_ap"] = objects.ap.into();
            line["mask_ap50"] = objects.ap50.into();
        }
    }
    if let Some(silent) = training::mean(&trained.result.sparsity, |s| s.activity) {
        line["activity_sparsity"] = (100.0 * silent).into();
    }
    if let Some(silent) = training::mean(&trained.result.sparsity, |s| s.backward) {
        line["backward_sparsity"] = (100.0 * silent).into();
    }
    for smaller in &run.compress {
        let graph = compressed(&trained, smaller, run, folder, args, watcher)?;
        let part = match trained.data.split.test.is_empty() {
            true => &trained.data.split.val,
            false => &trained.data.split.test,
        };
        let found = evaluate(&graph, &trained.data.samples, part)?;
        line[format!("accuracy_{}", smaller.name)] = found.accuracy().into();
        if let (Some(small), Some(whole)) = (found.language, trained.result.language) {
            let more = small.bits_per_token - whole.bits_per_token;
            line[format!("more_bits_{}", smaller.name)] = more.into();
        }
        line[format!("bytes_{}", smaller.name)] = graph.counts()?.bytes.into();
    }
    identified(line, run)
}

/// The line of a run with what says which one it was.
fn identified(mut line: Value, run: &Run) -> Result<Value> {
    line["hash"] = run.hash.as_str().into();
    line["variant"] = run.variant.as_str().into();
    for (path, value) in &run.grid {
        line[path.as_str()] = serde_json::to_value(value)?;
    }
    Ok(line)
}

/// A smaller form of the model of a run, trained on where the sweep says so.
fn compressed(
    trained: &Finished,
    smaller: &Smaller,
    run: &Run,
    folder: &Path,
    args: &Args,
    watcher: &mut Watcher,
) -> Result<Graph> {
    let graph = match smaller.set.is_empty() {
        true => trained.graph.clone(),
        false => {
            let mut config = run.config.clone();
            merge(&mut config, &smaller.set);
            let initial = folder.join(&run.hash).display().to_string();
            set_path(&mut config, "train.init", initial.into()).map_err(Failure::usage)?;
            let config = training::configuration(Layers::of_table(config)?)?;
            let run = folder.join(format!("{}-{}", run.hash, smaller.name));
            training::train(&config, args.data.as_deref(), &run, watcher)?.graph
        }
    };
    Ok(match smaller.bits {
        Some(8) => quantize(&graph, Bits::Eight, &[])?.0,
        Some(_) => quantize(&graph, Bits::Four, &[])?.0,
        None => graph,
    })
}

fn label(run: &Run) -> String {
    let grid = run.grid.iter().map(|(path, value)| {
        format!(" {}={value}", path.rsplit_once('.').map_or(path.as_str(), |(_, key)| key))
    });
    std::iter::once(run.variant.clone()).chain(grid).collect()
}

fn list(runs: &[Run], done: &BTreeSet<&str>, ui: &Ui) -> Result {
    let state = |run: &Run| if done.contains(run.hash.as_str()) { "done" } else { "to do" };
    let text = || {
        runs.iter().map(|run| format!("{}  {:5}  {}\n", run.hash, state(run), label(run))).collect()
    };
    let rows =
        runs.iter().map(|run| json!({ "hash": run.hash, "run": label(run), "state": state(run) }));
    ui.print(text, &rows.collect::<Vec<_>>())?;
    Ok(Outcome::Done)
}
