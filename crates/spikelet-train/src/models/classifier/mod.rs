//! A classifier of sentences over a language model: the features of its tokens, a linear head, and
//! a pooling of what the head says of each token.
//!
//! The official code calls a classifying form of SpikeGPT that it does not contain; what is known
//! of it is that it gives one row of logits for a sentence. Heads and poolings here are this
//! project's. Because the head is linear, the mean of its logits is its logits of the mean.
//!
//! Inputs are token numbers, `[time, batch, 1]`; behind the end of a sentence stands
//! [`PADDING`](spikelet_data::sentences::PADDING), which is left out of every pooling.

mod body;
mod lower;
mod model;
mod pooling;

pub use body::Body;
pub use model::Classifier;
pub use pooling::Pooling;
