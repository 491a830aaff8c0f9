//! SpikeGPT (Zhu et al. 2023): an RWKV language model whose residual stream is fed by spikes.
//!
//! ```text
//! x = LN0(H(embedding[token]))
//! x = x + LIF(TimeMix(LN1(x)));  x = x + LIF(ChannelMix(LN2(x)))      for every block
//! logits = Head(LN(x))
//! ```
//!
//! with `H(e) = [e >= 0]`. The time steps of the neurons are the tokens. Inputs are token numbers,
//! `[time, batch, 1]`.

mod checkpoint;
mod config;
mod from_graph;
mod functions;
mod lower;
mod model;
mod module;

pub use checkpoint::{official_graph, untrained_graph};
pub use config::{Blocks, Initialisation, Semantics, SpikeGptConfig};
pub use model::{Seen, SpikeGpt};
pub use module::{Block, ChannelMix, LayerNorm, Matrix, TimeMix};
