//! `spikelet compress`.

use super::compress_fuse::{self, Decision};
use crate::{
    detection,
    evaluate::evaluate,
    failure::{Failure, Outcome, Result},
    labelled::{self, Labelled, Source},
    model::Model,
    table::{self, Table},
    ui::Ui,
};
use serde::Serialize;
use spikelet_graph::{
    Graph,
    compress::{
        Bits, PrunedTensor, QuantizedTensor, RemovedUnits, Scope, halve, integer_only, prune,
        quantize, quantize_channels, remove_neurons,
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Prune a model and turn its weights into integers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet compress model.safetensors --bits 8 --out small.safetensors
  spikelet compress runs/wisdm --prune 0.5 --bits 8 --data shared/data
  spikelet compress model.safetensors --neurons 0.25 --bits 4
  spikelet compress model.safetensors --integer-only --out board.safetensors
  spikelet compress runs/fashion --fuse             RepConvs as one convolution where few neurons fire

Order: RepConvs are fused, then neurons removed, then weights pruned, then quantised: one scale per output channel, for
matrices behind real values one per 64 weights where rows divide so. 16 bits are half-precision floats.
--fuse turns the four parts of a RepConv into one 3 x 3 convolution where that takes fewer operations:
below a firing rate of about 12 % of what it reads (1/8 + 9/(8 c) with c channels). The rates are
measured over the training part of the data; --fuse=0.1 takes this one for all. Results stay the same
but for rounding. The file grows: 9 c c weights in place of 2 c c + 9 c.
With --integer-only everything after the input is computed in integers, with the same result on
every machine: what `spikelet export` turns into code for microcontrollers. The range of the input
is taken from the training part of the data, if that is found.
To fine-tune a pruned or quantised model, train it: spikelet train PRESET --init MODEL --set
train.prune=0.5 --set train.quantize_bits=8")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    /// Make one convolution of a RepConv that few spikes reach, by measured firing rates or this one.
    #[arg(long, value_name = "RATE", num_args = 0..=1, require_equals = true)]
    fuse: Option<Option<f64>>,
    /// Bits of a weight.
    #[arg(long, value_parser = ["16", "8", "4"])]
    bits: Option<String>,
    /// Compute in integers alone (with --bits 8 unless given).
    #[arg(long)]
    integer_only: bool,
    /// Fraction of the weights to set to zero, the smallest of each layer.
    #[arg(long, value_name = "FRACTION")]
    prune: Option<f64>,
    /// Choose the smallest weights over all layers together.
    #[arg(long, requires = "prune")]
    global: bool,
    /// Fraction of the neurons of every population to remove.
    #[arg(long, value_name = "FRACTION")]
    neurons: Option<f64>,
    /// Nodes to leave alone (may be repeated).
    #[arg(long, value_name = "NODE")]
    keep: Vec<String>,
    /// Where to write [default: the model's name with what was done].
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

#[derive(Default, Serialize)]
struct Compressed {
    out: PathBuf,
    before: Size,
    after: Size,
    fused: Vec<Decision>,
    removed: Vec<RemovedUnits>,
    pruned: Vec<PrunedTensor>,
    quantized: Vec<QuantizedTensor>,
    /// Of an integer-only graph: fraction bits of its inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    integer: Option<BTreeMap<String, u32>>,
    measured_on: Option<String>,
}

#[derive(Default, Serialize)]
struct Size {
    parameters: u64,
    bytes: u64,
    connection_sparsity: f64,
    accuracy: Option<f64>,
    /// Of a detector: average precision of boxes at an overlap of 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    map50: Option<f64>,
}

/// What both forms are measured on.
enum Data {
    Labelled(Labelled),
    Scenes(detection::Labelled),
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let smaller = args.bits.is_some() || args.prune.is_some() || args.neurons.is_some();
    if !smaller && !args.integer_only && args.fuse.is_none() {
        return Err(Failure::usage("nothing to do")
            .help("give --bits, --prune, --neurons, --integer-only or --fuse"));
    }
    let model = Model::load(&args.model)?;
    let keep: Vec<&str> = args.keep.iter().map(String::as_str).collect();
    let mut graph = model.graph.clone();
    let mut report = Compressed::default();
    if let Some(rate) = args.fuse {
        report.fused = compress_fuse::fuse(&mut graph, rate, &args.source)?;
    }
    if let Some(fraction) = args.neurons {
        (graph, report.removed) = remove_neurons(&graph, fraction, &keep)?;
    }
    if let Some(fraction) = args.prune {
        let scope = if args.global { Scope::Global } else { Scope::Layer };
        (graph, report.pruned) = prune(&graph, fraction, scope, &keep)?;
    }
    if args.integer_only {
        let bits = match args.bits.as_deref() {
            None | Some("8") => Bits::Eight,
            Some("4") => Bits::Four,
            Some(_) => {
                return Err(Failure::usage("--bits 16 gives floats, --integer-only wants 8 or 4"));
            }
        };
        (graph, report.quantized) = quantize_channels(&graph, bits, &keep)?;
    } else if let Some(bits) = &args.bits {
        (graph, report.quantized) = match bits.as_str() {
            "16" => halve(&graph, &keep)?,
            "8" => quantize(&graph, Bits::Eight, &keep)?,
            _ => quantize(&graph, Bits::Four, &keep)?,
        };
    }
    if args.integer_only {
        let largest = labelled::largest_inputs(&model.graph, &args.source, ui)?;
        graph = integer_only(&graph, &largest)?;
        report.integer = graph.integer.clone();
    }
    report.before = Size::of(&model.graph)?;
    report.after = Size::of(&graph)?;
    let asked_for = args.source.data.is_some() || args.source.split.is_some();
    let load = || Data::load(&model.graph, &args.source);
    let data = match asked_for {
        true => Some(load()?),
        // What integers cost is always said, where the data is there.
        false if args.integer_only => load().ok(),
        false => None,
    };
    if let Some(data) = data {
        data.measure(&model.graph, &mut report.before, ui)?;
        data.measure(&graph, &mut report.after, ui)?;
        report.measured_on = Some(data.name().to_owned());
    }
    report.out = args.out.clone().unwrap_or_else(|| default_name(args, &model.path));
    graph.save(&report.out)?;
    ui.print(|| report.text(), &report)?;
    Ok(Outcome::Done)
}

/// `model.safetensors` becomes `model-pruned50-int8.safetensors`.
fn default_name(args: &Args, path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let percent = |fraction: f64| (fraction * 100.0).round();
    if args.fuse.is_some() {
        name += "-fused";
    }
    if let Some(fraction) = args.neurons {
        name += &format!("-small{}", percent(fraction));
    }
    if let Some(fraction) = args.prune {
        name += &format!("-pruned{}", percent(fraction));
    }
    if let Some(bits) = &args.bits {
        let kind = if bits == "16" { "f" } else { "int" };
        name += &format!("-{kind}{bits}");
    }
    if args.integer_only {
        name += "-integer";
    }
    path.with_file_name(name + ".safetensors")
}

impl Data {
    fn load(graph: &Graph, source: &Source) -> Result<Self> {
        match graph.task.detection {
            Some(_) => Ok(Data::Scenes(detection::Labelled::load(graph, source)?)),
            None => Ok(Data::Labelled(source.load(graph)?)),
        }
    }

    fn measure(&self, graph: &Graph, size: &mut Size, ui: &Ui) -> Result<()> {
        match self {
            Data::Labelled(labelled) => {
                let found = evaluate(graph, &labelled.samples, &labelled.index)?;
                size.accuracy = Some(found.accuracy());
            }
            Data::Scenes(scenes) => size.map50 = Some(scenes.figures(graph, ui)?.0.map50),
        }
        Ok(())
    }

    fn name(&self) -> &str {
        match self {
            Data::Labelled(labelled) => &labelled.name,
            Data::Scenes(scenes) => &scenes.name,
        }
    }
}

impl Size {
    fn of(graph: &Graph) -> Result<Self> {
        let counts = graph.counts()?;
        Ok(Size {
            parameters: counts.parameters,
            bytes: counts.bytes,
            connection_sparsity: counts.connection_sparsity(),
            accuracy: None,
            map50: None,
        })
    }
}

impl Compressed {
    fn text(&self) -> String {
        let what = if self.before.map50.is_some() { "mAP@0.5" } else { "accuracy" };
        let figures = [&self.before, &self.after].map(|size| size.map50.or(size.accuracy));
        let mut sizes = Table::new(["", "parameters", "bytes", "zero weights", what]);
        for ((name, size), figure) in
            [("before", &self.before), ("after", &self.after)].into_iter().zip(figures)
        {
            let figure = figure.map(|figure| format!("{:.2} %", 100.0 * figure));
            sizes.row([
                name.to_owned(),
                table::count(size.parameters),
                table::count(size.bytes),
                format!("{:.2} %", 100.0 * size.connection_sparsity),
                figure.unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        let mut text = sizes.text();
        if let Some(name) = &self.measured_on {
            text += &format!("{what} on {name}\n");
        }
        if let [Some(before), Some(after)] = figures {
            text += &format!("{what} lost: {:.2} points\n", 100.0 * (before - after));
        }
        for (input, fraction) in self.integer.iter().flatten() {
            text += &format!("integer-only: input {input} in steps of 2^-{fraction}\n");
        }
        if !self.fused.is_empty() {
            text += &compress_fuse::text(&self.fused);
        }
        for group in &self.removed {
            let (nodes, removed) = (group.nodes.join(", "), group.removed.len());
            text += &format!("removed {removed} of {} units of {nodes}\n", group.units);
        }
        for tensor in &self.quantized {
            let (name, error) = (&tensor.tensor, tensor.max_error);
            text += &format!("{name}: {} bytes, largest error {error:.2e}\n", tensor.bytes);
        }
        text + &format!("written: {}\n", self.out.display())
    }
}
