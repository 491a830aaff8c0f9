//! A gradient that is already there, handed to the next backward pass.

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

/// `loss`, whose backward pass begins with `gradient` as the gradient of `parameter`: what the rest
/// of the pass finds is added to it. On Flex only.
pub fn carry<const D: usize>(
    loss: Tensor<1>,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
) -> Tensor<1> {
    // Of the same backend as the others, though it has no graph.
    let gradient = gradient.autodiff();
    let (loss, parameter) = (loss.into_dispatch(), parameter.into_dispatch());
    Tensor::from_dispatch(Dispatch::carry(loss, parameter, gradient.into_dispatch()))
}

/// Backends that hand gradients on.
#[backend_extension(Flex, Autodiff)]
pub trait CarryBackend: Backend {
    /// See [`carry`].
    fn carry(
        loss: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl CarryBackend for Flex {
    fn carry(loss: FlexTensor, _: FlexTensor, _: FlexTensor) -> FlexTensor {
        loss
    }
}

#[derive(Debug)]
struct CarryBackward;

impl Backward<Flex, 2> for CarryBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_loss = grads.consume::<Flex>(&ops.node);
        let [loss, parameter] = ops.parents;
        for (node, gradient) in [(loss, d_loss), (parameter, ops.state)] {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl<C: CheckpointStrategy> CarryBackend for Autodiff<Flex, C> {
    fn carry(
        loss: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((loss, to_loss), (_, to_parameter), (gradient, _)) =
            (loss.into_parts(), parameter.into_parts(), gradient.into_parts());
        let node = CarryBackward.prepare::<C>([to_loss, to_parameter]);
        match node.compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(gradient, loss),
            OpsKind::UnTracked(prep) => prep.finish(loss),
        }
    }
}
