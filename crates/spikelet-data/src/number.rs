//! Number types of binary array files, little-endian.

use half::{bf16, f16};

/// A number type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Number {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    Bf16,
    F32,
    F64,
}

impl Number {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The number in the first [`Self::size`] bytes, rounded to f32.
    ///
    /// # Panics
    /// If there are fewer bytes.
    pub fn to_f32(self, b: &[u8]) -> f32 {
        match self {
            Self::Bool => f32::from(u8::from(b[0] != 0)),
            Self::U8 => f32::from(b[0]),
            Self::I8 => f32::from(b[0] as i8),
            Self::U16 => f32::from(u16::from_le_bytes(first(b))),
            Self::I16 => f32::from(i16::from_le_bytes(first(b))),
            Self::U32 => u32::from_le_bytes(first(b)) as f32,
            Self::I32 => i32::from_le_bytes(first(b)) as f32,
            Self::U64 => u64::from_le_bytes(first(b)) as f32,
            Self::I64 => i64::from_le_bytes(first(b)) as f32,
            Self::F16 => f16::from_le_bytes(first(b)).to_f32(),
            Self::Bf16 => bf16::from_le_bytes(first(b)).to_f32(),
            Self::F32 => f32::from_le_bytes(first(b)),
            Self::F64 => f64::from_le_bytes(first(b)) as f32,
        }
    }

    /// Appends the numbers in `bytes`, rounded to f32, to `out`.
    pub fn append_f32(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            // By far the most frequent type; without the inner match it becomes a copy.
            Self::F32 => out.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes(first(b)))),
            _ => out.extend(bytes.chunks_exact(self.size()).map(|b| self.to_f32(b))),
        }
    }

    /// The number in the first [`Self::size`] bytes if it is a whole number that an i64 holds.
    ///
    /// # Panics
    /// If there are fewer bytes.
    pub fn to_i64(self, b: &[u8]) -> Option<i64> {
        let whole = |v: f64| (v.fract() == 0.0 && v.abs() < 9.0e15).then_some(v as i64);
        Some(match self {
            Self::Bool => i64::from(b[0] != 0),
            Self::U8 => b[0].into(),
            Self::I8 => (b[0] as i8).into(),
            Self::U16 => u16::from_le_bytes(first(b)).into(),
            Self::I16 => i16::from_le_bytes(first(b)).into(),
            Self::U32 => u32::from_le_bytes(first(b)).into(),
            Self::I32 => i32::from_le_bytes(first(b)).into(),
            Self::U64 => return i64::try_from(u64::from_le_bytes(first(b))).ok(),
            Self::I64 => i64::from_le_bytes(first(b)),
            Self::F64 => return whole(f64::from_le_bytes(first(b))),
            Self::F16 | Self::Bf16 | Self::F32 => return whole(self.to_f32(b).into()),
        })
    }
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|i| bytes[i])
}

#[cfg(test)]
mod tests {
    use super::Number::*;

    #[test]
    fn each_type() {
        let minus_two = (-2i64).to_le_bytes();
        for (number, value) in [
            (I8, -2.0),
            (I16, -2.0),
            (I32, -2.0),
            (I64, -2.0),
            (U8, 254.0),
            (U16, 65534.0),
            (Bool, 1.0),
        ] {
            assert_eq!(number.to_f32(&minus_two), value, "{number:?}");
            assert_eq!(number.to_i64(&minus_two), Some(value as i64), "{number:?}");
        }
        assert_eq!(U32.to_i64(&minus_two), Some(0xffff_fffe));
        assert_eq!(U64.to_i64(&minus_two), None);
        assert_eq!((F16.to_f32(&[0, 0x3e]), Bf16.to_f32(&[0xc0, 0x3f])), (1.5, 1.5));
        assert_eq!(
            (F32.to_i64(&3f32.to_le_bytes()), F64.to_i64(&0.5f64.to_le_bytes())),
            (Some(3), None)
        );
        assert_eq!(F64.to_i64(&f64::INFINITY.to_le_bytes()), None);
    }
}
