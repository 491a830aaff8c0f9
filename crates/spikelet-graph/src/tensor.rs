//! Tensors a graph carries: weights, biases, neuron parameters.

use crate::{
    error::GraphError,
    int4,
    op::{GROUP, Layout},
    slab::Slab,
};
use alloc::{string::String, vec, vec::Vec};
use half::f16;

/// The values of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// 32-bit floats.
    F32(Slab<f32>),
    /// IEEE half precision, as bits.
    F16(Slab<u16>),
    /// 8-bit integers; a [`Weight`](crate::op::Weight) that uses them names its scales.
    I8(Slab<i8>),
    /// 4-bit integers in -8..=7, two in a byte, even index in the low nibble. Every row of the
    /// last axis starts on a byte.
    I4(Slab<u8>),
    /// 32-bit integers.
    I32(Slab<i32>),
}

/// A tensor: shape and values. The number of values always fits the shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes, outermost first. Empty for a scalar.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Values,
}

impl Tensor {
    /// A tensor of `values` in row-major order.
    ///
    /// # Errors
    /// [`GraphError::TensorValues`] if the number of values does not fit the shape.
    pub fn new(shape: &[usize], values: Values) -> Result<Self, GraphError> {
        let tensor = Tensor { shape: shape.to_vec(), values };
        tensor.check("tensor")?;
        Ok(tensor)
    }

    /// A tensor of 32-bit floats.
    ///
    /// # Errors
    /// [`GraphError::TensorValues`] if the number of values does not fit the shape.
    pub fn f32(shape: &[usize], values: Vec<f32>) -> Result<Self, GraphError> {
        Self::new(shape, Values::F32(values.into()))
    }

    /// A tensor of 32-bit floats, all zero.
    ///
    /// # Errors
    /// [`GraphError::TooLarge`] if the sizes overflow.
    pub fn zeros(shape: &[usize]) -> Result<Self, GraphError> {
        let len = elements(shape).ok_or_else(|| GraphError::TooLarge {
            what: alloc::format!("tensor of shape {shape:?}"),
            limit: isize::MAX as usize,
        })?;
        Ok(Tensor { shape: shape.to_vec(), values: Values::F32(vec![0.0; len].into()) })
    }

