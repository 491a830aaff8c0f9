//! Mean pooling as one differentiable operation.

use super::flex::{contiguous, tensor, values};
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
use spikelet_kernels::mean_pool::{Windows, backward, forward};

/// The means of `x` `[batch, h, w, channels]` over windows along rows and columns. On Flex, in
/// f32, only.
pub fn mean_pool(x: Tensor<4>, rows: Windows, columns: Windows) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::mean_pool(x.into_dispatch(), rows, columns))
}

/// Backends that run the pooling.
#[backend_extension(Flex, Autodiff)]
pub trait MeanPoolBackend: Backend {
    /// See [`mean_pool`].
    fn mean_pool(x: FloatTensor<Self>, rows: Windows, columns: Windows) -> FloatTensor<Self>;
}

impl MeanPoolBackend for Flex {
    fn mean_pool(x: FlexTensor, rows: Windows, columns: Windows) -> FlexTensor {
        let shape = x.layout().shape().to_vec();
        let (batch, channels) = (shape[0], shape[3]);
        let out = forward(values(&contiguous(x)), [&rows, &columns], channels);
        tensor(out, [batch, rows.outputs(), columns.outputs(), channels])
    }
}

#[derive(Debug)]
struct MeanPoolBackward;

impl Backward<Flex, 1> for MeanPoolBackward {
    /// Windows and channels.
    type State = (Windows, Windows, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let (rows, columns, channels) = ops.state;
        let [parent] = ops.parents;
        if let Some(node) = parent {
            let batch = d_out.layout().shape()[0];
            let d_x = backward(values(&d_out), [&rows, &columns], channels);
            let shape = [batch, rows.inputs(), columns.inputs(), channels];
            grads.register::<Flex>(node.id, tensor(d_x, shape));
        }
    }
}

impl<C: CheckpointStrategy> MeanPoolBackend for Autodiff<Flex, C> {
    fn mean_pool(x: FloatTensor<Self>, rows: Windows, columns: Windows) -> FloatTensor<Self> {
        let (x, guard) = x.into_parts();
        let channels = x.layout().shape()[3];
        let out = Flex::mean_pool(x, rows.clone(), columns.clone());
        match MeanPoolBackward.prepare::<C>([guard]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((rows, columns, channels), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}
