//! `spikelet map`, and what `simulate` shares with it.

#[cfg(feature = "nir")]
use super::map_nir;
use crate::{
    failure::{Failure, Outcome, Result},
    model::Model,
    table::{Table, bytes, count},
    ui::Ui,
};
use serde::Serialize;
use spikelet_chip::{Assignment, Chip, ChipError, Constant, Mapping, Memory, SPINNAKER2, Wishes};
use spikelet_data::atomic;
use spikelet_graph::Graph;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Show how a model lies on the cores of SpiNNaker 2, without simulating it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet map model.safetensors
  spikelet map model.safetensors --cores 150 --output mapping.json
  spikelet simulate model.safetensors --chip spinnaker2 --mapping mapping.json

Layers are divided into as few parts as fit the SRAM of a core; with --cores, into as many as that.
What does not fit any more reads its weights from the DRAM; --chips gives it more chips instead. What does
not fit one chip even so gets twice as many, and so on up to the 48 of a board, and a note says so.
The file that --output writes may be edited: it is checked as strictly as a mapping made here.")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    #[command(flatten)]
    options: Options,
    /// Write the mapping to a file (JSON).
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the layers that py-spinnaker2 reads as NIR too, and say what it cannot read (exit code 1).
    #[cfg(feature = "nir")]
    #[arg(long, value_name = "FILE")]
    nir: Option<PathBuf>,
}

/// What decides about a mapping.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// `spinnaker2`, or a TOML file like its own with other constants.
    #[arg(long, value_name = "CHIP", default_value = "spinnaker2")]
    chip: String,
    /// Cores to use [default: the fewest that hold the model].
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Chips there are [default: one, and more if the model fits no fewer].
    #[arg(long, value_name = "N")]
    chips: Option<usize>,
    /// Compute in fixed point, s16.15, what has no integer weights.
    #[arg(long)]
    fixed: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a Path,
    cores_used: usize,
    /// Bytes of data a core holds.
    room: usize,
    layers: Vec<Layer>,
    /// Entries in the routing table of every chip that is used.
    routing_entries: Vec<usize>,
    dram_bytes: usize,
    mapping: Assignment,
    #[cfg(feature = "nir")]
    nir: Option<map_nir::Written>,
    constants: &'a [Constant],
}

#[derive(Serialize)]
struct Layer {
    layer: String,
    shape: Vec<usize>,
    parts: usize,
    weights: &'static str,
    /// Of the largest part.
    memory: Memory,
    memory_total: usize,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let model = Model::load(&args.model)?;
    let mapping = args.options.map(&model.graph, ui)?;
    let report = Report::new(args, &model, &mapping)?;
    if let Some(path) = &args.output {
        let text = serde_json::to_string_pretty(&report.mapping)?;
        atomic::write(path, format!("{text}\n").as_bytes())?;
        ui.note(format!("written: {}", path.display()));
    }
    ui.print(|| report.text(&mapping), &report)?;
    Ok(report.outcome())
}

impl Options {
    /// The chip.
    pub fn chip(&self) -> Result<Chip> {
        if self.chip == "spinnaker2" {
            return Ok(Chip::from_toml(SPINNAKER2)?);
        }
        let text = fs::read_to_string(&self.chip).map_err(|error| {
            Failure::from(error)
                .context(format!("cannot read --chip {}", self.chip))
                .help("name `spinnaker2` or a TOML file with the constants of a chip")
        })?;
        Chip::from_toml(&text).map_err(|error| failure(error).context(self.chip.clone()))
    }

    /// The graph on the chip.
    pub fn map(&self, graph: &Graph, ui: &Ui) -> Result<Mapping> {
        let chips = self.chips.unwrap_or(1);
        let wishes = Wishes { chips, cores: self.cores, fixed: self.fixed };
        let chip = self.chip()?;
        if self.chips.is_some() {
            return spikelet_chip::map(graph, &chip, wishes).map_err(failure);
        }
        let mapping = spikelet_chip::map_on_enough(graph, &chip, wishes).map_err(failure)?;
        if mapping.chips > chips {
            let fewer = (mapping.chips / 2).max(1);
            ui.note(format!("{} chips are used: {fewer} do not hold the model", mapping.chips));
        }
        Ok(mapping)
    }

