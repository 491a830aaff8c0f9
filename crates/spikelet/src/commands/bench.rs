//! `spikelet bench`.

use crate::{
    config::Layers,
    convert,
    evaluate::evaluate,
    failure::{Failure, Outcome, Result},
    measure::measure,
    training,
    ui::Ui,
};
use spikelet_data::{braille, checkpoint::Checkpoint, find::find};
use spikelet_graph::Graph;
use spikelet_train::{
    config::SplitConfig,
    trainer::{EpochReport, Observer},
};
use std::{path::PathBuf, process::Command, time::Instant};

/// Time Spikelet on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet bench l2mu --json           one JSON object a line, as benches/peers/ prints them
  spikelet bench l2mu --case braille/step

Times are of this machine at this moment: compare only figures of one run (benches/compare).
Run it from the repository, whose golden files hold the published network.")]
pub struct Args {
    /// The suite.
    #[arg(value_parser = ["l2mu"])]
    suite: String,
    /// One case only [default: all, each in a process of its own].
    #[arg(long, value_name = "CASE", value_parser = CASES)]
    case: Option<String>,
    /// Folder of the data [default: where it is found].
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
}

const CASES: [&str; 3] = ["braille/step", "braille/epoch", "braille/eval"];
const CHECKPOINT: &str = "tests/golden/l2mu_braille/l2mu_braille7_best.safetensors";

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let Some(case) = &args.case else { return all(args, ui) };
    let rows = match case.as_str() {
        "braille/step" => step(args)?,
        "braille/epoch" => epoch(args)?,
        _ => eval(args)?,
    };
    let memory = peak_memory().map(|mib| ("peak_memory", mib, "MiB"));
    for (metric, value, unit) in rows.into_iter().chain(memory) {
        let row = serde_json::json!({
            "suite": args.suite, "case": case, "metric": metric, "value": value, "unit": unit,
        });
        // Lines for machines even without --json: they are what the suite is.
        match ui.json {
            true => println!("{row}"),
            false => println!("{case:16} {metric:14} {value:10.3} {unit}"),
        }
    }
    Ok(Outcome::Done)
}

/// Every case in a process of its own, so that peak memory is that of the case.
fn all(args: &Args, ui: &Ui) -> Result {
    for case in CASES {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", &args.suite, "--case", case]);
        if let Some(data) = &args.data {
            command.arg("--data").arg(data);
        }
        if ui.json {
            command.arg("--json");
        }
        if !command.status()?.success() {
            return Err(Failure::input(format!("case {case} failed")));
        }
    }
    Ok(Outcome::Done)
}

type Rows = Vec<(&'static str, f64, &'static str)>;

/// The published network.
fn published() -> Result<Graph> {
    let checkpoint = Checkpoint::open(CHECKPOINT.as_ref()).map_err(|error| {
        Failure::from(error).help("run this in the repository, where the golden files are")
    })?;
    Ok(convert::convert(&checkpoint, Some("l2mu"))?.0)
}

/// A time step at batch 1 on one thread, over samples of the network's own validation split.
fn step(args: &Args) -> Result<Rows> {
    let braille = braille::load(&find("braille", args.data.as_deref())?)?;
    let measured = measure(&published()?, &braille.sequences, &braille.val_index[9])?;
    let state = spikelet_runtime::Executor::new(&published()?)?.state_bytes();
    Ok(vec![
        ("time", measured.microseconds_per_step, "us"),
        ("state_per_stream", state as f64, "bytes"),
    ])
}

/// All 280 samples at once.
fn eval(args: &Args) -> Result<Rows> {
    let braille = braille::load(&find("braille", args.data.as_deref())?)?;
    let (graph, index) = (published()?, &braille.val_index[9]);
    let mut times = Vec::new();
    let mut correct = 0;
    for _ in 0..5 {
        let start = Instant::now();
        correct = evaluate(&graph, &braille.sequences, index)?.confusion.correct();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let steps = (index.len() * braille.sequences.time) as f64;
    Ok(vec![
        ("time", times[2] * 1e6 / steps, "us/step"),
        ("correct", correct as f64, "samples"),
        ("accuracy", 100.0 * correct as f64 / index.len() as f64, "%"),
    ])
}

/// The second training epoch with the official settings.
fn epoch(args: &Args) -> Result<Rows> {
    let mut config = training::configuration(Layers::from_argument("l2mu/braille")?)?;
    config.data.split = SplitConfig::official(9);
    config.train.epochs = 2;
    let folder = tempfile::tempdir()?;
    let mut clock = Clock { started: None, seconds: 0.0 };
    training::train(&config, args.data.as_deref(), folder.path(), &mut clock)?;
    Ok(vec![("time", clock.seconds, "s")])
}

/// Times the batches of the second epoch, without its validation.
struct Clock {
    started: Option<Instant>,
    seconds: f64,
}

impl Observer for Clock {
    fn batch(&mut self, epoch: usize, done: usize, batches: usize, _: f32) -> bool {
        if let (1, Some(started)) = (epoch, self.started)
            && done == batches
        {
            self.seconds = started.elapsed().as_secs_f64();
        }
        true
    }

    fn epoch(&mut self, _: &EpochReport) {
        self.started = Some(Instant::now());
    }
}

/// Peak resident memory of this process, where the system tells.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
