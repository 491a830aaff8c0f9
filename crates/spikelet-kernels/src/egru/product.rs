//! Products of rows, most of whose values may be zero, with a matrix `[inputs, outputs]`: the
//! convolution of batches of single positions, which chooses between events and all values.

use crate::{
    batch::map,
    conv::Conv,
    matmul::matmul_tn,
    spike_conv::{self, EventLists, EventWeights, Input},
    window::Window,
};
use alloc::vec::Vec;

/// Inputs whose weight gradient is one task.
const UNITS: usize = 128;

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
        let rows = x.len() / self.conv.inputs;
        match spike_conv::events(&self.conv, x) {
            Some(lists) => {
                let (conv, weights) = (&self.conv, self.weights);
                let packed = self.packed.get_or_insert_with(|| EventWeights::new(conv, weights));
                packed.forward(conv, &lists, rows, bias)
            }
            None => spike_conv::forward(&self.conv, Input::Dense(x), rows, self.weights, bias),
        }
    }
}

/// The gradient `[inputs, outputs]` of a matrix, given that of its products, `d` `[rows, outputs]`.
pub(super) fn weight_gradient(x: &[f32], d: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    let (conv, rows) = (single(inputs, outputs), x.len() / inputs);
    let lists: Option<EventLists> = spike_conv::events(&conv, x);
    if let Some(lists) = lists {
        return spike_conv::weight_gradient(&conv, Input::Events(&lists), rows, d);
    }
    let starts: Vec<usize> = (0..inputs).step_by(UNITS).collect();
    let parts = map(&starts, |_, &first| {
        let units = UNITS.min(inputs - first);
        let own: Vec<f32> =
            x.chunks_exact(inputs).flat_map(|row| &row[first..first + units]).copied().collect();
        let mut part = alloc::vec![0.0; units * outputs];
        matmul_tn(&mut part, &own, d, [units, outputs, rows], false);
        part
    });
    parts.concat()
}

/// The gradient `[rows, inputs]` of the rows, given that of their products with a matrix.
pub(super) fn input_gradient(
    weights: &[f32],
    d: &[f32],
    inputs: usize,
    outputs: usize,
) -> Vec<f32> {
    spike_conv::input_gradient(&single(inputs, outputs), d.len() / outputs, weights, d)
}

/// The sum of the rows of `d` `[rows, outputs]`.
pub(super) fn bias_gradient(d: &[f32], outputs: usize) -> Vec<f32> {
    spike_conv::bias_gradient(&single(1, outputs), d)
}

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
