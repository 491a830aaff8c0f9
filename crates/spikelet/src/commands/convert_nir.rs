//! `spikelet convert` from and to NIR files.

use super::convert::{Args, target};
use crate::{
    failure::{Failure, Outcome, Result},
    model::Model,
    ui::Ui,
};
use clap::ValueEnum;
use serde::Serialize;
use spikelet_data::atomic;
use spikelet_graph::nir::{self, NirGraph, Report};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// The architecture that stands for any NIR file.
const ARCH: &str = "nir";

/// Options of `convert`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Write the graph in another format, and report what it loses there.
    #[arg(long, value_name = "FORMAT", conflicts_with = "arch")]
    to: Option<Format>,
    /// Seconds of a time step in a NIR file [default: 0.0001, or what the file names].
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    dt: Option<f64>,
}

/// A format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// NIR: what simulators and neuromorphic chips exchange.
    Nir,
}

#[derive(Serialize)]
struct Imported {
    out: PathBuf,
    arch: &'static str,
    nodes: usize,
    dt: f64,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Exported {
    /// The file; none where NIR cannot express the model.
    out: Option<PathBuf>,
    #[serde(flatten)]
    report: Report,
}

/// Runs the command if it is about NIR.
pub fn run(args: &Args, ui: &Ui) -> Option<Result> {
    let file = &args.checkpoint;
    if args.nir.to == Some(Format::Nir) {
        return Some(export(args, ui));
    }
    let is_nir = match args.arch.as_deref() {
        None => is_hdf5(file),
        Some(arch) => arch == ARCH,
    };
    if !is_nir {
        let wrong = || Failure::usage("--dt is a setting of NIR files").help("leave it out");
        return args.nir.dt.map(|_| Err(wrong()));
    }
    Some(import(args, ui))
}

/// Whether a file starts as HDF5 files do.
pub fn is_hdf5(path: &Path) -> bool {
    let mut start = [0; nir::SIGNATURE.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == *nir::SIGNATURE
}

/// The name of a graph: that of its file.
pub fn name(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

fn import(args: &Args, ui: &Ui) -> Result {
    let file = &args.checkpoint;
    let import = nir::load(file)?
        .to_graph(&name(file), args.nir.dt)
        .map_err(|error| Failure::from(error).context(format!("{}", file.display())))?;
    let out = target(args, file, "graph.safetensors")?;
    import.graph.save(&out)?;
    let nodes = import.graph.nodes.len();
    let imported = Imported { out, arch: ARCH, nodes, dt: import.dt, notes: import.notes };
    ui.print(|| imported.text(), &imported)?;
    Ok(Outcome::Done)
}

/// Exit code 1 where NIR cannot express the model: the answer is no, and the report says why.
fn export(args: &Args, ui: &Ui) -> Result {
    let model = Model::load(&args.checkpoint)?;
    let dt = args.nir.dt.unwrap_or(nir::STEP);
    let export = NirGraph::of_graph(&model.graph, dt)
        .map_err(|error| Failure::from(error).context(format!("{}", model.path.display())))?;
    let out = match export.nir {
        Some(nir) => {
            let out = target(args, &model.path, "nir")?;
            atomic::write(&out, &nir.to_bytes()?)?;
            Some(out)
        }
        None => None,
    };
    let outcome = if out.is_some() { Outcome::Done } else { Outcome::No };
    let exported = Exported { out, report: export.report };
    ui.print(|| exported.text(), &exported)?;
    Ok(outcome)
}

impl Imported {
    fn text(&self) -> String {
        let mut text = format!(
            "{} ({}): {} nodes, {} s a step\n",
            self.out.display(),
            self.arch,
            self.nodes,
            self.dt
        );
        self.notes.iter().for_each(|note| text += &format!("  {note}\n"));
        text
    }
}

impl Exported {
    fn text(&self) -> String {
        let head = match &self.out {
            Some(out) => {
                format!(
                    "{}: {}, {} s a step",
                    out.display(),
                    self.report.fidelity.name(),
                    self.report.dt
                )
            }
            None => "NIR cannot express this model; nothing was written".to_owned(),
        };
        format!("{head}\n\n{}", self.report.text())
    }
}
