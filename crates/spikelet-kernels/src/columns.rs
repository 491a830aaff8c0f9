//! Splitting `[time, width]` buffers into blocks of columns.
//!
//! Neurons do not interact within their population, nor do the channels of a scan, so a block of
//! columns can run through all time steps on its own: its state stays in the cache, and blocks go
//! to different threads. The blocks are the same whatever the number of threads, and so are all
//! results.

use alloc::vec::Vec;

/// Columns in a block: the arrays of one block fit the first-level cache.
pub(crate) const WIDTH: usize = 512;

/// The rows of a block, one piece of a `[time, width]` buffer for each time step.
pub(crate) type Rows<'a> = Vec<&'a mut [f32]>;

/// For every block of columns its rows. An empty buffer gives blocks without rows.
pub(crate) fn blocks(buffer: &mut [f32], width: usize) -> Vec<Rows<'_>> {
    blocks_of(WIDTH, buffer, width)
}

/// The same for blocks of another size.
pub(crate) fn blocks_of(size: usize, buffer: &mut [f32], width: usize) -> Vec<Rows<'_>> {
    let time = buffer.len() / width;
    let mut blocks: Vec<Rows> =
        (0..width.div_ceil(size)).map(|_| Vec::with_capacity(time)).collect();
    for row in buffer.chunks_exact_mut(width) {
        for (block, piece) in blocks.iter_mut().zip(row.chunks_mut(size)) {
            block.push(piece);
        }
    }
    blocks
}

/// For every block of columns its piece of one row; an empty row gives empty pieces.
pub(crate) fn pieces(row: &mut [f32], width: usize) -> Vec<&mut [f32]> {
    if row.is_empty() {
        return (0..width.div_ceil(WIDTH)).map(|_| Default::default()).collect();
    }
    row.chunks_mut(WIDTH).collect()
}

/// Writes `values`, repeated over all columns, for the columns from `start` on.
pub(crate) fn repeat(values: &[f32], start: usize, mut out: &mut [f32]) {
    let mut from = start % values.len();
    while !out.is_empty() {
        let run = out.len().min(values.len() - from);
        let (head, tail) = out.split_at_mut(run);
        head.copy_from_slice(&values[from..from + run]);
        (out, from) = (tail, 0);
    }
}

/// Calls `work` for every block, on several threads if there are several blocks and `elements`,
/// the size of the whole, is worth it.
pub(crate) fn for_each<B: Send>(blocks: Vec<B>, elements: usize, work: impl Fn(B) + Send + Sync) {
    #[cfg(feature = "std")]
    if elements >= 1 << 15 && blocks.len() > 1 {
        use rayon::prelude::*;
        blocks.into_par_iter().for_each(work);
        return;
    }
    let _ = elements;
    blocks.into_iter().for_each(work);
}
