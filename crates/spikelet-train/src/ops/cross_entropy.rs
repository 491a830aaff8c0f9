//! Cross entropy as one differentiable operation.

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
use spikelet_kernels::cross_entropy::{Row, backward, forward};
use std::sync::Arc;

/// Mean cross entropy of logits `[rows, classes]`, one target a row; what is added to the gradient
/// of every row's largest logit is `pull` times the logit, divided by the rows. On Flex, in f32,
/// only.
pub fn cross_entropy(logits: Tensor<2>, targets: Vec<u32>, pull: f32) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::cross_entropy(logits.into_dispatch(), targets, pull))
}

/// Backends that run the fused loss.
#[backend_extension(Flex, Autodiff)]
pub trait CrossEntropyBackend: Backend {
    /// See [`cross_entropy`].
    fn cross_entropy(logits: FloatTensor<Self>, targets: Vec<u32>, pull: f32) -> FloatTensor<Self>;
}

impl CrossEntropyBackend for Flex {
    fn cross_entropy(logits: FlexTensor, targets: Vec<u32>, _: f32) -> FlexTensor {
        tensor(vec![forward(values(&contiguous(logits)), &targets).0], [1])
    }
}

/// What the backward pass keeps.
#[derive(Clone, Debug)]
struct Kept {
    logits: [FlexTensor; 1],
    targets: Vec<u32>,
    rows: Arc<Vec<Row>>,
    pull: f32,
}

#[derive(Debug)]
struct CrossEntropyBackward;

impl Backward<Flex, 1> for CrossEntropyBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d = contiguous(grads.consume::<Flex>(&ops.node));
        let Kept { logits, targets, rows, pull } = &ops.state;
        let found = backward(values(&logits[0]), targets, rows, values(&d)[0], *pull);
        register(grads, &ops, [found], logits);
    }
}

impl<C: CheckpointStrategy> CrossEntropyBackend for Autodiff<Flex, C> {
    fn cross_entropy(logits: FloatTensor<Self>, targets: Vec<u32>, pull: f32) -> FloatTensor<Self> {
        let (logits, guard) = logits.into_parts();
        let logits = contiguous(logits);
        let (loss, rows) = forward(values(&logits), &targets);
        let loss = tensor(vec![loss], [1]);
        match CrossEntropyBackward.prepare::<C>([guard]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (logits, rows) = ([logits], Arc::new(rows));
                prepared.finish(Kept { logits, targets, rows, pull }, loss)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(loss),
        }
    }
}
