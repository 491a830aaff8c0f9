//! NIR, the exchange format of neuromorphic simulators and chips (Pedersen et al. 2024).
//!
//! A NIR file is HDF5: nodes that are equations in continuous time, and edges. [`read`] gives the
//! file's graph as it is, [`NirGraph::to_graph`] the event graph that steps through it. The other
//! way, [`NirGraph::of_graph`] gives a NIR graph with a report of what it loses, and
//! [`NirGraph::to_bytes`] the file.
//!
//! What NIR leaves open is decided as follows; time steps, loops and outputs whose axes are turned
//! are also notes of [`Import`]:
//!
//! - **Time step.** [`STEP`] unless the caller or the file's metadata says otherwise; forward
//!   Euler, see `neurons.rs`.
//! - **Reset.** At once, as NIR's equations say; snnTorch resets a step late.
//! - **Loops.** One step on the way back, see `loops.rs`.
//! - **Axes.** Channels last, see `order.rs`.

pub mod error;
mod export;
mod export_layers;
mod export_neurons;
mod fields;
pub mod hdf5;
mod import;
mod layers;
mod loops;
pub mod model;
mod neurons;
mod order;
pub mod report;

pub use error::NirError;
pub use export::Export;
pub use hdf5::read;
pub use import::Import;
pub use model::{Field, FieldValues, NirGraph, NirNode};
pub use report::{Fidelity, NodeReport, Report};

use std::{fs::File, io::Read, path::Path};

/// Seconds of a time step where nobody names one: what snnTorch writes files with.
pub const STEP: f64 = 1e-4;
/// Entry of a graph's metadata: seconds of a time step.
pub const DT: &str = "dt";
/// Entry of a graph's metadata: the edges of loops that wait a step, as JSON `[[from, to], ..]`.
pub const DELAYED: &str = "delayed_edges";
/// Entry of a graph's metadata: the task record as JSON.
pub const TASK: &str = "task";
/// The first bytes of an HDF5 file.
pub const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";

/// The version of the PyPI package whose definitions are followed, written into files.
pub const VERSION: &str = "1.0.8";

impl NirGraph {
    /// The file as bytes. Equal graphs give equal bytes.
    ///
    /// # Errors
    /// Names that HDF5 cannot hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>, NirError> {
        hdf5::write(self)
    }
}

/// Reads a NIR file from disk.
///
/// # Errors
/// As [`read`], with the path; and whatever the operating system refuses.
pub fn load(path: &Path) -> Result<NirGraph, NirError> {
    let io = |action| move |source| NirError::Io { path: path.to_path_buf(), action, source };
    let file = File::open(path).map_err(io("open"))?;
    let metadata = file.metadata().map_err(io("inspect"))?;
    // A file that grows meanwhile is read up to the length it had.
    let mut bytes = Vec::new();
    file.take(metadata.len()).read_to_end(&mut bytes).map_err(io("read"))?;
    read(bytes).map_err(|problem| NirError::InFile {
        path: path.to_path_buf(),
        problem: Box::new(problem),
    })
}
