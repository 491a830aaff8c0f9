//! What a classifier asks of a language model.

use crate::model::State;
use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Device, Tensor};
use spikelet_graph::GraphBuilder;

/// A language model without its read-out: tokens to features.
pub trait Body: Module + ModuleDisplay {
    /// Channels of a token's features.
    fn width(&self) -> usize;

    /// The state before the first token.
    fn first_state(&self, batch: usize, device: &Device) -> State;

    /// Features `[time, batch, width]` of tokens `[time, batch, 1]` from the first state; with a
    /// seed, what the model drops while it learns.
    fn features(&self, tokens: Tensor<3>, seed: Option<u64>) -> Tensor<3>;

    /// Features `[batch, width]` of the next token `[batch, 1]`.
    fn next_features(&self, token: Tensor<2>, state: State) -> (Tensor<2>, State);

    /// Adds the model to an event graph behind the node `input`; returns the node of the features.
    fn lower_features(&self, graph: &mut GraphBuilder, input: &str) -> String;
}
