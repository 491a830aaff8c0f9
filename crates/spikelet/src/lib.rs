//! Spikelet trains spiking and event-based neural networks and runs them, event by event, on
//! ordinary CPUs and microcontrollers.
//!
//! This crate is the facade: it re-exports the library crates under short names and holds what
//! only the command line needs. Without the default feature `train` it contains no learning
//! code, which is what a board carries.
//!
//! | module | holds |
//! | --- | --- |
//! | [`graph`] | the event graph, its file format, operation counts and energy models |
//! | [`runtime`] | the executor |
//! | [`chip`] | SpiNNaker 2: mapping and simulation |
//! | [`data`] | data formats, splits, metrics, checkpoint readers |
//! | [`kernels`] | the hot loops |
//! | `train` | models, learning rules, the trainer, lowering (feature `train`) |
// The training commands use more of the shared modules than the others do; marking each such item
// by hand would say nothing.
#![cfg_attr(not(feature = "train"), allow(dead_code))]

pub use spikelet_chip as chip;
pub use spikelet_data as data;
pub use spikelet_graph as graph;
pub use spikelet_kernels as kernels;
pub use spikelet_runtime as runtime;
#[cfg(feature = "train")]
pub use spikelet_train as train;

mod board;
mod budget;
mod classify;
pub mod cli;
mod commands;
#[cfg(feature = "train")]
mod config;
pub mod convert;
mod detection;
mod evaluate;
#[cfg(feature = "train")]
mod experiments;
mod failure;
mod files;
pub mod generate;
mod labelled;
pub mod machine;
mod measure;
pub mod memory;
mod model;
#[cfg(feature = "train")]
mod report;
mod segment;
mod steps;
mod table;
#[cfg(feature = "train")]
mod teacher;
mod token_table;
#[cfg(feature = "train")]
mod training;
#[cfg(feature = "train")]
mod training_report;
mod ui;
