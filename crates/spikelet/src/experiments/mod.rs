//! Many runs: sweeps over grids, hyper-parameter search, and the tables made of their results.
//!
//! One engine for both. A run is a complete configuration; its identity is the hash of that
//! configuration, so a plan that is started again skips what is already in the results file and
//! continues the run it was killed in.

pub mod docs;
pub mod grid;
pub mod results;
pub mod search;

use crate::config::Layers;
use crate::failure::{Failure, Result};
use toml::{Table, Value};

/// Identity of a run: FNV-1a of its configuration in canonical form (keys are sorted).
pub fn config_hash(config: &Table) -> String {
    let text = Value::Table(config.clone()).to_string();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// A name that becomes a file name: letters, digits, `-` and `_`.
pub fn check_name(name: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(fine) {
        return Ok(());
    }
    Err(Failure::usage(format!("`{name}` cannot name a file"))
        .help("use letters, digits, `-` and `_`"))
}

/// The configuration that a sweep or a search starts from.
fn base(from: &str) -> Result<Table> {
    // The search ranges of a preset are no part of a run, and what it says about itself must not
    // make finished runs look like others.
    let (config, _) = Layers::from_argument(from)?.split("tune");
    Ok(config.split("about").0.merged())
}

#[cfg(test)]
mod tests;
