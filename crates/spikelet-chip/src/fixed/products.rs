//! Matrices and convolutions of numbers.

use super::{FixedRun, limited, number, rounded, sum};
use crate::error::ChipError;
use spikelet_graph::{Graph, Layout, Node, Op, Values, Weight};

/// Weights, row by row of the inputs.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    /// Numbers, or integers where there are scales.
    values: Vec<i32>,
    /// Columns.
    outputs: usize,
    /// One an output, for integers.
    scales: Option<Vec<f64>>,
}

impl Matrix {
    /// The weight of a node.
    ///
    /// # Errors
    /// A tensor that is not there.
    pub(super) fn new(graph: &Graph, node: &Node, weight: &Weight) -> Result<Self, ChipError> {
        let tensor = graph.tensor(&node.name, &weight.tensor)?;
        let outputs = tensor.output_channels(weight.layout).max(1);
        let inputs = tensor.len() / outputs;
        let integers = matches!(tensor.values, Values::I8(_) | Values::I4(_));
        let scales = match &weight.scale {
            Some(name) if integers => Some(graph.tensor(&node.name, name)?),
            _ => None,
        };
        // Scales of groups of weights belong to no output: such weights become numbers.
        let scales = scales.filter(|scales| scales.shape.len() == 1);
        let scales = scales.map(|s| s.to_f32().into_iter().map(f64::from).collect::<Vec<_>>());
        let stored: Vec<i32> = match scales {
            Some(_) => tensor.to_f32().into_iter().map(|w| w as i32).collect(),
            None => {
                let values = graph.weight(&node.name, weight)?;
                values.into_iter().map(|w| number(w.into())).collect()
            }
        };
        let values = match weight.layout {
            Layout::ByInput => stored,
            Layout::ByOutput => {
                (0..stored.len()).map(|k| stored[k % outputs * inputs + k / outputs]).collect()
            }
        };
        Ok(Matrix { values, outputs, scales })
    }

    /// The row of an input.
    pub(super) fn row(&self, input: usize) -> &[i32] {
        &self.values[input * self.outputs..(input + 1) * self.outputs]
    }

    /// A weight, in the order in which they lie here.
    pub(super) fn value(&self, at: usize) -> i32 {
        self.values[at]
    }

    /// Adds the row of an input times `x` to sums.
    fn add_row(&self, sums: &mut [i64], input: usize, x: i32) {
        for (sum, w) in sums.iter_mut().zip(self.row(input)) {
            *sum = sum.saturating_add(i64::from(x) * i64::from(*w));
        }
    }

    /// Sums as numbers, with a bias added; channels repeat.
    fn finish(&self, sums: Vec<i64>, bias: &[i32]) -> Vec<i32> {
        let number = |(at, of): (usize, i64)| {
            let channel = at % self.outputs;
            let product = match &self.scales {
                None => rounded(of),
                Some(scales) => limited((of as f64 * scales[channel]).round() as i64),
            };
            sum(product, bias.get(channel).copied().unwrap_or(0))
        };
        sums.into_iter().enumerate().map(number).collect()
    }

    /// `x` times the matrix plus a bias, row by row of `x`.
    pub(super) fn multiply(&self, x: &[i32], bias: &[i32]) -> Vec<i32> {
        let inputs = (self.values.len() / self.outputs).max(1);
        let mut out = Vec::with_capacity(x.len() / inputs * self.outputs);
        for x in x.chunks_exact(inputs) {
            let mut sums = vec![0; self.outputs];
            for (input, x) in x.iter().enumerate().filter(|(_, x)| **x != 0) {
                self.add_row(&mut sums, input, *x);
            }
            out.extend(self.finish(sums, bias));
        }
        out
    }
}

impl FixedRun {
    /// The convolution of a node.
    pub(super) fn convolve(&self, index: usize) -> Vec<i32> {
        let node = &self.graph.nodes[index];
        let Op::Conv2d { weight, bias, stride, padding, dilation, groups } = &node.op else {
            return Vec::new();
        };
        let shape = &self.graph.tensors[&weight.tensor].shape;
        let kernel = match weight.layout {
            Layout::ByInput => [shape[0], shape[1]],
            Layout::ByOutput => [shape[1], shape[2]],
        };
        let matrix = &self.matrices[index][0];
        let (x, source) = (self.port(index, 0), self.source_shape(index));
        let (width, inputs) = (source[1], source[2]);
        let (per_group, outputs) = (inputs / groups, matrix.outputs);
        let group_outputs = outputs / groups;
        let mut sums = vec![0_i64; node.len()];
        // The output position that a tap brings an input position to.
        let reached = |axis: usize, at: usize, tap: usize| {
            let at = (at + padding[axis]).checked_sub(tap * dilation[axis])?;
            let whole = at.is_multiple_of(stride[axis]);
            Some(at / stride[axis]).filter(|at| whole && *at < node.shape[axis])
        };
        for (at, x) in x.iter().enumerate().filter(|(_, x)| **x != 0) {
            let (position, channel) = (at / inputs, at % inputs);
            let (group, inner) = (channel / per_group, channel % per_group);
            let of_group = group * group_outputs..(group + 1) * group_outputs;
            for tap in 0..kernel[0] * kernel[1] {
                let row = reached(0, position / width, tap / kernel[1]);
                let column = reached(1, position % width, tap % kernel[1]);
                let (Some(row), Some(column)) = (row, column) else { continue };
                let to = (row * node.shape[1] + column) * outputs;
                let weights = &matrix.row(tap * per_group + inner)[of_group.clone()];
                let sums = &mut sums[to + of_group.start..to + of_group.end];
                for (sum, w) in sums.iter_mut().zip(weights) {
                    *sum = sum.saturating_add(i64::from(*x) * i64::from(*w));
                }
            }
        }
        let bias = bias.as_ref().map_or(&[][..], |name| self.tensor(name));
        matrix.finish(sums, bias)
    }
}
