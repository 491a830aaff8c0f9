//! Products of rows, most of whose values may be zero, with a matrix `[inputs, outputs]`: event by
//! event or dense, whichever is faster at their density.

use crate::{
    conv::Conv,
    linear::{self, Shape},
    spike_conv::{self, EventWeights, Input},
    window::Window,
};
use alloc::vec::Vec;

/// A matrix `[inputs, outputs]` that many rows are multiplied with.
pub(super) struct Matrix<'a> {
    conv: Conv,
    weights: &'a [f32],
    /// Packed when the first events come.
    packed: Option<EventWeights>,
}

impl<'a> Matrix<'a> {
    pub(super) fn new(inputs: usize, outputs: usize, weights: &'a [f32]) -> Matrix<'a> {
        Matrix { conv: single(inputs, outputs), weights, packed: None }
    }

    /// `x` `[rows, inputs]` times the matrix plus a bias: `[rows, outputs]`.
    pub(super) fn multiply(&mut self, x: &[f32], bias: &[f32]) -> Vec<f32> {
        let Conv { inputs, outputs, .. } = self.conv;
        let rows = x.len() / inputs;
        if let Some(lists) = spike_conv::events(&self.conv, x) {
            let (conv, weights) = (&self.conv, self.weights);
            let packed = self.packed.get_or_insert_with(|| EventWeights::new(conv, weights));
            return packed.forward(conv, &lists, rows, bias);
        }
        let mut y = linear::input_gradient(turned(rows, inputs, outputs), x, self.weights);
        for y in y.chunks_exact_mut(outputs) {
            y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        y
    }
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
    let one = [1, 1];
    let window = Window {
        input: one,
        output: one,
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
        let y = Matrix::new(40, 24, &weights).multiply(&sparse(), &[0.25; 24]);
        assert_eq!(y[..3 * 24], [1.25; 3 * 24]);
        assert_eq!(y[3 * 24..], [0.25; 24]);
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
