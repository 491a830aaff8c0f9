//! `spikelet convert`.

use crate::{
    convert,
    failure::{Failure, Outcome, Result},
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::checkpoint::Checkpoint;
use std::path::PathBuf;

/// Turn a PyTorch or safetensors checkpoint into an event graph
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet convert best.ckpt                     the architecture is found by its tensors
  spikelet convert weights.pt --arch sinabs-mnist --out mnist.safetensors

Pickles are read as data: nothing in them is ever executed. Sizes are taken from the tensors;
tensors that are missing or belong to nothing are listed.")]
pub struct Args {
    /// A .ckpt, .pt, .pth or .safetensors file.
    checkpoint: PathBuf,
    /// The architecture [default: found by the names of the tensors].
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Where to write [default: the checkpoint's name with .graph.safetensors].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Converted {
    out: PathBuf,
    #[serde(flatten)]
    report: convert::Report,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let (graph, report) = convert::convert(&checkpoint, args.arch.as_deref())?;
    let out =
        args.out.clone().unwrap_or_else(|| args.checkpoint.with_extension("graph.safetensors"));
    if out == args.checkpoint {
        return Err(Failure::usage("the graph would replace the checkpoint")
            .help("name another file with --out"));
    }
    graph.save(&out)?;
    let converted = Converted { out, report };
    ui.print(|| converted.text(), &converted)?;
    Ok(Outcome::Done)
}

impl Converted {
    fn text(&self) -> String {
        let report = &self.report;
        let mut text = format!(
            "{} ({}): {} tensors used\n",
            self.out.display(),
            report.arch,
            report.used.len()
        );
        for note in &report.notes {
            text += &format!("  {note}\n");
        }
        for name in &report.unexpected {
            text += &format!("  unexpected tensor, left out: {name}\n");
        }
        text
    }
}
