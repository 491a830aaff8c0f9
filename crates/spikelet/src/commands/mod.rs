//! The sub-commands, one file each: `Args` for the command line, `run` for the work.

#[cfg(feature = "train")]
pub mod bench;
pub mod completions;
pub mod compress;
mod compress_fuse;
pub mod convert;
#[cfg(feature = "nir")]
mod convert_nir;
pub mod data;
mod data_synth;
#[cfg(feature = "train")]
pub mod demo;
#[cfg(feature = "train")]
pub mod docs;
pub mod doctor;
pub mod embed;
pub mod eval;
pub mod export;
pub mod generate;
pub mod inspect;
#[cfg(feature = "nir")]
mod inspect_nir;
pub mod map;
#[cfg(feature = "nir")]
mod map_nir;
pub mod profile;
pub mod profile_energy;
#[cfg(feature = "train")]
mod profile_gradients;
mod profile_tokens;
pub mod run;
pub mod simulate;
#[cfg(feature = "train")]
pub mod sweep;
#[cfg(feature = "train")]
pub mod train;
#[cfg(feature = "train")]
pub mod tune;
