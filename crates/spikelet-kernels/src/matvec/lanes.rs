//! Several vectors at once, weights by output: a block of rows is read from memory once and stays
//! in the cache while all vectors are multiplied with it. Every vector gets the bits it would get
//! on its own.

use super::{
    Rounded,
    by_output::{Stored, dots as integer_dots},
};
use crate::{
    dense::{Dots, Float},
    level::{LANES, Level, Packed, Pairs, Task, Values, Wide, lanes as in_lanes, launch, padded},
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Vectors multiplied together.
const VECTORS: usize = 4;
/// Rows side by side, where weights are floats: eight sums, four values, a weight and a product are as
/// many as the sixteen registers of AVX2 hold. A sum that does not stay in one takes three times as long.
const ROWS: usize = 2;
/// Panels of so many rows multiplied together where a register holds both rows and there are 32: sixteen
/// sums, four weights and a value.
const PANELS: usize = 4;
/// Bytes of weights that stay in the cache: about a tenth of the second level of most machines.
const BLOCK: usize = 72 << 10;

/// A vector, and what its product is added to.
#[derive(Debug)]
pub struct Lane<'a, X: ?Sized> {
    /// The vector.
    pub x: &'a X,
    /// The sums.
    pub out: &'a mut [f32],
}

/// [`crate::dense::add_by_output`] for several vectors of one length.
///
/// # Panics
/// When vectors or sums differ in length, or `weights` is shorter than their shape.
pub fn add_to_lanes_f32(lanes: &mut [Lane<[f32]>], weights: &[f32]) {
    add_floats(lanes, weights);
}

/// [`super::add_f16`] for several vectors of one length.
///
/// # Panics
/// As [`add_to_lanes_f32`].
pub fn add_to_lanes_f16(lanes: &mut [Lane<[f32]>], weights: &[u16]) {
    add_floats(lanes, weights);
}

/// [`super::add_i8`] for several vectors of one length.
///
/// # Panics
/// As [`add_to_lanes_f32`], and when there are fewer scales than groups.
pub fn add_to_lanes_i8(lanes: &mut [Lane<Rounded>], weights: &[i8], scales: &[f32]) {
    add_integers::<Wide>(lanes, weights.as_chunks().0, scales);
}

/// [`super::add_i4`] for several vectors of one length.
///
/// # Panics
/// As [`add_to_lanes_i8`].
pub fn add_to_lanes_i4(lanes: &mut [Lane<Rounded>], weights: &[u8], scales: &[f32]) {
    add_integers::<Packed>(lanes, weights.as_chunks().0, scales);
}

/// The length of the vectors, once all lengths are checked; nothing where there is nothing to do.
fn check<X: ?Sized>(lanes: &[Lane<X>], len: impl Fn(&X) -> usize, weights: usize) -> Option<usize> {
    let first = lanes.first()?;
    let (inputs, outputs) = (len(first.x), first.out.len());
    let same = |lane: &Lane<X>| len(lane.x) == inputs && lane.out.len() == outputs;
    assert!(lanes.iter().all(same), "lanes of one shape");
    assert!(weights >= inputs * outputs, "matrix shorter than its shape");
    (inputs > 0 && outputs > 0).then_some(inputs)
}

/// Blocks of rows that take so many bytes each.
fn blocks<X: ?Sized>(lanes: &[Lane<X>], row: usize) -> impl Iterator<Item = Range<usize>> + use<X> {
    let outputs = lanes.first().map_or(0, |lane| lane.out.len());
    let rows = (BLOCK / row).max(1).next_multiple_of(ROWS * PANELS);
    (0..outputs).step_by(rows).map(move |first| first..outputs.min(first + rows))
}

/// Several rows side by side, [`LANES`] values of each at a time, where loads are fastest: a row that
/// begins within a cache line crosses every other one.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Panel<const N: usize>([[f32; LANES]; N]);

fn add_floats<W: Float>(lanes: &mut [Lane<[f32]>], weights: &[W]) {
    let Some(inputs) = check(lanes, |x| x.len(), weights.len()) else { return };
    if let [Lane { x, out }] = lanes {
        return launch(Dots { out, weights, x });
    }
    let length = inputs.div_ceil(LANES);
    let mut xs = vec![Panel([[0.0; LANES]; VECTORS]); lanes.len().div_ceil(VECTORS) * length];
    for (panel, lanes) in xs.chunks_exact_mut(length).zip(lanes.chunks(VECTORS)) {
        for (v, lane) in lanes.iter().enumerate() {
            launch(Pack { row: lane.x, to: panel, at: v });
        }
    }
    let mut block = Vec::new();
    for rows in blocks(lanes, 4 * inputs) {
        block.clear();
        block.resize(rows.len().div_ceil(ROWS) * length, Panel([[0.0; LANES]; ROWS]));
        for (k, row) in rows.clone().enumerate() {
            let to = &mut block[k / ROWS * length..][..length];
            launch(Pack { row: &weights[row * inputs..][..inputs], to, at: k % ROWS });
        }
        for (lanes, xs) in lanes.chunks_mut(VECTORS).zip(xs.chunks_exact(length)) {
            launch(Tiles { lanes, at: rows.start, block: &block, xs });
        }
    }
}

