//! `spikelet export`.

use crate::{
    budget::{self, Budget, Fit},
    failure::{Failure, Outcome, Result},
    labelled,
    model::Model,
    table::{self, Table},
    ui::Ui,
};
use clap::ValueEnum;
use serde::Serialize;
use spikelet_graph::{
    Graph,
    export::{self, Memory, export},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Write a model as source code for a device
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet compress model.safetensors --integer-only --out board.safetensors
  spikelet export board.safetensors --target c99 --out board-c
  spikelet export board.safetensors --target rust-no-std --out board-rs
  spikelet export model.safetensors --target c99 --out small --budget flash=256K,ram=32K

The folder builds as it stands and has a readme of its own. The code gives the scores of `spikelet
run` with the same graph, to the bit. What it needs is printed first: flash for constants and code,
memory for the state and the stack of a step.
With --budget nothing is written that does not fit: the graph is taken as it is if it fits, or else
made integer-only with fewer bits, pruned more, run in another order, until it does.")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    /// What to write.
    #[arg(long)]
    target: Target,
    /// The folder to write; it must not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the device has, as flash=BYTES,ram=BYTES; K and M stand for 1024 and 1024 K.
    #[arg(long, value_name = "LIMITS")]
    budget: Option<Budget>,
    #[command(flatten)]
    source: labelled::Source,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    /// One header and one source file of C99, without a library.
    C99,
    /// A Rust crate without the standard library.
    RustNoStd,
    /// A WebAssembly module with a JavaScript wrapper and a page.
    Wasm,
}

#[derive(Serialize)]
struct Exported {
    out: PathBuf,
    files: Vec<&'static str>,
    integer_only: bool,
    memory: Memory,
    flash: usize,
    ram: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<Fit>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let model = Model::load(&args.model)?;
    if args.out.exists() {
        return Err(Failure::usage(format!("{} exists already", args.out.display()))
            .help("name a folder that does not, or remove it"));
    }
    let (graph, search) = match &args.budget {
        None => (model.graph, None),
        Some(budget) => {
            let (graph, fit) = budget::search(&model.graph, budget, &args.source, ui)?;
            (graph, Some(fit))
        }
    };
    let memory = export::memory(&graph)?;
    let target = match args.target {
        Target::C99 => export::Target::C99,
        Target::RustNoStd => export::Target::RustNoStd,
        Target::Wasm => export::Target::Wasm,
    };
    let files = export(&graph, target)?;
    if !ui.json {
        ui.note(plan(&graph, &memory));
    }
    write(&args.out, &files)?;
    let report = Exported {
        out: args.out.clone(),
        files: files.iter().map(|file| file.name).collect(),
        integer_only: graph.integer.is_some(),
        memory,
        flash: memory.flash(),
        ram: memory.ram(),
        search,
    };
    ui.print(|| report.text(), &report)?;
    Ok(Outcome::Done)
}

/// What the code needs, as a table.
fn plan(graph: &Graph, memory: &Memory) -> String {
    let mut text = Table::new(["memory", "bytes"]);
    for (name, bytes) in [
        ("constants", memory.constants),
        ("code, about", memory.code),
        ("flash", memory.flash()),
        ("state", memory.state),
        ("stack at its peak, about", memory.stack),
        ("ram", memory.ram()),
    ] {
        text.row([name.to_owned(), table::count(bytes as u64)]);
    }
    let arithmetic = if graph.integer.is_some() { "integers alone" } else { "32-bit floats" };
    format!("{}, {arithmetic}\n{}", graph.name, text.text())
}

/// Writes a whole folder or none: into a temporary folder beside it, which is then renamed.
fn write(out: &Path, files: &[export::File]) -> Result<()> {
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed =
        |error: std::io::Error| Failure::from(error).context(format!("writing {}", out.display()));
    fs::create_dir_all(parent).map_err(failed)?;
    let folder = tempfile::Builder::new().prefix(".export").tempdir_in(parent).map_err(failed)?;
    for file in files {
        let path = folder.path().join(file.name);
        fs::create_dir_all(path.parent().unwrap_or(folder.path())).map_err(failed)?;
        fs::write(path, &file.content).map_err(failed)?;
    }
    // A temporary folder is private; what is exported is not.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), readable).map_err(failed)?;
    }
    fs::rename(folder.path(), out).map_err(failed)?;
    // It has another name now: there is nothing left to remove.
    let _ = folder.keep();
    Ok(())
}

impl Exported {
    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(fit) = &self.search {
            text += &format!("fits: {}\n", fit.text());
        }
        text + &format!("written: {} ({})\n", self.out.display(), self.files.join(", "))
    }
}
