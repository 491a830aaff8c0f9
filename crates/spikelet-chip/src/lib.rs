//! SpiNNaker 2: mapping an event graph on its cores, and simulating what happens there.
#![warn(missing_docs)]

mod chip;
mod cores;
mod engine;
mod error;
mod geometry;
mod layers;
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

pub use chip::{Chip, Constant, Mark, SPINNAKER2};
pub use cores::Clock;
pub use engine::{Delivery, simulate};
pub use error::ChipError;
pub use mapping::{Assigned, AssignedPart, Assignment, Mapping, Part, Store, Wishes, map};
pub use program::Memory;
pub use report::{CoreLoad, Energy, LinkLoad, Simulation};
pub use trace::rounded;
