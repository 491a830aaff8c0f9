//! `spikelet profile`.

use super::{
    profile_energy::{self, PaperEnergy},
    profile_tokens::{self, Account},
};
use crate::{
    detection, evaluate,
    failure::{Failure, Outcome, Result},
    labelled,
    measure::{Measured, measure},
    model::Model,
    table::{Table, bytes, count},
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::Samples;
use spikelet_graph::{Counters, Graph, GraphCounts, NodeCounters, NodeCounts, Op, energy};
use spikelet_runtime::{Executor, Profiler};
use std::path::PathBuf;

/// Show what a model does and costs, layer by layer
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet profile runs/braille
  spikelet profile model.safetensors --data mine.csv --json
  spikelet profile model.safetensors --measure      also times a step on this machine
  spikelet profile spikegpt.safetensors --energy spikegpt   the paper's account and this graph's
  spikelet profile model.safetensors --energy paper --first-conv once
  spikelet profile runs/images --steps 8            images shown for 8 steps
  spikelet profile quick/fashion-mnist --gradients  SLTT against BPTT, before any training
  spikelet profile runs/fashion --gradients         the same with the weights of a run

A detector runs over images, each of which counts as a sequence; the heads of its second stage count for every
region they look at.
A language model that names no text is run over random tokens; a step is a token then, and what a
layer reads of its weights is in the column of bytes.

--energy paper counts as spiking-transformer papers do: 4.6 pJ for a multiplication of a real value,
0.9 pJ for an addition that a spike causes, dense counts times firing rates. Three choices change the
sum several times over: --first-conv, --rep-conv and --sep-conv; without them it is done as in the
paper. The first convolution can only count once where all steps of a sample are the same.

--gradients takes a batch of the training part and prints, for every parameter, the cosine between
the gradients of SLTT and of BPTT (1: the same direction; convolutional networks: for several time
constants and surrogates), and how many multiplications the backward pass of each rule needs. Of
EGRU layers and convolutional networks it also prints how many units are silent: without an event,
and outside the window of the surrogate, by the state before the reset (what the gradient sees) and
after it (what the official code of EGRU reports).

Figures marked * are NeuroBench's, by its definitions; all others are our extension. What each
means stands in the documentation of spikelet_graph::counts. Energy is modelled, not measured.")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    #[command(flatten)]
    source: labelled::Source,
    #[command(flatten)]
    shown: labelled::Shown,
    /// Sequences to run; 0 for all of them.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Compare gradients of SLTT with those of BPTT instead, layer by layer; the model is then the
    /// folder of a run, a preset or a configuration file.
    #[cfg(feature = "train")]
    #[arg(long, conflicts_with = "measure")]
    gradients: bool,
    /// Time single steps on one thread (and read the energy counter, where there is one).
    #[arg(long)]
    measure: bool,
    #[command(flatten)]
    energy: profile_energy::Options,
}

#[derive(Serialize)]
struct Report {
    model: PathBuf,
    data: String,
    sequences: u64,
    steps: u64,
    layers: Vec<Layer>,
    /// Over all layers.
    total: NodeCounters,
    parameters: u64,
    bytes: u64,
    memory: Memory,
    neurobench: NeuroBench,
    energy_model: Vec<Modelled>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paper_energy: Option<PaperEnergy>,
    measured: Option<Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
}

/// Sums over all steps; divide by `steps` or `sequences` of the report.
#[derive(Serialize)]
struct Layer {
    name: String,
    op: &'static str,
    /// Spikes a neuron and step; only for spiking populations.
    firing_rate: Option<f64>,
    activation_sparsity: Option<f64>,
    connection_sparsity: Option<f64>,
    #[serde(flatten)]
    counters: NodeCounters,
}

#[derive(Serialize)]
struct Memory {
    weights: usize,
    constants: usize,
    state: usize,
    scratch: usize,
}

/// NeuroBench's numbers, by its names; synaptic operations per sequence.
#[derive(Serialize)]
struct NeuroBench {
    footprint: u64,
    parameter_count: u64,
    connection_sparsity: f64,
    activation_sparsity: f64,
    effective_macs: f64,
    effective_acs: f64,
    dense: f64,
}

