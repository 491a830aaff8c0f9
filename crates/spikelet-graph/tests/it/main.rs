//! Tests of event graphs, through what the crate makes public.
//! One program for all: each costs seconds to link.

mod common;
mod compress;
mod counts;
mod describe;
mod egru;
mod file;
mod groups;
mod neurobench;
#[cfg(feature = "nir")]
mod nir;
mod paper_energy;
mod spike_driven;
mod tokens;
mod validate;
