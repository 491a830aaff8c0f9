//! The language model as a Burn module.

use super::config::LstmLmConfig;
use crate::{
    init::Init,
    model::{SequenceModel, State},
    models::{ModelError, classifier::Body, lstm::cell},
    ops::{flex::is_f32_on_flex, lstm::lstm_sequence},
    raise::RaiseError,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use spikelet_graph::{Graph, GraphBuilder, Readout};

/// One LSTM layer.
#[derive(Module, Debug)]
pub struct Layer {
    /// `[4 width, width]`; gates in the order input, forget, cell, output.
    pub weight_ih: Param<Tensor<2>>,
    /// `[4 width, width]`.
    pub weight_hh: Param<Tensor<2>>,
    /// `[4 width]`: the sum of PyTorch's two biases.
    pub bias: Param<Tensor<1>>,
}

/// An LSTM language model.
#[derive(Module, Debug)]
pub struct LstmLm {
    /// `[vocabulary, width]`.
    pub emb: Param<Tensor<2>>,
    /// In the order in which they run.
    pub layers: Vec<Layer>,
    /// `[vocabulary, width]`.
    pub head: Param<Tensor<2>>,
    /// `[vocabulary]`.
    pub bias: Param<Tensor<1>>,
}

impl LstmLm {
    /// A network with PyTorch's initial values.
    ///
    /// # Errors
    /// Sizes of zero, more weights than any memory holds.
    pub fn new(
        config: &LstmLmConfig,
        vocabulary: usize,
        init: &mut Init,
    ) -> Result<LstmLm, ModelError> {
        config.check(vocabulary)?;
        let c = config.width;
        let mut layer = || Layer {
            weight_ih: init.torch_linear(c, [4 * c, c]),
            weight_hh: init.torch_linear(c, [4 * c, c]),
            bias: init.torch_linear(c, [4 * c]),
        };
        let layers = (0..config.layers).map(|_| layer()).collect();
        Ok(LstmLm {
            emb: init.normal(1.0, [vocabulary, c]),
            layers,
            head: init.torch_linear(c, [vocabulary, c]),
            bias: init.torch_linear(c, [vocabulary]),
        })
    }

    /// The rows of tokens `[rows, 1]`.
    fn embed(&self, tokens: Tensor<2>) -> Tensor<2> {
        let [rows, _] = tokens.dims();
        let tokens: Tensor<1, Int> = tokens.reshape([rows]).int();
        self.emb.val().select(0, tokens)
    }

    fn read(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.head.val().transpose()) + self.bias.val().unsqueeze()
    }
}

impl Body for LstmLm {
    fn width(&self) -> usize {
        self.emb.dims()[1]
    }

    fn first_state(&self, batch: usize, device: &Device) -> State {
        vec![Tensor::zeros([batch, self.width()], device); 2 * self.layers.len()]
    }

    fn features(&self, tokens: Tensor<3>, _: Option<u64>) -> Tensor<3> {
        let [time, batch, _] = tokens.dims();
        if !is_f32_on_flex(&tokens) {
            let mut state = self.first_state(batch, &tokens.device());
            let steps = tokens.iter_dim(0).map(|token| {
                let (features, next) =
                    self.next_features(token.squeeze_dim(0), std::mem::take(&mut state));
                state = next;
                features
            });
            return Tensor::stack(steps.collect(), 0);
        }
        let rows = self.embed(tokens.reshape([time * batch, 1]));
        let mut x = rows.reshape([time, batch, self.width()]);
        for layer in &self.layers {
            let weights = (layer.weight_ih.val(), layer.weight_hh.val(), layer.bias.val());
            x = lstm_sequence(x, weights.0, weights.1, weights.2);
        }
        x
    }

    fn next_features(&self, token: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let mut x = self.embed(token);
        let mut next = State::new();
        let mut state = state.into_iter();
        for layer in &self.layers {
            let before = [(); 2].map(|()| state.next().expect("two values a layer"));
            let weights = [layer.weight_ih.val(), layer.weight_hh.val()];
            let [h, c] = cell(x, before, weights, layer.bias.val());
            x = h.clone();
            next.extend([h, c]);
        }
        (x, next)
    }

    fn lower_features(&self, graph: &mut GraphBuilder, input: &str) -> String {
        super::lower::features(self, graph, input)
    }
}

impl SequenceModel for LstmLm {
    fn initial_state(&self, batch: usize, device: &Device) -> State {
        self.first_state(batch, device)
    }

    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let (features, next) = self.next_features(x, state);
        (self.read(features), next)
    }

    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        let features = self.features(x, None);
        let [time, batch, width] = features.dims();
        let out = self.read(features.reshape([time * batch, width]));
        let [_, classes] = out.dims();
        out.reshape([time, batch, classes])
    }

    fn readout(&self) -> Readout {
        Readout::Last
    }

    fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String {
        super::lower::lower(self, graph, input)
    }

    fn from_graph(graph: &Graph, device: &Device) -> Result<Self, RaiseError> {
        super::checkpoint::from_graph(graph, device)
    }
}
