//! Language models of EGRU layers, as in the EGRU paper.

mod checkpoint;
pub(super) mod config;
mod model;

pub use crate::models::recurrent_lm::{Axes, Carry, Dropouts, Regularisers};
pub use checkpoint::official_graph;
pub use config::EgruLmConfig;
pub use model::EgruLm;