    /// The graph on the chip as a file states it.
    pub fn read(&self, graph: &Graph, file: &Path) -> Result<Mapping> {
        if self.cores.is_some() || self.chips.is_some() {
            return Err(Failure::usage("--mapping says which cores are used")
                .help("leave out --cores and --chips"));
        }
        let text = fs::read_to_string(file).map_err(|error| {
            Failure::from(error).context(format!("cannot read {}", file.display()))
        })?;
        Mapping::read(graph, &self.chip()?, &text, self.fixed)
            .map_err(|error| failure(error).context(file.display()))
    }
}

/// What is asked for in vain is a matter of usage; everything else of the files.
fn failure(error: ChipError) -> Failure {
    match error {
        ChipError::Request(problem) => Failure::usage(problem),
        other => Failure::from(other),
    }
}

impl<'a> Report<'a> {
    #[cfg_attr(not(feature = "nir"), expect(unused_variables, reason = "options for NIR"))]
    fn new(args: &Args, model: &'a Model, mapping: &'a Mapping) -> Result<Self> {
        let layers = mapping.layers.layers.iter().enumerate().map(|(at, layer)| {
            let parts = || mapping.parts.iter().filter(|part| part.layer == at);
            let memory = parts().map(|part| part.memory).max_by_key(Memory::total);
            let memory = memory.unwrap_or_default();
            Layer {
                layer: layer.name.clone(),
                shape: layer.shape.clone(),
                parts: parts().count(),
                weights: if parts().any(|part| part.streams) { "dram" } else { "sram" },
                memory,
                memory_total: memory.total(),
            }
        });
        Ok(Report {
            model: &model.path,
            cores_used: mapping.core_memory().len(),
            room: mapping.chip.data_bytes(),
            layers: layers.collect(),
            routing_entries: mapping.routes.entries.values().copied().collect(),
            dram_bytes: mapping.dram_bytes(),
            mapping: mapping.assignment(),
            #[cfg(feature = "nir")]
            nir: match &args.nir {
                Some(path) => Some(map_nir::write(&model.graph, path)?),
                None => None,
            },
            constants: &mapping.chip.constants,
        })
    }

    /// No, if a NIR file was asked for that py-spinnaker2 does not read.
    fn outcome(&self) -> Outcome {
        #[cfg(feature = "nir")]
        if self.nir.as_ref().is_some_and(|written| !written.is_readable()) {
            return Outcome::No;
        }
        Outcome::Done
    }

    fn text(&self, mapping: &Mapping) -> String {
        let mut table = Table::new([
            "layer",
            "shape",
            "parts",
            "weights in",
            "bytes a core",
            "weights",
            "constants",
            "state",
            "buffers",
        ]);
        for layer in &self.layers {
            let Memory { weights, constants, state, buffers } = layer.memory;
            let mut row = vec![
                layer.layer.clone(),
                format!("{:?}", layer.shape),
                layer.parts.to_string(),
                layer.weights.to_uppercase(),
                count(layer.memory_total as u64),
            ];
            row.extend([weights, constants, state, buffers].map(|bytes| count(bytes as u64)));
            table.row(row);
        }
        let memory = mapping.core_memory();
        let fullest = memory.values().max().copied().unwrap_or(0);
        let chip = &mapping.chip;
        let mut text = format!("{} on {}\n\n{}", self.model.display(), chip.name, table.text());
        text += &format!(
            "bytes are those of the largest part\n\n{} of {} cores; the fullest holds {} of {} bytes\n",
            self.cores_used,
            mapping.chips * chip.cores(),
            count(fullest as u64),
            count(self.room as u64)
        );
        let entries: Vec<String> = self.routing_entries.iter().map(usize::to_string).collect();
        text += &format!(
            "routing entries a chip: {} of {}\n",
            entries.join(", "),
            count(chip.router_entries as u64)
        );
        if self.dram_bytes > 0 {
            text += &format!("{} of weights in the DRAM\n", bytes(self.dram_bytes as u64));
        }
        #[cfg(feature = "nir")]
        if let Some(written) = &self.nir {
            text += &written.text();
        }
        text
    }
}
