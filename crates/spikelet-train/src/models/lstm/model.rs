//! The LSTM as a Burn module.

use super::config::LstmConfig;
use crate::{
    init::Init,
    model::{SequenceModel, State},
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

    /// The input's part of the gates, `[rows, input]` to `[rows, 4 hidden]`.
    fn drive(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight_ih.val().transpose()) + self.bias.val().unsqueeze()
    }

    /// The next hidden and cell state.
    fn advance(&self, drive: Tensor<2>, h: Tensor<2>, c: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let gates = (drive + h.matmul(self.weight_hh.val().transpose())).chunk(4, 1);
        let [input, forget, cell, output] = gates.try_into().expect("four gates");
        let c = sigmoid(forget) * c + sigmoid(input) * cell.tanh();
        (sigmoid(output) * c.clone().tanh(), c)
    }

    fn head(&self, h: Tensor<2>) -> Tensor<2> {
        h.matmul(self.w_o.val().transpose()) + self.b_o.val().unsqueeze()
    }
}

impl SequenceModel for Lstm {
    fn initial_state(&self, batch: usize, device: &Device) -> State {
        let [_, hidden] = self.weight_hh.val().dims();
        vec![Tensor::zeros([batch, hidden], device); 2]
    }

    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let [h, c] = state.try_into().expect("hidden and cell state");
        let (h, c) = self.advance(self.drive(x), h, c);
        (self.head(h.clone()), vec![h, c])
    }

    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        let [time, batch, inputs] = x.dims();
        let [_, hidden] = self.weight_hh.val().dims();
        let device = x.device();
        let drive = self.drive(x.reshape([time * batch, inputs]));
        let drive = drive.reshape([time, batch, 4 * hidden]);
        let mut h = Tensor::<2>::zeros([batch, hidden], &device);
        let mut c = h.clone();
        let mut all = Vec::with_capacity(time);
        for drive in drive.iter_dim(0) {
            (h, c) = self.advance(drive.squeeze_dim(0), h, c);
            all.push(h.clone());
        }
        if self.readout == Readout::Last {
            // Only the last output counts: the head need not see the others.
            return self.head(h).unsqueeze_dim(0);
        }
        let all: Tensor<3> = Tensor::stack(all, 0);
        let out = self.head(all.reshape([time * batch, hidden]));
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
