//! Products of rows, most of whose values may be zero, with a matrix `[inputs, outputs]`: event by
//! event or dense, whichever is faster at their density.

use crate::{
    batch::for_each_chunk,
    conv::Conv,
    fill::zeros,
    linear::{self, Shape},
    spike_conv::{self, DenseWeights, EventWeights, Input},
    window::Window,
};
use alloc::vec::Vec;

/// Steps from which on a matrix is worth laying out. `gemm` does it anew in every product, which takes
/// longer than the products of the 64 rows of a step.
const LAID_OUT: usize = 4;

/// A matrix `[inputs, outputs]` that many rows are multiplied with.
pub(super) struct Matrix<'a> {
    conv: Conv,
    weights: &'a [f32],
    steps: usize,
    /// Packed when the first events come.
    packed: Option<EventWeights>,
    /// Laid out for the first dense rows, where there are many steps.
    panels: Option<DenseWeights>,
}

impl<'a> Matrix<'a> {
    /// To be used in so many steps.
    pub(super) fn new(
        [inputs, outputs]: [usize; 2],
        weights: &'a [f32],
        steps: usize,
    ) -> Matrix<'a> {
        Matrix { conv: single(inputs, outputs), weights, steps, packed: None, panels: None }
    }

    /// `x` `[rows, inputs]` times the matrix plus a bias: `[rows, outputs]`. All calls have as many rows.
    pub(super) fn multiply(&mut self, x: &[f32], bias: &[f32]) -> Vec<f32> {
        let Conv { inputs, outputs, .. } = self.conv;
        let rows = x.len() / inputs;
        if let Some(lists) = spike_conv::events(&self.conv, x) {
            let (conv, weights) = (&self.conv, self.weights);
            let packed = self.packed.get_or_insert_with(|| EventWeights::new(conv, weights));
            return packed.forward(conv, &lists, rows, bias);
        }
        if self.steps >= LAID_OUT {
            let panels = self.panels.get_or_insert_with(|| {
                DenseWeights::new(&row_of(rows, inputs, outputs), self.weights)
            });
            let mut y = zeros(rows * outputs);
            panels.forward_into(x, bias, false, &mut y);
            return y;
        }
        let mut y = linear::input_gradient(turned(rows, inputs, outputs), x, self.weights);
        for y in y.chunks_exact_mut(outputs) {
            y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        y
    }
}

/// A matrix `[hidden, width]` whose transpose is multiplied with the rows of one step after the other.
pub(super) struct Transposed<'a> {
    weights: &'a [f32],
    hidden: usize,
    width: usize,
    steps: usize,
    /// Laid out when it is first needed.
    panels: Option<DenseWeights>,
}

impl<'a> Transposed<'a> {
    /// To be used in so many steps.
    pub(super) fn new(
        weights: &'a [f32],
        [hidden, width]: [usize; 2],
        steps: usize,
    ) -> Transposed<'a> {
        Transposed { weights, hidden, width, steps, panels: None }
    }

    /// The matrix as it is.
    pub(super) fn weights(&self) -> &'a [f32] {
        self.weights
    }

    /// `d` `[rows, width]` times the transpose: `[rows, hidden]`. All calls have as many rows.
    pub(super) fn multiply(&mut self, d: &[f32]) -> Vec<f32> {
        let Transposed { weights, hidden, width, .. } = *self;
        if self.steps < LAID_OUT {
            return input_gradient(weights, d, hidden, width);
        }
        let rows = d.len() / width;
        let panels = self.panels.get_or_insert_with(|| {
            DenseWeights::new(&row_of(rows, width, hidden), &transpose(weights, hidden, width))
        });
        let mut out = zeros(rows * hidden);
        panels.forward_into(d, &[], false, &mut out);
        out
    }
}

/// `[width, hidden]` of `[hidden, width]`.
fn transpose(x: &[f32], hidden: usize, width: usize) -> Vec<f32> {
    let mut out = zeros(x.len());
    // Some rows of the result at a time, so that what is read of a row is used while it is in the cache.
    const ROWS: usize = 16;
    for_each_chunk(&mut out, ROWS * hidden, |block, out| {
        let rows = out.len() / hidden;
        for (unit, x) in x.chunks_exact(width).enumerate() {
            for (row, value) in x[block * ROWS..][..rows].iter().enumerate() {
                out[row * hidden + unit] = *value;
            }
        }
    });
    out
}

