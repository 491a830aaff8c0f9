//! Source code of a graph for devices without an operating system.
//!
//! [`export`] turns a graph into the files of a folder that builds as it stands. The code does what
//! `spikelet run` does with the same graph, to the bit: an integer-only graph runs the same
//! [`Program`](crate::Program); a graph of floats adds in the same order, and keeps to what the
//! runtime does in an order of its own that every compiler can follow.
//!
//! Nothing is allocated. State is a plain value that the caller owns; it can be saved and
//! restored, and a damaged copy is refused.

mod c99;
mod code;
mod fusion;
mod memory;
mod population;
mod products;
mod rust;
mod text;
mod wasm;

pub use memory::Memory;

use crate::{error::GraphError, graph::Graph};
use alloc::{format, string::String, vec::Vec};
use code::Code;

/// The language of exported code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// C99 with `<stdint.h>` alone.
    C99,
    /// A crate without the standard library, `unsafe` and dependencies.
    RustNoStd,
    /// A WebAssembly module around that crate, with a JavaScript wrapper and a page.
    Wasm,
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path in the folder.
    pub name: &'static str,
    /// What it holds.
    pub content: String,
}

/// The files of a graph.
///
/// # Errors
/// A graph that is not valid, and operations that cannot be exported, by node.
pub fn export(graph: &Graph, target: Target) -> Result<Vec<File>, GraphError> {
    let code = Code::new(graph)?;
    Ok(match target {
        Target::C99 => c99::files(graph, &code),
        Target::RustNoStd => rust::files(graph, &code),
        Target::Wasm => wasm::files(graph, &code),
    })
}

/// What a graph needs on a device.
///
/// # Errors
/// As [`export`].
pub fn memory(graph: &Graph) -> Result<Memory, GraphError> {
    Ok(memory::memory(&Code::new(graph)?))
}

/// A readme with what it says of this network.
fn readme(text: &str, graph: &Graph, code: &Code) -> String {
    let integer = code.program.integer;
    let channels = match graph.task.channels.is_empty() {
        true => format!("{} values a step", code.program.inputs),
        false => graph.task.channels.join(", "),
    };
    let [arithmetic, saturation, floats] = match integer {
        true => [
            "computed in integers alone (but for the normalisation of readings)",
            "One beyond the range of the input counts as the end of that range.",
            "",
        ],
        false => [
            "computed in 32-bit floats",
            "",
            "Compile with `-std=c99`, without `-ffast-math`: products and sums must not be fused.",
        ],
    };
    let mut text = String::from(text);
    for (word, with) in [
        ("NAME", graph.name.as_str()),
        ("ARITHMETIC", arithmetic),
        ("MEMORY", &c99::memory_lines(code)),
        ("CHANNELS", &channels),
        ("SATURATION", saturation),
        ("FLOATS", floats),
    ] {
        text = text.replacen(word, with, 1);
    }
    text
}

/// Letters, digits and underscores that begin with a letter.
fn identifier(name: &str) -> String {
    let mut text: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        text.insert(0, 'n');
    }
    text.to_ascii_lowercase()
}
