//! What commands work on: a graph file, or the folder that `train` wrote.

use crate::failure::{Failure, Result};
use spikelet_graph::Graph;
use std::path::{Path, PathBuf};

/// The best model of a run, in its folder.
pub const MODEL_FILE: &str = "model.safetensors";

/// A graph and where it is from.
#[derive(Clone, Debug)]
pub struct Model {
    /// The graph.
    pub graph: Graph,
    /// Its file.
    pub path: PathBuf,
}

impl Model {
    /// Reads a graph file, or the best model of a run's folder.
    pub fn load(path: &Path) -> Result<Self> {
        let path = match path.is_dir() {
            true => path.join(MODEL_FILE),
            false => path.to_owned(),
        };
        if !path.exists() {
            return Err(Failure::input(format!("there is no file {}", path.display()))
                .help("name a graph file, or the folder of a run that finished an epoch"));
        }
        Ok(Model { graph: Graph::load(&path)?, path })
    }
}
