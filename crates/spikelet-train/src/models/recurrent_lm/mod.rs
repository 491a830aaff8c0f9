//! Language models of stacked recurrent layers between an embedding and a decoder that share their
//! table: what those of EGRU, LSTM and GRU layers have in common.

mod config;
mod dropouts;
mod from_graph;
pub(super) mod layer;
mod lower;
mod model;
mod regularise;

pub use config::{Axes, Carry, Dropouts};
pub use layer::LmLayer;
pub(super) use model::Parts;
pub use model::{Decoder, Embeddings, RecurrentLm, Shift};
pub use regularise::Regularisers;
