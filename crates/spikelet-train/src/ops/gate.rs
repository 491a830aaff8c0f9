//! The functions between the matrices of a mix, each as one differentiable operation.

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
use spikelet_kernels::gate;

/// `sigmoid(gate) x`, of the same shape; differentiable in both. On Flex, in f32, only.
pub fn gated<const D: usize>(gate: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::gated(gate.into_dispatch(), x.into_dispatch()))
}

/// `max(x, 0)^2`. On Flex, in f32, only.
pub fn relu_squared<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::relu_squared(x.into_dispatch()))
}

/// Backends that run them.
#[backend_extension(Flex, Autodiff)]
pub trait GateBackend: Backend {
    /// See [`gated`].
    fn gated(gate: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`relu_squared`].
    fn relu_squared(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl GateBackend for Flex {
    fn gated(gate: FlexTensor, x: FlexTensor) -> FlexTensor {
        let [gate, x] = [gate, x].map(contiguous);
        tensor(gate::gated(values(&gate), values(&x)), x.layout().shape().clone())
    }

    fn relu_squared(x: FlexTensor) -> FlexTensor {
        let x = contiguous(x);
        tensor(gate::relu_squared(values(&x)), x.layout().shape().clone())
    }
}

#[derive(Debug)]
struct GatedBackward;

impl Backward<Flex, 2> for GatedBackward {
    /// The gate and `x`.
    type State = [FlexTensor; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d = contiguous(grads.consume::<Flex>(&ops.node));
        let [gate, x] = &ops.state;
        let found = gate::gated_backward(values(gate), values(x), values(&d));
        register(grads, &ops, found, &ops.state);
    }
}

#[derive(Debug)]
struct ReluSquaredBackward;

impl Backward<Flex, 1> for ReluSquaredBackward {
    type State = [FlexTensor; 1];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d = contiguous(grads.consume::<Flex>(&ops.node));
        let found = gate::relu_squared_backward(values(&ops.state[0]), values(&d));
        register(grads, &ops, [found], &ops.state);
    }
}

impl<C: CheckpointStrategy> GateBackend for Autodiff<Flex, C> {
    fn gated(gate: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((gate, g1), (x, g2)) = (gate.into_parts(), x.into_parts());
        let [gate, x] = [gate, x].map(contiguous);
        let out = Flex::gated(gate.clone(), x.clone());
        match GatedBackward.prepare::<C>([g1, g2]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish([gate, x], out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }

    fn relu_squared(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, guard) = x.into_parts();
        let x = contiguous(x);
        let out = Flex::relu_squared(x.clone());
        match ReluSquaredBackward.prepare::<C>([guard]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish([x], out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}
