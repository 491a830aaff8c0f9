//! Walking over the columns of a row-major matrix in blocks that fit the vector registers.
//!
//! A product that adds rows keeps one block of the output in registers while it goes over all
//! events, so the output is read and written once. The sum of one output never depends on the
//! block it falls in: every output adds the same rows in the same order.

/// What happens to one block of columns.
pub(crate) trait Block {
    /// Works on the columns `start..start + N` and keeps the results of all but the first `skip`.
    fn run<const N: usize>(&mut self, start: usize, skip: usize);
}

/// Covers `width` columns: blocks of 64, one block of the whole eights that are left, and the
/// last columns as a block of eight that overlaps the one before. Narrower matrices are covered
/// by two overlapping blocks of four or two.
#[inline(always)]
pub(crate) fn for_each_block(width: usize, block: &mut impl Block) {
    match width {
        0 => return,
        1 => return block.run::<1>(0, 0),
        2 => return block.run::<2>(0, 0),
        3 => {
            block.run::<2>(0, 0);
            return block.run::<2>(1, 1);
        }
        4 => return block.run::<4>(0, 0),
        5..=7 => {
            block.run::<4>(0, 0);
            return block.run::<4>(width - 4, 8 - width);
        }
        _ => {}
    }
    let mut start = 0;
    while width - start >= 64 {
        block.run::<64>(start, 0);
        start += 64;
    }
    let eights = (width - start) / 8;
    match eights {
        1 => block.run::<8>(start, 0),
        2 => block.run::<16>(start, 0),
        3 => block.run::<24>(start, 0),
        4 => block.run::<32>(start, 0),
        5 => block.run::<40>(start, 0),
        6 => block.run::<48>(start, 0),
        7 => block.run::<56>(start, 0),
        _ => {}
    }
    start += eights * 8;
    if start < width {
        block.run::<8>(width - 8, start - (width - 8));
    }
}
