//! Executes an event graph, event by event, in constant memory.
//!
//! [`Executor::new`] compiles a [`Graph`](spikelet_graph::Graph) once; every stream of data has a
//! [`State`]. A stream may go on for ever: nothing is allocated per step, and a state never grows.
//!
//! ```
//! use spikelet_graph::{GraphBuilder, Layout, Membrane, Neuron, Param, Readout, Reset, Signal, Tensor};
//! use spikelet_runtime::Executor;
//!
//! let mut graph = GraphBuilder::new("two neurons that count");
//! graph.input("x", Signal::Binary, &[3]);
//! graph.linear("w", "x", &Tensor::f32(&[2, 3], vec![0.6; 6])?, None, Layout::ByInput);
//! let lif = Neuron {
//!     membrane: Membrane::Lif { beta: Param::Shared(0.5), input_decay: false },
//!     threshold: Param::Shared(1.0),
//!     fires_at_threshold: false,
//!     reset: Reset::Subtract,
//!     reset_delayed: true,
//! };
//! graph.neuron("spikes", &["w"], lif);
//! graph.readout("count", "spikes", Readout::Sum);
//! graph.output("y", "count");
//!
//! let executor = Executor::new(&graph.finish()?)?;
//! let mut state = executor.state();
//! assert_eq!(executor.step(&mut state, &[1.0, 0.0, 0.0])?, [0.0, 0.0]);
//! assert_eq!(executor.step(&mut state, &[1.0, 1.0, 0.0])?, [1.0, 1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Results depend neither on how a sequence is cut into chunks, nor on the streams that run
//! beside it, the number of threads, or the instruction set.
//!
//! `no_std + alloc` without the feature `std`, which adds threads.
#![cfg_attr(not(feature = "std"), no_std)]
extern crate alloc;

mod block;
mod buffers;
mod checks;
mod compile;
#[cfg(feature = "std")]
mod detector;
mod error;
mod execute;
mod executor;
mod integer;
mod observe;
mod plan;
mod profile;
mod prompt;
mod state;
mod threads;
mod weights;

#[cfg(feature = "std")]
pub use detector::{Detected, Detector, DetectorProfiler};
pub use error::Error;
pub use executor::{Executor, MemoryPlan};
pub use integer::IntegerOutput;
pub use observe::{Observation, Output};
pub use profile::Profiler;
pub use prompt::Prompt;
pub use state::State;
