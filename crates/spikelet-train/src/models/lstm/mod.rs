//! LSTM: the dense baseline.

mod checkpoint;
mod config;
mod lower;
mod model;

pub use config::LstmConfig;
pub use model::Lstm;
pub(in crate::models) use model::cell;
