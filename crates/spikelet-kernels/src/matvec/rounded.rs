//! A vector as 8-bit integers.

use super::GROUP;
use alloc::vec::Vec;

/// Lanes in which the products of a group add up: four products each.
pub(super) const LANES: usize = 16;

/// A vector rounded to 8 bits, with a scale per group. It keeps its memory from use to use.
#[derive(Clone, Debug, Default)]
pub struct Rounded {
    pub(super) values: Vec<i8>,
    pub(super) scales: Vec<f32>,
    /// For every group and lane, -128 times the sum of its values: what it takes to make up for
    /// weights that were made positive by adding 128.
    pub(super) corrections: Vec<i32>,
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

impl Rounded {
    /// Rounds `x`, whose length is a multiple of [`GROUP`].
    ///
    /// # Panics
    /// If it is not.
    pub fn set(&mut self, x: &[f32], arrangement: Arrangement) {
        assert!(x.len().is_multiple_of(GROUP), "whole groups");
        self.values.clear();
        self.scales.clear();
        self.corrections.clear();
        for group in x.chunks_exact(GROUP) {
            let largest = group.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            let scale = crate::quant::scale(largest, 127);
            let mut rounded = [0_i8; GROUP];
            for (k, x) in group.iter().enumerate() {
                let place = match arrangement {
                    Arrangement::Plain => k,
                    Arrangement::Halves => k / 2 + k % 2 * (GROUP / 2),
                };
                rounded[place] = crate::quant::quantize(*x, scale, 127);
            }
            self.scales.push(scale);
            self.values.extend_from_slice(&rounded);
            let lanes = rounded.chunks_exact(GROUP / LANES);
            self.corrections
                .extend(lanes.map(|lane| -128 * lane.iter().map(|x| i32::from(*x)).sum::<i32>()));
        }
    }
}
