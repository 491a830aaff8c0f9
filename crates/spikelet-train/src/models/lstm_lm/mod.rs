//! An LSTM language model: what SpikeGPT is compared with.
//!
//! Embedding, layers of PyTorch's LSTM of the same width, a linear read-out of every token. Inputs
//! are token numbers, `[time, batch, 1]`.

mod checkpoint;
mod config;
mod lower;
mod model;

pub use config::LstmLmConfig;
pub use model::LstmLm;
