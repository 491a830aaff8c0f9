//! Where data sets are: the one helper that every command, preset, test and bench finds data with.
//!
//! In order: the folder the user named (`--data`), `$SPIKELET_DATA`, `data/` in the repository,
//! `../shared/data` beside it, `spikelet/data` in the user's cache folder, and where Debian's packages put data
//! sets. A named folder is binding: nothing else is looked at.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};
use crate::{idx, registry, wisdm};

/// The folders that data is looked for in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// What `--data` named.
    pub named: Option<PathBuf>,
    /// What is looked through otherwise, in order.
    pub roots: Vec<PathBuf>,
    /// The one of `roots` that is in the repository.
    pub repository: PathBuf,
}

impl Places {
    /// The places of this process: its environment and current folder.
    pub fn here(named: Option<&Path>) -> Self {
        let current = env::current_dir().unwrap_or_default();
        Self::new(named, folder_in("SPIKELET_DATA"), &current, user_cache())
    }

    /// The places for a given `$SPIKELET_DATA`, current folder and user's cache folder.
    pub fn new(
        named: Option<&Path>,
        variable: Option<PathBuf>,
        current: &Path,
        cache: Option<PathBuf>,
    ) -> Self {
        // Commands and tests also start in sub-folders of the repository; the lock file marks its root.
        let repository =
            current.ancestors().find(|a| a.join("Cargo.lock").is_file()).unwrap_or(current);
        let shared = repository.parent().map(|outside| outside.join("shared/data"));
        let mut roots: Vec<PathBuf> = variable.into_iter().collect();
        let repository = repository.join("data");
        roots.push(repository.clone());
        roots.extend(shared);
        roots.extend(cache.map(|cache| cache.join(IN_CACHE)));
        roots.push(SYSTEM.into());
        Self { named: named.map(Path::to_path_buf), roots, repository }
    }

    /// The folder of data set `name`. `--data` may name it or the folder that contains it.
    ///
    /// In the repository there are only twelve subjects of `wisdm-watch`, and image sets also come as slices: a full
    /// set in a later place is preferred to these, but not to what `$SPIKELET_DATA` names.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        if let Some(named) = &self.named {
            let inner = named.join(name);
            return match (inner.is_dir(), named.is_dir()) {
                (true, _) => Ok(inner),
                (_, true) => Ok(named.clone()),
                _ => Err(DataError::file(named, "the data folder does not exist")),
            };
        }
        let mut found = self.roots.iter().map(|root| root.join(name)).filter(|dir| dir.is_dir());
        let first = found.next();
        let is_full: fn(&Path) -> bool = match name {
            "wisdm-watch" => wisdm::is_full,
            "mnist" | "fashion-mnist" => idx::is_full,
            _ => |_| true,
        };
        let by_variable = self.roots.first().filter(|&root| *root != self.repository);
        let chosen = match by_variable.is_some_and(|root| first == Some(root.join(name))) {
            true => first,
            false => first.iter().cloned().chain(found).find(|dir| is_full(dir)).or(first),
        };
        chosen.ok_or_else(|| DataError::NotFound {
            name: name.to_owned(),
            looked: self.roots.clone(),
            get: registry::how_to_get(name),
        })
    }
}

/// Where Debian's packages put data sets.
const SYSTEM: &str = "/usr/share/datasets";
/// Folder below the user's cache folder.
const IN_CACHE: &str = "spikelet/data";

/// The last of the places: where a user keeps data sets for all projects.
pub fn cache_folder() -> Option<PathBuf> {
    user_cache().map(|cache| cache.join(IN_CACHE))
}

fn user_cache() -> Option<PathBuf> {
    folder_in("XDG_CACHE_HOME").or_else(|| folder_in("HOME").map(|home| home.join(".cache")))
}

fn folder_in(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// The folder of data set `name`; `named` is what the user gave as `--data`.
pub fn find(name: &str, named: Option<&Path>) -> Result<PathBuf> {
    Places::here(named).find(name)
}

/// As [`find`], but the compact form that the repository ships where there is also a full set.
pub fn find_shipped(name: &str, named: Option<&Path>) -> Result<PathBuf> {
    let places = Places::here(named);
    let mut folders = places.roots.iter().map(|root| root.join(name));
    match folders.find(|folder| named.is_none() && folder.is_dir() && !wisdm::is_full(folder)) {
        Some(folder) => Ok(folder),
        None => places.find(name),
    }
}

/// The folder of a data set for a test, or `None` after printing why the test is skipped.
///
/// # Panics
/// With `CI=true` in the environment, where skipping would hide that nothing was tested.
pub fn for_test(name: &str) -> Option<PathBuf> {
    match find(name, None) {
        Ok(dir) => Some(dir),
        Err(e) if env::var_os("CI").is_some_and(|ci| ci == "true") => {
            panic!("CI needs this data: {e}")
        }
        Err(e) => {
            println!("skipped: {e}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn order_of_the_places() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (variable, current, cache) = (at("variable"), at("repo/crates/one"), at("cache"));
        fs::write(dir.path().join("repo/Cargo.lock"), "").unwrap();
        let places = Places::new(None, Some(variable), &current, Some(cache));

        let e = places.find("braille").unwrap_err().to_string();
        assert!(e.contains("`braille` was not found") && e.contains("cache/spikelet/data"), "{e}");
        for place in ["cache/spikelet/data", "shared/data", "repo/data", "variable"] {
            let expected = at(&format!("{place}/braille"));
            assert_eq!(places.find("braille").unwrap(), expected);
        }
    }

    #[test]
    fn a_named_folder_is_binding_and_may_be_the_set_itself() {
        let dir = tempfile::tempdir().unwrap();
        let places = |named: &Path| Places::new(Some(named), None, dir.path(), None);
        fs::create_dir_all(dir.path().join("data/braille")).unwrap();
        assert_eq!(
            places(&dir.path().join("data")).find("braille").unwrap(),
            dir.path().join("data/braille")
        );
        let set = dir.path().join("data/braille");
        assert_eq!(places(&set).find("braille").unwrap(), set);
        let e = places(&dir.path().join("nowhere")).find("braille").unwrap_err().to_string();
        assert!(e.ends_with("nowhere: the data folder does not exist"), "{e}");
    }

    #[test]
    fn the_full_smartwatch_set_wins_over_the_shipped_one() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new(None, None, &dir.path().join("repo"), None);
        let shipped = dir.path().join("repo/data/wisdm-watch");
        fs::create_dir_all(&shipped).unwrap();
        assert_eq!(places.find("wisdm-watch").unwrap(), shipped);
        let full = dir.path().join("shared/data/wisdm-watch");
        for sensor in ["accel", "gyro"] {
            let folder = full.join("raw/watch").join(sensor);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("data_1600_{sensor}_watch.txt")), "").unwrap();
        }
        assert_eq!(places.find("wisdm-watch").unwrap(), full);
        // Who sets the variable means that folder, full or not.
        let variable = dir.path().join("repo/data");
        let places =
            Places { roots: [vec![dir.path().join("mine")], places.roots].concat(), ..places };
        fs::create_dir_all(dir.path().join("mine")).unwrap();
        assert_eq!(places.find("wisdm-watch").unwrap(), full);
        fs::rename(variable.join("wisdm-watch"), dir.path().join("mine/wisdm-watch")).unwrap();
        assert_eq!(places.find("wisdm-watch").unwrap(), dir.path().join("mine/wisdm-watch"));
    }
}