#[derive(Serialize)]
struct Modelled {
    constants: &'static str,
    nanojoules_per_sequence: f64,
    nanojoules_per_step: f64,
    assumptions: &'static str,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    #[cfg(feature = "train")]
    if args.gradients {
        return super::profile_gradients::run(&args.model, args.source.data.as_deref(), ui);
    }
    let mut model = Model::load(&args.model)?;
    args.shown.set(&mut model.graph)?;
    if model.graph.task.detection.is_some() {
        return run_detector(args, model, ui);
    }
    let random = match args.source.data {
        None if !args.measure => profile_tokens::count_random(&model.graph)?,
        _ => None,
    };
    let (data, counters, measured) = match random {
        Some(counters) => ("random tokens".to_owned(), counters, None),
        None => {
            let mut labelled = args.source.load(&model.graph)?;
            if args.limit > 0 {
                labelled.index.truncate(args.limit);
            }
            let (samples, index) = (&labelled.samples, &labelled.index);
            args.energy.check(samples, index)?;
            let counters = count_operations(&model.graph, samples, index)?;
            let measured = match args.measure {
                true => Some(measure(&model.graph, samples, index)?),
                false => None,
            };
            (labelled.name, counters, measured)
        }
    };
    let paper_energy = PaperEnergy::new(args.energy, &model.graph, &counters)?;
    let account = match args.energy.asks_for_spikegpt() {
        true => Some(Account::of(&model.graph, &counters)?),
        false => None,
    };
    let report = Report::new(model, data, &counters, measured)?;
    let report = Report { account, paper_energy, ..report };
    ui.print(|| report.text(), &report)?;
    Ok(Outcome::Done)
}

/// A detector runs over scenes.
fn run_detector(args: &Args, model: Model, ui: &Ui) -> Result {
    if args.measure {
        return Err(Failure::usage("--measure times single steps, and a detector has no such")
            .help("without --measure its operations are counted"));
    }
    let labelled = detection::Labelled::load(&model.graph, &args.source)?;
    let counters = labelled.count_operations(&model.graph, args.limit)?;
    let paper_energy = PaperEnergy::new(args.energy, &model.graph, &counters)?;
    let two_stages = model.graph.task.detection.as_ref().is_some_and(|d| d.regions.is_some());
    if paper_energy.is_some() && two_stages {
        ui.note("the paper's energy table counts the heads of the second stage for one region");
    }
    let report = Report { paper_energy, ..Report::new(model, labelled.name, &counters, None)? };
    ui.print(|| report.text(), &report)?;
    Ok(Outcome::Done)
}

/// The counters of a run over prepared sequences.
pub fn count_operations(graph: &Graph, samples: &Samples, index: &[usize]) -> Result<Counters> {
    let executor = Executor::new(graph)?;
    evaluate::check_channels(graph, &executor, samples.values())?;
    let mut profiler = Profiler::new(&executor);
    let (mut x, mut out) = (Vec::new(), Vec::new());
    for index in index.chunks(evaluate::streams(samples)) {
        samples.batch(index, &mut x);
        let mut states: Vec<_> = index.iter().map(|_| executor.state()).collect();
        out.clear();
        executor.run_profiled(&mut states, &x, &mut out, &mut profiler)?;
    }
    Ok(profiler.counters().clone())
}

impl Report {
    fn new(
        model: Model,
        data: String,
        counters: &Counters,
        measured: Option<Measured>,
    ) -> Result<Self> {
        let graph = &model.graph;
        let counts = graph.counts()?;
        let total = counters.total();
        let layers = graph.nodes.iter().zip(&counts.nodes).zip(&counters.nodes);
        let layers = layers
            .filter(|((node, _), _)| !matches!(node.op, Op::Input { .. } | Op::Output))
            .map(|((node, counts), counters)| Layer::new(&node.op, counts, counters))
            .collect();
        let memory = Executor::new(graph)?.memory_plan();
        let (weights, constants) = (memory.weights, memory.constants);
        Ok(Report {
            model: model.path.clone(),
            data,
            sequences: counters.samples,
            steps: counters.steps,
            layers,
            total,
            parameters: counts.parameters,
            bytes: counts.bytes,
            memory: Memory { weights, constants, state: memory.state, scratch: memory.scratch },
            neurobench: NeuroBench::new(graph, &counts, counters),
            energy_model: modelled(counters),
            paper_energy: None,
            measured,
            account: None,
        })
    }

