//! Dense matrix-vector products.
//!
//! A matrix `[in, out]` (by input) adds one scaled row after the other; `[out, in]` (by output)
//! takes one dot product per output. A dot product has eight partial sums, each over every eighth
//! element, added in a fixed tree, so that its bits do not depend on the instruction set.

pub(crate) use crate::level::LANES;
use crate::{
    blocks::{Block, for_each_block},
    gather::nibbles,
    level::{Level, Task, lanes, launch, padded},
    simd::dispatch,
};

/// `out += x W` with `weights` `[x.len(), out.len()]`, inputs in ascending order.
///
/// # Panics
/// When `weights` is shorter than that.
pub fn add_by_input(out: &mut [f32], weights: &[f32], x: &[f32]) {
    let mut block = ByInput { width: out.len(), out, weights, x };
    dispatch(
        #[inline(always)]
        || for_each_block(block.width, &mut block),
    );
}

struct ByInput<'a> {
    out: &'a mut [f32],
    weights: &'a [f32],
    x: &'a [f32],
    width: usize,
}

impl Block for ByInput<'_> {
    #[inline(always)]
    fn run<const N: usize>(&mut self, start: usize, skip: usize) {
        let mut sum = [0.0; N];
        sum.copy_from_slice(&self.out[start..start + N]);
        for (row, value) in self.weights.chunks_exact(self.width).zip(self.x) {
            for (s, w) in sum.iter_mut().zip(&row[start..start + N]) {
                *s += value * w;
            }
        }
        self.out[start + skip..start + N].copy_from_slice(&sum[skip..]);
    }
}

/// `out += W x` with `weights` `[out.len(), x.len()]`.
///
/// # Panics
/// When `weights` is shorter than that.
pub fn add_by_output(out: &mut [f32], weights: &[f32], x: &[f32]) {
    launch(Dots { out, weights, x });
}

/// A float as it lies in memory.
pub(crate) trait Float: Copy + Default {
    fn load<L: Level>(from: &[Self; LANES], level: L) -> L::Floats;
}

impl Float for f32 {
    #[inline(always)]
    fn load<L: Level>(from: &[f32; LANES], level: L) -> L::Floats {
        level.load(from)
    }
}

/// Half precision.
impl Float for u16 {
    #[inline(always)]
    fn load<L: Level>(from: &[u16; LANES], level: L) -> L::Floats {
        level.halves(from)
    }
}

/// Rows multiplied together, each from a quarter of the matrix of its own. The sums of one wait for
/// each other, and memory answers four places at once faster than one or neighbours: on two threads of
/// a Zen 3 17 GB/s of floats where row by row gave 13, and 15 of 8-bit integers where pairs of rows
/// gave 10.
pub(crate) const STREAMS: usize = 4;

/// The rows that go together, of a matrix of so many, and those left over at its end.
pub(crate) fn streams(
    rows: usize,
) -> (impl Iterator<Item = [usize; STREAMS]>, core::ops::Range<usize>) {
    let apart = rows / STREAMS;
    let together = (0..apart).map(move |o| [o, o + apart, o + 2 * apart, o + 3 * apart]);
    (together, STREAMS * apart..rows)
}

/// Adds a dot product for every output.
pub(crate) struct Dots<'a, W> {
    pub(crate) out: &'a mut [f32],
    pub(crate) weights: &'a [W],
    pub(crate) x: &'a [f32],
}

impl<W: Float> Task for Dots<'_, W> {
    type Out = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        let Dots { out, weights, x } = self;
        let n = x.len();
        assert!(weights.len() >= out.len() * n, "matrix shorter than its shape");
        let (together, rest) = streams(out.len());
        for outputs in together {
            let mut rows = [&[][..]; STREAMS];
            for (row, o) in rows.iter_mut().zip(outputs) {
                *row = &weights[o * n..][..n];
            }
            for ([sum], o) in dots(level, rows, [x]).into_iter().zip(outputs) {
                out[o] += sum;
            }
        }
        for o in rest {
            let [[sum]] = dots(level, [&weights[o * n..][..n]], [x]);
            out[o] += sum;
        }
    }
}

/// The dot products of rows and vectors of one length.
#[inline(always)]
pub(crate) fn dots<L: Level, W: Float, const R: usize, const V: usize>(
    level: L,
    rows: [&[W]; R],
    xs: [&[f32]; V],
) -> [[f32; V]; R] {
    let n = xs[0].len() / LANES;
    let (mut w, mut x) = ([&[][..]; R], [&[][..]; V]);
    for r in 0..R {
        w[r] = &lanes(rows[r]).0[..n];
    }
    for v in 0..V {
        x[v] = &lanes(xs[v]).0[..n];
    }
    let mut sums = [[level.splat(0.0); V]; R];
    for k in 0..n {
        for r in 0..R {
            let w = W::load(&w[r][k], level);
            for v in 0..V {
                let product = level.multiply(w, level.load(&x[v][k]));
                sums[r][v] = level.add(sums[r][v], product);
            }
        }
    }
    let mut found = [[0.0; V]; R];
    for r in 0..R {
        for v in 0..V {
            if xs[v].len() > n * LANES {
                let w = W::load(&padded(lanes(rows[r]).1), level);
                let x = level.load(&padded(lanes(xs[v]).1));
                sums[r][v] = level.add(sums[r][v], level.multiply(w, x));
            }
            found[r][v] = level.total(sums[r][v]);
        }
    }
    found
}

