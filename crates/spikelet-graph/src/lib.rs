//! The event graph: the one representation every consumer reads.
//!
//! [`GraphBuilder`] makes a [`Graph`], [`Graph::validate`] checks all a consumer relies on,
//! [`counts`] defines every operation count.
//!
//! `no_std + alloc` without the feature `std`.
#![cfg_attr(not(feature = "std"), no_std)]
extern crate alloc;

pub mod batchnorm;
pub mod builder;
pub mod compress;
pub mod counters;
pub mod counts;
pub mod describe;
pub mod detection;
pub mod energy;
pub mod energy_spikegpt;
pub mod error;
pub mod export;
pub mod file;
pub mod fuse;
pub mod graph;
pub mod int4;
pub mod neuron;
#[cfg(feature = "nir")]
pub mod nir;
pub mod op;
pub mod paper_energy;
pub mod program;
pub mod shape;
pub mod signal;
pub mod slab;
pub mod spike_driven;
pub mod task;
pub mod tensor;
pub mod topology;
pub mod validate;

pub use builder::{Feed, GraphBuilder};
pub use counters::{Counters, NodeCounters};
pub use counts::{GraphCounts, NodeCounts};
pub use detection::Detection;
pub use error::GraphError;
pub use file::FileError;
pub use graph::{Edge, Graph, Node, Phase};
pub use neuron::{Membrane, Neuron, Param, Reset};
pub use op::{Function, Layout, Op, Pooling, Readout, Signal, Weight};
pub use program::Program;
pub use task::Task;
pub use tensor::{Tensor, Values};
pub use topology::{Link, Topology};
