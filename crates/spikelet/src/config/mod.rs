//! Configurations: TOML from a preset or a file, with overrides from the command line.
//!
//! Everything here works on plain tables and knows no configuration by name. Layers are merged
//! in order, later ones win; when the merged table does not fit the typed configuration, the
//! error names the layer, the line and the nearest valid name.

mod explain;
mod layer;
pub mod presets;

pub use layer::{Layer, merge, set_path};

use crate::failure::{Failure, Result};
use serde::de::DeserializeOwned;
use std::path::Path;
use toml::Table;

/// The layers of one configuration, the most important last.
#[derive(Clone, Debug, Default)]
pub struct Layers(Vec<Layer>);

impl Layers {
    /// What the user named: a preset (`l2mu/braille`) or a file (`mine.toml`).
    pub fn from_argument(argument: &str) -> Result<Self> {
        let path = Path::new(argument);
        if path.extension().is_some_and(|extension| extension == "toml") || path.is_file() {
            return Self::from_file(path);
        }
        let preset = presets::find(argument)?;
        let name = format!("presets/{}.toml", preset.name);
        Ok(Layers(vec![Layer::parse(&name, preset.text)?]))
    }

    /// A file.
    pub fn from_file(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::from(error).context(format!("cannot read {name}")))?;
        Ok(Layers(vec![Layer::parse(&name, &text)?]))
    }

    /// A configuration made by the program.
    #[cfg(feature = "train")]
    pub fn of_table(table: Table) -> Result<Self> {
        Ok(Layers(vec![Layer::parse("this run", &toml::to_string(&table)?)?]))
    }

    /// Adds a layer.
    pub fn push(&mut self, layer: Layer) {
        self.0.push(layer);
    }

    /// Adds an override as the user typed it: `key.path=value`.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        self.0.push(Layer::assignment(assignment)?);
        Ok(())
    }

    /// The layers without a top-level key, and with that key only.
    pub fn split(self, key: &str) -> (Self, Self) {
        let (mut without, mut only) = (self.clone(), self);
        without.0.iter_mut().for_each(|layer| layer.table.retain(|name, _| name != key));
        only.0.iter_mut().for_each(|layer| layer.table.retain(|name, _| name == key));
        (without, only)
    }

    /// All layers in one table.
    pub fn merged(&self) -> Table {
        let mut merged = Table::new();
        for layer in &self.0 {
            merge(&mut merged, &layer.table);
        }
        merged
    }

    /// The typed configuration.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        self.merged().try_into().map_err(|error| explain::explain(&error, &self.0))
    }
}

#[cfg(test)]
mod tests;