    /// The number of elements; 1 for a scalar.
    pub fn len(&self) -> usize {
        elements(&self.shape).unwrap_or(usize::MAX)
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of storage.
    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::F32(v) => v.len() * 4,
            Values::F16(v) => v.len() * 2,
            Values::I8(v) => v.len(),
            Values::I4(v) => v.len(),
            Values::I32(v) => v.len() * 4,
        }
    }

    /// The name of the data type, such as `f32`.
    pub fn data_type(&self) -> &'static str {
        match &self.values {
            Values::F32(_) => "f32",
            Values::F16(_) => "f16",
            Values::I8(_) => "i8",
            Values::I4(_) => "i4",
            Values::I32(_) => "i32",
        }
    }

    /// The values as 32-bit floats, row-major; integers as they are, without their scale.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.values {
            Values::F32(v) => v.to_vec(),
            Values::F16(v) => v.iter().map(|&bits| f16::from_bits(bits).to_f32()).collect(),
            Values::I8(v) => v.iter().map(|&q| f32::from(q)).collect(),
            Values::I4(v) => int4::unpack(v, self.row()).into_iter().map(f32::from).collect(),
            Values::I32(v) => v.iter().map(|&q| q as f32).collect(),
        }
    }

    /// The shape of scales of which every [`GROUP`] weights of a row have one, if this is a matrix
    /// that can have them.
    pub fn groups(&self) -> Option<[usize; 2]> {
        match self.shape[..] {
            [rows, width] if width > 0 && width.is_multiple_of(GROUP) => {
                Some([rows, width / GROUP])
            }
            _ => None,
        }
    }

    /// The values as 32-bit floats, each multiplied by the scale of its output channel, or of its
    /// group if `scales` has two axes. The output channel is the last axis of
    /// [`Layout::ByInput`], the first of [`Layout::ByOutput`].
    ///
    /// # Panics
    /// If the scales do not fit (in a validated graph they do).
    pub fn dequantized(&self, scales: &Tensor, layout: Layout) -> Vec<f32> {
        let mut values = self.to_f32();
        let (grouped, scales) = (scales.shape.len() == 2, scales.to_f32());
        if grouped {
            assert_eq!(scales.len() * GROUP, values.len(), "one scale per group");
            for (group, s) in values.chunks_exact_mut(GROUP).zip(scales) {
                group.iter_mut().for_each(|v| *v *= s);
            }
            return values;
        }
        let channels = self.output_channels(layout);
        assert_eq!(scales.len(), channels, "one scale per output channel");
        match layout {
            Layout::ByInput => {
                for row in values.chunks_exact_mut(channels) {
                    row.iter_mut().zip(&scales).for_each(|(v, s)| *v *= s);
                }
            }
            Layout::ByOutput => {
                let row = values.len() / channels.max(1);
                for (row, s) in values.chunks_exact_mut(row.max(1)).zip(scales) {
                    row.iter_mut().for_each(|v| *v *= s);
                }
            }
        }
        values
    }

    /// The same values with the axes in another order: axis `i` of the result is axis `axes[i]`
    /// of this tensor. `None` unless `axes` names every axis once.
    pub fn permuted(&self, axes: &[usize]) -> Option<Tensor> {
        let rank = self.shape.len();
        if axes.len() != rank || (0..rank).any(|axis| !axes.contains(&axis)) {
            return None;
        }
        let mut strides = vec![1; rank];
        for axis in (1..rank).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        let shape: Vec<usize> = axes.iter().map(|&axis| self.shape[axis]).collect();
        let mut index = vec![0; rank];
        let positions = (0..self.len()).map(|_| {
            let position = index.iter().zip(axes).map(|(i, &axis)| i * strides[axis]).sum();
            for axis in (0..rank).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
            position
        });
        let positions: Vec<usize> = positions.collect();
        Some(self.picked(shape, &positions))
    }

    /// Only the given entries along one axis, in the given order.
    ///
    /// # Panics
    /// If the axis or an entry does not exist.
    pub fn selected(&self, axis: usize, entries: &[usize]) -> Tensor {
        let inner: usize = self.shape[axis + 1..].iter().product();
        let outer: usize = self.shape[..axis].iter().product();
        let mut positions = Vec::with_capacity(outer * entries.len() * inner);
        for block in 0..outer {
            for entry in entries {
                assert!(*entry < self.shape[axis], "entry {entry} of axis {axis} does not exist");
                let start = (block * self.shape[axis] + entry) * inner;
                positions.extend(start..start + inner);
            }
        }
        let mut shape = self.shape.clone();
        shape[axis] = entries.len();
        self.picked(shape, &positions)
    }

    /// The values at row-major positions.
    fn picked(&self, shape: Vec<usize>, positions: &[usize]) -> Tensor {
        fn pick<T: Copy>(values: &[T], positions: &[usize]) -> Slab<T> {
            positions.iter().map(|&position| values[position]).collect()
        }
        let values = match &self.values {
            Values::F32(v) => Values::F32(pick(v, positions)),
            Values::F16(v) => Values::F16(pick(v, positions)),
            Values::I8(v) => Values::I8(pick(v, positions)),
            Values::I4(v) => {
                let row = shape.last().copied().unwrap_or(1);
                Values::I4(int4::pack(&pick(&int4::unpack(v, self.row()), positions), row).into())
            }
            Values::I32(v) => Values::I32(pick(v, positions)),
        };
        Tensor { shape, values }
    }

    /// How many elements are zero.
    pub fn zero_count(&self) -> usize {
        match &self.values {
            Values::F32(v) => v.iter().filter(|&&x| x == 0.0).count(),
            Values::F16(v) => v.iter().filter(|&&bits| bits & 0x7fff == 0).count(),
            Values::I8(v) => v.iter().filter(|&&q| q == 0).count(),
            Values::I4(v) => int4::unpack(v, self.row()).iter().filter(|&&q| q == 0).count(),
            Values::I32(v) => v.iter().filter(|&&q| q == 0).count(),
        }
    }

    /// The size of the output-channel axis of a weight; 1 for a scalar.
    pub fn output_channels(&self, layout: Layout) -> usize {
        let axis = match layout {
            Layout::ByInput => self.shape.last(),
            Layout::ByOutput => self.shape.first(),
        };
        axis.copied().unwrap_or(1)
    }

    /// The size of the last axis; 1 for a scalar.
    pub(crate) fn row(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Checks that the stored values fit the shape. `name` goes into the error.
    pub(crate) fn check(&self, name: &str) -> Result<(), GraphError> {
        let (found, needed) = match &self.values {
            Values::F32(v) => (v.len(), elements(&self.shape)),
            Values::F16(v) => (v.len(), elements(&self.shape)),
            Values::I8(v) => (v.len(), elements(&self.shape)),
            Values::I32(v) => (v.len(), elements(&self.shape)),
            Values::I4(v) => (v.len(), int4::packed_len(&self.shape)),
        };
        if needed == Some(found) {
            Ok(())
        } else {
            let tensor = String::from(name);
            Err(GraphError::TensorValues { tensor, shape: self.shape.clone(), found })
        }
    }

    /// The first value that is NaN or infinite, with its position.
    pub(crate) fn first_not_finite(&self) -> Option<(usize, f32)> {
        match &self.values {
            Values::F32(v) => v.iter().copied().enumerate().find(|(_, x)| !x.is_finite()),
            Values::F16(v) => v
                .iter()
                .map(|&bits| f16::from_bits(bits).to_f32())
                .enumerate()
                .find(|(_, x)| !x.is_finite()),
            Values::I8(_) | Values::I4(_) | Values::I32(_) => None,
        }
    }
}

/// The number of elements of a shape, unless it overflows the address space.
pub fn elements(shape: &[usize]) -> Option<usize> {
    let len = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    (len <= isize::MAX as usize / 4).then_some(len)
}