/// The gradient `[inputs, outputs]` of a matrix, given that of its products, `d` `[rows, outputs]`.
pub(super) fn weight_gradient(x: &[f32], d: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    let (conv, rows) = (single(inputs, outputs), x.len() / inputs);
    match spike_conv::events(&conv, x) {
        Some(lists) => spike_conv::weight_gradient(&conv, Input::Events(&lists), rows, d),
        None => linear::weight_gradient(turned(rows, inputs, outputs), x, d),
    }
}

/// The gradient `[rows, inputs]` of the rows, given that of their products with a matrix.
pub(super) fn input_gradient(
    weights: &[f32],
    d: &[f32],
    inputs: usize,
    outputs: usize,
) -> Vec<f32> {
    linear::forward(turned(d.len() / outputs, inputs, outputs), d, weights)
}

/// The sum of the rows of `d` `[rows, outputs]`.
pub(super) fn bias_gradient(d: &[f32], outputs: usize) -> Vec<f32> {
    spike_conv::bias_gradient(&single(1, outputs), d)
}

/// Layers of `linear` keep their matrix as `[outputs, inputs]`: from them this one goes backwards.
fn turned(rows: usize, inputs: usize, outputs: usize) -> Shape {
    Shape { rows, inputs: outputs, outputs: inputs }
}

/// An image of one position.
fn single(inputs: usize, outputs: usize) -> Conv {
    row_of(1, inputs, outputs)
}

/// An image of some positions beside each other, each of which is looked at alone.
fn row_of(positions: usize, inputs: usize, outputs: usize) -> Conv {
    let one = [1, 1];
    let window = Window {
        input: [1, positions],
        output: [1, positions],
        kernel: one,
        stride: one,
        padding: [0, 0],
        dilation: one,
    };
    Conv { window, inputs, outputs, groups: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// Two of 40 values a row, none of the last 20; the last of four rows is silent.
    fn sparse() -> Vec<f32> {
        let value = |at: usize| match (at / 40, at % 40) {
            (3, _) => 0.0,
            (row, column) if column < 20 && column % 10 == row => 1.0,
            _ => 0.0,
        };
        (0..160).map(value).collect()
    }

    #[test]
    fn rows_of_silent_inputs_are_not_read() {
        let mut weights = vec![0.5; 40 * 24];
        weights[20 * 24..].fill(f32::NAN);
        let y = Matrix::new([40, 24], &weights, 1).multiply(&sparse(), &[0.25; 24]);
        assert_eq!(y[..3 * 24], [1.25; 3 * 24]);
        assert_eq!(y[3 * 24..], [0.25; 24]);
    }

    #[test]
    fn a_matrix_laid_out_gives_the_products() {
        let values = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
        let (weights, x, bias) = (values(21 * 63), values(7 * 21), values(63));
        let [once, often] = [1, LAID_OUT].map(|steps| {
            let mut matrix = Matrix::new([21, 63], &weights, steps);
            [matrix.multiply(&x, &bias), matrix.multiply(&x, &bias)].concat()
        });
        assert!(once.iter().zip(&often).all(|(a, b)| (a - b).abs() < 1e-5));
        assert_eq!(once.len(), often.len());
    }

    #[test]
    fn a_transpose_laid_out_gives_the_products() {
        let (rows, hidden, width) = (7, 21, 63);
        let values = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
        let (weights, d) = (values(hidden * width), values(rows * width));
        let expected = input_gradient(&weights, &d, hidden, width);
        let mut matrix = Transposed::new(&weights, [hidden, width], LAID_OUT);
        for _ in 0..2 {
            let found = matrix.multiply(&d);
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn silent_rows_are_not_learned_from() {
        let mut d = vec![2.0; 4 * 24];
        d[3 * 24..].fill(f32::NAN);
        let gradient = weight_gradient(&sparse(), &d, 40, 24);
        for (input, row) in gradient.chunks(24).enumerate() {
            let active = input < 20 && input % 10 < 3;
            assert_eq!(row, [if active { 2.0 } else { 0.0 }; 24], "{input}");
        }
    }
}
