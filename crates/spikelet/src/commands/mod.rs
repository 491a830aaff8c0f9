//! The sub-commands, one file each: `Args` for the command line, `run` for the work.

pub mod completions;
pub mod doctor;
