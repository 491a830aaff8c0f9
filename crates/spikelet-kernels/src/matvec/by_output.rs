//! Weights by output: one dot product a row.

use super::Rounded;
use crate::{
    dense::{Dots, STREAMS, streams},
    level::{Level, Packed, Task, Values, Wide, launch},
};

/// `out += W x` with half-precision `weights` `[out.len(), x.len()]`.
///
/// # Panics
/// When `weights` is shorter than that.
pub fn add_f16(out: &mut [f32], weights: &[u16], x: &[f32]) {
    launch(Dots { out, weights, x });
}

/// `out += W x` with 8-bit `weights` `[out.len(), inputs]` and `scales` `[out.len(), groups]`; `x`
/// in the plain arrangement.
///
/// # Panics
/// When a slice is shorter than that.
pub fn add_i8(out: &mut [f32], weights: &[i8], scales: &[f32], x: &Rounded) {
    launch(Rows::<Wide>::new(out, weights.as_chunks().0, scales, x));
}

/// `out += W x` with packed 4-bit `weights` `[out.len(), inputs]`, even index in the low half of a
/// byte, and `scales` `[out.len(), groups]`; `x` arranged in halves.
///
/// # Panics
/// When a slice is shorter than that.
pub fn add_i4(out: &mut [f32], weights: &[u8], scales: &[f32], x: &Rounded) {
    launch(Rows::<Packed>::new(out, weights.as_chunks().0, scales, x));
}

/// A group of integers as it lies in memory.
pub(super) trait Stored: Copy {
    /// In registers.
    type In<L: Level>: Copy;

    fn read<L: Level>(&self, level: L) -> Self::In<L>;
    fn products<L: Level>(weights: Self::In<L>, x: &Values, level: L) -> L::Floats;
    /// In the order of their indices.
    fn unpack<L: Level>(&self, level: L) -> Wide;
}

impl Stored for Wide {
    type In<L: Level> = L::Wide;

    #[inline(always)]
    fn read<L: Level>(&self, level: L) -> L::Wide {
        level.read(self)
    }

    #[inline(always)]
    fn products<L: Level>(weights: L::Wide, x: &Values, level: L) -> L::Floats {
        level.products(weights, x)
    }

    #[inline(always)]
    fn unpack<L: Level>(&self, _: L) -> Wide {
        *self
    }
}

impl Stored for Packed {
    type In<L: Level> = L::Packed;

    #[inline(always)]
    fn read<L: Level>(&self, level: L) -> L::Packed {
        level.read_packed(self)
    }

    #[inline(always)]
    fn products<L: Level>(weights: L::Packed, x: &Values, level: L) -> L::Floats {
        level.products_packed(weights, x)
    }

    #[inline(always)]
    fn unpack<L: Level>(&self, level: L) -> Wide {
        level.unpack(self)
    }
}

/// One dot product for every output.
pub(super) struct Rows<'a, S> {
    out: &'a mut [f32],
    weights: &'a [S],
    scales: &'a [f32],
    x: &'a [Values],
}

impl<'a, S> Rows<'a, S> {
    pub(super) fn new(
        out: &'a mut [f32],
        weights: &'a [S],
        scales: &'a [f32],
        x: &'a Rounded,
    ) -> Self {
        let groups = out.len() * x.groups.len();
        assert!(weights.len() >= groups, "matrix shorter than its shape");
        assert!(scales.len() >= groups, "one scale a group");
        Rows { out, weights, scales, x: &x.groups }
    }
}

impl<S: Stored> Task for Rows<'_, S> {
    type Out = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        let groups = self.x.len();
        let (together, rest) = streams(self.out.len());
        for outputs in together {
            let (mut weights, mut scales) = ([&[][..]; STREAMS], [&[][..]; STREAMS]);
            for (k, o) in outputs.into_iter().enumerate() {
                weights[k] = &self.weights[o * groups..][..groups];
                scales[k] = &self.scales[o * groups..][..groups];
            }
            for ([sum], o) in dots(level, weights, scales, [self.x]).into_iter().zip(outputs) {
                self.out[o] += sum;
            }
        }
        for o in rest {
            let row = o * groups..(o + 1) * groups;
            let (weights, scales) = (&self.weights[row.clone()], &self.scales[row]);
            let [[sum]] = dots(level, [weights], [scales], [self.x]);
            self.out[o] += sum;
        }
    }
}

/// The dot products of rows and vectors of as many groups.
#[inline(always)]
pub(super) fn dots<L: Level, S: Stored, const R: usize, const V: usize>(
    level: L,
    rows: [&[S]; R],
    scales: [&[f32]; R],
    xs: [&[Values]; V],
) -> [[f32; V]; R] {
    let n = xs[0].len();
    let (mut w, mut s, mut x) = ([&[][..]; R], [&[][..]; R], [&[][..]; V]);
    for r in 0..R {
        (w[r], s[r]) = (&rows[r][..n], &scales[r][..n]);
    }
    for v in 0..V {
        x[v] = &xs[v][..n];
    }
    let mut sums = [[level.splat(0.0); V]; R];
    for g in 0..n {
        for r in 0..R {
            let (w, scale) = (w[r][g].read(level), level.splat(s[r][g]));
            for v in 0..V {
                let x = &x[v][g];
                let scale = level.multiply(scale, level.splat(x.scale));
                let products = level.multiply(S::products(w, x, level), scale);
                sums[r][v] = level.add(sums[r][v], products);
            }
        }
    }
    let mut found = [[0.0; V]; R];
    for r in 0..R {
        for v in 0..V {
            found[r][v] = level.total(sums[r][v]);
        }
    }
    found
}
