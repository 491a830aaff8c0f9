//! The token shift, for several mixes at once, as one differentiable operation.

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
use spikelet_kernels::token_shift::{backward, forward};

/// `[mixes, time, batch, channels]`: `x` `[time, batch, channels]` mixed with its own value one
/// token before, which for the first token is `before` `[batch, channels]`; `mix` is
/// `[mixes, channels]`. Differentiable in all of them. On Flex, in f32, only.
pub fn token_shift(x: Tensor<3>, before: Tensor<2>, mix: Tensor<2>) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::token_shift(
        x.into_dispatch(),
        before.into_dispatch(),
        mix.into_dispatch(),
    ))
}

/// Backends that run the fused token shift.
#[backend_extension(Flex, Autodiff)]
pub trait TokenShiftBackend: Backend {
    /// See [`token_shift`].
    fn token_shift(
        x: FloatTensor<Self>,
        before: FloatTensor<Self>,
        mix: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// `x`, the token before, and the mixes.
#[derive(Clone, Debug)]
struct Inputs([FlexTensor; 3]);

impl Inputs {
    /// Mixes and channels.
    fn mixes(&self) -> [usize; 2] {
        let shape = self.0[2].layout().shape().to_vec();
        [shape[0], shape[1]]
    }

    fn run(&self) -> FlexTensor {
        let [x, before, mix] = &self.0;
        let [mixes, channels] = self.mixes();
        let out = forward(values(x), values(before), values(mix), channels);
        let shape = [&[mixes], x.layout().shape().to_vec().as_slice()].concat();
        tensor(out, shape)
    }
}

impl TokenShiftBackend for Flex {
    fn token_shift(x: FlexTensor, before: FlexTensor, mix: FlexTensor) -> FlexTensor {
        Inputs([x, before, mix].map(contiguous)).run()
    }
}

#[derive(Debug)]
struct TokenShiftBackward;

impl Backward<Flex, 3> for TokenShiftBackward {
    type State = Inputs;

    fn backward(self, ops: Ops<Inputs, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let [x, before, mix] = &ops.state.0;
        let [_, channels] = ops.state.mixes();
        let d = backward(values(x), values(before), values(mix), channels, values(&d_out));
        register(grads, &ops, [d.x, d.before, d.mix], &ops.state.0);
    }
}

impl<C: CheckpointStrategy> TokenShiftBackend for Autodiff<Flex, C> {
    fn token_shift(
        x: FloatTensor<Self>,
        before: FloatTensor<Self>,
        mix: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((x, g1), (before, g2), (mix, g3)) =
            (x.into_parts(), before.into_parts(), mix.into_parts());
        let inputs = Inputs([x, before, mix].map(contiguous));
        let out = inputs.run();
        match TokenShiftBackward.prepare::<C>([g1, g2, g3]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(inputs, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}