    fn text(&self) -> String {
        let steps = self.steps.max(1) as f64;
        let mut text = format!(
            "{}\n{} sequences, {} steps: {}\n\n",
            self.model.display(),
            count(self.sequences),
            count(self.steps),
            self.data
        );
        let mut table = Table::new([
            "layer",
            "op",
            "rate",
            "act. sparsity",
            "conn. sparsity",
            "events",
            "MACs*",
            "ACs*",
            "dense*",
            "updates",
            "weight bytes",
        ]);
        for layer in &self.layers {
            table.row(layer.cells(steps));
        }
        table.row(cells("total", "", [None; 3], &self.total, steps));
        text += &table.text();
        text.push_str("events, operations, updates and bytes are means per time step\n\n");
        text += &self.neurobench.text();
        let memory = &self.memory;
        text += &format!(
            "\nmemory: {} of weights, {} of constants; per stream {} of state, {} while a step runs\n",
            bytes(memory.weights as u64),
            bytes(memory.constants as u64),
            bytes(memory.state as u64),
            bytes(memory.scratch as u64)
        );
        for model in &self.energy_model {
            text += &format!(
                "energy, {}: {:.3} nJ a step, {:.1} nJ a sequence\n  {}\n",
                model.constants,
                model.nanojoules_per_step,
                model.nanojoules_per_sequence,
                model.assumptions
            );
        }
        if let Some(paper) = &self.paper_energy {
            text += &paper.text();
        }
        if let Some(measured) = &self.measured {
            text += &measured.text();
        }
        if let Some(account) = &self.account {
            text += &account.text();
        }
        text
    }
}

impl Layer {
    fn new(op: &Op, counts: &NodeCounts, counters: &NodeCounters) -> Self {
        let (name, rate) = match op {
            Op::Neuron(neuron) => (neuron.model(), counters.activation_nonzeros),
            op => (op.name(), 0),
        };
        let spikes = matches!(op, Op::Neuron(neuron) if neuron.model() != "li");
        let elements = counters.activation_elements.max(1) as f64;
        let connections = counts.connections as f64;
        Layer {
            name: counts.name.clone(),
            op: name,
            firing_rate: spikes.then(|| rate as f64 / elements),
            activation_sparsity: counters.activation_sparsity(),
            connection_sparsity: (counts.connections > 0)
                .then(|| counts.zero_connections as f64 / connections),
            counters: *counters,
        }
    }

    fn cells(&self, steps: f64) -> Vec<String> {
        let shares = [self.firing_rate, self.activation_sparsity, self.connection_sparsity];
        cells(&self.name, self.op, shares, &self.counters, steps)
    }
}

fn cells(
    name: &str,
    op: &str,
    shares: [Option<f64>; 3],
    counters: &NodeCounters,
    steps: f64,
) -> Vec<String> {
    let numbers = [
        counters.events_in,
        counters.effective_macs,
        counters.effective_acs,
        counters.dense,
        counters.state_updates,
        counters.weight_bytes,
    ];
    let share = |share: Option<f64>| share.map_or(String::new(), |share| format!("{share:.4}"));
    let mut cells = vec![name.to_owned(), op.to_owned()];
    cells.extend(shares.map(share));
    cells.extend(numbers.map(|number| per_step(number, steps)));
    cells
}

/// A mean per step: whole from ten on, with a digit below.
fn per_step(number: u64, steps: f64) -> String {
    let mean = number as f64 / steps;
    match mean {
        0.0 => "0".to_owned(),
        _ if mean < 10.0 => format!("{mean:.2}"),
        _ => count(mean.round() as u64),
    }
}

impl NeuroBench {
    fn new(graph: &Graph, counts: &GraphCounts, counters: &Counters) -> Self {
        let total = counters.total();
        let samples = counters.samples.max(1) as f64;
        NeuroBench {
            footprint: counts.bytes,
            parameter_count: counts.parameters,
            connection_sparsity: counts.connection_sparsity(),
            activation_sparsity: counters.activation_sparsity(graph),
            effective_macs: total.effective_macs as f64 / samples,
            effective_acs: total.effective_acs as f64 / samples,
            dense: total.dense as f64 / samples,
        }
    }

    fn text(&self) -> String {
        format!(
            "NeuroBench*: footprint {} bytes, {} parameters, connection sparsity {:.4}, \
             activation sparsity {:.4}\n  per sequence: {} effective MACs, {} effective ACs, {} dense\n",
            count(self.footprint),
            count(self.parameter_count),
            self.connection_sparsity,
            self.activation_sparsity,
            count(self.effective_macs.round() as u64),
            count(self.effective_acs.round() as u64),
            count(self.dense.round() as u64)
        )
    }
}

fn modelled(counters: &Counters) -> Vec<Modelled> {
    let total = counters.total();
    energy::SETS
        .iter()
        .map(|set| {
            let nanojoules = set.energy(&total).total_pj() / 1e3;
            Modelled {
                constants: set.name,
                nanojoules_per_sequence: nanojoules / counters.samples.max(1) as f64,
                nanojoules_per_step: nanojoules / counters.steps.max(1) as f64,
                assumptions: set.assumptions,
            }
        })
        .collect()
}
