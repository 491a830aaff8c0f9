//! Tests of the crate and of the real binary, one program: each would link all of Burn again.

#[path = "../../../spikelet-runtime/tests/it/support/native.rs"]
#[allow(dead_code, reason = "the runtime's tests take more of it")]
mod native;
#[cfg_attr(not(feature = "train"), allow(dead_code, reason = "training takes more of it"))]
mod support;

mod chip_commands;
mod cli_contract;
mod convert;
mod data;
mod export;
mod graph_commands;
mod image_commands;
mod neurobench;
#[cfg(feature = "nir")]
mod nir;
#[cfg(feature = "train")]
mod train;
