//! The arithmetic of integer-only programs: every value is a 32-bit integer `n` that stands for
//! `n / 2^fraction` of its buffer.
//!
//! ```text
//! input        n = x 2^fraction, rounded half away from zero, within +-INPUT_LIMIT; NaN gives 0
//! product      exact sums of weights (times values), then (sum factor + 2^(shift-1)) >> shift
//! decay d      (v d + 2^15) >> 16, d in units of 2^-16
//! LIF          v = decay(v') + I                  (input_decay: + (I drive + 2^15) >> 16)
//! CuBa-LIF     i = decay(i') + I;  v = decay(v') + i
//! adaptive     th = threshold + ((a gain + 2^15) >> 16);  a = decay(a') + 2^16 where it fired
//! potential    within +-LIMIT
//! EGRU         z, r = sigmoid(A + B);  g = tanh(A + ((B r + 2^14) >> 15)), both of 15 bits
//!              c = 2^9 g + (((h - 2^9 g) z + 2^14) >> 15)
//!              zoneout: c = h + (((c - h) share + 2^15) >> 16)
//!              c > threshold: y = c, rounded to y's fraction, h = c - threshold; else y = 0, h = c
//! mean         (2 sum + count) / (2 count), rounded down
//! tanh, sigmoid  a table of 513 values over -8..=8, straight lines in between
//! ```
//!
//! Shifts to the right round down. When a spike resets and what it resets is as in
//! [`neuron`](crate::neuron). [`Program::new`](super::Program::new) proves that no sum leaves 32
//! bits; potentials, read-outs and what else can grow without end is limited.

use super::{Constant, Factor};
use alloc::vec::Vec;

/// The largest magnitude of a potential, a synaptic current, an adaptation and a sum over time.
pub const LIMIT: i32 = 1 << 29;
/// The largest magnitude of an input value.
pub const INPUT_LIMIT: i32 = 32767;
/// Fraction bits of decays and adaptations.
pub const DECAY: u32 = 16;
/// Fraction bits of what a table gives.
pub const TABLE_OUT: u32 = 15;
/// Fraction bits of what a table is given.
pub const TABLE_IN: u32 = 16;
/// Fraction bits of the states of an EGRU, which stay within -1..=1: what is kept of a slow change.
pub const STATE: u32 = 24;
/// Half the range of a table.
pub const TABLE_RANGE: i32 = 8;
/// Bits of the part of a table's input that lies between two of its values.
pub const TABLE_STEP: u32 = 11;

/// `2^n`.
pub fn power(n: i32) -> f64 {
    let step = if n < 0 { 0.5 } else { 2.0 };
    (0..n.unsigned_abs()).fold(1.0, |product, _| product * step)
}

/// The nearest integer, half away from zero, within 32 bits.
pub fn round(x: f64) -> i32 {
    (x + if x < 0.0 { -0.5 } else { 0.5 }) as i32
}

/// Values in units of `2^-fraction`.
pub(super) fn integers(values: &[f32], fraction: u32) -> Constant {
    let unit = power(fraction as i32);
    Constant::I32(values.iter().map(|value| round(f64::from(*value) * unit)).collect())
}

/// Factors as integers below `2^30` and a shift from 1 to 31, which 32-bit processors do in two
/// instructions; `None` if one is too large.
pub(super) fn factor(ratios: &[f64]) -> Option<Factor> {
    let largest = ratios.iter().fold(0.0, |largest: f64, ratio| largest.max(ratio.abs()));
    let mut shift = 0;
    while shift < 31 && largest * power(shift + 1) < power(30) {
        shift += 1;
    }
    if shift == 0 {
        return None;
    }
    let values: Vec<i32> = ratios.iter().map(|ratio| round(ratio * power(shift))).collect();
    Some(Factor { values: Constant::I32(values), shift: shift as u32 })
}

/// The most bits of fraction, up to `most`, with which `bound` stays below `2^bits`.
pub(super) fn fraction(bound: f64, bits: i32, most: u32) -> Option<u32> {
    let mut fraction = most as i32;
    while bound * power(fraction) >= power(bits) {
        fraction -= 1;
        if fraction < 0 {
            return None;
        }
    }
    Some(fraction as u32)
}

/// The values of tanh or of the logistic function at the 513 points of a table, in units of
/// `2^-TABLE_OUT`. The same on every machine: only correctly rounded operations.
pub fn table(is_tanh: bool) -> Vec<i32> {
    let points = 2 * (TABLE_RANGE << TABLE_IN >> TABLE_STEP);
    let value = |point: i32| {
        let x =
            f64::from(point) * power(TABLE_STEP as i32 - TABLE_IN as i32) - f64::from(TABLE_RANGE);
        let y = if is_tanh { 1.0 - 2.0 / (exp(2.0 * x) + 1.0) } else { 1.0 / (1.0 + exp(-x)) };
        round(y * power(TABLE_OUT as i32))
    };
    (0..=points).map(value).collect()
}

/// `e^x` for small x: the series at `x / 256`, squared eight times.
fn exp(x: f64) -> f64 {
    let x = x / 256.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..12 {
        term *= x / f64::from(n);
        sum += term;
    }
    (0..8).fold(sum, |y, _| y * y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_hold_the_functions() {
        for (is_tanh, exact) in
            [(true, f64::tanh as fn(f64) -> f64), (false, |x: f64| 1.0 / (1.0 + (-x).exp()))]
        {
            let table = table(is_tanh);
            assert_eq!(table.len(), 513);
            for (point, value) in table.iter().enumerate() {
                let want = exact(point as f64 / 32.0 - 8.0) * 32768.0;
                assert!((f64::from(*value) - want).abs() <= 0.500_001, "point {point}");
            }
        }
    }

    #[test]
    fn factors_keep_thirty_bits() {
        let factor = factor(&[0.75, 0.001]).unwrap();
        let back = factor.values.integers()[1] as f64 / power(factor.shift as i32);
        assert!((back - 0.001).abs() < 1e-9 && factor.values.integers()[0] < 1 << 30);
        assert!(super::factor(&[1e10]).is_none());
        assert_eq!(fraction(3.0, 4, 16), Some(2));
        assert_eq!(fraction(1e9, 4, 16), None);
    }
}
