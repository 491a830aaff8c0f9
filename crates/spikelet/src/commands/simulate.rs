//! `spikelet simulate`.

use super::map::Options;
use crate::{
    evaluate::{check_channels, normalise},
    failure::{Outcome, Result},
    model::Model,
    steps::Steps,
    table::{Table, bytes, count},
    ui::Ui,
};
use clap::ValueEnum;
use serde::Serialize;
use spikelet_chip::{Clock, Simulation, made_up_input, simulate};
use spikelet_data::atomic;
use spikelet_runtime::Executor;
use std::path::{Path, PathBuf};

/// Steps of input that is made up for a model without a window.
const STEPS: usize = 100;

/// Simulate a model on SpiNNaker 2: latency, energy, traffic
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet simulate model.safetensors --chip spinnaker2
  spikelet simulate model.safetensors --input recording.csv --clock low --svg heat.svg
  spikelet simulate model.safetensors --cores 150 --json
  spikelet simulate model.safetensors --mapping mapping.json     as `spikelet map` wrote it

The input is what `run` takes: the first window of it is simulated, or all of it if the model has no
window. Without --input it is made up: one value in ten is an event.
Time and energy are modelled, not measured: chips/spinnaker2.toml of the crate spikelet-chip states
every constant with its source, and which are assumed; --json repeats them.")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    /// File of time steps.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    /// Which of its two points of voltage and frequency a core works at.
    #[arg(long, value_name = "CLOCK", default_value = "high")]
    clock: Point,
    /// A mapping that `spikelet map` wrote.
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// Draw the load of cores and links.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// `--clock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Point {
    /// 0.5 V, 150 MHz.
    Low,
    /// 0.8 V, 300 MHz.
    High,
    /// High for large pieces of work, low for small ones.
    Adaptive,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a Path,
    input: String,
    #[serde(flatten)]
    simulation: &'a Simulation,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let model = Model::load(&args.model)?;
    let graph = &model.graph;
    let mapping = match &args.mapping {
        Some(file) => args.options.read(graph, file)?,
        None => args.options.map(graph, ui)?,
    };
    let (x, input) = input(args, &model, ui)?;
    let clock = match args.clock {
        Point::Low => Clock::Low,
        Point::High => Clock::High,
        Point::Adaptive => Clock::Adaptive,
    };
    let steps = x.len() / Executor::new(graph)?.input_len();
    let bar = ui.progress(steps as u64, "simulating");
    let mut step = 0;
    let found = simulate(&mapping, graph, &x, clock, |delivery| {
        if delivery.step > step {
            step = delivery.step;
            bar.set_position(step as u64);
        }
    });
    bar.finish_and_clear();
    let simulation = found?;
    if let Some(path) = &args.svg {
        atomic::write(path, simulation.heat_map(&mapping.chip).as_bytes())?;
        ui.note(format!("written: {}", path.display()));
    }
    let report = Report { model: &model.path, input, simulation: &simulation };
    ui.print(|| report.text(), &report)?;
    Ok(Outcome::Done)
}

/// The steps to simulate, `[time, input]`, and where they are from.
fn input(args: &Args, model: &Model, ui: &Ui) -> Result<(Vec<f32>, String)> {
    let task = &model.graph.task;
    let Some(path) = &args.input else {
        let steps = if task.window > 0 { task.window } else { STEPS };
        return Ok((made_up_input(&model.graph, steps, 0)?, "made up".to_owned()));
    };
    let mut input = Steps::open(path, task)?;
    if input.channels() > 0 {
        check_channels(&model.graph, &Executor::new(&model.graph)?, input.channels())?;
    }
    let (mut x, mut all) = (Vec::new(), Vec::new());
    while input.next_step(&mut x)? {
        if task.window > 0 && input.steps() > task.window as u64 {
            ui.note(format!("only the first window of {} steps is simulated", task.window));
            break;
        }
        normalise(task, &mut x);
        all.extend_from_slice(&x);
    }
    Ok((all, path.display().to_string()))
}

impl Report<'_> {
    fn text(&self) -> String {
        let Simulation { energy, latency, .. } = self.simulation;
        let found = self.simulation;
        let time = |seconds: f64| match seconds {
            _ if seconds < 1e-3 => format!("{:.2} us", 1e6 * seconds),
            _ if seconds < 1.0 => format!("{:.3} ms", 1e3 * seconds),
            _ => format!("{seconds:.3} s"),
        };
        let mut text = format!(
            "{} on {}: {} steps ({})\n\nlatency {} on chip, {} with the host; {} a step\n\
             energy {:.6} J: power {:.4} W\n",
            self.model.display(),
            found.chip,
            found.steps,
            self.input,
            time(*latency),
            time(found.latency_with_host),
            time(latency / found.steps as f64),
            found.energy_total,
            found.power
        );
        let parts = [
            ("cores", energy.cores),
            ("SRAM", energy.sram),
            ("NoC", energy.noc),
            ("DRAM", energy.dram),
            ("idle", energy.idle),
        ];
        let mut table = Table::new(["energy", "joules", "share"]);
        for (name, joules) in parts {
            let share = 100.0 * joules / found.energy_total.max(f64::MIN_POSITIVE);
            table.row([name.to_owned(), format!("{joules:.3e}"), format!("{share:.1} %")]);
        }
        text += &format!("\n{}", table.text());
        let loads = found.cores.iter().map(|core| core.load);
        let busiest = loads.clone().fold(0.0, f64::max);
        let mean = loads.sum::<f64>() / found.cores.len().max(1) as f64;
        text += &format!(
            "\n{} cores, {:.1} % busy in the mean, {:.1} % at most\n{} events in {} packets, {} \
             deliveries, {} hops\n{} synaptic operations",
            found.cores_used,
            100.0 * mean,
            100.0 * busiest,
            count(found.events),
            count(found.packets),
            count(found.deliveries),
            count(found.hops),
            count(found.synapses as u64)
        );
        if found.dram_bytes > 0.0 {
            text += &format!(", {} from the DRAM", bytes(found.dram_bytes as u64));
        }
        text + "\n\nmodelled, not measured: --json lists every constant with its source\n"
    }
}
