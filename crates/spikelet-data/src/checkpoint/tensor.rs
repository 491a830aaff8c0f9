//! Element types, and the way from stored bytes to a contiguous `f32` tensor.

use half::{bf16, f16};

/// Elements a tensor may have beyond the bytes of its storage, by steps of 0 (`expand`).
const MAX_REPEATED: u64 = 4 << 20;

/// A tensor converted to `f32`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorF32 {
    /// Sizes, outermost first. Empty for a scalar.
    pub shape: Vec<usize>,
    /// The values.
    pub data: Vec<f32>,
}

/// What a tensor is before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Type of the stored elements.
    pub dtype: Dtype,
    /// Sizes, outermost first. Empty for a scalar.
    pub shape: Vec<usize>,
}

/// Type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether elements are whole numbers (`Bool` is not).
    pub fn is_integer(self) -> bool {
        !matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16 | Self::Bool)
    }

    /// The usual short name: `f32`, `bf16`, `i64`, ...
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::Bool => "bool",
        }
    }
}

/// Element type and byte order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding {
    pub dtype: Dtype,
    pub big_endian: bool,
}

impl Encoding {
    /// One whole number; `bytes` has the size of the type.
    pub fn integer(self, bytes: &[u8]) -> i128 {
        let bits = self.bits(bytes);
        let unused = 64 - 8 * self.dtype.size() as u32;
        match self.dtype {
            Dtype::I64 | Dtype::I32 | Dtype::I16 | Dtype::I8 => {
                i128::from((bits << unused) as i64 >> unused)
            }
            _ => i128::from(bits),
        }
    }

    /// One element as a float.
    pub fn float(self, bytes: &[u8]) -> f64 {
        let bits = self.bits(bytes);
        match self.dtype {
            Dtype::F64 => f64::from_bits(bits),
            Dtype::F32 => f32::from_bits(bits as u32).into(),
            Dtype::F16 => f16::from_bits(bits as u16).to_f64(),
            Dtype::BF16 => bf16::from_bits(bits as u16).to_f64(),
            Dtype::Bool => f64::from(u8::from(bits != 0)),
            _ => self.integer(bytes) as f64,
        }
    }

    fn bits(self, bytes: &[u8]) -> u64 {
        let join = |bits: u64, &byte: &u8| bits << 8 | u64::from(byte);
        if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
    }
}

/// Which elements of a stored run of elements form a tensor.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub encoding: Encoding,
    /// First element, counted from the start of the storage.
    pub offset: u64,
    pub shape: Vec<u64>,
    /// Step along each axis, in elements.
    pub strides: Vec<u64>,
}

impl View {
    /// A row-major (or column-major) tensor that starts at the beginning of its storage.
    pub fn contiguous(encoding: Encoding, shape: Vec<u64>, fortran: bool) -> Self {
        let mut strides = vec![0; shape.len()];
        let mut step = 1u64;
        let mut set = |axis: usize| {
            strides[axis] = step;
            step = step.saturating_mul(shape[axis]);
        };
        if fortran {
            (0..shape.len()).for_each(&mut set);
        } else {
            (0..shape.len()).rev().for_each(&mut set);
        }
        Self { encoding, offset: 0, shape, strides }
    }

    /// Number of elements.
    pub fn count(&self) -> Option<u64> {
        // A zero anywhere makes the tensor empty, whatever the other sizes are.
        if self.shape.contains(&0) {
            return Some(0);
        }
        self.shape.iter().try_fold(1u64, |count, &size| count.checked_mul(size))
    }

    /// The bytes of the storage it needs, as start and length, once they are known to lie within
    /// a storage of `available` bytes. A step of 0 repeats elements; what that may add is limited.
    pub fn range(&self, available: u64) -> Result<(u64, u64), String> {
        let shape = || format!("shape {:?}, strides {:?}", self.shape, self.strides);
        let count = self.count().ok_or_else(|| format!("{} has too many elements", shape()))?;
        if count == 0 {
            return Ok((0, 0));
        }
        if count > available.saturating_add(MAX_REPEATED) {
            return Err(format!("{} has far more elements than its storage", shape()));
        }
        let size = self.encoding.dtype.size() as u64;
        let last = self.shape.iter().zip(&self.strides).try_fold(self.offset, |last, (n, step)| {
            (n - 1).checked_mul(*step).and_then(|distance| last.checked_add(distance))
        });
        let end = last.and_then(|last| last.checked_add(1)).and_then(|n| n.checked_mul(size));
        match end {
            // `offset` is below `last`, so its bytes do not overflow either.
            Some(end) if end <= available => Ok((self.offset * size, end - self.offset * size)),
            _ => Err(format!(
                "{} from element {} on does not fit its storage of {available} bytes",
                shape(),
                self.offset
            )),
        }
    }

    /// Gathers the elements out of `bytes`, the range that [`View::range`] named.
    pub fn gather(&self, bytes: &[u8]) -> Vec<f32> {
        let count = self.count().unwrap_or(0) as usize;
        let size = self.encoding.dtype.size();
        let mut data = Vec::with_capacity(count);
        let mut index = vec![0u64; self.shape.len()];
        let mut position = 0u64;
        for _ in 0..count {
            let at = position as usize * size;
            data.push(self.element(&bytes[at..at + size]));
            // Counts the index up, the last axis fastest. The stride of an axis of size 1 may be any
            // number, so a step beyond the last element may wrap; it is taken back below.
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                position = position.wrapping_add(self.strides[axis]);
                if index[axis] < self.shape[axis] {
                    break;
                }
                let row = self.strides[axis].wrapping_mul(self.shape[axis]);
                position = position.wrapping_sub(row);
                index[axis] = 0;
            }
        }
        data
    }

    fn element(&self, bytes: &[u8]) -> f32 {
        match (self.encoding.dtype, self.encoding.big_endian, bytes) {
            // The common case, without the detour over f64 (which keeps no NaN payload).
            (Dtype::F32, false, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            // One rounding, from the integer to f32.
            _ if self.encoding.dtype.is_integer() => self.encoding.integer(bytes) as f32,
            _ => self.encoding.float(bytes) as f32,
        }
    }
}
