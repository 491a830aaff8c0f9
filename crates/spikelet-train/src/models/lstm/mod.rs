//! LSTM: the dense baseline.

mod checkpoint;
mod config;
mod layer;
mod lower;
mod model;

pub use config::LstmConfig;
pub use layer::{LstmLayer, LstmOutputs};
pub use model::Lstm;
