//! The LSTM as a Burn module.

use super::config::LstmConfig;
use crate::{
    init::Init,
    model::{SequenceModel, State, step_by_step},
    ops::{flex::is_f32_on_flex, lstm::lstm_sequence},
    raise::RaiseError,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation::sigmoid};
use spikelet_graph::{Graph, GraphBuilder, Readout};

/// PyTorch's LSTM; gates in the order input, forget, cell, output.
#[derive(Module, Debug)]
pub struct Lstm {
    /// `[4 hidden, input]`.
    pub weight_ih: Param<Tensor<2>>,
    /// `[4 hidden, hidden]`.
    pub weight_hh: Param<Tensor<2>>,
    /// `[4 hidden]`: the sum of PyTorch's two biases.
    pub bias: Param<Tensor<1>>,
    /// `[classes, hidden]`.
    pub w_o: Param<Tensor<2>>,
    /// `[classes]`.
    pub b_o: Param<Tensor<1>>,
    /// How outputs become logits.
    #[module(skip)]
    pub readout: Readout,
}

impl Lstm {
    /// A network with PyTorch's initial values.
    pub fn new(config: &LstmConfig, inputs: usize, classes: usize, init: &mut Init) -> Lstm {
        let h = config.hidden;
        Lstm {
            weight_ih: init.torch_linear(h, [4 * h, inputs]),
            weight_hh: init.torch_linear(h, [4 * h, h]),
            bias: init.torch_linear(h, [4 * h]),
            w_o: init.torch_linear(h, [classes, h]),
            b_o: init.torch_linear(h, [classes]),
            readout: config.readout,
        }
    }

    fn head(&self, h: Tensor<2>) -> Tensor<2> {
        h.matmul(self.w_o.val().transpose()) + self.b_o.val().unsqueeze()
    }
}

/// The next hidden and cell state, `[batch, hidden]`, of an input `[batch, input]`; weights are
/// `[4 hidden, input]` and `[4 hidden, hidden]`.
pub(super) fn cell(
    x: Tensor<2>,
    [h, c]: [Tensor<2>; 2],
    [weight_ih, weight_hh]: [Tensor<2>; 2],
    bias: Tensor<1>,
) -> [Tensor<2>; 2] {
    let gates =
        x.matmul(weight_ih.transpose()) + h.matmul(weight_hh.transpose()) + bias.unsqueeze();
    let [input, forget, cell, output] = gates.chunk(4, 1).try_into().expect("four gates");
    let c = sigmoid(forget) * c + sigmoid(input) * cell.tanh();
    let h = sigmoid(output) * c.clone().tanh();
    [h, c]
}

impl SequenceModel for Lstm {
    fn initial_state(&self, batch: usize, device: &Device) -> State {
        let [_, hidden] = self.weight_hh.val().dims();
        vec![Tensor::zeros([batch, hidden], device); 2]
    }

    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let before = state.try_into().expect("hidden and cell state");
        let weights = [self.weight_ih.val(), self.weight_hh.val()];
        let [h, c] = cell(x, before, weights, self.bias.val());
        (self.head(h.clone()), vec![h, c])
    }

    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        if !is_f32_on_flex(&x) {
            return step_by_step(self, x);
        }
        let [time, batch, _] = x.dims();
        let weights = [self.weight_ih.val(), self.weight_hh.val()];
        let [h, c] = self.initial_state(batch, &x.device()).try_into().expect("two tensors");
        let (hidden, _) = lstm_sequence(x, weights, self.bias.val(), [h, c]);
        // Where only the last output counts, the head need not see the others.
        let hidden = match self.readout {
            Readout::Last => hidden.narrow(0, time - 1, 1),
            _ => hidden,
        };
        let [time, _, units] = hidden.dims();
        let out = self.head(hidden.reshape([time * batch, units]));
        let [_, classes] = out.dims();
        out.reshape([time, batch, classes])
    }

    fn readout(&self) -> Readout {
        self.readout
    }

    fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String {
        super::lower::lower(self, graph, input)
    }

    fn from_graph(graph: &Graph, device: &Device) -> Result<Self, RaiseError> {
        super::checkpoint::from_graph(graph, device)
    }
}
