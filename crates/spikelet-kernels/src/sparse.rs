//! Event-driven products with matrices that are mostly zero: an event adds the weights of its row
//! that are not.

use alloc::vec::Vec;

/// A matrix `[inputs, outputs]` of which only what is not zero is kept, row by row (CSR).
#[derive(Clone, Debug, PartialEq)]
pub struct SparseRows {
    /// Where every row starts; one more at the end.
    starts: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<f32>,
    outputs: usize,
}

impl SparseRows {
    /// Of a dense matrix `[inputs, outputs]`.
    ///
    /// # Panics
    /// If it does not consist of whole rows, or has 2^32 values or more.
    pub fn of(dense: &[f32], outputs: usize) -> SparseRows {
        assert!(u32::try_from(dense.len()).is_ok(), "fewer than 2^32 weights");
        assert!(outputs > 0 && dense.len().is_multiple_of(outputs), "whole rows");
        let mut starts = Vec::with_capacity(dense.len() / outputs + 1);
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for row in dense.chunks_exact(outputs) {
            starts.push(values.len() as u32);
            for (column, &value) in (0..).zip(row) {
                if value != 0.0 {
                    columns.push(column);
                    values.push(value);
                }
            }
        }
        starts.push(values.len() as u32);
        SparseRows { starts, columns, values, outputs }
    }

    /// Rows.
    pub fn inputs(&self) -> usize {
        self.starts.len() - 1
    }

    /// The dense matrix.
    pub fn to_dense(&self) -> Vec<f32> {
        let mut dense = alloc::vec![0.0; self.inputs() * self.outputs];
        for (input, row) in dense.chunks_exact_mut(self.outputs).enumerate() {
            self.add_row(row, input, 1.0);
        }
        dense
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        4 * (self.starts.len() + self.columns.len() + self.values.len())
    }

    /// `out += sum over events e of x[e] * row e`, in the order of the events; every event counts 1
    /// without values.
    ///
    /// # Panics
    /// If an event names a row outside the matrix, or `out` is shorter than a row.
    pub fn add_rows(&self, out: &mut [f32], events: &[u32], x: Option<&[f32]>) {
        for &event in events {
            self.add_row(out, event as usize, x.map_or(1.0, |x| x[event as usize]));
        }
    }

    /// `out += x W`.
    ///
    /// # Panics
    /// If there are more inputs than rows, or `out` is shorter than a row.
    pub fn add_dense(&self, out: &mut [f32], x: &[f32]) {
        for (input, &x) in x.iter().enumerate() {
            self.add_row(out, input, x);
        }
    }

    #[inline(always)]
    fn add_row(&self, out: &mut [f32], input: usize, x: f32) {
        let out = &mut out[..self.outputs];
        let row = self.starts[input] as usize..self.starts[input + 1] as usize;
        for (&column, &value) in self.columns[row.clone()].iter().zip(&self.values[row]) {
            out[column as usize] += x * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dense, gather};
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_are_those_of_the_dense_matrix(
            (outputs, weights, x) in (1_usize..40, 0_usize..12).prop_flat_map(|(outputs, inputs)| {
                let weight = prop_oneof![3 => Just(0.0_f32), 1 => (-8_i8..8).prop_map(f32::from)];
                (
                    Just(outputs),
                    prop::collection::vec(weight, outputs * inputs),
                    prop::collection::vec((-4_i8..4).prop_map(f32::from), inputs),
                )
            }),
        ) {
            let sparse = SparseRows::of(&weights, outputs);
            prop_assert_eq!(&sparse.to_dense(), &weights);
            let events: Vec<u32> = (0..x.len() as u32).step_by(2).collect();
            let (mut found, mut expected) = (vec![1.0; outputs], vec![1.0; outputs]);
            sparse.add_rows(&mut found, &events, Some(&x));
            gather::add_rows_graded(&mut expected, &weights, &events, &x);
            sparse.add_rows(&mut found, &events, None);
            gather::add_rows(&mut expected, &weights, &events);
            sparse.add_dense(&mut found, &x);
            dense::add_by_input(&mut expected, &weights, &x);
            prop_assert_eq!(found, expected);
        }
    }
}
