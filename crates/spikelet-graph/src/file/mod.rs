//! The file format: one safetensors file whose `__metadata__` holds the graph.
//!
//! ```text
//! 8 bytes      length of the header, little endian
//! header       JSON: every tensor's data type, shape and offsets;
//!              __metadata__: { "spikelet.graph": "<the graph as JSON>" }
//! data         the tensors, without gaps
//! ```
//!
//! The graph JSON holds `version`, `name`, `nodes`, `edges`, `task`, and `int4`: the shapes of the
//! tensors of 4-bit integers, which safetensors stores as bytes; graphs with pruned weights also
//! `csr`: the shapes of the tensors that are stored as compressed sparse rows, in three tensors
//! (`sparse.rs`); integer-only graphs `integer`: the fraction bits of their inputs. Any safetensors reader opens the
//! file. Reading checks everything; what it returns is a valid graph.

mod container;
#[cfg(feature = "std")]
mod path;
mod sparse;

use crate::{
    error::GraphError,
    graph::{Edge, Graph, Node},
    int4,
    slab::{Number, Slab},
    task::Task,
    tensor::{Tensor, Values},
};
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use container::{DataType, Entry};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of the format this library reads and writes.
pub const VERSION: u32 = 1;
/// The key of the graph in the metadata of the file.
pub const METADATA_KEY: &str = "spikelet.graph";
/// The longest header that is read, as the safetensors format fixes it.
pub const MAX_HEADER: usize = 100_000_000;

/// Why a file could not be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file ends too early.
    #[error(
        "the file ends too early: {what} needs {needed} bytes, {found} are there; \
         copy the file again"
    )]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        found: u64,
    },
    /// The header's length is over the limit.
    #[error(
        "the first 8 bytes give a header of {length} bytes, over the limit of {limit}: \
         this is no safetensors file"
    )]
    HeaderLength {
        /// The length.
        length: u64,
        /// The limit.
        limit: usize,
    },
    /// The header is no safetensors header.
    #[error("the safetensors header (from byte 8) cannot be read: {problem}")]
    Header {
        /// What is wrong.
        problem: String,
    },
    /// A safetensors file without a graph.
    #[error(
        "the file has no `{METADATA_KEY}` in its metadata: it holds tensors but no event graph; \
         `spikelet convert` makes one from a checkpoint"
    )]
    NoGraph,
    /// The graph JSON cannot be read.
    #[error("`{METADATA_KEY}` cannot be read: {problem}")]
    GraphJson {
        /// What is wrong and where.
        problem: String,
    },
    /// A version this library does not know.
    #[error(
        "`{METADATA_KEY}` has version {found}; this program reads version {VERSION}: update it"
    )]
    Version {
        /// The version of the file.
        found: u32,
    },
    /// A tensor's entry in the header is wrong.
    #[error("tensor `{tensor}`, field `{field}`: {problem}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// `dtype`, `shape`, `data_offsets`, `int4` or `csr`.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The graph itself is wrong.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The operating system refused.
    #[cfg(feature = "std")]
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A problem with its file.
    #[cfg(feature = "std")]
    #[error("{}: {problem}", .path.display())]
    InFile {
        /// The file.
        path: std::path::PathBuf,
        /// The problem.
        problem: Box<FileError>,
    },
}

/// The graph as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    name: String,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    task: Task,
    #[serde(default)]
    int4: BTreeMap<String, Vec<usize>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    csr: sparse::Shapes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    integer: Option<BTreeMap<String, u32>>,
}

