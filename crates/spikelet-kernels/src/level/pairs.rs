//! Two times eight floats that go at once: a register of AVX-512, two of other instruction sets.
//!
//! What is limited by memory gains nothing from them. Products of several vectors with weights that
//! lie in a cache do.

use super::{LANES, Level};

/// Two times [`LANES`] floats, as they lie in memory.
pub(crate) type TwoLanes = [[f32; LANES]; 2];

/// Arithmetic on two times [`LANES`] floats; products and sums are rounded one by one.
pub(crate) trait Pairs: Copy {
    /// Two times [`LANES`] floats.
    type Pair: Copy;

    /// Whether there are 32 registers, each of which holds a whole pair.
    const ROOMY: bool;

    fn splat(self, x: f32) -> Self::Pair;
    fn load(self, x: &TwoLanes) -> Self::Pair;
    /// The same floats two times.
    fn twice(self, x: &[f32; LANES]) -> Self::Pair;
    fn store(self, x: Self::Pair, to: &mut TwoLanes);
    fn add(self, a: Self::Pair, b: Self::Pair) -> Self::Pair;
    fn multiply(self, a: Self::Pair, b: Self::Pair) -> Self::Pair;
    /// [`Level::total`] of both.
    fn totals(self, x: Self::Pair) -> [f32; 2];
}

/// Two registers of a level.
#[derive(Clone, Copy)]
pub(crate) struct Two<L>(pub(super) L);

impl<L: Level> Pairs for Two<L> {
    type Pair = [L::Floats; 2];

    const ROOMY: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> [L::Floats; 2] {
        [self.0.splat(x); 2]
    }

    #[inline(always)]
    fn load(self, [a, b]: &TwoLanes) -> [L::Floats; 2] {
        [self.0.load(a), self.0.load(b)]
    }

    #[inline(always)]
    fn twice(self, x: &[f32; LANES]) -> [L::Floats; 2] {
        [self.0.load(x); 2]
    }

    #[inline(always)]
    fn store(self, x: [L::Floats; 2], [a, b]: &mut TwoLanes) {
        self.0.store(x[0], a);
        self.0.store(x[1], b);
    }

    #[inline(always)]
    fn add(self, a: [L::Floats; 2], b: [L::Floats; 2]) -> [L::Floats; 2] {
        [self.0.add(a[0], b[0]), self.0.add(a[1], b[1])]
    }

    #[inline(always)]
    fn multiply(self, a: [L::Floats; 2], b: [L::Floats; 2]) -> [L::Floats; 2] {
        [self.0.multiply(a[0], b[0]), self.0.multiply(a[1], b[1])]
    }

    #[inline(always)]
    fn totals(self, x: [L::Floats; 2]) -> [f32; 2] {
        [self.0.total(x[0]), self.0.total(x[1])]
    }
}
