//! Loops over eight lanes at a time, written once for every instruction set.
//!
//! What compilers make of sums in arrays depends on what is near them; products that are to be as
//! fast as memory name their registers instead. A [`Level`] is an instruction set: eight floats, and
//! sums of products of bytes. Every level gives the same bits: products and sums of floats are
//! rounded one by one, and sums of integers are exact.

#[cfg(all(feature = "std", target_arch = "x86_64"))]
mod avx512;
mod pairs;
mod plain;
#[cfg(all(feature = "std", target_arch = "x86_64"))]
mod x86;

pub(crate) use pairs::{Pairs, TwoLanes};
pub(crate) use plain::Plain;

/// Floats that go at once.
pub(crate) const LANES: usize = 8;
/// Integers that share a scale.
pub(crate) const GROUP: usize = 64;
/// Values that add up side by side in a lane.
pub(crate) const QUAD: usize = GROUP / 2 / LANES;

/// Weights of 8 bits.
pub(crate) type Wide = [i8; GROUP];
/// Weights of 4 bits, even index in the low half of a byte.
pub(crate) type Packed = [u8; GROUP / 2];

/// Values of 8 bits that groups of weights are multiplied with.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(crate) struct Values {
    /// From -127 to 127.
    pub(crate) values: [i8; GROUP],
    /// Minus 128, or for [`Packed`] weights 8, times the values of each lane: what makes up for
    /// weights that were made positive by adding that number.
    pub(crate) corrections: [i32; LANES],
    /// What they are to be multiplied with.
    pub(crate) scale: f32,
}

/// An instruction set.
pub(crate) trait Level: Copy {
    /// [`LANES`] floats.
    type Floats: Copy;
    /// [`Wide`] weights in registers.
    type Wide: Copy;
    /// [`Packed`] weights in registers.
    type Packed: Copy;
    /// The same for two times [`LANES`] floats.
    type Pairs: Pairs;

    fn pairs(self) -> Self::Pairs;
    fn splat(self, x: f32) -> Self::Floats;
    fn load(self, x: &[f32; LANES]) -> Self::Floats;
    fn store(self, x: Self::Floats, to: &mut [f32; LANES]);
    /// From half precision.
    fn halves(self, x: &[u16; LANES]) -> Self::Floats;
    /// From 8-bit integers.
    fn bytes(self, x: &[i8; LANES]) -> Self::Floats;
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn multiply(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The sum of the lanes as [`crate::dense`] adds them.
    fn total(self, x: Self::Floats) -> f32;

    /// In the order of their indices.
    fn unpack(self, weights: &Packed) -> Wide;
    fn read(self, weights: &Wide) -> Self::Wide;
    fn read_packed(self, weights: &Packed) -> Self::Packed;
    /// Sums of products: lane `k` holds those of the values `4 k` to `4 k + 3`, and of the same of
    /// the second half.
    fn products(self, weights: Self::Wide, x: &Values) -> Self::Floats;
    /// The same; values of even index come first, then those of odd index.
    fn products_packed(self, weights: Self::Packed, x: &Values) -> Self::Floats;
    /// [`crate::quant::quantize`] to 8 bits; with `halves` those of even index come first.
    fn round(self, x: &[f32; GROUP], scale: f32, halves: bool) -> Wide;
    /// The sums of values, none of which is -128, by the same lanes, times a factor.
    fn sums(self, values: &Wide, factor: i16) -> [i32; LANES];
}

/// Loops for every level.
pub(crate) trait Task {
    /// What comes out.
    type Out;

    /// Runs them. To be marked `#[inline(always)]`.
    fn run<L: Level>(self, level: L) -> Self::Out;
}

/// Runs a task with the best instruction set of this machine.
#[inline(always)]
pub(crate) fn launch<T: Task>(task: T) -> T::Out {
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    return x86::launch(task);
    #[cfg(not(all(feature = "std", target_arch = "x86_64")))]
    task.run(Plain)
}

/// Whole pieces of [`LANES`] values, and the rest.
#[inline(always)]
pub(crate) fn lanes<T>(x: &[T]) -> (&[[T; LANES]], &[T]) {
    x.as_chunks()
}

/// At most [`LANES`] values, with zeros behind them.
#[inline(always)]
pub(crate) fn padded<T: Copy + Default>(values: &[T]) -> [T; LANES] {
    debug_assert!(values.len() <= LANES);
    let mut all = [T::default(); LANES];
    all[..values.len()].copy_from_slice(values);
    all
}

#[cfg(test)]
mod tests;