/// The part of the document that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Graph {
    /// The file as bytes. Equal graphs give equal bytes.
    ///
    /// # Errors
    /// A graph that is not valid: nothing is written that could not be read again.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FileError> {
        self.validate()?;
        let int4 = self.tensors.iter().filter(|(_, t)| matches!(t.values, Values::I4(_)));
        let (parts, csr) = sparse::parts(&self.tensors);
        let whole = self.tensors.iter().filter(|(name, _)| !csr.contains_key(*name));
        let stored: BTreeMap<&String, &Tensor> = whole.chain(&parts).collect();
        let document = Document {
            version: VERSION,
            name: self.name.clone(),
            nodes: self.nodes.clone(),
            edges: self.edges.clone(),
            task: self.task.clone(),
            int4: int4.map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect(),
            csr,
            integer: self.integer.clone(),
        };
        let json = serde_json::to_string(&document)
            .map_err(|error| FileError::GraphJson { problem: error.to_string() })?;
        container::write(&stored, json)
    }

    /// Reads a file from bytes and validates the graph.
    ///
    /// Safe on any input: sizes are checked against what is there before memory is taken.
    ///
    /// # Errors
    /// Files that are truncated, inconsistent, of another version or no graph at all, and graphs
    /// that are not valid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Graph, FileError> {
        Self::read(bytes, None)
    }

    /// The graph in the bytes of a file, whose weights stay where they are if it is mapped.
    fn read(bytes: &[u8], file: Mapped) -> Result<Graph, FileError> {
        let container = container::read(bytes)?;
        let json = container.metadata.get(METADATA_KEY).ok_or(FileError::NoGraph)?;
        let wrong_json =
            |error: serde_json::Error| FileError::GraphJson { problem: error.to_string() };
        let Version { version } = serde_json::from_str(json).map_err(wrong_json)?;
        if version != VERSION {
            return Err(FileError::Version { found: version });
        }
        let mut document: Document = serde_json::from_str(json).map_err(wrong_json)?;
        let mut tensors = BTreeMap::new();
        let mut entries = container.tensors;
        for (name, shape) in core::mem::take(&mut document.csr) {
            let tensor = sparse::read(&name, shape, &mut entries, file)?;
            tensors.insert(name, tensor);
        }
        for (name, entry) in entries {
            let int4 = document.int4.remove(&name);
            let tensor = decode(&name, &entry, int4, file)?;
            tensors.insert(name, tensor);
        }
        if let Some((tensor, _)) = document.int4.pop_first() {
            let problem = String::from("the file holds no tensor of this name");
            return Err(FileError::Tensor { tensor, field: "int4", problem });
        }
        let Document { name, nodes, edges, task, integer, .. } = document;
        let graph = Graph { name, nodes, edges, tensors, task, integer };
        graph.validate()?;
        Ok(graph)
    }
}

/// The tensor of an entry whose size has been checked.
fn decode(
    name: &str,
    entry: &Entry,
    int4: Option<Vec<usize>>,
    file: Mapped,
) -> Result<Tensor, FileError> {
    let wrong = |field, problem: String| FileError::Tensor { tensor: name.into(), field, problem };
    let data = entry.data;
    let values = match (entry.data_type, &int4) {
        (DataType::U8, Some(shape)) => {
            if int4::packed_len(shape) != Some(data.len()) {
                let problem = alloc::format!("{shape:?} does not fit {} bytes", data.len());
                return Err(wrong("int4", problem));
            }
            Values::I4(numbers(entry, file, u8::from_le_bytes))
        }
        (DataType::U8, None) => {
            return Err(wrong("dtype", "U8 is only used for 4-bit integers".to_string()));
        }
        (_, Some(_)) => {
            return Err(wrong("dtype", "4-bit integers are stored as U8".to_string()));
        }
        (DataType::F32, None) => Values::F32(numbers(entry, file, f32::from_le_bytes)),
        (DataType::F16, None) => Values::F16(numbers(entry, file, u16::from_le_bytes)),
        (DataType::I32, None) => Values::I32(numbers(entry, file, i32::from_le_bytes)),
        (DataType::I8, None) => Values::I8(numbers(entry, file, i8::from_le_bytes)),
    };
    let shape = int4.unwrap_or_else(|| entry.shape.clone());
    Ok(Tensor { shape, values })
}

/// The numbers of an entry: where they are in the file if that works, else copied.
fn numbers<T: Number, const N: usize>(
    entry: &Entry,
    file: Mapped,
    number: fn([u8; N]) -> T,
) -> Slab<T> {
    in_place(entry, file).unwrap_or_else(|| {
        entry.data.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
    })
}

/// The file that bytes are mapped from, if they are.
#[cfg(feature = "std")]
type Mapped<'a> = Option<&'a crate::slab::File>;
#[cfg(not(feature = "std"))]
type Mapped<'a> = Option<&'a core::convert::Infallible>;

#[cfg(feature = "std")]
fn in_place<T: Number>(entry: &Entry, file: Mapped) -> Option<Slab<T>> {
    Slab::mapped(file?, entry.start..entry.start + entry.data.len())
}

#[cfg(not(feature = "std"))]
fn in_place<T: Number>(_: &Entry, _: Mapped) -> Option<Slab<T>> {
    None
}
