//! Several vectors at once, weights by input: a block of weights is read from memory once and
//! stays in the cache, as floats, while every vector adds its active rows of it. Every vector gets
//! the bits it would get on its own.

use super::{
    GROUP,
    by_input::{Floats, Groups, Rows, Source},
};
use crate::level::{LANES, Level, Packed, Pairs, Task, TwoLanes, Wide, launch};
use alloc::vec;
use core::ops::Range;

/// Pairs of lanes of a row.
const LINES: usize = GROUP / LANES / 2;
/// Rows of a block: with [`GROUP`] columns of floats it takes 16 KiB, half of a first-level cache.
const ROWS: usize = 64;

/// A vector with active inputs in ascending order, and what its product is added to.
#[derive(Debug)]
pub struct EventLane<'a> {
    /// The active inputs.
    pub events: &'a [u32],
    /// The values of all inputs.
    pub x: &'a [f32],
    /// The sums, one for every column worked on.
    pub out: &'a mut [f32],
}

/// [`super::add_rows_f32`] for several vectors: the columns `columns` of `weights`
/// `[inputs, width]`.
///
/// # Panics
/// As there, and when vectors or sums differ in length.
pub fn add_rows_to_lanes_f32(
    lanes: &mut [EventLane],
    weights: &[f32],
    width: usize,
    columns: Range<usize>,
) {
    add_rows(lanes, Floats { weights, width }, columns);
}

/// [`add_rows_to_lanes_f32`] with weights of half precision.
///
/// # Panics
/// As there.
pub fn add_rows_to_lanes_f16(
    lanes: &mut [EventLane],
    weights: &[u16],
    width: usize,
    columns: Range<usize>,
) {
    add_rows(lanes, Floats { weights, width }, columns);
}

/// [`add_rows_to_lanes_f32`] with 8-bit weights and `scales` `[inputs, width / GROUP]`.
///
/// # Panics
/// As there, and when the columns are not whole groups.
pub fn add_rows_to_lanes_i8(
    lanes: &mut [EventLane],
    weights: &[i8],
    scales: &[f32],
    width: usize,
    columns: Range<usize>,
) {
    let rows = Rows { width, columns, events: &[], x: &[] };
    add_rows(lanes, Groups::<Wide>::new(weights.as_chunks().0, scales, &rows), rows.columns);
}

/// [`add_rows_to_lanes_i8`] with packed 4-bit weights.
///
/// # Panics
/// As there.
pub fn add_rows_to_lanes_i4(
    lanes: &mut [EventLane],
    weights: &[u8],
    scales: &[f32],
    width: usize,
    columns: Range<usize>,
) {
    let rows = Rows { width, columns, events: &[], x: &[] };
    add_rows(lanes, Groups::<Packed>::new(weights.as_chunks().0, scales, &rows), rows.columns);
}

fn add_rows(lanes: &mut [EventLane], source: impl Source, columns: Range<usize>) {
    let Some(inputs) = lanes.first().map(|lane| lane.x.len()) else { return };
    let same = |lane: &EventLane| lane.x.len() == inputs && lane.out.len() == columns.len();
    assert!(lanes.iter().all(same), "lanes of one shape");
    launch(Add { lanes, source, inputs, columns });
}

struct Add<'a, 'b, S> {
    lanes: &'a mut [EventLane<'b>],
    source: S,
    inputs: usize,
    columns: Range<usize>,
}

/// Weights as floats, on whole cache lines, and what each row is to be multiplied with.
#[repr(C, align(64))]
struct Block {
    weights: [[TwoLanes; LINES]; ROWS],
    scales: [f32; ROWS],
}

impl<S: Source> Task for Add<'_, '_, S> {
    type Out = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        let Add { lanes, source, inputs, columns } = self;
        let mut block = Block { weights: [[[[0.0; LANES]; 2]; LINES]; ROWS], scales: [0.0; ROWS] };
        // How many events of each vector have been added.
        let mut done = vec![0; lanes.len()];
        for at in columns.clone().step_by(GROUP) {
            let some = at..columns.end.min(at + GROUP);
            let place = at - columns.start..some.end - columns.start;
            done.fill(0);
            for first in (0..inputs).step_by(ROWS) {
                let end = inputs.min(first + ROWS);
                for row in first..end {
                    let to = block.weights[row - first].as_flattened_mut().as_flattened_mut();
                    let to = &mut to[..some.len()];
                    block.scales[row - first] = source.read(level, row, at, to);
                }
                for (k, (lane, done)) in lanes.iter_mut().zip(&mut done).enumerate() {
                    if end + k < inputs.min(end + ROWS) {
                        source.fetch(end + k, some.clone());
                    }
                    let out = &mut lane.out[place.clone()];
                    let rest = &lane.events[*done..];
                    *done += add_block(level.pairs(), out, rest, lane.x, first..end, &block);
                }
            }
        }
    }
}

/// Adds the rows of those first events that are among `inputs`, which the block belongs to, to at most
/// [`GROUP`] sums; returns how many these are.
#[inline(always)]
fn add_block<P: Pairs>(
    pairs: P,
    out: &mut [f32],
    events: &[u32],
    x: &[f32],
    inputs: Range<usize>,
    block: &Block,
) -> usize {
    let mut room = [[[0.0; LANES]; 2]; LINES];
    copy(out, room.as_flattened_mut().as_flattened_mut());
    let mut sums = [pairs.splat(0.0); LINES];
    for c in 0..LINES {
        sums[c] = pairs.load(&room[c]);
    }
    let mut count = 0;
    for event in events {
        let event = *event as usize;
        if event >= inputs.end {
            break;
        }
        let row = event - inputs.start;
        let factor = pairs.splat(x[event] * block.scales[row]);
        let weights = &block.weights[row];
        for c in 0..LINES {
            sums[c] = pairs.add(sums[c], pairs.multiply(pairs.load(&weights[c]), factor));
        }
        count += 1;
    }
    for c in 0..LINES {
        pairs.store(sums[c], &mut room[c]);
    }
    copy(room.as_flattened().as_flattened(), out);
    count
}

/// Copies as many values as both have. Whole groups are so common that their size is named: it saves
/// the call.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    match (from.first_chunk::<GROUP>(), to.first_chunk_mut::<GROUP>()) {
        (Some(from), Some(to)) => *to = *from,
        _ => {
            let len = from.len().min(to.len());
            to[..len].copy_from_slice(&from[..len]);
        }
    }
}
