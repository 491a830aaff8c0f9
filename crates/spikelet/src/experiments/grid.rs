//! Sweeps: variants of a configuration times a grid of overrides.

use super::{base, check_name, config_hash};
use crate::{
    config::{Layer, merge, set_path},
    failure::{Failure, Result},
};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};
use toml::{Table, Value};

/// The most runs one sweep may have: more is a slip in the file.
const MOST_RUNS: usize = 100_000;

/// A sweep file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Names the results file.
    pub name: String,
    /// What it shows, in a sentence: printed above the table.
    #[serde(default)]
    pub about: String,
    /// Overrides for every run.
    #[serde(default)]
    set: Table,
    /// Every combination of these values is run for every variant. Keys are paths.
    #[serde(default)]
    grid: BTreeMap<String, Vec<Value>>,
    /// What is compared.
    variant: Vec<Variant>,
    /// How the table in the docs is made: `spikelet docs` reads it, a sweep only checks it.
    #[serde(default, rename = "table")]
    _table: Option<super::docs::Layout>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    name: String,
    /// A preset or a configuration file.
    from: String,
    #[serde(default)]
    set: Table,
}

/// One run of a sweep.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name of the variant.
    pub variant: String,
    /// The values from the grid.
    pub grid: BTreeMap<String, Value>,
    /// The whole configuration.
    pub config: Table,
    /// Its identity.
    pub hash: String,
}

impl Sweep {
    /// Reads a sweep file.
    pub fn read(path: &Path) -> Result<Self> {
        let sweep: Sweep = crate::config::Layers::from_file(path)?.read()?;
        check_name(&sweep.name)?;
        Ok(sweep)
    }

    /// All runs, variants first, then the grid in the order of its keys.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let combinations = self.combinations()?;
        let mut runs = Vec::new();
        for variant in &self.variant {
            let mut config = base(&variant.from)?;
            merge(&mut config, &self.set);
            merge(&mut config, &variant.set);
            for grid in &combinations {
                let mut config = config.clone();
                for (path, value) in grid {
                    set_path(&mut config, path, value.clone()).map_err(|message| {
                        Failure::usage(format!("sweep {}: grid key {path}: {message}", self.name))
                    })?;
                }
                let hash = config_hash(&config);
                runs.push(Run { variant: variant.name.clone(), grid: grid.clone(), config, hash });
            }
        }
        Ok(runs)
    }

    fn combinations(&self) -> Result<Vec<BTreeMap<String, Value>>> {
        let sizes = self.grid.values().map(Vec::len);
        let total = sizes.fold(self.variant.len(), usize::saturating_mul);
        if total > MOST_RUNS {
            return Err(Failure::usage(format!("sweep {} has {total} runs", self.name))
                .help(format!("at most {MOST_RUNS} are allowed")));
        }
        let mut combinations = vec![BTreeMap::new()];
        for (path, values) in &self.grid {
            // Checked here so that a wrong key is found before the first run.
            Layer::option("grid", path, 0)?;
            combinations = combinations
                .iter()
                .flat_map(|combination| {
                    values.iter().map(|value| {
                        let mut combination = combination.clone();
                        combination.insert(path.clone(), value.clone());
                        combination
                    })
                })
                .collect();
        }
        Ok(combinations)
    }
}
