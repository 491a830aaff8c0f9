//! An LSTM over a whole sequence as one differentiable operation.

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
use spikelet_kernels::lstm::{Saved, Shape, Weights, backward, forward};
use std::sync::Arc;

/// Hidden states `[time, batch, hidden]` from a zero state over `x` `[time, batch, input]`, with
/// weights `[4 hidden, input]` and `[4 hidden, hidden]` and the bias `[4 hidden]`; differentiable
/// in all of them. On Flex, in f32, only.
pub fn lstm_sequence(
    x: Tensor<3>,
    input: Tensor<2>,
    hidden: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::lstm_sequence(
        x.into_dispatch(),
        input.into_dispatch(),
        hidden.into_dispatch(),
        bias.into_dispatch(),
    ))
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
    ) -> FloatTensor<Self>;
}

/// `x`, `W`, `U` and the bias, kept for the backward pass.
#[derive(Clone, Debug)]
struct Inputs([FlexTensor; 4]);

impl Inputs {
    fn shape(&self) -> Shape {
        let x = self.0[0].layout().shape().to_vec();
        let hidden = self.0[2].layout().shape().to_vec()[1];
        Shape { time: x[0], batch: x[1], input: x[2], hidden }
    }

    fn weights(&self) -> Weights<'_> {
        let [_, input, hidden, bias] = &self.0;
        Weights { input: values(input), hidden: values(hidden), bias: values(bias) }
    }

    fn run(&self) -> (FlexTensor, Saved) {
        let s = self.shape();
        let (hidden, saved) = forward(&s, &self.weights(), values(&self.0[0]));
        (tensor(hidden, [s.time, s.batch, s.hidden]), saved)
    }
}

impl LstmBackend for Flex {
    fn lstm_sequence(
        x: FlexTensor,
        input: FlexTensor,
        hidden: FlexTensor,
        bias: FlexTensor,
    ) -> FlexTensor {
        Inputs([x, input, hidden, bias].map(contiguous)).run().0
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

impl<C: CheckpointStrategy> LstmBackend for Autodiff<Flex, C> {
    fn lstm_sequence(
        x: FloatTensor<Self>,
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct LstmBackward;
        impl Backward<Flex, 4> for LstmBackward {
            type State = Kept;
            fn backward(
                self,
                ops: Ops<Self::State, 4>,
                grads: &mut Gradients,
                _: &mut Checkpointer,
            ) {
                let g = contiguous(grads.consume::<Flex>(&ops.node));
                let Kept { inputs, saved } = &ops.state;
                let need_x = ops.parents[0].is_some();
                let g = backward(&inputs.shape(), &inputs.weights(), saved, values(&g), need_x);
                let found = [g.x.unwrap_or_default(), g.input, g.hidden, g.bias];
                register(grads, &ops, found, &inputs.0);
            }
        }

        let ((x, gx), (input, gi), (hidden, gh), (bias, gb)) =
            (x.into_parts(), input.into_parts(), hidden.into_parts(), bias.into_parts());
        let inputs = Inputs([x, input, hidden, bias].map(contiguous));
        match LstmBackward.prepare::<C>([gx, gi, gh, gb]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (out, saved) = inputs.run();
                prep.finish(Kept { inputs, saved: Arc::new(saved) }, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(inputs.run().0),
        }
    }
}
