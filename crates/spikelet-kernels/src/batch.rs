//! A batch cut in blocks of rows that run through all time steps on one thread each.
//!
//! The cut depends on the size of the batch alone, and what blocks add up is added in their
//! order, so that results do not depend on the number of threads.

use alloc::{vec, vec::Vec};
use core::ops::Range;

/// The rows of each block: an even number of blocks of at most 32 rows.
pub(crate) fn blocks(batch: usize) -> Vec<Range<usize>> {
    let count = batch.div_ceil(32).next_multiple_of(2);
    let rows = batch.div_ceil(count.max(1)).max(1);
    (0..batch).step_by(rows).map(|start| start..batch.min(start + rows)).collect()
}

/// `work` for every item, in the order of the items, on all threads there are.
pub(crate) fn map<T: Sync, U: Send>(items: &[T], work: impl Fn(usize, &T) -> U + Sync) -> Vec<U> {
    #[cfg(feature = "std")]
    {
        use rayon::prelude::*;
        items.par_iter().enumerate().map(|(index, item)| work(index, item)).collect()
    }
    #[cfg(not(feature = "std"))]
    {
        items.iter().enumerate().map(|(index, item)| work(index, item)).collect()
    }
}

/// `work` for every chunk of `size` values of `out`, on all threads there are.
pub(crate) fn for_each_chunk<T: Send>(
    out: &mut [T],
    size: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    #[cfg(feature = "std")]
    {
        use rayon::prelude::*;
        out.par_chunks_mut(size).enumerate().for_each(|(index, chunk)| work(index, chunk));
    }
    #[cfg(not(feature = "std"))]
    {
        out.chunks_mut(size).enumerate().for_each(|(index, chunk)| work(index, chunk));
    }
}

/// The block `rows` of `x` `[time, batch, width]` as `[time, rows, width]`.
pub(crate) fn take(x: &[f32], batch: usize, width: usize, rows: &Range<usize>) -> Vec<f32> {
    let n = rows.len() * width;
    let mut out = Vec::with_capacity(x.len() / batch.max(1) * rows.len());
    for step in x.chunks_exact((batch * width).max(1)) {
        out.extend_from_slice(&step[rows.start * width..][..n]);
    }
    out
}

/// Blocks `[time, rows, width]` side by side as `[time, batch, width]`.
pub(crate) fn join(
    parts: &[(&Range<usize>, &[f32])],
    [time, batch, width]: [usize; 3],
) -> Vec<f32> {
    let mut out = vec![0.0; time * batch * width];
    for (rows, part) in parts {
        let n = rows.len() * width;
        for t in 0..time {
            out[(t * batch + rows.start) * width..][..n].copy_from_slice(&part[t * n..][..n]);
        }
    }
    out
}

/// `out += x`.
#[inline(always)]
pub(crate) fn add(out: &mut [f32], x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_batch_in_order() {
        for batch in 0..200 {
            let all: Vec<usize> = blocks(batch).into_iter().flatten().collect();
            assert!(all.into_iter().eq(0..batch));
            assert!(blocks(batch).iter().all(|rows| rows.len() <= 32));
        }
        assert_eq!(blocks(64).len(), 2);
    }

    #[test]
    fn taking_and_joining_are_inverse() {
        let (time, batch, width) = (3, 5, 2);
        let x: Vec<f32> = (0..time * batch * width).map(|i| i as f32).collect();
        let cut = blocks(batch);
        let parts: Vec<Vec<f32>> = cut.iter().map(|rows| take(&x, batch, width, rows)).collect();
        let parts: Vec<_> = cut.iter().zip(parts.iter().map(Vec::as_slice)).collect();
        assert_eq!(join(&parts, [time, batch, width]), x);
    }
}
