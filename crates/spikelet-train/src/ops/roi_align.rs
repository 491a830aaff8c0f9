//! RoIAlign as one differentiable operation. The regions themselves have no gradient, as in
//! Mask R-CNN.

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
use spikelet_kernels::roi_align::{Region, RoiAlign};

/// Regions of `features` `[image, rows, columns, channels]`, of so many pixels a position, on grids
/// `[region, side, side, channels]`. On Flex, in f32, only.
pub fn roi_align(features: Tensor<4>, regions: Vec<Region>, stride: f32, side: usize) -> Tensor<4> {
    let [images, rows, columns, channels] = features.dims();
    let align = RoiAlign { features: [rows, columns, channels], stride, side };
    let work = Work { align, regions, images };
    Tensor::from_dispatch(Dispatch::roi_align(features.into_dispatch(), work))
}

/// What is cut.
#[derive(Clone, Debug)]
pub struct Work {
    align: RoiAlign,
    regions: Vec<Region>,
    images: usize,
}

/// Backends that cut regions.
#[backend_extension(Flex, Autodiff)]
pub trait RoiAlignBackend: Backend {
    /// See [`roi_align`].
    fn roi_align(features: FloatTensor<Self>, work: Work) -> FloatTensor<Self>;
}

impl RoiAlignBackend for Flex {
    fn roi_align(features: FlexTensor, work: Work) -> FlexTensor {
        let out = work.align.forward(values(&contiguous(features)), &work.regions);
        let RoiAlign { features: [_, _, channels], side, .. } = work.align;
        tensor(out, [work.regions.len(), side, side, channels])
    }
}

#[derive(Debug)]
struct RoiAlignBackward;

impl Backward<Flex, 1> for RoiAlignBackward {
    type State = Work;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let Work { align, regions, images } = ops.state;
        let [parent] = ops.parents;
        if let Some(node) = parent {
            let d_features = align.backward(values(&d_out), &regions, images);
            let [rows, columns, channels] = align.features;
            let d_features = tensor(d_features, [images, rows, columns, channels]);
            grads.register::<Flex>(node.id, d_features);
        }
    }
}

impl<C: CheckpointStrategy> RoiAlignBackend for Autodiff<Flex, C> {
    fn roi_align(features: FloatTensor<Self>, work: Work) -> FloatTensor<Self> {
        let (features, guard) = features.into_parts();
        let out = Flex::roi_align(features, work.clone());
        match RoiAlignBackward.prepare::<C>([guard]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(work, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}
