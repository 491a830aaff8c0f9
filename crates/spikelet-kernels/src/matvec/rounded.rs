//! A vector as 8-bit integers.

use super::GROUP;
use crate::level::{LANES, Level, Task, Values, launch};
use alloc::vec::Vec;

/// A vector rounded to 8 bits, with a scale per group. It keeps its memory from use to use.
#[derive(Clone, Debug, Default)]
pub struct Rounded {
    pub(super) groups: Vec<Values>,
}

/// The order of the values of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// As they come, for weights of 8 bits.
    Plain,
    /// Those of even index, then those of odd index: where the two halves of bytes lie that hold
    /// two weights each.
    Halves,
}

impl Arrangement {
    /// Minus what is added to a weight to make it positive.
    fn offset(self) -> i16 {
        match self {
            Arrangement::Plain => -128,
            Arrangement::Halves => -8,
        }
    }
}

impl Rounded {
    /// Rounds `x`, whose length is a multiple of [`GROUP`].
    ///
    /// # Panics
    /// If it is not.
    pub fn set(&mut self, x: &[f32], arrangement: Arrangement) {
        let (groups, rest) = x.as_chunks::<GROUP>();
        assert!(rest.is_empty(), "whole groups");
        let nothing = Values { values: [0; GROUP], corrections: [0; LANES], scale: 1.0 };
        self.groups.resize(groups.len(), nothing);
        launch(Round { groups, arrangement, to: &mut self.groups });
    }
}

struct Round<'a> {
    groups: &'a [[f32; GROUP]],
    arrangement: Arrangement,
    to: &'a mut [Values],
}

impl Task for Round<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        for (to, group) in self.to.iter_mut().zip(self.groups) {
            to.scale = crate::quant::scale(largest(group), 127);
            let halves = self.arrangement == Arrangement::Halves;
            to.values = level.round(group, to.scale, halves);
            to.corrections = level.sums(&to.values, self.arrangement.offset());
        }
    }
}

/// The largest magnitude; NaN has none.
#[inline(always)]
fn largest(x: &[f32; GROUP]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for x in x.as_chunks::<LANES>().0 {
        for k in 0..LANES {
            lanes[k] = larger(lanes[k], x[k].abs());
        }
    }
    for half in [4, 2, 1] {
        for k in 0..half {
            lanes[k] = larger(lanes[k], lanes[k + half]);
        }
    }
    lanes[0]
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}
