//! A GRU over a whole sequence as one differentiable operation.

use super::flex::{contiguous, register, tensor, values};
use burn::backend::{
    Autodiff, Backend, Dispatch, Flex,
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
use spikelet_kernels::gru::{Saved, Shape, Weights, backward, forward};
use std::sync::Arc;

/// Hidden states `[time, batch, hidden]` over `x` `[time, batch, input]` from a state
/// `[batch, hidden]`, with weights `[3 hidden, input]` and `[3 hidden, hidden]` and biases
/// `[3 hidden]` of input and state; differentiable in all of them. On Flex, in f32, only.
pub fn gru_sequence(
    x: Tensor<3>,
    [input, hidden]: [Tensor<2>; 2],
    [bias_input, bias_hidden]: [Tensor<1>; 2],
    state: Tensor<2>,
) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::gru_sequence(
        x.into_dispatch(),
        input.into_dispatch(),
        hidden.into_dispatch(),
        bias_input.into_dispatch(),
        bias_hidden.into_dispatch(),
        state.into_dispatch(),
    ))
}

/// Backends that run the fused GRU.
#[backend_extension(Flex, Autodiff)]
pub trait GruBackend: Backend {
    /// See [`gru_sequence`].
    fn gru_sequence(
        x: FloatTensor<Self>,
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        bias_input: FloatTensor<Self>,
        bias_hidden: FloatTensor<Self>,
        state: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// `x`, `W`, `U`, the biases and the state, kept for the backward pass.
#[derive(Clone, Debug)]
struct Inputs([FlexTensor; 6]);

impl Inputs {
    fn shape(&self) -> Shape {
        let x = self.0[0].layout().shape().to_vec();
        let hidden = self.0[2].layout().shape().to_vec()[1];
        Shape { time: x[0], batch: x[1], input: x[2], hidden }
    }

    fn weights(&self) -> Weights<'_> {
        let at = |k: usize| values(&self.0[k]);
        Weights { input: at(1), hidden: at(2), bias_input: at(3), bias_hidden: at(4) }
    }

    fn run(&self) -> (FlexTensor, Saved) {
        let s = self.shape();
        let (state, x) = (values(&self.0[5]), values(&self.0[0]));
        let (hidden, saved) = forward(&s, &self.weights(), state, x);
        (tensor(hidden, [s.time, s.batch, s.hidden]), saved)
    }
}

impl GruBackend for Flex {
    fn gru_sequence(
        x: FlexTensor,
        input: FlexTensor,
        hidden: FlexTensor,
        bias_input: FlexTensor,
        bias_hidden: FlexTensor,
        state: FlexTensor,
    ) -> FlexTensor {
        Inputs([x, input, hidden, bias_input, bias_hidden, state].map(contiguous)).run().0
    }
}

/// What the backward pass keeps. `Saved` is shared because Burn asks for `Clone`.
#[derive(Clone)]
struct Kept {
    inputs: Inputs,
    saved: Arc<Saved>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("shape", &self.inputs.shape()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct GruBackward;

impl Backward<Flex, 6> for GruBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = contiguous(grads.consume::<Flex>(&ops.node));
        let Kept { inputs, saved } = &ops.state;
        let need_x = ops.parents[0].is_some();
        let g = backward(&inputs.shape(), &inputs.weights(), saved, values(&g), need_x);
        let x = g.x.unwrap_or_default();
        let found = [x, g.input, g.hidden, g.bias_input, g.bias_hidden, g.state];
        register(grads, &ops, found, &inputs.0);
    }
}

impl<C: CheckpointStrategy> GruBackend for Autodiff<Flex, C> {
    fn gru_sequence(
        x: FloatTensor<Self>,
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        bias_input: FloatTensor<Self>,
        bias_hidden: FloatTensor<Self>,
        state: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (tensors, guards): (Vec<_>, Vec<_>) =
            [x, input, hidden, bias_input, bias_hidden, state]
                .into_iter()
                .map(|t| {
                    let (primitive, guard) = t.into_parts();
                    (contiguous(primitive), guard)
                })
                .unzip();
        let inputs = Inputs(tensors.try_into().expect("six tensors"));
        let guards = guards.try_into().unwrap_or_else(|_| unreachable!("six guards"));
        let (out, saved) = inputs.run();
        match GruBackward.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                prepared.finish(Kept { inputs, saved: Arc::new(saved) }, out)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}
