//! The event graph: the one representation every consumer reads.
//!
//! `no_std + alloc` without the feature `std`.
#![cfg_attr(not(feature = "std"), no_std)]
extern crate alloc;

pub mod graph;
pub mod neuron;
pub mod op;
pub mod task;
pub mod tensor;

pub use graph::{Edge, Graph, Node, Phase};
pub use neuron::{Membrane, Neuron, Param, Reset};
pub use op::{Function, Layout, Op, Pooling, Readout, Signal, Weight};
pub use task::Task;
pub use tensor::{Tensor, Values};