/// Puts a row into a panel as number `at`.
struct Pack<'a, W, const N: usize> {
    row: &'a [W],
    to: &'a mut [Panel<N>],
    at: usize,
}

impl<W: Float, const N: usize> Task for Pack<'_, W, N> {
    type Out = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        let Pack { row, to, at } = self;
        let (whole, rest) = in_lanes(row);
        for (to, row) in to.iter_mut().zip(whole) {
            level.store(W::load(row, level), &mut to.0[at]);
        }
        if !rest.is_empty() {
            level.store(W::load(&padded(rest), level), &mut to[whole.len()].0[at]);
        }
    }
}

/// The rows that `block` holds, whose first belongs to output `at`, times at most [`VECTORS`] vectors,
/// which `xs` holds.
struct Tiles<'a, 'b> {
    lanes: &'a mut [Lane<'b, [f32]>],
    at: usize,
    block: &'a [Panel<ROWS>],
    xs: &'a [Panel<VECTORS>],
}

impl Task for Tiles<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        let Tiles { lanes, mut at, block, xs } = self;
        let pairs = level.pairs();
        let panels = block.len() / xs.len();
        let together = if L::Pairs::ROOMY { panels / PANELS * PANELS } else { 0 };
        let (together, rest) = block.split_at(together * xs.len());
        for panels in together.chunks_exact(PANELS * xs.len()) {
            tile::<_, PANELS>(pairs, lanes, at, panels, xs);
            at += ROWS * PANELS;
        }
        for panel in rest.chunks_exact(xs.len()) {
            tile::<_, 1>(pairs, lanes, at, panel, xs);
            at += ROWS;
        }
    }
}

/// The rows of `N` panels, whose first belongs to output `at`, times all vectors.
#[inline(always)]
fn tile<P: Pairs, const N: usize>(
    pairs: P,
    lanes: &mut [Lane<[f32]>],
    at: usize,
    panels: &[Panel<ROWS>],
    xs: &[Panel<VECTORS>],
) {
    let mut rows = [&[][..]; N];
    for (n, rows) in rows.iter_mut().enumerate() {
        *rows = &panels[n * xs.len()..][..xs.len()];
    }
    let mut sums = [[pairs.splat(0.0); VECTORS]; N];
    for (k, x) in xs.iter().enumerate() {
        let mut w = [pairs.splat(0.0); N];
        for n in 0..N {
            w[n] = pairs.load(&rows[n][k].0);
        }
        for (v, x) in x.0.iter().enumerate() {
            let x = pairs.twice(x);
            for n in 0..N {
                sums[n][v] = pairs.add(sums[n][v], pairs.multiply(w[n], x));
            }
        }
    }
    for (v, lane) in lanes.iter_mut().enumerate() {
        for (out, sums) in lane.out[at..].chunks_mut(ROWS).zip(&sums) {
            for (y, sum) in out.iter_mut().zip(pairs.totals(sums[v])) {
                *y += sum;
            }
        }
    }
}

fn add_integers<S: Stored>(lanes: &mut [Lane<Rounded>], weights: &[S], scales: &[f32]) {
    let groups = |x: &Rounded| x.groups.len();
    let Some(groups) = check(lanes, groups, weights.len()) else { return };
    assert!(scales.len() >= groups * lanes[0].out.len(), "one scale a group");
    for rows in blocks(lanes, groups * size_of::<S>()) {
        let this = rows.start * groups..rows.end * groups;
        let (weights, scales) = (&weights[this.clone()], &scales[this]);
        for lanes in lanes.chunks_mut(VECTORS) {
            launch(Block { lanes, at: rows.start, weights, scales, groups });
        }
    }
}

/// A block of rows, whose first belongs to output `at`, and at most [`VECTORS`] lanes.
struct Block<'a, 'b, S> {
    lanes: &'a mut [Lane<'b, Rounded>],
    at: usize,
    weights: &'a [S],
    scales: &'a [f32],
    groups: usize,
}

impl<S: Stored> Task for Block<'_, '_, S> {
    type Out = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        let rows = self.weights.chunks_exact(self.groups);
        let rows = rows.zip(self.scales.chunks_exact(self.groups)).enumerate();
        match self.lanes {
            [a, b, c, d] => {
                let xs: [&[Values]; VECTORS] = [&a.x.groups, &b.x.groups, &c.x.groups, &d.x.groups];
                for (o, (weights, scales)) in rows {
                    let [sums] = integer_dots(level, [weights], [scales], xs);
                    for (lane, sum) in [&mut *a, b, c, d].into_iter().zip(sums) {
                        lane.out[self.at + o] += sum;
                    }
                }
            }
            lanes => {
                for (o, (weights, scales)) in rows {
                    for lane in lanes.iter_mut() {
                        let x = &lane.x.groups[..];
                        let [[sum]] = integer_dots(level, [weights], [scales], [x]);
                        lane.out[self.at + o] += sum;
                    }
                }
            }
        }
    }
}
