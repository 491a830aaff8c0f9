//! `spikelet compress`.

use crate::{
    evaluate::evaluate,
    failure::{Failure, Outcome, Result},
    labelled,
    model::Model,
    table::{self, Table},
    ui::Ui,
};
use serde::Serialize;
use spikelet_graph::{
    Graph,
    compress::{
        Bits, PrunedTensor, QuantizedTensor, RemovedUnits, Scope, halve, prune, quantize,
        remove_neurons,
    },
};
use std::path::{Path, PathBuf};

/// Prune a model and turn its weights into integers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet compress model.safetensors --bits 8 --out small.safetensors
  spikelet compress runs/wisdm --prune 0.5 --bits 8 --data shared/data
  spikelet compress model.safetensors --neurons 0.25 --bits 4

Order: neurons are removed, then weights pruned, then quantised: one scale per output channel, for
matrices behind real values one per 64 weights where rows divide so. 16 bits are half-precision floats.
To fine-tune a pruned or quantised model, train it: spikelet train PRESET --init MODEL --set
train.prune=0.5 --set train.quantize_bits=8")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    /// Bits of a weight.
    #[arg(long, value_parser = ["16", "8", "4"])]
    bits: Option<String>,
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
    source: labelled::Source,
}

#[derive(Default, Serialize)]
struct Compressed {
    out: PathBuf,
    before: Size,
    after: Size,
    removed: Vec<RemovedUnits>,
    pruned: Vec<PrunedTensor>,
    quantized: Vec<QuantizedTensor>,
    measured_on: Option<String>,
}

#[derive(Default, Serialize)]
struct Size {
    parameters: u64,
    bytes: u64,
    connection_sparsity: f64,
    accuracy: Option<f64>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    if args.bits.is_none() && args.prune.is_none() && args.neurons.is_none() {
        return Err(Failure::usage("nothing to do").help("give --bits, --prune or --neurons"));
    }
    let model = Model::load(&args.model)?;
    let keep: Vec<&str> = args.keep.iter().map(String::as_str).collect();
    let mut graph = model.graph.clone();
    let mut report = Compressed::default();
    if let Some(fraction) = args.neurons {
        (graph, report.removed) = remove_neurons(&graph, fraction, &keep)?;
    }
    if let Some(fraction) = args.prune {
        let scope = if args.global { Scope::Global } else { Scope::Layer };
        (graph, report.pruned) = prune(&graph, fraction, scope, &keep)?;
    }
    if let Some(bits) = &args.bits {
        (graph, report.quantized) = match bits.as_str() {
            "16" => halve(&graph, &keep)?,
            "8" => quantize(&graph, Bits::Eight, &keep)?,
            _ => quantize(&graph, Bits::Four, &keep)?,
        };
    }
    report.before = Size::of(&model.graph)?;
    report.after = Size::of(&graph)?;
    if args.source.data.is_some() || args.source.split.is_some() {
        let labelled = args.source.load(&model.graph)?;
        let accuracy = |graph: &Graph| -> Result<f64> {
            let evaluation = evaluate(graph, &labelled.samples, &labelled.index)?;
            Ok(evaluation.confusion.accuracy())
        };
        report.before.accuracy = Some(accuracy(&model.graph)?);
        report.after.accuracy = Some(accuracy(&graph)?);
        report.measured_on = Some(labelled.name);
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
    path.with_file_name(name + ".safetensors")
}

impl Size {
    fn of(graph: &Graph) -> Result<Self> {
        let counts = graph.counts()?;
        Ok(Size {
            parameters: counts.parameters,
            bytes: counts.bytes,
            connection_sparsity: counts.connection_sparsity(),
            accuracy: None,
        })
    }
}

impl Compressed {
    fn text(&self) -> String {
        let mut sizes = Table::new(["", "parameters", "bytes", "zero weights", "accuracy"]);
        for (name, size) in [("before", &self.before), ("after", &self.after)] {
            let accuracy = size.accuracy.map(|accuracy| format!("{:.2} %", 100.0 * accuracy));
            sizes.row([
                name.to_owned(),
                table::count(size.parameters),
                table::count(size.bytes),
                format!("{:.2} %", 100.0 * size.connection_sparsity),
                accuracy.unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        let mut text = sizes.text();
        if let Some(name) = &self.measured_on {
            text += &format!("accuracy on {name}\n");
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
