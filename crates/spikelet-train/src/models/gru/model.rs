//! The GRU as a Burn module.

use super::{config::GruConfig, layer::cell};
use crate::{
    init::Init,
    model::{SequenceModel, State, step_by_step},
    models::egru::affine,
    ops::{flex::is_f32_on_flex, gru::gru_sequence},
    raise::RaiseError,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use spikelet_graph::{Graph, GraphBuilder, Readout};

/// PyTorch's GRU; gates in the order reset, update, new.
#[derive(Module, Debug)]
pub struct Gru {
    /// `[3 hidden, input]`.
    pub weight_ih: Param<Tensor<2>>,
    /// `[3 hidden, hidden]`.
    pub weight_hh: Param<Tensor<2>>,
    /// `[3 hidden]`.
    pub bias_ih: Param<Tensor<1>>,
    /// `[3 hidden]`.
    pub bias_hh: Param<Tensor<1>>,
    /// `[classes, hidden]`.
    pub w_o: Param<Tensor<2>>,
    /// `[classes]`.
    pub b_o: Param<Tensor<1>>,
    /// How outputs become logits.
    #[module(skip)]
    pub readout: Readout,
}

impl Gru {
    /// A network with PyTorch's initial values.
    pub fn new(config: &GruConfig, inputs: usize, classes: usize, init: &mut Init) -> Gru {
        let h = config.hidden;
        Gru {
            weight_ih: init.torch_linear(h, [3 * h, inputs]),
            weight_hh: init.torch_linear(h, [3 * h, h]),
            bias_ih: init.torch_linear(h, [3 * h]),
            bias_hh: init.torch_linear(h, [3 * h]),
            w_o: init.torch_linear(h, [classes, h]),
            b_o: init.torch_linear(h, [classes]),
            readout: config.readout,
        }
    }
}

impl SequenceModel for Gru {
    fn initial_state(&self, batch: usize, device: &Device) -> State {
        let [_, hidden] = self.weight_hh.val().dims();
        vec![Tensor::zeros([batch, hidden], device)]
    }

    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let [h] = state.try_into().expect("hidden state");
        let weights = [self.weight_ih.val(), self.weight_hh.val()];
        let h = cell(x, h, weights, [self.bias_ih.val(), self.bias_hh.val()]);
        let out = h.clone().matmul(self.w_o.val().transpose()) + self.b_o.val().unsqueeze();
        (out, vec![h])
    }

    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        if !is_f32_on_flex(&x) {
            return step_by_step(self, x);
        }
        let [time, batch, _] = x.dims();
        let [h] = self.initial_state(batch, &x.device()).try_into().expect("one tensor");
        let weights = [self.weight_ih.val(), self.weight_hh.val()];
        let hidden = gru_sequence(x, weights, [self.bias_ih.val(), self.bias_hh.val()], h);
        // Where only the last output counts, the head need not see the others.
        let hidden = match self.readout {
            Readout::Last => hidden.narrow(0, time - 1, 1),
            _ => hidden,
        };
        affine(hidden, self.w_o.val(), self.b_o.val())
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
