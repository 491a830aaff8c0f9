//! `spikelet convert`.

#[cfg(feature = "nir")]
use super::convert_nir;
use crate::{
    convert,
    failure::{Failure, Outcome, Result},
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::{checkpoint::Checkpoint, vocabulary::Vocabulary};
use std::path::{Path, PathBuf};

#[cfg(feature = "nir")]
const NIR_EXAMPLES: &str = "
  spikelet convert braille.nir                   a NIR file to an event graph
  spikelet convert model.safetensors --to nir    an event graph to a NIR file, and what it loses";
#[cfg(not(feature = "nir"))]
const NIR_EXAMPLES: &str = "";

/// The names for `--arch`.
fn architectures() -> String {
    let line = |a: &convert::Architecture| format!("  {:<21}  {}", a.name, a.what);
    convert::ARCHITECTURES.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Turn a checkpoint or a NIR file into an event graph, or a graph into a NIR file
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
Examples:
  spikelet convert best.ckpt                     the architecture is found by its tensors
  spikelet convert weights.pt --arch sinabs-mnist --out mnist.safetensors
  spikelet convert 55M_kd_T4.pth --steps 4       Meta-SpikeFormer; then: spikelet eval .. --data imagenet
  spikelet convert SpikeGPT-216M.pth --tokenizer 20B_tokenizer.json
  spikelet convert book.pth --tokenizer vocab_book.json --arch spikegpt-runner{NIR_EXAMPLES}

Pickles are read as data: nothing in them is ever executed. Sizes are taken from the tensors;
tensors that are missing or belong to nothing are listed.
No checkpoint of a language model says what its tokens are. With --tokenizer the graph does, for
generate, embed, eval --data TEXT and train --init.
Architectures for --arch:
{}", architectures()))]
pub struct Args {
    /// A .ckpt, .pt, .pth, .safetensors or .nir file; with --to, a graph or the folder of a run.
    pub(super) checkpoint: PathBuf,
    /// The architecture of a checkpoint [default: found by the names of the tensors].
    #[arg(long, value_name = "NAME")]
    pub(super) arch: Option<String>,
    /// What the tokens of a language model are: a tokenizer.json, or the characters of a model of SpikeGPT's authors
    /// (JSON of numbers and characters, in UTF-8 or UTF-16).
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Where to write [default: the file's name with .graph.safetensors, or .nir].
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// For how many steps an image is shown, where a network asks for it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) steps: Option<u16>,
    /// Height and width of images, where a network takes any [default: those it was trained on].
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(16..=2048))]
    pub(super) size: Option<u16>,
    #[cfg(feature = "nir")]
    #[command(flatten)]
    pub(super) nir: convert_nir::Options,
}

#[derive(Serialize)]
struct Converted {
    out: PathBuf,
    #[serde(flatten)]
    report: convert::Report,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    #[cfg(feature = "nir")]
    if let Some(result) = convert_nir::run(args, ui) {
        return result;
    }
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let size = args.size.map(usize::from);
    let (mut graph, report) = convert::convert_for(&checkpoint, args.arch.as_deref(), size)?;
    if size.is_some() && !convert::takes_size(&report.arch) {
        return Err(Failure::usage(format!("--size: {} has a size of its own", report.arch)));
    }
    graph.task.window = match (args.steps, convert::asks_for_steps(&report.arch)) {
        (Some(steps), _) => usize::from(steps),
        (None, false) => graph.task.window,
        (None, true) => {
            return Err(Failure::usage(format!(
                "no checkpoint of {} says for how many steps an image is shown",
                report.arch
            ))
            .help("give --steps: 4 for most published results, 1 for those of the first stage"));
        }
    };
    if let Some(path) = &args.tokenizer {
        let file = path.display().to_string();
        convert::name_tokens(&mut graph, &Vocabulary::load(path)?, &file)?;
    }
    let out = target(args, &args.checkpoint, "graph.safetensors")?;
    graph.save(&out)?;
    let converted = Converted { out, report };
    ui.print(|| converted.text(), &converted)?;
    Ok(Outcome::Done)
}

/// Where to write; not over what was read.
pub(super) fn target(args: &Args, read: &Path, extension: &str) -> Result<PathBuf> {
    let out = args.out.clone().unwrap_or_else(|| read.with_extension(extension));
    match out == read {
        true => Err(Failure::usage("the result would replace the file it is made of")
            .help("name another file with --out")),
        false => Ok(out),
    }
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
