//! Weights by input: every active input adds its row.

use super::{GROUP, by_output::Stored};
use crate::{
    dense::Float,
    level::{LANES, Level, Packed, Task, Wide, launch, padded},
    simd::prefetch,
};
use core::ops::Range;

/// Inputs whose rows are added together, so that sums are loaded and stored less often.
const ROWS: usize = 4;
/// How many times as many rows ahead memory is asked for what the machine cannot guess: the next
/// active row. That is about how long memory takes to answer.
const AHEAD: usize = 2;

/// The columns `columns` of a matrix `[inputs, width]`, and the inputs that add their rows.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    /// Columns of the whole matrix.
    pub width: usize,
    /// Those worked on: as many as there are outputs, for integers whole groups.
    pub columns: Range<usize>,
    /// The active inputs, in the order in which they add.
    pub events: &'a [u32],
    /// The values of all inputs.
    pub x: &'a [f32],
}

/// `out += columns of W^T x` with `weights` `[inputs, width]`.
///
/// # Panics
/// When an event is no input, or the columns do not fit `width` and `out`.
pub fn add_rows_f32(out: &mut [f32], weights: &[f32], rows: &Rows) {
    add_rows(out, Floats { weights, width: rows.width }, rows);
}

/// [`add_rows_f32`] with weights of half precision.
///
/// # Panics
/// As there.
pub fn add_rows_f16(out: &mut [f32], weights: &[u16], rows: &Rows) {
    add_rows(out, Floats { weights, width: rows.width }, rows);
}

/// [`add_rows_f32`] with 8-bit weights and `scales` `[inputs, width / GROUP]`.
///
/// # Panics
/// As there, and when the columns are not whole groups.
pub fn add_rows_i8(out: &mut [f32], weights: &[i8], scales: &[f32], rows: &Rows) {
    add_rows(out, Groups::<Wide>::new(weights.as_chunks().0, scales, rows), rows);
}

/// [`add_rows_i8`] with packed 4-bit weights, even index in the low half of a byte.
///
/// # Panics
/// As there.
pub fn add_rows_i4(out: &mut [f32], weights: &[u8], scales: &[f32], rows: &Rows) {
    add_rows(out, Groups::<Packed>::new(weights.as_chunks().0, scales, rows), rows);
}

fn add_rows(out: &mut [f32], source: impl Source, rows: &Rows) {
    let columns = &rows.columns;
    assert!(columns.len() == out.len() && columns.end <= rows.width, "as many outputs as columns");
    launch(Add { out, source, rows });
}

struct Add<'a, S> {
    out: &'a mut [f32],
    source: S,
    rows: &'a Rows<'a>,
}

impl<S: Source> Task for Add<'_, S> {
    type Out = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        let Add { out, source, rows } = self;
        let (whole, rest) = rows.events.as_chunks::<ROWS>();
        for (k, events) in whole.iter().enumerate() {
            let ahead = whole.get(k + AHEAD).map_or(&[][..], |events| events);
            add(level, out, source, events, ahead, rows);
        }
        for event in rest {
            add(level, out, source, &[*event], &[], rows);
        }
    }
}

/// Adds the rows of `events`, and fetches those of `ahead`.
#[inline(always)]
fn add<L: Level, const N: usize>(
    level: L,
    out: &mut [f32],
    source: impl Source,
    events: &[u32; N],
    ahead: &[u32],
    rows: &Rows,
) {
    let (mut numbers, mut x) = ([0; N], [0.0; N]);
    for n in 0..N {
        numbers[n] = events[n] as usize;
        x[n] = rows.x[numbers[n]];
    }
    for (at, out) in rows.columns.clone().step_by(GROUP).zip(out.chunks_mut(GROUP)) {
        for event in ahead {
            source.fetch(*event as usize, at..at + out.len());
        }
        source.add(level, out, numbers, x, at);
    }
}

/// A matrix by input.
pub(super) trait Source: Copy {
    /// `out +=` the columns from `at` on, at most [`GROUP`], of rows times `x`, one after the other.
    fn add<L: Level, const N: usize>(
        self,
        level: L,
        out: &mut [f32],
        rows: [usize; N],
        x: [f32; N],
        at: usize,
    );

    /// Writes columns of a row, at most [`GROUP`], to `out`; returns what they are to be
    /// multiplied with.
    fn read<L: Level>(self, level: L, row: usize, at: usize, out: &mut [f32]) -> f32;

    /// Asks memory for columns of a row.
    fn fetch(self, row: usize, columns: Range<usize>);
}

/// Floats of any precision.
#[derive(Clone, Copy)]
pub(super) struct Floats<'a, W> {
    pub(super) weights: &'a [W],
    pub(super) width: usize,
}

