//! Language models of LSTM or GRU layers with AWD-LSTM's drop-outs: what EGRU is compared with.

mod config;
mod model;

pub use config::{Cell, RnnLmConfig};
pub use model::{GruLm, LstmTiedLm};
