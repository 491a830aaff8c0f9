//! A weight matrix over many rows, forward and backward, on all threads.
//!
//! Every thread has a part of the weight matrix; results do not depend on the number of threads.

use crate::matmul::{Split, product_on_all_threads};
use alloc::vec::Vec;

/// Rows, inputs and outputs of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of `x`.
    pub rows: usize,
    /// Columns of `x`.
    pub inputs: usize,
    /// Columns of the result.
    pub outputs: usize,
}

/// `y[rows, outputs] = x[rows, inputs] w[outputs, inputs]^T`.
///
/// # Panics
/// If a slice does not have the length of its shape.
pub fn forward(s: Shape, x: &[f32], w: &[f32]) -> Vec<f32> {
    check(s, x.len(), w.len(), s.rows * s.outputs);
    let shape = [s.rows, s.outputs, s.inputs];
    product_on_all_threads(x, [s.inputs, 1], w, [1, s.inputs], shape, Split::Columns)
}

/// The gradient of `x`, given `d`, that of `y`: `d w`.
///
/// # Panics
/// If a slice does not have the length of its shape.
pub fn input_gradient(s: Shape, d: &[f32], w: &[f32]) -> Vec<f32> {
    check(s, s.rows * s.inputs, w.len(), d.len());
    let shape = [s.rows, s.inputs, s.outputs];
    product_on_all_threads(d, [s.outputs, 1], w, [s.inputs, 1], shape, Split::Columns)
}

/// The gradient of `w`: `d^T x`.
///
/// # Panics
/// If a slice does not have the length of its shape.
pub fn weight_gradient(s: Shape, d: &[f32], x: &[f32]) -> Vec<f32> {
    check(s, x.len(), s.outputs * s.inputs, d.len());
    let shape = [s.outputs, s.inputs, s.rows];
    product_on_all_threads(d, [1, s.outputs], x, [s.inputs, 1], shape, Split::Rows)
}

fn check(s: Shape, x: usize, w: usize, y: usize) {
    assert_eq!(x, s.rows * s.inputs, "linear: length of x");
    assert_eq!(w, s.outputs * s.inputs, "linear: length of the weight");
    assert_eq!(y, s.rows * s.outputs, "linear: length of y");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 31) % 13) as f32 - 6.0).collect()
    }

    #[test]
    fn the_same_bits_on_any_number_of_threads() {
        for [rows, inputs, outputs] in
            [[300, 517, 129], [900, 1100, 200], [1, 700, 900], [3, 1300, 128], [64, 900, 400]]
        {
            let s = Shape { rows, inputs, outputs };
            let x: Vec<f32> = (0..s.rows * s.inputs).map(|i| (i as f32 * 0.37).sin()).collect();
            let w: Vec<f32> = (0..s.outputs * s.inputs).map(|i| (i as f32 * 0.73).cos()).collect();
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let y = pool.install(|| forward(s, &x, &w));
                pool.install(|| (input_gradient(s, &y, &w), weight_gradient(s, &y, &x), y.clone()))
            };
            let one = on(1);
            assert!([2, 3, 5, 9].into_iter().all(|threads| on(threads) == one), "{s:?}");
        }
    }

    /// Small integers: every sum is exact.
    #[test]
    fn as_the_sums_say() {
        for (rows, inputs, outputs) in [(1, 1, 1), (3, 5, 2), (130, 4, 7), (600, 3, 129), (0, 2, 2)]
        {
            let s = Shape { rows, inputs, outputs };
            let (x, w, d) = (
                numbers(rows * inputs, 1),
                numbers(outputs * inputs, 2),
                numbers(rows * outputs, 3),
            );
            let y = forward(s, &x, &w);
            let d_x = input_gradient(s, &d, &w);
            let d_w = weight_gradient(s, &d, &x);
            for r in 0..rows {
                for o in 0..outputs {
                    let sum = (0..inputs).map(|i| x[r * inputs + i] * w[o * inputs + i]).sum();
                    assert_eq!(y[r * outputs + o], sum);
                }
                for i in 0..inputs {
                    let sum = (0..outputs).map(|o| d[r * outputs + o] * w[o * inputs + i]).sum();
                    assert_eq!(d_x[r * inputs + i], sum);
                }
            }
            for o in 0..outputs {
                for i in 0..inputs {
                    let sum = (0..rows).map(|r| d[r * outputs + o] * x[r * inputs + i]).sum();
                    assert_eq!(d_w[o * inputs + i], sum);
                }
            }
        }
    }
}
