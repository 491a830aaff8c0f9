//! Which taps read which positions.

use alloc::vec::Vec;
use core::ops::Range;

/// For every position of a result the taps, and the positions they read.
#[derive(Clone, Debug)]
pub(super) struct Links {
    links: Vec<[u32; 2]>,
    ends: Vec<usize>,
}

impl Links {
    /// `visit` calls back with the taps of a position and what they read.
    pub(super) fn new(
        positions: Range<usize>,
        visit: impl Fn(usize, &mut dyn FnMut(usize, usize)),
    ) -> Links {
        let mut found = Links { links: Vec::new(), ends: Vec::with_capacity(positions.len()) };
        for position in positions {
            visit(position, &mut |tap, from| found.links.push([tap as u32, from as u32]));
            found.ends.push(found.links.len());
        }
        found
    }

    /// Positions of the result.
    pub(super) fn positions(&self) -> usize {
        self.ends.len()
    }

    /// Taps and positions they read.
    #[inline(always)]
    pub(super) fn of(&self, position: usize) -> impl Iterator<Item = (usize, usize)> {
        let first = if position == 0 { 0 } else { self.ends[position - 1] };
        let links = &self.links[first..self.ends[position]];
        links.iter().map(|&[tap, from]| (tap as usize, from as usize))
    }
}
