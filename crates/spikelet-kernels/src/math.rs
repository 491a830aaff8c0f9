//! exp, tanh and the logistic function from one polynomial, and the square root.
//!
//! No `libm`, so they exist without `std`; no branches, so loops over them vectorise; only
//! correctly rounded operations, so every SIMD level and every machine gives the same bits.
//!
//! | function | largest error seen against f64 (units in the last place) |
//! | --- | --- |
//! | [`exp`] | 1.1 |
//! | [`tanh`] | 2.0 |
//! | [`sigmoid`] | 2.2 |
//!
//! Errors hold where the result is a normal number.

use crate::simd::dispatch;

/// ln 2 in two parts; `n * LN2_HIGH` is exact for every exponent `n` of an `f32`.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `(e^r - 1 - r) / r^2` on `|r| <= ln(2) / 2`, interpolated at Chebyshev nodes.
const EXP: [f32; 5] = [0.5, 0.166_665_73, 0.041_666_55, 0.008_363_774, 0.001_392_692_7];

/// `(tanh(x) / x - 1) / x^2` as a polynomial in `x^2` on `|x| <= 0.55`, likewise.
const TANH: [f32; 5] = [-0.333_333_3, 0.133_330_91, -0.053_905_252, 0.021_284_271, -0.006_563_75];

/// Adding this number to a small one rounds it to an integer, which is then in the low bits.
pub(crate) const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn polynomial(x: f32, c: [f32; 5]) -> f32 {
    (((c[4] * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0]
}

/// `2^n` for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

/// `e^x`. Overflows to infinity above 88.72, goes through the subnormal numbers to zero below
/// -87.3, and returns NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-104.0, 89.0);
    let rounded = x * core::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let exponent = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let y = 1.0 + (r + r * r * polynomial(r, EXP));
    // Two factors, because 2^exponent alone leaves the range of normal numbers. For NaN the
    // exponent is arbitrary; the mask keeps the factors defined and `y` is NaN anyway.
    let half = (exponent >> 1).clamp(-126, 127);
    let rest = exponent.wrapping_sub(half).clamp(-126, 127);
    y * power_of_two(half) * power_of_two(rest)
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let magnitude = x.abs();
    let z = x * x;
    let small = x + x * z * polynomial(z, TANH);
    let large = 1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0);
    (if magnitude < 0.55 { small } else { large }).copysign(x)
}

/// Logistic function `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Square root, correctly rounded.
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    #[cfg(feature = "std")]
    return x.sqrt();
    #[cfg(not(feature = "std"))]
    return newton_sqrt(x);
}

/// The square root without the instruction: Newton's iteration in f64, whose last place is far
/// below what rounding to f32 can turn on.
#[cfg(any(test, not(feature = "std")))]
fn newton_sqrt(x: f32) -> f32 {
    if x.is_nan() || x <= 0.0 || x == f32::INFINITY {
        return if x < 0.0 { f32::NAN } else { x };
    }
    let x = f64::from(x);
    let mut root = f64::from_bits((x.to_bits() >> 1) + (0x3ff0_0000_0000_0000 >> 1));
    for _ in 0..5 {
        root = 0.5 * (root + x / root);
    }
    root as f32
}

/// Replaces every value by its exponential.
pub fn exp_in_place(values: &mut [f32]) {
    dispatch(
        #[inline(always)]
        || values.iter_mut().for_each(|v| *v = exp(*v)),
    );
}

/// Replaces every value by its hyperbolic tangent.
pub fn tanh_in_place(values: &mut [f32]) {
    dispatch(
        #[inline(always)]
        || values.iter_mut().for_each(|v| *v = tanh(*v)),
    );
}

/// Replaces every value by its logistic function.
pub fn sigmoid_in_place(values: &mut [f32]) {
    dispatch(
        #[inline(always)]
        || values.iter_mut().for_each(|v| *v = sigmoid(*v)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Distance from the exact value in units of the last place of the result.
    fn ulps(got: f32, want: f64) -> f64 {
        let last_place =
            f64::from(f32::from_bits((want as f32).to_bits() + 1)) - f64::from(want as f32);
        (f64::from(got) - want).abs() / last_place.abs()
    }

    /// Every 997th float whose magnitude lies in `low..high`, of both signs.
    fn floats(low: f32, high: f32) -> impl Iterator<Item = f32> {
        (low.to_bits()..high.to_bits()).step_by(997).flat_map(|bits| {
            let x = f32::from_bits(bits);
            [x, -x]
        })
    }

    fn worst(xs: impl Iterator<Item = f32>, f: fn(f32) -> f32, exact: fn(f64) -> f64) -> f64 {
        xs.map(|x| ulps(f(x), exact(f64::from(x)))).fold(0.0, f64::max)
    }

    #[test]
    fn errors_are_as_stated() {
        let exp_error = worst(floats(1e-6, 87.3), exp, f64::exp);
        let tanh_error = worst(floats(1e-6, 20.0), tanh, f64::tanh);
        let sigmoid_error = worst(floats(1e-6, 87.0), sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        assert!(exp_error <= 1.1, "exp {exp_error}");
        assert!(tanh_error <= 2.0, "tanh {tanh_error}");
        assert!(sigmoid_error <= 2.2, "sigmoid {sigmoid_error}");
    }

    #[test]
    fn square_roots_are_correctly_rounded() {
        let specials = [0.0, -0.0, 1e-45, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY];
        for x in floats(1e-45, f32::MAX).map(f32::abs).chain(specials) {
            assert_eq!(newton_sqrt(x).to_bits(), x.sqrt().to_bits(), "at {x}");
        }
        assert!(newton_sqrt(-1.0).is_nan() && newton_sqrt(f32::NAN).is_nan());
        assert_eq!(sqrt(2.25), 1.5);
    }

    #[test]
    fn limits_are_reached() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(88.8), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(-100.0) > 0.0 && exp(-100.0) < f32::MIN_POSITIVE);
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
        assert_eq!(tanh(-0.0).to_bits(), (-0.0_f32).to_bits());
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!(sigmoid(f32::NEG_INFINITY), 0.0);
        for f in [exp, tanh, sigmoid] {
            assert!(f(f32::NAN).is_nan());
        }
    }

    #[test]
    fn slices_give_the_bits_of_the_scalar_functions() {
        fn check(slice: fn(&mut [f32]), scalar: fn(f32) -> f32) {
            let values: Vec<f32> = floats(1e-3, 100.0).collect();
            let mut got = values.clone();
            slice(&mut got);
            for (x, y) in values.iter().zip(&got) {
                assert_eq!(scalar(*x).to_bits(), y.to_bits(), "at {x}");
            }
        }
        check(exp_in_place, exp);
        check(tanh_in_place, tanh);
        check(sigmoid_in_place, sigmoid);
    }
}
