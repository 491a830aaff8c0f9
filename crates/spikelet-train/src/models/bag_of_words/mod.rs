//! Logistic regression on counts of tokens: what a classifier of sentences must beat.
//!
//! Inputs are token numbers, `[time, batch, 1]`, padded as for
//! [`classifier`](super::classifier); the logits of a sentence are the sums of those of its tokens.

use crate::{
    init::Init,
    lower::tensor,
    model::{SequenceModel, State},
    raise::{Raise, RaiseError},
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};
use spikelet_graph::{Graph, GraphBuilder, Op, Readout};

/// It has no sizes of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BagOfWordsConfig {}

/// One row of logits a token.
#[derive(Module, Debug)]
pub struct BagOfWords {
    /// `[vocabulary, classes]`.
    pub emb: Param<Tensor<2>>,
}

impl BagOfWords {
    /// All zero.
    pub fn new(vocabulary: usize, classes: usize, init: &Init) -> Self {
        Self { emb: init.constant(0.0, [vocabulary, classes]) }
    }
}

impl SequenceModel for BagOfWords {
    fn initial_state(&self, _: usize, _: &Device) -> State {
        State::new()
    }

    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let [batch, _] = x.dims();
        let mask = x.clone().greater_equal_elem(0.0).float();
        let tokens: Tensor<1, Int> = x.clamp_min(0.0).reshape([batch]).int();
        (self.emb.val().select(0, tokens) * mask, state)
    }

    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        let [time, batch, _] = x.dims();
        let (rows, _) = self.step(x.reshape([time * batch, 1]), State::new());
        let [_, classes] = rows.dims();
        rows.reshape([time, batch, classes])
    }

    fn readout(&self) -> Readout {
        Readout::Sum
    }

    fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String {
        graph.embedding("emb", input, tensor(&self.emb));
        "emb".to_owned()
    }

    fn from_graph(graph: &Graph, device: &Device) -> Result<Self, RaiseError> {
        let raise = Raise::new(graph, device);
        match raise.op("emb")? {
            Op::Embedding { weight } => Ok(Self { emb: raise.table("emb", weight)? }),
            _ => Err(RaiseError::Kind { node: "emb".to_owned(), expected: "an embedding" }),
        }
    }
}
