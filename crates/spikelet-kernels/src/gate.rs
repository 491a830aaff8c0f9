//! Functions of single values between the matrices of a mix, each with its gradient in one pass.

use crate::{fill::fill, math::sigmoid, simd::dispatch};
use alloc::vec::Vec;

/// Values worked on by one thread at a time.
const PART: usize = 1 << 14;

/// `sigmoid(gate) x`.
///
/// # Panics
/// If lengths differ.
pub fn gated(gate: &[f32], x: &[f32]) -> Vec<f32> {
    assert_eq!(gate.len(), x.len(), "gate: lengths");
    let [out] = parts(
        x.len(),
        #[inline(always)]
        |[out], at| {
            let (gate, x) = (&gate[at..][..out.len()], &x[at..][..out.len()]);
            for i in 0..out.len() {
                out[i] = sigmoid(gate[i]) * x[i];
            }
        },
    );
    out
}

/// The gradients of the gate and of `x`, given that of [`gated`].
///
/// # Panics
/// If lengths differ.
pub fn gated_backward(gate: &[f32], x: &[f32], d: &[f32]) -> [Vec<f32>; 2] {
    assert!(gate.len() == x.len() && d.len() == x.len(), "gate: lengths");
    parts(
        x.len(),
        #[inline(always)]
        |[d_gate, d_x], at| {
            let n = d_x.len();
            let (gate, x, d) = (&gate[at..][..n], &x[at..][..n], &d[at..][..n]);
            let d_gate = &mut d_gate[..n];
            for i in 0..n {
                let open = sigmoid(gate[i]);
                d_x[i] = d[i] * open;
                d_gate[i] = d[i] * x[i] * open * (1.0 - open);
            }
        },
    )
}

/// `max(x, 0)^2`.
pub fn relu_squared(x: &[f32]) -> Vec<f32> {
    let [out] = parts(
        x.len(),
        #[inline(always)]
        |[out], at| {
            let x = &x[at..][..out.len()];
            for i in 0..out.len() {
                let positive = x[i].max(0.0);
                out[i] = positive * positive;
            }
        },
    );
    out
}

/// The gradient of `x`, given that of [`relu_squared`].
///
/// # Panics
/// If lengths differ.
pub fn relu_squared_backward(x: &[f32], d: &[f32]) -> Vec<f32> {
    assert_eq!(d.len(), x.len(), "gate: lengths");
    let [out] = parts(
        x.len(),
        #[inline(always)]
        |[out], at| {
            let (x, d) = (&x[at..][..out.len()], &d[at..][..out.len()]);
            for i in 0..out.len() {
                out[i] = 2.0 * x[i].max(0.0) * d[i];
            }
        },
    );
    out
}

/// Buffers of which `work(chunks, start)` makes a part. `work` is inlined, or it would be compiled
/// for the least instructions instead of those that are chosen here.
#[inline(always)]
fn parts<const K: usize>(
    len: usize,
    work: impl Fn([&mut [f32]; K], usize) + Sync,
) -> [Vec<f32>; K] {
    fill(len, PART, |index, chunks| {
        dispatch(
            #[inline(always)]
            || work(chunks, index * PART),
        );
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_the_slopes() {
        let x: Vec<f32> = (0..PART + 9).map(|i| (i % 23) as f32 * 0.3 - 3.0).collect();
        let gate: Vec<f32> = (0..PART + 9).map(|i| (i % 17) as f32 * 0.4 - 3.0).collect();
        let d: Vec<f32> = (0..PART + 9).map(|i| (i % 5) as f32 - 2.0).collect();
        let [d_gate, d_x] = gated_backward(&gate, &x, &d);
        let squared = relu_squared_backward(&x, &d);
        let moved = |values: &[f32], by: f32| values.iter().map(|v| v + by).collect::<Vec<_>>();
        let h = 1e-2;
        let slope = |up: Vec<f32>, down: Vec<f32>, i: usize| (up[i] - down[i]) / (2.0 * h) * d[i];
        for i in (0..x.len()).step_by(7) {
            let by_gate = slope(gated(&moved(&gate, h), &x), gated(&moved(&gate, -h), &x), i);
            assert!((d_gate[i] - by_gate).abs() < 1e-3, "{i}: {} {by_gate}", d_gate[i]);
            if i > 70 {
                continue;
            }
            let by_x = slope(gated(&gate, &moved(&x, h)), gated(&gate, &moved(&x, -h)), i);
            assert!((d_x[i] - by_x).abs() < 1e-3);
            let by_x = slope(relu_squared(&moved(&x, h)), relu_squared(&moved(&x, -h)), i);
            assert!((squared[i] - by_x).abs() < 0.1, "{i}: {} {by_x}", squared[i]);
        }
    }
}
