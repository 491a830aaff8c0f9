//! Layer normalisation as one differentiable operation.

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
use spikelet_kernels::{
    fill::zeros,
    layer_norm::{Moments, backward, forward},
};
use std::sync::Arc;

/// `x` `[.., channels]`, every row of channels by its own mean and variance, times `weight` plus
/// `bias`, `[channels]` each; differentiable in all of them. On Flex, in f32, only.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::layer_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// Backends that run the fused normalisation.
#[backend_extension(Flex, Autodiff)]
pub trait LayerNormBackend: Backend {
    /// See [`layer_norm`].
    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// `x`, weight and bias.
#[derive(Clone, Debug)]
struct Inputs([FlexTensor; 3]);

impl Inputs {
    fn run(&self) -> (FlexTensor, Vec<Moments>) {
        let [x, weight, bias] = &self.0;
        let mut out = zeros(values(x).len());
        let moments = forward(values(x), values(weight), values(bias), &mut out);
        (tensor(out, x.layout().shape().clone()), moments)
    }
}

impl LayerNormBackend for Flex {
    fn layer_norm(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        Inputs([x, weight, bias].map(contiguous)).run().0
    }
}

#[derive(Debug)]
struct LayerNormBackward;

impl Backward<Flex, 3> for LayerNormBackward {
    type State = (Inputs, Arc<Vec<Moments>>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let (inputs, moments) = &ops.state;
        let [x, weight, _] = &inputs.0;
        let d = backward(values(x), values(weight), moments, values(&d_out));
        register(grads, &ops, [d.x, d.weight, d.bias], &inputs.0);
    }
}

impl<C: CheckpointStrategy> LayerNormBackend for Autodiff<Flex, C> {
    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((x, g1), (weight, g2), (bias, g3)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        let inputs = Inputs([x, weight, bias].map(contiguous));
        let (out, moments) = inputs.run();
        match LayerNormBackward.prepare::<C>([g1, g2, g3]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((inputs, Arc::new(moments)), out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}
