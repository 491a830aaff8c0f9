//! A weight matrix over rows as one differentiable operation.

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
use spikelet_kernels::linear::{Shape, forward, input_gradient, weight_gradient};

/// `x` `[rows, inputs]` times the transpose of `weight` `[outputs, inputs]`; differentiable in both.
/// On Flex, in f32, only.
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::linear(x.into_dispatch(), weight.into_dispatch()))
}

/// Backends that run the fused product.
#[backend_extension(Flex, Autodiff)]
pub trait LinearBackend: Backend {
    /// See [`linear`].
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// `x` and the weight.
#[derive(Clone, Debug)]
struct Inputs([FlexTensor; 2]);

impl Inputs {
    fn shape(&self) -> Shape {
        let [x, weight] = self.0.each_ref().map(|t| t.layout().shape().to_vec());
        Shape { rows: x[0], inputs: x[1], outputs: weight[0] }
    }

    fn run(&self) -> FlexTensor {
        let (s, [x, weight]) = (self.shape(), &self.0);
        tensor(forward(s, values(x), values(weight)), [s.rows, s.outputs])
    }
}

impl LinearBackend for Flex {
    fn linear(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        Inputs([x, weight].map(contiguous)).run()
    }
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 2> for LinearBackward {
    type State = Inputs;

    fn backward(self, ops: Ops<Inputs, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d = contiguous(grads.consume::<Flex>(&ops.node));
        let (s, [x, weight]) = (ops.state.shape(), &ops.state.0);
        let [need_x, need_weight] = ops.parents.each_ref().map(Option::is_some);
        let d_x = need_x.then(|| input_gradient(s, values(&d), values(weight)));
        let d_weight = need_weight.then(|| weight_gradient(s, values(&d), values(x)));
        register(grads, &ops, [d_x, d_weight].map(Option::unwrap_or_default), &ops.state.0);
    }
}

impl<C: CheckpointStrategy> LinearBackend for Autodiff<Flex, C> {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, g1), (weight, g2)) = (x.into_parts(), weight.into_parts());
        let inputs = Inputs([x, weight].map(contiguous));
        let out = inputs.run();
        match LinearBackward.prepare::<C>([g1, g2]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(inputs, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}
