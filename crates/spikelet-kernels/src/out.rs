//! Results that several tasks write at once. Their memory starts unwritten: zeroing it first would
//! be work of one thread.

use crate::rows::Row;
use alloc::vec::Vec;
use core::{marker::PhantomData, ops::Range};

/// A matrix of which each task writes its own rows and columns.
pub(crate) struct Out<'a> {
    first: *mut f32,
    rows: usize,
    width: usize,
    memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer is used for writing by `Out::write` alone, whose callers promise that no two
// threads write the same place.
#[allow(unsafe_code)]
unsafe impl Sync for Out<'_> {}

impl<'a> Out<'a> {
    /// The matrix `[.., width]` that lies in `values`.
    pub(crate) fn over(values: &'a mut [f32], width: usize) -> Out<'a> {
        let rows = values.len().checked_div(width).unwrap_or(0);
        Out { first: values.as_mut_ptr(), rows, width, memory: PhantomData }
    }

    /// Reads these columns of a row, of a matrix made by [`over`](Self::over).
    ///
    /// # Safety
    /// The values are initialised, and no other thread writes the same place meanwhile.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(crate) unsafe fn read<const N: usize>(&self, row: usize, columns: &Range<usize>) -> Row<N> {
        assert!(row < self.rows && columns.end <= self.width, "a place of the matrix");
        let mut values = Row::<N>::ZERO;
        let to = &mut values.0[..columns.len()];
        // SAFETY: the place lies within the matrix (asserted above), is initialised and nobody
        // writes there (the caller's promise).
        unsafe {
            let from = self.first.add(row * self.width + columns.start);
            // A length that is known is a few loads; else it is a call of memcpy.
            match to.len() {
                n if n == N => core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), N),
                n => core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), n),
            }
        }
        values
    }

    /// Writes `values` to these columns of a row.
    ///
    /// # Safety
    /// No other thread writes the same place meanwhile.
    ///
    /// # Panics
    /// If the place is not in the matrix or there are more columns than values.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(crate) unsafe fn write<const N: usize>(
        &self,
        row: usize,
        columns: &Range<usize>,
        values: &Row<N>,
    ) {
        assert!(row < self.rows && columns.end <= self.width, "a place of the matrix");
        let values = &values.0[..columns.len()];
        // SAFETY: row * width + columns lies within the rows * width values that `collect`
        // allocated (asserted above), and nobody else writes there (the caller's promise).
        unsafe {
            let to = self.first.add(row * self.width + columns.start);
            // A length that is known is a few stores; else it is a call of memcpy.
            match values.len() {
                n if n == N => core::ptr::copy_nonoverlapping(values.as_ptr(), to, N),
                n => core::ptr::copy_nonoverlapping(values.as_ptr(), to, n),
            }
        }
    }
}

/// What results begin with.
#[derive(Clone, Copy)]
pub(crate) struct Begin<'a> {
    /// Of every row, or empty.
    pub(crate) bias: &'a [f32],
    /// Results are added to what lies in the matrix.
    pub(crate) add: bool,
}

impl Begin<'_> {
    /// The first value of these columns of a row.
    ///
    /// # Safety
    /// As [`Out::read`], where results are added.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(crate) unsafe fn row<const N: usize>(
        &self,
        out: &Out,
        row: usize,
        columns: &Range<usize>,
    ) -> Row<N> {
        // SAFETY: the caller's promise.
        let mut start = if self.add { unsafe { out.read(row, columns) } } else { Row::ZERO };
        if !self.bias.is_empty() {
            let bias = &self.bias[columns.clone()];
            match <&[f32; N]>::try_from(bias) {
                Ok(bias) => start.0.iter_mut().zip(bias).for_each(|(s, b)| *s += b),
                Err(_) => start.0.iter_mut().zip(bias).for_each(|(s, b)| *s += b),
            }
        }
        start
    }
}

/// The matrix `[rows, width]` that `fill` writes.
///
/// # Safety
/// `fill` writes every value.
#[allow(unsafe_code)]
pub(crate) unsafe fn collect(rows: usize, width: usize, fill: impl FnOnce(&Out)) -> Vec<f32> {
    let len = rows.checked_mul(width).expect("a matrix in memory");
    let mut values = Vec::with_capacity(len);
    fill(&Out { first: values.as_mut_ptr(), rows, width, memory: PhantomData });
    // SAFETY: the capacity is `len` and `fill` has written every value (the caller's promise).
    unsafe { values.set_len(len) };
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::map;
    use alloc::vec;

    #[test]
    fn a_matrix_from_columns() {
        let columns = [0..2, 2..5];
        // SAFETY: the two blocks of columns are all columns of both rows.
        #[allow(unsafe_code)]
        let found = unsafe {
            collect(2, 5, |out| {
                map(&columns, |block, columns| {
                    for row in 0..2 {
                        let value = Row::<16>([(10 * row + block) as f32; 16]);
                        out.write(row, columns, &value);
                    }
                });
            })
        };
        assert_eq!(found, vec![0.0, 0.0, 1.0, 1.0, 1.0, 10.0, 10.0, 11.0, 11.0, 11.0]);
    }
}
