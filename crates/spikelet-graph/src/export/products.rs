//! Matrix products as calls of helpers.

use super::code::{Arg, Code, Data};
use crate::{
    op::Layout,
    program::{BufferId, Constant, Factor, Program, Source, Step, Weights},
};
use alloc::{collections::BTreeMap, vec, vec::Vec};

/// Values that are multiplied without asking which are zero: as many as sensors give.
const FEW: usize = 16;

/// Where products begin that are computed as one, and the sums that they need no room for: 8-bit
/// weights with events, or with a few values.
pub(super) fn fused(program: &Program) -> BTreeMap<usize, BufferId> {
    let mut found = BTreeMap::new();
    for (index, steps) in program.steps.windows(3).enumerate() {
        if let [
            Step::Begin { bias: None, to: begun },
            Step::Matrix { weights, from, to },
            Step::Finish { from: sums, .. },
        ] = steps
            && let Constant::I8(values) = &weights.values
            && begun == sums
            && to == sums
            && program.integer
            && sparse(values, weights.outputs).is_none()
            && (matches!(from, Source::Events(_)) || weights.rows <= FEW)
        {
            found.insert(index, *sums);
        }
    }
    found
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
fn sparse(values: &[i8], row: usize) -> Option<(Vec<u32>, Vec<u32>, Vec<i8>)> {
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
    /// A product whose sums are brought to the numbers of its target at once: the three steps of
    /// which [`fused`] names the first.
    pub(super) fn product(&mut self, steps: &[Step]) {
        let [_, Step::Matrix { weights, from, .. }, Step::Finish { factor, to, .. }, ..] = steps
        else {
            return;
        };
        let Constant::I8(values) = &weights.values else { return };
        let (name, rows, from) = match from {
            Source::Events(from) => {
                let words = Data::U32(words(values, weights.outputs));
                let rows = self.data(&weights.name, "weights plus 128, four a word", words);
                ("product_i8", rows, Arg::Events(*from))
            }
            Source::Values(from) => {
                let rows = self.constant(&weights.name, "weights", weights.values.clone());
                ("product_values", rows, Arg::From(*from))
            }
        };
        let factors = self.constant(&self.name(*to), "factors", factor.values.clone());
        let (factors, shift) = (Arg::Channels(factors), Arg::Unsigned(factor.shift));
        self.call(name, &[Arg::To(*to), Arg::Constant(rows), from, factors, shift]);
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
