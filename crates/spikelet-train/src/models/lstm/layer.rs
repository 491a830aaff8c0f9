//! One LSTM layer.

use super::model::cell;
use crate::{
    draws::Draws,
    init::Init,
    lower::tensor,
    model::State,
    models::recurrent_lm::{
        LmLayer,
        layer::{last_step, step_by_step},
    },
    ops::{flex::is_f32_on_flex, lstm::lstm_sequence},
    raise::{Raise, RaiseError},
};
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use spikelet_graph::{GraphBuilder, Layout, Op};

/// PyTorch's LSTM; gates in the order input, forget, cell, output.
#[derive(Module, Debug)]
pub struct LstmLayer {
    /// `[4 units, inputs]`.
    pub weight_ih: Param<Tensor<2>>,
    /// `[4 units, units]`.
    pub weight_hh: Param<Tensor<2>>,
    /// `[4 units]`: the sum of PyTorch's two biases.
    pub bias: Param<Tensor<1>>,
    /// Fraction of recurrent weights dropped in a pass of training.
    #[module(skip)]
    pub dropconnect: f32,
}

impl LstmLayer {
    /// A layer with PyTorch's initial values.
    pub fn new(inputs: usize, units: usize, init: &mut Init) -> LstmLayer {
        LstmLayer {
            weight_ih: init.torch_linear(units, [4 * units, inputs]),
            weight_hh: init.torch_linear(units, [4 * units, units]),
            bias: init.torch_linear(units, [4 * units]),
            dropconnect: 0.0,
        }
    }

    /// The hidden states `[time, batch, units]` from a hidden and a cell state, and the last cell
    /// state.
    fn sequence(
        &self,
        x: Tensor<3>,
        weights: [Tensor<2>; 2],
        state: [Tensor<2>; 2],
    ) -> (Tensor<3>, Tensor<2>) {
        let bias = self.bias.val();
        if is_f32_on_flex(&x) {
            return lstm_sequence(x, weights, bias, state);
        }
        let (h, [_, c]) = step_by_step(x, state, |x, state| {
            let [h, c] = cell(x, state, weights.clone(), bias.clone());
            (h.clone(), [h, c])
        });
        (h, c)
    }

    /// One step: the next hidden and cell state.
    pub fn step(&self, x: Tensor<2>, state: [Tensor<2>; 2]) -> [Tensor<2>; 2] {
        cell(x, state, [self.weight_ih.val(), self.weight_hh.val()], self.bias.val())
    }
}

/// Hidden states of all steps, and the last cell state.
pub struct LstmOutputs {
    h: Tensor<3>,
    c: Tensor<2>,
}

/// Its state are the hidden and the cell state.
impl LmLayer for LstmLayer {
    const STATES: usize = 2;
    const GIVEN: usize = 1;
    const SPARSE: bool = false;
    type Outputs = LstmOutputs;

    fn units(&self) -> usize {
        self.weight_hh.dims()[1]
    }

    fn pass(&self, x: Tensor<3>, state: State, draws: Option<&Draws>, index: usize) -> LstmOutputs {
        let state = state.try_into().expect("hidden and cell state");
        let hidden = match draws {
            Some(draws) => draws.connections(self.weight_hh.val(), self.dropconnect, index),
            None => self.weight_hh.val(),
        };
        let (h, c) = self.sequence(x, [self.weight_ih.val(), hidden], state);
        LstmOutputs { h, c }
    }

    fn given(out: &LstmOutputs) -> Tensor<3> {
        out.h.clone()
    }

    fn last(out: &LstmOutputs) -> State {
        vec![last_step(&out.h), out.c.clone()]
    }

    fn lower(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        input: &str,
        _sparse: bool,
        _restart: Option<usize>,
    ) {
        let weights = [tensor(&self.weight_ih), tensor(&self.weight_hh)];
        graph.lstm(name, input, &weights[0], &weights[1], tensor(&self.bias), Layout::ByOutput);
    }

    fn raise(raise: &Raise<'_>, name: &str) -> Result<Self, RaiseError> {
        let Op::Lstm { weight_input, weight_hidden, bias } = raise.op(name)? else {
            return Err(RaiseError::Kind { node: name.to_owned(), expected: "an LSTM" });
        };
        Ok(LstmLayer {
            weight_ih: raise.weight(name, weight_input)?,
            weight_hh: raise.weight(name, weight_hidden)?,
            bias: raise.vector(name, bias)?,
            dropconnect: 0.0,
        })
    }
}
