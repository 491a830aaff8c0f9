//! The sub-commands, one file each: `Args` for the command line, `run` for the work.

pub mod completions;
pub mod compress;
pub mod data;
#[cfg(feature = "train")]
pub mod docs;
pub mod doctor;
pub mod eval;
pub mod inspect;
pub mod profile;
pub mod run;
