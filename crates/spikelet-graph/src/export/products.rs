//! Matrix products as calls of helpers.

use super::{
    code::{Arg, Code, Data},
    fusion::{Fused, Pooled},
};
use crate::{
    op::Layout,
    program::{BufferId, Constant, Convolution, Factor, Source, Step, Weights},
};
use alloc::{vec, vec::Vec};

/// Outputs so few that a row of weights is too short to be added at once.
const FEW_OUTPUTS: usize = 16;

/// Rows by input as rows by output.
fn by_output(values: &[i8], outputs: usize) -> Vec<i8> {
    (0..outputs).flat_map(|j| values.iter().skip(j).step_by(outputs).copied()).collect()
}

/// Rows of 8-bit weights as words of four, the first in the lowest byte, each plus 128; the last word
/// of a row is filled up.
fn words(values: &[i8], row: usize) -> Vec<u32> {
    let byte = |w: Option<&i8>| (i32::from(w.copied().unwrap_or(0)) + 128) as u32;
    let word = |four: &[i8]| (0..4).fold(0, |word, k| word | byte(four.get(k)) << (8 * k));
    values.chunks(row.max(1)).flat_map(|row| row.chunks(4).map(word)).collect()
}

/// The weights that are not zero, if they are so few that storing them with their places takes less
/// room and fewer instructions: where rows begin, places, values.
pub(super) fn sparse(values: &[i8], row: usize) -> Option<(Vec<u32>, Vec<u32>, Vec<i8>)> {
    let found = values.iter().filter(|w| **w != 0).count();
    let (width, rows) = (if row <= 256 { 1 } else { 2 }, values.len() / row.max(1));
    let is_shorter = found * 10 <= values.len() * 3;
    let is_smaller = found * (1 + width) + 4 * (rows + 1) <= values.len();
    if row > 1 << 16 || !is_shorter || !is_smaller {
        return None;
    }
    let (mut starts, mut places, mut kept) = (vec![0], Vec::new(), Vec::new());
    for weights in values.chunks(row) {
        for (place, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0) {
            places.push(place as u32);
            kept.push(*weight);
        }
        starts.push(kept.len() as u32);
    }
    Some((starts, places, kept))
}

impl Code {
    /// A product whose sums are brought to the numbers of its target at once, of the three steps that
    /// begin, multiply and finish.
    pub(super) fn product(&mut self, fused: Fused, steps: &[Step]) {
        let [_, product, Step::Finish { factor, to, .. }, ..] = steps else { return };
        let (Step::Matrix { weights, .. } | Step::Convolve { weights, .. }) = product else {
            return;
        };
        let rows = match (fused, product) {
            (Fused::Events(_), _) | (_, Step::Matrix { from: Source::Events(_), .. }) => {
                let Constant::I8(values) = &weights.values else { return };
                let mut words = words(values, weights.outputs);
                if matches!(fused, Fused::Events(_)) {
                    // A row of zeros makes even numbers of rows.
                    words.extend(vec![0x8080_8080; weights.outputs.div_ceil(4)]);
                }
                self.data(&weights.name, "weights plus 128, four a word", Data::U32(words))
            }
            _ => self.constant(&weights.name, "weights", weights.values.clone()),
        };
        let factors = self.constant(&self.name(*to), "factors", factor.values.clone());
        let mut args = vec![Arg::To(*to), Arg::Constant(rows)];
        let name = match (fused, product) {
            (Fused::Events(Pooled { list, window, .. }), Step::Convolve { shape, .. }) => {
                let mut tall = 1;
                if let Some(window) = window {
                    let inputs = shape.inputs;
                    let pool = Convolution { window, inputs, outputs: inputs, groups: 1 };
                    let pool = Arg::Shape(self.shape(pool));
                    self.call("pool_events", &[Arg::ToEvents(list), pool]);
                    tall = window.kernel[0] as u32;
                }
                args.extend([Arg::Shape(self.shape(*shape)), Arg::Unsigned(tall)]);
                args.push(Arg::Events(list));
                "conv_i8"
            }
            (_, Step::Convolve { shape, from: Source::Values(from), .. }) => {
                args.extend([Arg::Shape(self.shape(*shape)), Arg::Read(*from)]);
                "conv_window"
            }
            (_, Step::Matrix { from: Source::Events(from), .. }) => {
                args.push(Arg::Events(*from));
                "product_i8"
            }
            (_, Step::Matrix { from: Source::Values(from), .. }) => {
                args.push(Arg::From(*from));
                "product_values"
            }
            _ => return,
        };
        args.extend([Arg::Channels(factors), Arg::Unsigned(fused.shift(factor))]);
        self.call(name, &args);
    }

    pub(super) fn matrix(&mut self, weights: &Weights, from: Source, to: BufferId) {
        let values = &weights.values;
        if let Constant::I8(values) = values
            && let Some((starts, places, values)) = sparse(values, weights.outputs)
        {
            let name = &weights.name;
            let starts = self.data(name, "where the rows begin", Data::U32(starts));
            let places = self.data(name, "places in a row", Data::Places(places));
            let values = self.constant(name, "weights that are not zero", Constant::I8(values));
            let rows = [starts, places, values].map(Arg::Constant);
            let (name, from) = match from {
                Source::Events(from) => ("rows_sparse", Arg::Events(from)),
                Source::Values(from) => ("values_sparse", Arg::From(from)),
            };
            self.call(name, &[&[Arg::To(to)], rows.as_slice(), &[from]].concat());
            return;
        }
        if let (Constant::I8(values), Source::Values(from)) = (values, from)
            && weights.outputs < FEW_OUTPUTS
        {
            let values = Constant::I8(by_output(values, weights.outputs));
            let rows = self.constant(&weights.name, "weights by output", values);
            self.call("dots_i8", &[Arg::To(to), Arg::Constant(rows), Arg::From(from)]);
            return;
        }
        let rows = self.constant(&weights.name, "weights", values.clone());
        let (to, rows) = (Arg::To(to), Arg::Constant(rows));
        match from {
            Source::Events(from) => {
                let name = match values {
                    Constant::I8(_) => "rows_i8",
                    Constant::I4(_) => "rows_i4",
                    _ => "rows_f32",
                };
                self.call(name, &[to, rows, Arg::Events(from)]);
            }
            Source::Values(from) => {
                let name = match (values, weights.layout) {
                    (Constant::I8(_), _) => "values_i8",
                    (Constant::I4(_), _) => "values_i4",
                    (_, Layout::ByInput) => "values_f32",
                    (_, Layout::ByOutput) => "dot_f32",
                };
                self.call(name, &[to, rows, Arg::From(from)]);
            }
        }
    }

    pub(super) fn finish(&mut self, factor: &Factor, from: BufferId, to: BufferId) {
        let constant = self.constant(&self.name(to), "factors", factor.values.clone());
        let args = [Arg::To(to), Arg::Read(from), Arg::Channels(constant)];
        match self.program.integer {
            true => {
                let shift = Arg::Unsigned(factor.shift);
                self.call("finish_fixed", &[args.as_slice(), &[shift]].concat());
            }
            false => self.call("finish_float", &args),
        }
    }
}
