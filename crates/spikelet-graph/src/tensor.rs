//! Tensors a graph carries: weights, biases, neuron parameters.

use alloc::vec::Vec;

/// The values of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// IEEE half precision, as bits.
    F16(Vec<u16>),
    /// 8-bit integers; a [`Weight`](crate::op::Weight) that uses them names its scales.
    I8(Vec<i8>),
    /// 4-bit integers in -8..=7, two in a byte, even index in the low nibble. Every row of the
    /// last axis starts on a byte.
    I4(Vec<u8>),
    /// 32-bit integers.
    I32(Vec<i32>),
}

/// A tensor: shape and values. The number of values always fits the shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes, outermost first. Empty for a scalar.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Values,
}
