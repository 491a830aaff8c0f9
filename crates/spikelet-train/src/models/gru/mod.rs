//! GRU: a dense baseline.

mod checkpoint;
mod config;
mod layer;
mod lower;
mod model;

pub use config::GruConfig;
pub use layer::GruLayer;
pub use model::Gru;
