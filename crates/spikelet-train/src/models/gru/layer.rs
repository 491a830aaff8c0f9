//! One GRU layer.

use crate::{
    draws::Draws,
    init::Init,
    lower::tensor,
    model::State,
    models::recurrent_lm::{
        LmLayer,
        layer::{last_step, step_by_step},
    },
    ops::{flex::is_f32_on_flex, gru::gru_sequence},
    raise::{Raise, RaiseError},
};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::sigmoid};
use spikelet_graph::{GraphBuilder, Layout, Op};

/// PyTorch's GRU; gates in the order reset, update, new.
#[derive(Module, Debug)]
pub struct GruLayer {
    /// `[3 units, inputs]`.
    pub weight_ih: Param<Tensor<2>>,
    /// `[3 units, units]`.
    pub weight_hh: Param<Tensor<2>>,
    /// `[3 units]`.
    pub bias_ih: Param<Tensor<1>>,
    /// `[3 units]`.
    pub bias_hh: Param<Tensor<1>>,
    /// Fraction of recurrent weights dropped in a pass of training.
    #[module(skip)]
    pub dropconnect: f32,
}

impl GruLayer {
    /// A layer with PyTorch's initial values.
    pub fn new(inputs: usize, units: usize, init: &mut Init) -> GruLayer {
        GruLayer {
            weight_ih: init.torch_linear(units, [3 * units, inputs]),
            weight_hh: init.torch_linear(units, [3 * units, units]),
            bias_ih: init.torch_linear(units, [3 * units]),
            bias_hh: init.torch_linear(units, [3 * units]),
            dropconnect: 0.0,
        }
    }

    fn sequence(&self, x: Tensor<3>, weights: [Tensor<2>; 2], h: Tensor<2>) -> Tensor<3> {
        let biases = [self.bias_ih.val(), self.bias_hh.val()];
        if is_f32_on_flex(&x) {
            return gru_sequence(x, weights, biases, h);
        }
        let step = |x, [h]: [Tensor<2>; 1]| {
            let h = cell(x, h, weights.clone(), biases.clone());
            (h.clone(), [h])
        };
        step_by_step(x, [h], step).0
    }
}

/// The next hidden state `[batch, units]` of an input `[batch, inputs]`.
pub(super) fn cell(
    x: Tensor<2>,
    h: Tensor<2>,
    [weight_ih, weight_hh]: [Tensor<2>; 2],
    [bias_ih, bias_hh]: [Tensor<1>; 2],
) -> Tensor<2> {
    let input = x.matmul(weight_ih.transpose()) + bias_ih.unsqueeze();
    let hidden = h.clone().matmul(weight_hh.transpose()) + bias_hh.unsqueeze();
    let [r, z, n] = input.chunk(3, 1).try_into().expect("three gates");
    let [hr, hz, hn] = hidden.chunk(3, 1).try_into().expect("three gates");
    let r = sigmoid(r + hr);
    let z = sigmoid(z + hz);
    let n = (n + r * hn).tanh();
    // (1 - z) n + z h
    n.clone() + z * (h - n)
}

/// Its state is the hidden state.
impl LmLayer for GruLayer {
    const STATES: usize = 1;
    const GIVEN: usize = 1;
    const SPARSE: bool = false;
    type Outputs = Tensor<3>;

    fn units(&self) -> usize {
        self.weight_hh.dims()[1]
    }

    fn pass(&self, x: Tensor<3>, state: State, draws: Option<&Draws>, index: usize) -> Tensor<3> {
        let [h] = state.try_into().expect("hidden state");
        let hidden = match draws {
            Some(draws) => draws.connections(self.weight_hh.val(), self.dropconnect, index),
            None => self.weight_hh.val(),
        };
        self.sequence(x, [self.weight_ih.val(), hidden], h)
    }

    fn given(out: &Tensor<3>) -> Tensor<3> {
        out.clone()
    }

    fn last(out: &Tensor<3>) -> State {
        vec![last_step(out)]
    }

    fn lower(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        input: &str,
        _sparse: bool,
        _restart: Option<usize>,
    ) {
        let weights = [&tensor(&self.weight_ih), &tensor(&self.weight_hh)];
        let biases = [tensor(&self.bias_ih), tensor(&self.bias_hh)];
        graph.gru(name, input, weights, biases, Layout::ByOutput);
    }

    fn raise(raise: &Raise<'_>, name: &str) -> Result<Self, RaiseError> {
        let Op::Gru { weight_input, weight_hidden, bias_input, bias_hidden } = raise.op(name)?
        else {
            return Err(RaiseError::Kind { node: name.to_owned(), expected: "a GRU" });
        };
        Ok(GruLayer {
            weight_ih: raise.weight(name, weight_input)?,
            weight_hh: raise.weight(name, weight_hidden)?,
            bias_ih: raise.vector(name, bias_input)?,
            bias_hh: raise.vector(name, bias_hidden)?,
            dropconnect: 0.0,
        })
    }
}