/// `out += scale * (W x)` with 8-bit `weights` `[out.len(), x.len()]` and one scale per output.
///
/// # Panics
/// When `weights` or `scale` is shorter than that.
pub fn add_by_output_i8(out: &mut [f32], weights: &[i8], scale: &[f32], x: &[f32]) {
    assert!(weights.len() >= out.len() * x.len(), "matrix shorter than its shape");
    dispatch(
        #[inline(always)]
        || {
            for (o, y) in out.iter_mut().enumerate() {
                let row = &weights[o * x.len()..(o + 1) * x.len()];
                *y += scale[o] * dot(row, x, |w| f32::from(*w));
            }
        },
    );
}

/// `out += scale * (W x)` with packed 4-bit `weights` `[out.len(), x.len()]`, every row starting
/// on a byte, and one scale per output.
///
/// # Panics
/// When `weights` or `scale` is shorter than that.
pub fn add_by_output_i4(out: &mut [f32], weights: &[u8], scale: &[f32], x: &[f32]) {
    let width = x.len().div_ceil(2);
    assert!(weights.len() >= out.len() * width, "matrix shorter than its shape");
    dispatch(
        #[inline(always)]
        || {
            for (o, y) in out.iter_mut().enumerate() {
                let row = &weights[o * width..(o + 1) * width];
                *y += scale[o] * dot_i4(row, x);
            }
        },
    );
}

#[inline(always)]
fn dot<T>(row: &[T], x: &[f32], weight: impl Fn(&T) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (rows, xs) = (row.chunks_exact(LANES), x.chunks_exact(LANES));
    let (row_rest, x_rest) = (rows.remainder(), xs.remainder());
    for (w, x) in rows.zip(xs) {
        for ((lane, w), x) in lanes.iter_mut().zip(w).zip(x) {
            *lane += weight(w) * x;
        }
    }
    for ((lane, w), x) in lanes.iter_mut().zip(row_rest).zip(x_rest) {
        *lane += weight(w) * x;
    }
    tree_sum(lanes)
}

#[inline(always)]
fn dot_i4(row: &[u8], x: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (bytes, x) in row.chunks(LANES / 2).zip(x.chunks(LANES)) {
        for (i, x) in x.iter().enumerate() {
            let (low, high) = nibbles(bytes[i / 2]);
            lanes[i] += f32::from(if i % 2 == 0 { low } else { high }) * x;
        }
    }
    tree_sum(lanes)
}

#[inline(always)]
pub(crate) fn tree_sum(l: [f32; LANES]) -> f32 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    /// Outputs, 4-bit weights by output, and inputs; small dyadic numbers, so every sum is exact.
    fn case() -> impl Strategy<Value = (usize, Vec<i8>, Vec<f32>)> {
        (0_usize..150, 0_usize..40).prop_flat_map(|(outputs, inputs)| {
            (
                Just(outputs),
                prop::collection::vec(-8_i8..8, outputs * inputs),
                prop::collection::vec((-16_i8..16).prop_map(|x| f32::from(x) / 4.0), inputs),
            )
        })
    }

    proptest! {
        #[test]
        fn every_form_agrees((outputs, weights, x) in case()) {
            let inputs = x.len();
            let scale: Vec<f32> = (0..outputs).map(|o| if o % 2 == 0 { 0.5 } else { 2.0 }).collect();
            let exact: Vec<f32> = (0..outputs)
                .map(|o| (0..inputs).map(|i| f32::from(weights[o * inputs + i]) * x[i]).sum::<f32>())
                .collect();
            let floats: Vec<f32> = weights.iter().map(|w| f32::from(*w)).collect();
            let transposed: Vec<f32> = (0..inputs * outputs)
                .map(|k| floats[k % outputs * inputs + k / outputs])
                .collect();
            let packed: Vec<u8> = weights
                .chunks(inputs.max(1))
                .flat_map(|row| {
                    row.chunks(2).map(|p| (p[0] as u8 & 15) | (p.get(1).map_or(0, |w| *w as u8) << 4))
                })
                .collect();

            let plain: Vec<f32> = exact.iter().map(|y| y + 1.0).collect();
            let scaled: Vec<f32> = exact.iter().zip(&scale).map(|(y, s)| y * s + 1.0).collect();
            let mut out = vec![1.0; outputs];
            add_by_input(&mut out, &transposed, &x);
            prop_assert_eq!(&out, &plain);
            out.fill(1.0);
            add_by_output(&mut out, &floats, &x);
            prop_assert_eq!(&out, &plain);
            out.fill(1.0);
            add_by_output_i8(&mut out, &weights, &scale, &x);
            prop_assert_eq!(&out, &scaled);
            out.fill(1.0);
            add_by_output_i4(&mut out, &packed, &scale, &x);
            prop_assert_eq!(&out, &scaled);
        }
    }

    #[test]
    fn lanes_fix_the_order_of_a_sum() {
        // Lanes 0 and 4 cancel before the rest is added; a sum from left to right would lose it.
        let x = [1e8, 1.0, 0.0, 0.0, -1e8, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0];
        let mut out = [0.0];
        add_by_output(&mut out, &[1.0; 11], &x);
        assert_eq!(out[0], 3.0);
    }
}
