//! The classifier as a Burn module.

use super::{body::Body, pooling::Pooling};
use crate::{
    init::Init,
    model::{SequenceModel, State},
    raise::RaiseError,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use spikelet_graph::{Graph, GraphBuilder, Readout};

/// A language model with a head for sentences.
#[derive(Module, Debug)]
pub struct Classifier<B: Module> {
    /// The language model; its own read-out of tokens is not used.
    pub body: B,
    /// `[classes, width]`.
    pub head: Param<Tensor<2>>,
    /// `[classes]`.
    pub bias: Param<Tensor<1>>,
    /// `[classes, width]`: scores of [`Pooling::Learned`].
    pub scores: Option<Param<Tensor<2>>>,
    /// How tokens become a sentence.
    #[module(skip)]
    pub pooling: Pooling,
}

impl<B: Body> Classifier<B> {
    /// A fresh head on a language model. Scores start at zero: as the mean.
    pub fn new(body: B, pooling: Pooling, classes: usize, init: &mut Init) -> Self {
        let c = body.width();
        let learned = pooling == Pooling::Learned;
        Self {
            head: init.torch_linear(c, [classes, c]),
            bias: init.constant(0.0, [classes]),
            scores: learned.then(|| init.constant(0.0, [classes, c])),
            body,
            pooling,
        }
    }

    fn linear(x: Tensor<3>, weight: &Param<Tensor<2>>) -> Tensor<3> {
        let [time, batch, width] = x.dims();
        let out = x.reshape([time * batch, width]).matmul(weight.val().transpose());
        let [_, classes] = out.dims();
        out.reshape([time, batch, classes])
    }

    fn pooled(&self, x: Tensor<3>, seed: Option<u64>) -> Tensor<3> {
        let mask = x.clone().greater_equal_elem(0.0).float();
        let features = self.body.features(x.clamp_min(0.0), seed);
        let scores = self.scores.as_ref().map(|scores| Self::linear(features.clone(), scores));
        let logits = Self::linear(features, &self.head) + self.bias.val().unsqueeze();
        Pooling::pool(logits, mask, scores, self.pooling == Pooling::Last)
    }
}

/// A score before the first token: nothing remains of it.
const NOTHING: f32 = -1e30;

impl<B: Body> SequenceModel for Classifier<B> {
    fn initial_state(&self, batch: usize, device: &Device) -> State {
        let mut state = self.body.first_state(batch, device);
        if self.pooling == Pooling::Learned {
            let [classes] = self.bias.dims();
            let shape = [batch, classes];
            let zeros = || Tensor::zeros(shape, device);
            state.extend([zeros(), zeros(), Tensor::full(shape, NOTHING, device)]);
        }
        state
    }

    /// The logits of the sentence so far where weights are learned, else those of the token: the
    /// read-out does the rest. Nothing is masked: a sentence ends with its last step.
    fn step(&self, x: Tensor<2>, mut state: State) -> (Tensor<2>, State) {
        let tail = match self.pooling {
            Pooling::Learned => state.split_off(state.len() - 3),
            _ => State::new(),
        };
        let (features, mut next) = self.body.next_features(x.clamp_min(0.0), state);
        let logits = features.clone().matmul(self.head.val().transpose());
        let logits = logits + self.bias.val().unsqueeze();
        let (Some(weight), Ok([sum, weights, largest])) =
            (&self.scores, <[Tensor<2>; 3]>::try_from(tail))
        else {
            return (logits, next);
        };
        let score = features.matmul(weight.val().transpose());
        let peak = largest.clone().max_pair(score.clone());
        let (before, now) = ((largest - peak.clone()).exp(), (score - peak.clone()).exp());
        let sum = sum * before.clone() + logits * now.clone();
        let weights = weights * before + now;
        next.extend([sum.clone(), weights.clone(), peak]);
        (sum / weights, next)
    }

    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        self.pooled(x, None)
    }

    fn training_sequence(&self, x: Tensor<3>, seed: u64) -> (Tensor<3>, State) {
        (self.pooled(x, Some(seed)), State::new())
    }

    fn readout(&self) -> Readout {
        match self.pooling {
            Pooling::Mean => Readout::Mean,
            Pooling::Last | Pooling::Learned => Readout::Last,
        }
    }

    fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String {
        super::lower::lower(self, graph, input)
    }

    fn from_graph(_: &Graph, _: &Device) -> Result<Self, RaiseError> {
        let expected = "trainable: start from the folder of the run instead";
        Err(RaiseError::Kind { node: "input".to_owned(), expected })
    }
}
