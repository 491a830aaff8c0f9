//! Access to the memory of Flex tensors.

use burn::backend::{
    DispatchDevice, Flex,
    autodiff::{grads::Gradients, ops::Ops},
    flex::FlexTensor,
};
use burn::tensor::{DType, Shape, Tensor, TensorData};

/// Whether the fused kernels can work on this tensor: f32 values in Flex memory.
pub fn is_f32_on_flex<const D: usize>(x: &Tensor<D>) -> bool {
    let device = x.device().inner();
    matches!(device.as_dispatch(), DispatchDevice::Flex(_)) && x.dtype() == DType::F32
}

/// A tensor whose values lie contiguously, so that [`values`] can borrow them.
pub(crate) fn contiguous(t: FlexTensor) -> FlexTensor {
    if t.layout().contiguous_offsets().is_some() { t } else { t.to_contiguous() }
}

/// The values of a contiguous f32 tensor.
///
/// # Panics
/// If the tensor is of another type: the public wrappers test for that.
pub(crate) fn values(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().expect("a contiguous f32 tensor")
}

/// The contiguous tensor behind one that [`is_f32_on_flex`], without its graph.
///
/// # Panics
/// If it is another.
pub(crate) fn primitive<const D: usize>(t: Tensor<D>) -> FlexTensor {
    contiguous(t.inner().try_into_primitive::<Flex>().expect("a tensor on Flex"))
}

/// A tensor that takes over `values`.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}

/// Gives every parent that wants one its gradient, of the shape of the input it belongs to.
pub(crate) fn register<S, const N: usize>(
    grads: &mut Gradients,
    ops: &Ops<S, N>,
    found: impl IntoIterator<Item = Vec<f32>>,
    inputs: &[FlexTensor],
) {
    for ((parent, values), input) in ops.parents.iter().zip(found).zip(inputs) {
        if let Some(parent) = parent {
            let shape = input.layout().shape().clone();
            grads.register::<Flex>(parent.id, tensor(values, shape));
        }
    }
}
