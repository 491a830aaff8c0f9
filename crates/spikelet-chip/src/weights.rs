//! A weight matrix as a core stores it: dense, or compressed sparse rows where that is smaller.

use crate::chip::Chip;
use spikelet_graph::{Graph, GraphError, Layout, Tensor, Values, Weight};
use std::ops::Range;

/// A matrix of `inputs` rows, one an input, and `columns`, one an output and gate.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Rows.
    pub inputs: usize,
    /// Columns: the outputs of all gates, gate after gate.
    pub columns: usize,
    /// 8-bit weights for the multiply-accumulate array; 4-bit ones are stored as these.
    pub integer: bool,
    /// Bytes of a value.
    value_bytes: usize,
    /// Where values are, for compressed sparse rows.
    pattern: Option<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// Words of a row of flags.
    words: usize,
    /// One bit a column, row after row.
    flags: Vec<u64>,
    /// Values in all columns before this one.
    before: Vec<u64>,
}

impl Matrix {
    /// The weight of a node.
    ///
    /// # Errors
    /// A tensor that is not there.
    pub fn load(
        graph: &Graph,
        node: &str,
        weight: &Weight,
        chip: &Chip,
    ) -> Result<Self, GraphError> {
        let tensor = graph.tensor(node, &weight.tensor)?;
        let columns = tensor.output_channels(weight.layout).max(1);
        let inputs = tensor.len() / columns;
        let integer = matches!(tensor.values, Values::I8(_) | Values::I4(_));
        let value_bytes = if integer { 1 } else { chip.value_bytes as usize };
        let mut matrix = Matrix { inputs, columns, integer, value_bytes, pattern: None };
        if !integer {
            let values = (tensor.len() - tensor.zero_count()) as f64;
            let sparse =
                values * (chip.value_bytes + chip.index_bytes) + inputs as f64 * chip.pointer_bytes;
            if sparse < tensor.len() as f64 * chip.value_bytes {
                matrix.pattern = Some(pattern(tensor, weight.layout, inputs, columns));
            }
        }
        Ok(matrix)
    }

    /// The same with every value stored.
    pub fn dense(self) -> Self {
        Matrix { pattern: None, ..self }
    }

    /// Whether it is stored as compressed sparse rows.
    pub fn is_sparse(&self) -> bool {
        self.pattern.is_some()
    }

    /// Values in some of the columns.
    fn values(&self, columns: &[Range<usize>]) -> usize {
        let within = |range: &Range<usize>| match &self.pattern {
            None => range.len() * self.inputs,
            Some(pattern) => (pattern.before[range.end] - pattern.before[range.start]) as usize,
        };
        columns.iter().map(within).sum()
    }

    /// Bytes of some of the columns.
    pub fn bytes(&self, columns: &[Range<usize>], chip: &Chip) -> usize {
        let values = self.values(columns);
        match &self.pattern {
            None => values * self.value_bytes,
            Some(_) => {
                values * (self.value_bytes + chip.index_bytes as usize)
                    + (self.inputs + 1) * chip.pointer_bytes as usize
            }
        }
    }

    /// Bytes that are read for a value.
    pub fn entry_bytes(&self, chip: &Chip) -> usize {
        self.value_bytes + if self.is_sparse() { chip.index_bytes as usize } else { 0 }
    }

    /// Values of every row in some of the columns; `None` for a dense matrix, whose rows are alike.
    pub fn row_values(&self, columns: &[Range<usize>]) -> Option<Vec<u32>> {
        let pattern = self.pattern.as_ref()?;
        let row = |flags: &[u64]| columns.iter().map(|range| ones(flags, range)).sum();
        Some(pattern.flags.chunks(pattern.words).map(row).collect())
    }
}

/// Flags set within a range.
fn ones(flags: &[u64], range: &Range<usize>) -> u32 {
    if range.is_empty() {
        return 0;
    }
    let (first, last) = (range.start / 64, (range.end - 1) / 64);
    (first..=last)
        .map(|word| {
            let mut bits = flags[word];
            if word == first {
                bits &= u64::MAX << (range.start % 64);
            }
            if word == last {
                bits &= u64::MAX >> (63 - (range.end - 1) % 64);
            }
            bits.count_ones()
        })
        .sum()
}

fn pattern(tensor: &Tensor, layout: Layout, inputs: usize, columns: usize) -> Pattern {
    let words = columns.div_ceil(64);
    let mut flags = vec![0; inputs * words];
    let mut before = vec![0; columns + 1];
    for (at, value) in tensor.to_f32().into_iter().enumerate() {
        if value != 0.0 {
            let (input, column) = match layout {
                Layout::ByInput => (at / columns, at % columns),
                Layout::ByOutput => (at % inputs, at / inputs),
            };
            flags[input * words + column / 64] |= 1 << (column % 64);
            before[column + 1] += 1;
        }
    }
    for column in 0..columns {
        before[column + 1] += before[column];
    }
    Pattern { words, flags, before }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_within_a_range() {
        let flags = [u64::MAX, 0b1011, u64::MAX];
        assert_eq!(ones(&flags, &(0..0)), 0);
        assert_eq!(ones(&flags, &(0..64)), 64);
        assert_eq!(ones(&flags, &(60..66)), 6);
        assert_eq!(ones(&flags, &(65..192)), 66);
        assert_eq!(ones(&flags, &(66..67)), 0);
    }
}
