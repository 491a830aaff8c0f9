//! Sweeps: variants of a configuration times a grid of overrides.

use super::{base, check_name, config_hash, results::Results, search};
use crate::{
    config::{Layer, merge, set_path},
    failure::{Failure, Result},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
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
    /// Smaller forms of every run's model, measured on the same part.
    #[serde(default)]
    compress: Vec<Smaller>,
    /// How the table in the docs is made: `spikelet docs` reads it, a sweep only checks it.
    #[serde(default, rename = "table")]
    _table: Option<super::docs::Layout>,
    /// Where the file stands, and with it the results of searches.
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    name: String,
    /// A preset or a configuration file.
    from: String,
    /// A search whose best trial gives settings: the name of its results file, without ending,
    /// beside the sweep file.
    #[serde(default)]
    tuned: Option<String>,
    #[serde(default)]
    set: Table,
}

/// A smaller form of a run's model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smaller {
    /// Its results are `accuracy_NAME` and `bytes_NAME`; of a language model also `more_bits_NAME`,
    /// what a token takes beyond the whole model's.
    pub name: String,
    /// Bits of a weight, 8 or 4; without it weights stay floats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u8>,
    /// Overrides with which the trained model is trained on, for example `train.prune`; without
    /// any it is compressed as it is.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub set: Table,
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
    /// Smaller forms of its model.
    pub compress: Vec<Smaller>,
    /// Its identity.
    pub hash: String,
}

impl Sweep {
    /// Reads a sweep file.
    pub fn read(path: &Path) -> Result<Self> {
        let mut sweep: Sweep = crate::config::Layers::from_file(path)?.read()?;
        check_name(&sweep.name)?;
        for smaller in &sweep.compress {
            check_name(&smaller.name)?;
            if !matches!(smaller.bits, None | Some(8 | 4)) {
                return Err(Failure::usage(format!(
                    "compress {}: bits must be 8 or 4",
                    smaller.name
                )));
            }
        }
        sweep.folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(sweep)
    }

    /// All runs, variants first, then the grid in the order of its keys.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let combinations = self.combinations()?;
        let mut runs = Vec::new();
        for variant in &self.variant {
            let mut config = base(&variant.from)?;
            merge(&mut config, &self.set);
            if let Some(search) = &variant.tuned {
                self.set_tuned(&mut config, search)?;
            }
            merge(&mut config, &variant.set);
            for grid in &combinations {
                let mut config = config.clone();
                for (path, value) in grid {
                    set_path(&mut config, path, value.clone()).map_err(|message| {
                        Failure::usage(format!("sweep {}: grid key {path}: {message}", self.name))
                    })?;
                }
                let hash = self.hash(&config)?;
                let (variant, grid) = (variant.name.clone(), grid.clone());
                runs.push(Run { variant, grid, config, compress: self.compress.clone(), hash });
            }
        }
        Ok(runs)
    }

    /// Identity of a run: its configuration and what is made of its model.
    fn hash(&self, config: &Table) -> Result<String> {
        let mut all = config.clone();
        if !self.compress.is_empty() {
            all.insert("compress".to_owned(), Value::try_from(&self.compress)?);
        }
        Ok(config_hash(&all))
    }

    /// Sets what the best trial of a search drew.
    fn set_tuned(&self, config: &mut Table, search: &str) -> Result<()> {
        check_name(search)?;
        let path = self.folder.join(format!("{search}.jsonl"));
        let best = search::best_trial(&Results::new(&path).load()?).ok_or_else(|| {
            Failure::input(format!("no trials in {}", path.display()))
                .help("run `spikelet tune` first")
        })?;
        for (path, value) in best {
            set_path(config, &path, value).map_err(Failure::usage)?;
        }
        Ok(())
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
