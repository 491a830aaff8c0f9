//! A matrix that several tasks write at once, each its own rows and columns.
//!
//! Its memory starts unwritten: zeroing it first would be work of one thread.

use crate::rows::Row;
use alloc::vec::Vec;
use core::{marker::PhantomData, ops::Range};

/// Where the tasks write.
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

impl Out<'_> {
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
            core::ptr::copy_nonoverlapping(values.as_ptr(), to, values.len());
        }
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
