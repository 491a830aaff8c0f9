//! Folders for boards with Linux: a model, and how to build the program that runs it there.

use crate::failure::Result;
use spikelet_graph::Graph;
use spikelet_runtime::{Executor, MemoryPlan};
use std::path::Path;

const BUILD: &str = include_str!("board/build.sh");
/// The script's name in the folder.
pub const BUILD_NAME: &str = "build";
const README: &str = include_str!("board/README.md");

/// A kind of board.
#[derive(Clone, Copy, Debug)]
pub struct Board {
    name: &'static str,
    triple: &'static str,
    /// How Debian names its compiler, and the packages of it.
    gnu: &'static str,
    packages: &'static str,
}

/// 64-bit Arm: a Raspberry Pi 3 or later with a 64-bit system.
pub const AARCH64: Board = Board {
    name: "a board with 64-bit Linux on Arm",
    triple: "aarch64-unknown-linux-gnu",
    gnu: "aarch64-linux-gnu",
    packages: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
};

/// 32-bit Arm: a Raspberry Pi 2 or later with a 32-bit system.
pub const ARMV7: Board = Board {
    name: "a board with 32-bit Linux on Arm",
    triple: "armv7-unknown-linux-gnueabihf",
    gnu: "arm-linux-gnueabihf",
    packages: "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross",
};

/// What the network takes on a board, beside the program.
pub fn memory(graph: &Graph) -> Result<MemoryPlan> {
    Ok(Executor::new(graph)?.memory_plan())
}

/// The files of a folder: names and contents.
pub fn files(graph: &Graph, board: &Board) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let plan = memory(graph)?;
    let memory = format!(
        "| weights, in the file | {} |\n| other constants | {} |\n| state of a stream | {} |\n\
         | work of a step | {} |",
        plan.weights, plan.constants, plan.state, plan.scratch
    );
    let channels = match graph.task.channels.is_empty() {
        true => "as the model's input".to_owned(),
        false => graph.task.channels.join(", "),
    };
    let integers = match graph.integer {
        Some(_) => "the network is computed in integers alone, to the bit",
        None => "floats are added in the same order, to the bit but for products of batches",
    };
    // Where this program was built; another place is named when the script runs.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let source = source.canonicalize().unwrap_or(source);
    let build = BUILD
        .replace("SOURCE:-SOURCE", &format!("SOURCE:-{}", source.display()))
        .replace("GNU_PACKAGES", board.packages)
        .replace("GNU_NAME", board.gnu)
        .replace("TRIPLE", board.triple);
    let readme = README
        .replacen("NAME", &graph.name, 1)
        .replacen("BOARD", board.name, 1)
        .replacen("MEMORY", &memory, 1)
        .replacen("CHANNELS", &channels, 1)
        .replacen("INTEGERS", integers, 1);
    Ok(vec![
        ("model.safetensors", graph.to_bytes()?),
        (BUILD_NAME, build.into_bytes()),
        ("README.md", readme.into_bytes()),
    ])
}
