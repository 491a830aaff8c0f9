//! Language models of stacked recurrent layers with tied embeddings: EGRU as in the EGRU paper.

mod checkpoint;
mod config;
mod dropouts;
mod lower;
mod model;

pub use checkpoint::official_graph;
pub use config::{Axes, Carry, Dropouts, EgruLmConfig};
pub use model::EgruLm;
