//! `spikelet export`.

use crate::{
    board::{self, Board},
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
use spikelet_runtime::MemoryPlan;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Write a model for a device: as source code, or with how to build its program
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet compress model.safetensors --integer-only --out board.safetensors
  spikelet export board.safetensors --target c99 --out board-c
  spikelet export board.safetensors --target rust-no-std --out board-rs
  spikelet export model.safetensors --target c99 --out small --budget flash=256K,ram=32K
  spikelet export model.safetensors --target linux-aarch64 --out pi && pi/build

The folder builds as it stands and has a readme of its own. The code gives the scores of `spikelet
run` with the same graph, to the bit. What it needs is printed first: flash for constants and code,
memory for the state and the stack of a step.
With --budget nothing is written that does not fit: the graph is taken as it is if it fits, or else
made integer-only with fewer bits, pruned more, run in another order, until it does.
For boards with Linux the folder holds the model and a script that builds the program that runs it,
`spikelet` without training, as one static file; any graph runs there.")]
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
    /// A program for boards with 64-bit Linux on Arm.
    LinuxAarch64,
    /// A program for boards with 32-bit Linux on Arm.
    LinuxArmv7,
}

impl Target {
    fn board(self) -> Option<&'static Board> {
        match self {
            Target::C99 | Target::RustNoStd | Target::Wasm => None,
            Target::LinuxAarch64 => Some(&board::AARCH64),
            Target::LinuxArmv7 => Some(&board::ARMV7),
        }
    }
}

#[derive(Serialize)]
struct Exported {
    out: PathBuf,
    files: Vec<&'static str>,
    integer_only: bool,
    #[serde(flatten)]
    needs: Needs,
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<Fit>,
}

/// Bytes on the device.
#[derive(Serialize)]
#[serde(untagged)]
enum Needs {
    /// Of code.
    Code { memory: Memory, flash: usize, ram: usize },
    /// Of the network beside a program.
    Board { weights: usize, constants: usize, state: usize, work: usize },
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let model = Model::load(&args.model)?;
    if args.out.exists() {
        return Err(Failure::usage(format!("{} exists already", args.out.display()))
            .help("name a folder that does not, or remove it"));
    }
    let board = args.target.board();
    let (graph, search) = match &args.budget {
        None => (model.graph, None),
        Some(_) if board.is_some() => {
            return Err(Failure::usage("--budget is for code without an operating system")
                .help("make the model smaller with spikelet compress"));
        }
        Some(budget) => {
            let (graph, fit) = budget::search(&model.graph, budget, &args.source, ui)?;
            (graph, Some(fit))
        }
    };
    let (needs, files) = match board {
        Some(board) => (Needs::on_a_board(&graph)?, board::files(&graph, board)?),
        None => (Needs::of_code(&graph)?, code(&graph, args.target)?),
    };
    if !ui.json {
        ui.note(needs.plan(&graph));
    }
    write(&args.out, &files)?;
    let report = Exported {
        out: args.out.clone(),
        files: files.iter().map(|(name, _)| *name).collect(),
        integer_only: graph.integer.is_some(),
        needs,
        search,
    };
    ui.print(|| report.text(), &report)?;
    Ok(Outcome::Done)
}

/// Source code, file by file.
fn code(graph: &Graph, target: Target) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let target = match target {
        Target::RustNoStd => export::Target::RustNoStd,
        Target::Wasm => export::Target::Wasm,
        _ => export::Target::C99,
    };
    let files = export(graph, target)?;
    Ok(files.into_iter().map(|file| (file.name, file.content.into_bytes())).collect())
}

impl Needs {
    fn of_code(graph: &Graph) -> Result<Self> {
        let memory = export::memory(graph)?;
        Ok(Needs::Code { memory, flash: memory.flash(), ram: memory.ram() })
    }

    fn on_a_board(graph: &Graph) -> Result<Self> {
        let MemoryPlan { weights, constants, state, scratch } = board::memory(graph)?;
        Ok(Needs::Board { weights, constants, state, work: scratch })
    }

    /// As a table.
    fn plan(&self, graph: &Graph) -> String {
        let mut text = Table::new(["memory", "bytes"]);
        let mut row = |name: &str, bytes: usize| {
            text.row([name.to_owned(), table::count(bytes as u64)]);
        };
        match *self {
            Needs::Code { memory, flash, ram } => {
                row("constants", memory.constants);
                row("code, about", memory.code);
                row("flash", flash);
                row("state", memory.state);
                row("stack at its peak, about", memory.stack);
                row("ram", ram);
            }
            Needs::Board { weights, constants, state, work } => {
                row("weights", weights);
                row("other constants", constants);
                row("state of a stream", state);
                row("work of a step", work);
            }
        }
        let arithmetic = if graph.integer.is_some() { "integers alone" } else { "32-bit floats" };
        format!("{}, {arithmetic}\n{}", graph.name, text.text())
    }
}

/// Writes a whole folder or none: into a temporary folder beside it, which is then renamed.
fn write(out: &Path, files: &[(&'static str, Vec<u8>)]) -> Result<()> {
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed =
        |error: std::io::Error| Failure::from(error).context(format!("writing {}", out.display()));
    fs::create_dir_all(parent).map_err(failed)?;
    let folder = tempfile::Builder::new().prefix(".export").tempdir_in(parent).map_err(failed)?;
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder.path())).map_err(failed)?;
        fs::write(&path, content).map_err(failed)?;
        if *name == board::BUILD_NAME {
            open_to_all(&path).map_err(failed)?;
        }
    }
    // A temporary folder is private; what is exported is not.
    open_to_all(folder.path()).map_err(failed)?;
    fs::rename(folder.path(), out).map_err(failed)?;
    // It has another name now: there is nothing left to remove.
    let _ = folder.keep();
    Ok(())
}

/// Everyone may read and enter, or execute.
fn open_to_all(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let _ = path;
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