impl<W> Floats<'_, W> {
    #[inline(always)]
    fn part(&self, row: usize, at: usize, len: usize) -> &[W] {
        &self.weights[row * self.width + at..][..len]
    }
}

impl<W: Float> Source for Floats<'_, W> {
    #[inline(always)]
    fn add<L: Level, const N: usize>(
        self,
        level: L,
        out: &mut [f32],
        rows: [usize; N],
        x: [f32; N],
        at: usize,
    ) {
        let mut parts: [&[W]; N] = [&[]; N];
        for n in 0..N {
            parts[n] = self.part(rows[n], at, out.len());
        }
        add_parts(level, out, parts, x, W::load);
    }

    #[inline(always)]
    fn read<L: Level>(self, level: L, row: usize, at: usize, out: &mut [f32]) -> f32 {
        let row = self.part(row, at, out.len());
        for (to, w) in out.chunks_mut(LANES).zip(row.chunks(LANES)) {
            store(level, W::load(&padded(w), level), to);
        }
        1.0
    }

    #[inline(always)]
    fn fetch(self, row: usize, columns: Range<usize>) {
        prefetch(self.part(row, columns.start, columns.len()));
    }
}

/// Integers with a scale for every group of a row.
#[derive(Clone, Copy)]
pub(super) struct Groups<'a, S> {
    weights: &'a [S],
    scales: &'a [f32],
    /// Groups of a row.
    width: usize,
}

impl<'a, S> Groups<'a, S> {
    pub(super) fn new(weights: &'a [S], scales: &'a [f32], rows: &Rows) -> Self {
        let whole = [rows.width, rows.columns.start, rows.columns.end];
        assert!(whole.iter().all(|n| n.is_multiple_of(GROUP)), "whole groups");
        Groups { weights, scales, width: rows.width / GROUP }
    }
}

impl<S: Stored> Source for Groups<'_, S> {
    #[inline(always)]
    fn add<L: Level, const N: usize>(
        self,
        level: L,
        out: &mut [f32],
        rows: [usize; N],
        mut x: [f32; N],
        at: usize,
    ) {
        let mut unpacked = [[0; GROUP]; N];
        for n in 0..N {
            let group = rows[n] * self.width + at / GROUP;
            unpacked[n] = self.weights[group].unpack(level);
            x[n] *= self.scales[group];
        }
        let mut parts: [&[i8]; N] = [&[]; N];
        for n in 0..N {
            parts[n] = &unpacked[n];
        }
        add_parts(
            level,
            out,
            parts,
            x,
            #[inline(always)]
            |w, level: L| level.bytes(w),
        );
    }

    #[inline(always)]
    fn read<L: Level>(self, level: L, row: usize, at: usize, out: &mut [f32]) -> f32 {
        let group = row * self.width + at / GROUP;
        let row = self.weights[group].unpack(level);
        for (to, w) in out.chunks_mut(LANES).zip(row.as_chunks().0) {
            store(level, level.bytes(w), to);
        }
        self.scales[group]
    }

    #[inline(always)]
    fn fetch(self, row: usize, columns: Range<usize>) {
        prefetch(&self.weights[row * self.width + columns.start / GROUP..][..1]);
    }
}

/// `out[c] += x[0] parts[0][c]`, then the other parts.
#[inline(always)]
fn add_parts<L: Level, W: Copy + Default, const N: usize>(
    level: L,
    out: &mut [f32],
    parts: [&[W]; N],
    x: [f32; N],
    load: impl Fn(&[W; LANES], L) -> L::Floats,
) {
    let mut factors = [level.splat(0.0); N];
    for n in 0..N {
        factors[n] = level.splat(x[n]);
    }
    let (whole, rest) = out.as_chunks_mut::<LANES>();
    let mut lanes: [&[[W; LANES]]; N] = [&[]; N];
    for n in 0..N {
        lanes[n] = &parts[n].as_chunks().0[..whole.len()];
    }
    for (k, y) in whole.iter_mut().enumerate() {
        let mut sum = level.load(y);
        for n in 0..N {
            sum = level.add(sum, level.multiply(load(&lanes[n][k], level), factors[n]));
        }
        level.store(sum, y);
    }
    if !rest.is_empty() {
        let mut sum = level.load(&padded(rest));
        for n in 0..N {
            let w = load(&padded(&parts[n][whole.len() * LANES..]), level);
            sum = level.add(sum, level.multiply(w, factors[n]));
        }
        store(level, sum, rest);
    }
}

/// Writes as many values as there is room for.
#[inline(always)]
fn store<L: Level>(level: L, values: L::Floats, to: &mut [f32]) {
    let mut all = [0.0; LANES];
    level.store(values, &mut all);
    to.copy_from_slice(&all[..to.len()]);
}
