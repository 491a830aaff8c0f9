//! The language model as a Burn module.

use super::config::LstmLmConfig;
use crate::{
    init::Init,
    model::{SequenceModel, State},
    models::{ModelError, classifier::Body, egru::affine, lstm::LstmLayer, recurrent_lm::LmLayer},
    raise::RaiseError,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use spikelet_graph::{Graph, GraphBuilder, Readout};

/// An LSTM language model.
#[derive(Module, Debug)]
pub struct LstmLm {
    /// `[vocabulary, width]`.
    pub emb: Param<Tensor<2>>,
    /// In the order in which they run.
    pub layers: Vec<LstmLayer>,
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
        let layers = (0..config.layers).map(|_| LstmLayer::new(c, c, init)).collect();
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

    /// Features `[time, batch, width]` of tokens from a state, and the last state.
    fn run(&self, tokens: Tensor<3>, state: State) -> (Tensor<3>, State) {
        let [time, batch, _] = tokens.dims();
        let rows = self.embed(tokens.reshape([time * batch, 1]));
        let mut x = rows.reshape([time, batch, self.width()]);
        let mut next = State::new();
        for (index, (layer, before)) in self.layers.iter().zip(state.chunks(2)).enumerate() {
            let out = layer.pass(x, before.to_vec(), None, index);
            next.extend(LstmLayer::last(&out));
            x = LstmLayer::given(&out);
        }
        (x, next)
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
        let [_, batch, _] = tokens.dims();
        let state = self.first_state(batch, &tokens.device());
        self.run(tokens, state).0
    }

    fn next_features(&self, token: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let mut x = self.embed(token);
        let mut next = State::new();
        let mut state = state.into_iter();
        for layer in &self.layers {
            let before = [(); 2].map(|()| state.next().expect("two values a layer"));
            let [h, c] = layer.step(x, before);
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

    fn resume(&self, x: Tensor<3>, state: State) -> (Tensor<3>, State) {
        let (features, next) = self.run(x, state);
        (affine(features, self.head.val(), self.bias.val()), next)
    }

    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        affine(self.features(x, None), self.head.val(), self.bias.val())
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
