//! SpiNNaker 2: mapping an event graph on its cores, and simulating what happens there.
//!
//! [`map`] divides the layers of any graph over cores so that each part fits the core's SRAM,
//! places them, and gives every sender its keys and its way through the network. [`simulate`] runs
//! the mapped graph step by step as discrete events: work of cores, packets, links, the DRAM; and
//! gives latency, energy, and the load of everything. All constants are those of a [`Chip`], each
//! with its source.
//!
//! ```
//! use spikelet_chip::{Chip, Clock, Wishes, map, simulate};
//! use spikelet_graph::{GraphBuilder, Layout, Membrane, Neuron, Param, Reset, Signal, Tensor};
//!
//! let mut graph = GraphBuilder::new("two neurons");
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
//! graph.output("y", "spikes");
//! let graph = graph.finish()?;
//!
//! let mapping = map(&graph, &Chip::spinnaker2()?, Wishes::default())?;
//! let input = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
//! let found = simulate(&mapping, &graph, &input, Clock::High, |_| {})?;
//! assert_eq!((found.cores_used, found.steps, &found.output[..]), (1, 2, &[1.0, 1.0][..]));
//! # Ok::<(), spikelet_chip::ChipError>(())
//! ```
#![warn(missing_docs)]

mod chip;
mod cores;
mod engine;
mod error;
mod fixed;
mod geometry;
mod heat_map;
mod layers;
mod made_up;
mod mapping;
mod network;
mod partition;
mod place;
mod program;
mod report;
mod routes;
mod slice;
mod task;
mod trace;
mod weights;
mod work;

pub use chip::{Chip, Constant, Mark, SPINNAKER2};
pub use cores::Clock;
pub use engine::{Delivery, simulate};
pub use error::ChipError;
pub use made_up::made_up_input;
pub use mapping::{
    Assigned, AssignedPart, Assignment, Mapping, Part, Store, Wishes, map, map_on_enough,
};
pub use program::Memory;
pub use report::{CoreLoad, Energy, LinkLoad, Simulation};
