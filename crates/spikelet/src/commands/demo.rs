//! `spikelet demo`: the main job from raw signals to a small, fast network, in one command.

use crate::{
    commands::profile::count_operations,
    config::{Layer, Layers},
    evaluate::evaluate,
    failure::{Outcome, Result},
    measure::measure,
    table::{Table, bytes, count},
    training::{self, Finished, Watcher},
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::{find::find, wisdm};
use spikelet_graph::{
    Graph,
    compress::{Bits, quantize},
    energy,
};
use spikelet_train::prepare::Prepared;
use std::path::{Path, PathBuf};
use std::sync::{Arc, atomic::AtomicBool};

/// Train, compress and profile a spiking network on smartwatch data
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet demo                       a few minutes on two cores
  spikelet demo --out runs/demo-2 --json

Trains L2MU, a Legendre Memory Unit of spiking neurons, on raw accelerometer and gyroscope signals
of a watch, and an LSTM of about the same size with the same trainer; measures both on people
neither has seen; prunes half of the spiking network's weights and turns them into 8-bit integers.")]
pub struct Args {
    /// Folder of the data [default: the full set where it is found, else the subjects shipped].
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Epochs of training.
    #[arg(long, value_name = "N", default_value_t = 12)]
    epochs: i64,
    /// Folder of the runs; begun ones go on.
    #[arg(long, value_name = "PATH", default_value = "runs/demo")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Row {
    network: String,
    accuracy: f64,
    bytes: u64,
    microseconds_per_step: f64,
    events_per_step: f64,
    macs_per_step: f64,
    acs_per_step: f64,
    nanojoules_per_step: f64,
    model: PathBuf,
}

#[derive(Serialize)]
struct Report {
    data: String,
    test_sequences: usize,
    rows: Vec<Row>,
    energy: &'static str,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let stop = ui.catch_ctrl_c()?;
    let full = wisdm::is_full(&find("wisdm-watch", args.data.as_deref())?);
    let demo = Demo { args, ui, stop, full };
    if !full {
        ui.note("the twelve subjects shipped with Spikelet: `spikelet data info wisdm-watch` tells where all are");
    }
    ui.note("1/4 training L2MU, a Legendre Memory Unit of spiking neurons");
    let spiking = demo.train("l2mu/wisdm", "l2mu", &[])?;
    ui.note("2/4 pruning half of its weights, fine-tuning, and training through 8-bit weights");
    let initial = args.out.join("l2mu").display().to_string();
    let pruned = demo.train(
        "l2mu/wisdm",
        "l2mu-pruned",
        &[
            ("train.init", initial.into()),
            ("train.prune", 0.5.into()),
            ("train.quantize_bits", 8.into()),
            ("train.epochs", (args.epochs / 3).max(1).into()),
            ("train.optimizer.lr", 0.001.into()),
        ],
    )?;
    ui.note("3/4 training an LSTM of about the same size");
    let lstm = demo.train("baseline/lstm-wisdm", "lstm", &[])?;
    ui.note("4/4 compressing and measuring");
    let (int8, _) = quantize(&spiking.graph, Bits::Eight, &[])?;
    let (pruned_int8, _) = quantize(&pruned.graph, Bits::Eight, &[])?;
    let data = &spiking.data;
    let rows = [
        ("L2MU, float", &spiking.graph),
        ("L2MU, int8", &int8),
        ("L2MU, half pruned + int8", &pruned_int8),
        ("LSTM, float", &lstm.graph),
    ];
    let rows = rows
        .into_iter()
        .map(|(network, graph)| row(network, graph, data, &args.out))
        .collect::<Result<Vec<_>>>()?;
    let report = Report {
        data: format!("{}, {}", data.dataset, data.split_name),
        test_sequences: data.split.test.len(),
        rows,
        energy: energy::F32_45NM.assumptions,
    };
    ui.print(|| report.text(), &report)?;
    Ok(Outcome::Done)
}

struct Demo<'a> {
    args: &'a Args,
    ui: &'a Ui,
    stop: Arc<AtomicBool>,
    /// All subjects are at hand, not only the twelve shipped.
    full: bool,
}

