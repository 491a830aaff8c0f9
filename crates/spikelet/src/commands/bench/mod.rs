//! `spikelet bench`.

mod context;
mod decode;
mod egru;
mod l2mu;
mod metaspikeformer;
mod sltt;
mod spikegpt;

use crate::{
    failure::{Failure, Outcome, Result},
    ui::Ui,
};
use spikelet_data::nearest::suggest;
use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

/// Time Spikelet on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet bench l2mu --json           one JSON object a line, as benches/peers/ prints them
  spikelet bench l2mu --case braille/step
  spikelet bench sltt --case vgg11/sltt/6      network, learning rule, time steps
  spikelet bench metaspikeformer --case 15m/4/10   size, time steps, firing rate in percent
  spikelet bench metaspikeformer --case 15m/1/10/fused   RepConvs as one convolution each
  spikelet bench egru --case step/activity-10  layers of the published size, one unit in ten active
  spikelet bench spikegpt              a training step of the 45M network
  spikelet bench decode --case 216m/int8/2     SpikeGPT with random weights: size, weights, threads
  spikelet bench context       a token after 1k to 64k others: SpikeGPT beside attention

Times are of this machine at this moment: compare only figures of one run (benches/compare).
Run the suite l2mu from the repository, whose golden files hold the published network.")]
pub struct Args {
    /// The suite.
    #[arg(value_parser = ["context", "decode", "egru", "l2mu", "metaspikeformer", "sltt", "spikegpt"])]
    suite: String,
    /// One case only [default: all, each in a process of its own].
    #[arg(long, value_name = "CASE")]
    case: Option<String>,
    /// Folder of the data [default: where it is found].
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Only write the graph of a case, for the process that measures it.
    #[arg(long, value_name = "FILE", hide = true, requires = "case")]
    prepare: Option<PathBuf>,
}

/// Metric, value, unit.
type Rows = Vec<(&'static str, f64, &'static str)>;

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let cases = match args.suite.as_str() {
        "context" => context::cases(),
        "decode" => decode::cases(),
        "l2mu" => l2mu::CASES.map(str::to_owned).to_vec(),
        "spikegpt" => spikegpt::CASES.map(str::to_owned).to_vec(),
        "egru" => egru::cases(),
        "sltt" => sltt::cases(),
        _ => metaspikeformer::cases(),
    };
    let Some(case) = &args.case else { return all(args, &cases, ui) };
    if !cases.contains(case) {
        let hint = suggest(case, cases.iter().map(String::as_str));
        return Err(Failure::usage(format!("{} has no case `{case}`{hint}", args.suite)));
    }
    if let Some(file) = &args.prepare {
        metaspikeformer::prepare(case, file)?;
        return Ok(Outcome::Done);
    }
    let rows = match args.suite.as_str() {
        "context" => context::run(case)?,
        "decode" => decode::run(case)?,
        "l2mu" => l2mu::run(case, args.data.as_deref())?,
        "spikegpt" => spikegpt::run(case)?,
        "egru" => egru::run(case)?,
        "sltt" => sltt::run(case)?,
        _ => metaspikeformer::run(case)?,
    };
    let memory = peak_memory().map(|mib| ("peak_memory", mib, "MiB"));
    let mut out = ui.out();
    for (metric, value, unit) in rows.into_iter().chain(memory) {
        let row = serde_json::json!({
            "suite": args.suite, "case": case, "metric": metric, "value": value, "unit": unit,
        });
        // Lines for machines even without --json: they are what the suite is.
        match ui.json {
            true => writeln!(out, "{row}")?,
            false => writeln!(out, "{case:26} {metric:14} {value:10.3} {unit}")?,
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// Every case in a process of its own, so that peak memory is that of the case.
fn all(args: &Args, cases: &[String], ui: &Ui) -> Result {
    for case in cases {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", &args.suite, "--case", case]);
        if let Some(data) = &args.data {
            command.arg("--data").arg(data);
        }
        if ui.json {
            command.arg("--json");
        }
        let output = command.stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(Failure::input(format!("case {case} failed")));
        }
        let mut out = ui.out();
        out.write_all(&output.stdout)?;
        out.flush()?;
    }
    Ok(Outcome::Done)
}

/// Peak resident memory of this process, where the system tells.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Seconds of every run, the fastest first.
fn times(runs: usize, mut run: impl FnMut()) -> Vec<f64> {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}
