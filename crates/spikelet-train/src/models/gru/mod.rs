//! GRU: a dense baseline.

mod checkpoint;
mod config;
mod lower;
mod model;

pub use config::GruConfig;
pub use model::Gru;
