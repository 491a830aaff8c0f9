//! Half precision.

/// 2 to the power of 112: the difference between the exponents of single and half precision.
const REBIAS: f32 = f32::from_bits((112 + 127) << 23);

/// A finite number of half precision, from its bits. Written so that a loop over it vectorises
/// everywhere; subnormal numbers come out right because the multiplication normalises them.
#[inline(always)]
pub fn to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * REBIAS;
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}
