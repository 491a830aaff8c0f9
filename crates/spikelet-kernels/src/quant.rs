//! Symmetric integer quantisation of weights, one scale per output, and what turns integer sums
//! back into currents.

use crate::math::ROUND;

/// The largest magnitude of a quantised value: 127 for 8 bits, 7 for 4.
pub fn limit(bits: u32) -> i8 {
    debug_assert!((2..=8).contains(&bits), "2 to 8 bits");
    ((1_i32 << (bits - 1)) - 1) as i8
}

/// The scale that maps `-max_abs..=max_abs` on `-limit..=limit`; 1 if all values are zero.
#[inline(always)]
pub fn scale(max_abs: f32, limit: i8) -> f32 {
    let scale = max_abs / f32::from(limit);
    if scale > 0.0 && scale.is_finite() { scale } else { 1.0 }
}

/// Nearest multiple of `scale`, ties to even, limited to `-limit..=limit`. NaN becomes 0.
#[inline]
pub fn quantize(value: f32, scale: f32, limit: i8) -> i8 {
    let limit = f32::from(limit);
    let steps = (value / scale).clamp(-limit, limit);
    ((steps + ROUND) - ROUND) as i8
}

/// `out += scale * acc`, one scale per output.
///
/// # Panics
/// When the lengths differ.
pub fn add_scaled(out: &mut [f32], acc: &[i32], scale: &[f32]) {
    assert!(acc.len() == out.len() && scale.len() == out.len(), "one sum and scale per output");
    for ((y, a), s) in out.iter_mut().zip(acc).zip(scale) {
        *y += *a as f32 * s;
    }
}

/// [`add_scaled`] for sums of values times integer weights.
///
/// # Panics
/// When the lengths differ.
pub fn add_scaled_f32(out: &mut [f32], acc: &[f32], scale: &[f32]) {
    assert!(acc.len() == out.len() && scale.len() == out.len(), "one sum and scale per output");
    for ((y, a), s) in out.iter_mut().zip(acc).zip(scale) {
        *y += a * s;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_to_the_nearest_step() {
        let (limit, max) = (limit(8), 2.54);
        let scale = scale(max, limit);
        assert_eq!(limit, 127);
        assert_eq!(quantize(max, scale, limit), 127);
        assert_eq!(quantize(-10.0, scale, limit), -127);
        assert_eq!(quantize(0.5 * scale, scale, limit), 0);
        assert_eq!(quantize(1.5 * scale, scale, limit), 2);
        assert_eq!(quantize(f32::NAN, scale, limit), 0);
        for i in -1000..=1000 {
            let value = i as f32 * max / 1000.0;
            let error = (f32::from(quantize(value, scale, limit)) * scale - value).abs();
            assert!(error <= scale * 0.5001, "{value} is off by {error}");
        }
    }

    #[test]
    fn four_bits_reach_seven() {
        assert_eq!(limit(4), 7);
        assert_eq!(quantize(1.0, scale(1.0, 7), 7), 7);
        assert_eq!(scale(0.0, 7), 1.0);
    }

    #[test]
    fn scaled_sums_are_added() {
        let mut out = [1.0, 2.0];
        add_scaled(&mut out, &[3, -4], &[0.5, 0.25]);
        assert_eq!(out, [2.5, 1.0]);
        add_scaled_f32(&mut out, &[3.0, -4.0], &[0.5, 0.25]);
        assert_eq!(out, [4.0, 0.0]);
    }
}
