//! Access to the memory of Flex tensors.

use burn::backend::{DispatchDevice, flex::FlexTensor};
use burn::tensor::{Device, Shape, TensorData};

/// Whether tensors of this device live in Flex memory, where the fused kernels work.
pub fn runs_on_flex(device: &Device) -> bool {
    matches!(device.clone().inner().as_dispatch(), DispatchDevice::Flex(_))
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

/// A tensor that takes over `values`.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}