/// Changes to the presets where only the shipped subjects are at hand: a third of the people is
/// held out instead of a fifth, for two or three say little; and eight people to learn from wear
/// the watch in too few ways, so every sequence is turned and shaken a little.
const FEW_SUBJECTS: [(&str, toml::Value); 3] = [
    ("data.split.folds", toml::Value::Integer(3)),
    ("data.augment.rotation", toml::Value::Float(25.0)),
    ("data.augment.jitter", toml::Value::Float(0.05)),
];

impl Demo<'_> {
    fn train(&self, preset: &str, name: &str, changes: &[(&str, toml::Value)]) -> Result<Finished> {
        let mut layers = Layers::from_argument(preset)?;
        layers.push(Layer::option("--epochs", "train.epochs", self.args.epochs)?);
        if !self.full {
            for (path, value) in FEW_SUBJECTS {
                layers.push(Layer::option("the shipped subjects", path, value)?);
            }
        }
        for (path, value) in changes {
            layers.push(Layer::option(name, path, value.clone())?);
        }
        let config = training::configuration(layers)?;
        let mut watcher = Watcher::new(self.ui, name, config.train.epochs, self.stop.clone());
        let run = self.args.out.join(name);
        let finished = training::train(&config, self.args.data.as_deref(), &run, &mut watcher)?;
        Ok(finished)
    }
}

/// Measures a network on the test part and keeps its graph.
fn row(network: &str, graph: &Graph, data: &Prepared, out: &Path) -> Result<Row> {
    let name: String = network.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ').collect();
    let model = out.join(format!("{}.safetensors", name.to_lowercase().replace(' ', "-")));
    graph.save(&model)?;
    let test = &data.split.test;
    let sequences = &data.samples;
    let accuracy = evaluate(graph, sequences, test)?.accuracy();
    let some = &test[..test.len().min(500)];
    let counters = count_operations(graph, sequences, some)?;
    let total = counters.total();
    let steps = counters.steps.max(1) as f64;
    // Integer weights add integers: the constants for integers belong to them.
    let set = if graph.tensors.values().any(|t| t.data_type() == "i8") {
        energy::INT8_45NM
    } else {
        energy::F32_45NM
    };
    Ok(Row {
        network: network.to_owned(),
        accuracy,
        bytes: graph.counts()?.bytes,
        microseconds_per_step: measure(graph, sequences, some)?.microseconds_per_step,
        events_per_step: total.events_in as f64 / steps,
        macs_per_step: total.effective_macs as f64 / steps,
        acs_per_step: total.effective_acs as f64 / steps,
        nanojoules_per_step: set.energy(&total).total_pj() / 1e3 / steps,
        model,
    })
}

impl Report {
    fn text(&self) -> String {
        let mut table = Table::new([
            "network",
            "accuracy",
            "bytes",
            "us/step",
            "events",
            "MACs",
            "ACs",
            "nJ/step (model)",
        ]);
        for row in &self.rows {
            table.row([
                row.network.clone(),
                format!("{:.2} %", 100.0 * row.accuracy),
                bytes(row.bytes),
                format!("{:.2}", row.microseconds_per_step),
                format!("{:.1}", row.events_per_step),
                count(row.macs_per_step.round() as u64),
                count(row.acs_per_step.round() as u64),
                format!("{:.2}", row.nanojoules_per_step),
            ]);
        }
        format!(
            "\n{} test sequences of {}\n\n{}\nevents and operations are means a time step\n\
             energy: {}\nwatch one run: {}\n",
            count(self.test_sequences as u64),
            self.data,
            table.text(),
            self.energy,
            self.rows[0].model.with_file_name("l2mu").join("report.html").display()
        )
    }
}
