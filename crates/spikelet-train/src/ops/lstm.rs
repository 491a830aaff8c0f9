//! An LSTM over a whole sequence as one differentiable operation.

use super::finals::FinalGradients;
use super::flex::{contiguous, register, tensor, values};
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, Flex,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    flex::FlexTensor,
    tensor::FloatTensor,
};
use burn::tensor::Tensor;
use spikelet_kernels::lstm::{Saved, Shape, State, Weights, backward, forward};
use std::sync::Arc;

/// Hidden states `[time, batch, hidden]` and the last cell state `[batch, hidden]` over `x`
/// `[time, batch, input]`, from a hidden and a cell state `[batch, hidden]`, with weights
/// `[4 hidden, input]` and `[4 hidden, hidden]` and the bias `[4 hidden]`; differentiable in all of
/// them. On Flex, in f32, only.
pub fn lstm_sequence(
    x: Tensor<3>,
    [input, hidden]: [Tensor<2>; 2],
    bias: Tensor<1>,
    [h, c]: [Tensor<2>; 2],
) -> (Tensor<3>, Tensor<2>) {
    let (out, cell) = Dispatch::lstm_sequence(
        x.into_dispatch(),
        input.into_dispatch(),
        hidden.into_dispatch(),
        bias.into_dispatch(),
        h.into_dispatch(),
        c.into_dispatch(),
    );
    (Tensor::from_dispatch(out), Tensor::from_dispatch(cell))
}

/// Backends that run the fused LSTM.
#[backend_extension(Flex, Autodiff)]
pub trait LstmBackend: Backend {
    /// See [`lstm_sequence`].
    fn lstm_sequence(
        x: FloatTensor<Self>,
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        h: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// `x`, `W`, `U`, the bias and the state, kept for the backward pass.
#[derive(Clone, Debug)]
struct Inputs([FlexTensor; 6]);

impl Inputs {
    fn shape(&self) -> Shape {
        let x = self.0[0].layout().shape().to_vec();
        let hidden = self.0[2].layout().shape().to_vec()[1];
        Shape { time: x[0], batch: x[1], input: x[2], hidden }
    }

    fn weights(&self) -> Weights<'_> {
        let [_, input, hidden, bias, ..] = &self.0;
        Weights { input: values(input), hidden: values(hidden), bias: values(bias) }
    }

    fn run(&self) -> ([FlexTensor; 2], Saved) {
        let (s, [.., h, c]) = (self.shape(), &self.0);
        let state = State { hidden: values(h), cell: values(c) };
        let ([hidden, cell], saved) = forward(&s, &self.weights(), &state, values(&self.0[0]));
        let hidden = tensor(hidden, [s.time, s.batch, s.hidden]);
        ([hidden, tensor(cell, [s.batch, s.hidden])], saved)
    }
}

impl LstmBackend for Flex {
    fn lstm_sequence(
        x: FlexTensor,
        input: FlexTensor,
        hidden: FlexTensor,
        bias: FlexTensor,
        h: FlexTensor,
        c: FlexTensor,
    ) -> (FlexTensor, FlexTensor) {
        Inputs([x, input, hidden, bias, h, c].map(contiguous)).run().0.into()
    }
}

/// What the backward pass keeps. `Saved` is shared because Burn asks for `Clone`.
#[derive(Clone)]
struct Kept {
    inputs: Inputs,
    saved: Arc<Saved>,
    beside: FinalGradients<1>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("shape", &self.inputs.shape()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct LstmBackward;

impl Backward<Flex, 6> for LstmBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = contiguous(grads.consume::<Flex>(&ops.node));
        let Kept { inputs, saved, beside } = &ops.state;
        let [cell] = beside.arrived();
        let given = (values(&g), cell.as_ref().map(values));
        let need_x = ops.parents[0].is_some();
        let g = backward(&inputs.shape(), &inputs.weights(), saved, given, need_x);
        let [h, c] = g.state;
        let found = [g.x.unwrap_or_default(), g.input, g.hidden, g.bias, h, c];
        register(grads, &ops, found, &inputs.0);
    }
}

impl<C: CheckpointStrategy> LstmBackend for Autodiff<Flex, C> {
    fn lstm_sequence(
        x: FloatTensor<Self>,
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        h: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (tensors, guards): (Vec<_>, Vec<_>) = [x, input, hidden, bias, h, c]
            .into_iter()
            .map(|t| {
                let (primitive, guard) = t.into_parts();
                (contiguous(primitive), guard)
            })
            .unzip();
        let inputs = Inputs(tensors.try_into().expect("six tensors"));
        let guards = guards.try_into().unwrap_or_else(|_| unreachable!("six guards"));
        let ([out, cell], saved) = inputs.run();
        match LstmBackward.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let shape = out.layout().shape().clone();
                let beside = FinalGradients::default();
                let kept = Kept { inputs, saved: Arc::new(saved), beside: beside.clone() };
                let out = prepared.finish(kept, out);
                let cell = beside.child::<C>(0, cell, &out, &shape);
                (out, cell)
            }
            OpsKind::UnTracked(prepared) => {
                (prepared.finish(out), <Self as AutodiffBackend>::from_inner(cell))
            }
        }
    }
}
