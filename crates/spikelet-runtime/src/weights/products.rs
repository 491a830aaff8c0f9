//! Products of matrices with what arrives, for one input or for several at once.

use super::{Arrival, Store, Sums, Weights};
use crate::{
    plan::Input,
    threads::{PART, Threads},
};
use alloc::vec::Vec;
use core::ops::Range;
use spikelet_graph::Layout;
use spikelet_kernels::{
    dense, gather,
    matvec::{self, Arrangement, EventLane, GROUP, Rounded, Rows},
    quant,
};

/// Outputs from which on rows of floats are read from end to end. Narrower ones are read in blocks
/// whose sums stay in registers.
const WIDE: usize = 256;

impl Weights {
    /// `out += W x`.
    pub(crate) fn add_product(
        &self,
        x: Arrival,
        out: &mut [f32],
        sums: &mut Sums,
        threads: &Threads,
    ) {
        match (&self.store, x) {
            (Store::Sparse(w), Arrival::Spikes(events)) => w.add_rows(out, events, None),
            (Store::Sparse(w), Arrival::Graded(events, x)) => w.add_rows(out, events, Some(x)),
            (Store::Sparse(w), Arrival::Dense(x)) => w.add_dense(out, x),
            (Store::F32(w), Arrival::Spikes(events)) => gather::add_rows(out, w, events),
            (Store::F32(w), Arrival::Dense(x)) if self.layout == Layout::ByInput => {
                dense::add_by_input(out, w, x);
            }
            (Store::I8(w), Arrival::Spikes(events)) => {
                self.with_integers(out, sums, |acc| gather::add_rows_i8(acc, w, events));
            }
            (Store::I4(w), Arrival::Spikes(events)) => {
                self.with_integers(out, sums, |acc| gather::add_rows_i4(acc, w, events));
            }
            (Store::I8(w), Arrival::Graded(events, x)) => {
                self.with_floats(out, sums, |acc| gather::add_rows_graded_i8(acc, w, events, x));
            }
            (Store::I4(w), Arrival::Graded(events, x)) => {
                self.with_floats(out, sums, |acc| gather::add_rows_graded_i4(acc, w, events, x));
            }
            (_, Arrival::Spikes(events)) => {
                events.iter().for_each(|event| self.add_row(*event as usize, out));
            }
            (Store::F32(w), Arrival::Graded(events, x)) if self.outputs < WIDE => {
                gather::add_rows_graded(out, w, events, x);
            }
            (_, Arrival::Graded(..) | Arrival::Dense(_)) => {
                self.prepare(x, sums);
                let rounded = &sums.rounded;
                // Parts of a row should be long: what comes next is another row.
                let least = if self.layout == Layout::ByInput { usize::MAX } else { PART };
                let sizes = [out.len(), self.unit(), self.bytes(), least];
                let work = |range: Range<usize>, out: &mut &mut [f32]| {
                    self.add_part(x, rounded, range.start, out);
                };
                threads.divide(sizes, out, |out, at| out.split_at_mut(at), work);
            }
        }
    }

    /// Adds a product to every lane, so that weights are read once for all of them.
    pub(crate) fn add_products(&self, lanes: Vec<Lane>, threads: &Threads) {
        let sizes = [self.outputs, self.unit(), self.bytes() * lanes.len(), PART];
        threads.divide(sizes, lanes, cut, |range, lanes| self.add_part_of_lanes(range, lanes));
    }

    /// The outputs of a range, for every lane.
    fn add_part_of_lanes(&self, range: Range<usize>, lanes: &mut [Lane]) {
        match self.layout {
            Layout::ByInput => {
                let mut events: Vec<EventLane> = lanes.iter_mut().map(Lane::events).collect();
                let (lanes, width, scale) = (&mut events[..], self.outputs, &self.scale);
                match &self.store {
                    Store::F32(w) => matvec::add_rows_to_lanes_f32(lanes, w, width, range),
                    Store::F16(w) => matvec::add_rows_to_lanes_f16(lanes, w, width, range),
                    Store::GroupsI8(w) => {
                        matvec::add_rows_to_lanes_i8(lanes, w, scale, width, range);
                    }
                    Store::GroupsI4(w) => {
                        matvec::add_rows_to_lanes_i4(lanes, w, scale, width, range);
                    }
                    _ => unreachable!("other weights have no lanes"),
                }
            }
            Layout::ByOutput => {
                let first = range.start * self.rows;
                match &self.store {
                    Store::F32(w) => {
                        matvec::add_to_lanes_f32(&mut dense(lanes), &w[first..]);
                    }
                    Store::F16(w) => {
                        matvec::add_to_lanes_f16(&mut dense(lanes), &w[first..]);
                    }
                    Store::GroupsI8(w) => {
                        let scale = &self.scale[first / GROUP..];
                        matvec::add_to_lanes_i8(&mut rounded(lanes), &w[first..], scale);
                    }
                    Store::GroupsI4(w) => {
                        let scale = &self.scale[first / GROUP..];
                        matvec::add_to_lanes_i4(&mut rounded(lanes), &w[first / 2..], scale);
                    }
                    _ => unreachable!("other weights have no lanes"),
                }
            }
        }
    }

    /// Whether [`Weights::add_products`] is made for this kind of product.
    pub(crate) fn has_lanes(&self, x: Input) -> bool {
        let plain = matches!(self.store, Store::F32(_) | Store::F16(_)) || self.has_groups();
        match x {
            Input::Spikes(_) => false,
            Input::Graded(..) => plain,
            Input::Dense(_) => plain && self.layout == Layout::ByOutput,
        }
    }

    /// Rounds a dense input for integer weights.
    pub(crate) fn prepare(&self, x: Arrival, sums: &mut Sums) {
        match (&self.store, x) {
            (Store::GroupsI8(_), Arrival::Dense(x)) => sums.rounded.set(x, Arrangement::Plain),
            (Store::GroupsI4(_), Arrival::Dense(x)) => sums.rounded.set(x, Arrangement::Halves),
            _ => {}
        }
    }

    /// Whether [`Weights::prepare`] has something to do for dense inputs.
    pub(crate) fn rounds(&self) -> bool {
        self.has_groups() && self.layout == Layout::ByOutput
    }

    /// Outputs that stay together when a product is divided.
    fn unit(&self) -> usize {
        if self.layout == Layout::ByInput { GROUP } else { 16 }
    }

    /// `out +=` one row by input.
    fn add_row(&self, row: usize, out: &mut [f32]) {
        let width = self.outputs;
        let (first, group) = (row * width, row * width / GROUP);
        let rows = Rows { width, columns: 0..width, events: &[0], x: &[1.0] };
        match &self.store {
            Store::F16(w) => matvec::add_rows_f16(out, &w[first..], &rows),
            Store::GroupsI8(w) => {
                matvec::add_rows_i8(out, &w[first..], &self.scale[group..], &rows);
            }
            Store::GroupsI4(w) => {
                matvec::add_rows_i4(out, &w[first / 2..], &self.scale[group..], &rows);
            }
            _ => unreachable!("other weights have forms for spikes"),
        }
    }

    /// `out +=` the outputs from `start` on.
    fn add_part(&self, x: Arrival, rounded: &Rounded, start: usize, out: &mut [f32]) {
        let (first, groups) = (start * self.rows, start * self.rows / GROUP);
        match (&self.store, x) {
            (Store::F32(w), Arrival::Dense(x)) => dense::add_by_output(out, &w[first..], x),
            (Store::F16(w), Arrival::Dense(x)) => matvec::add_f16(out, &w[first..], x),
            (Store::I8(w), Arrival::Dense(x)) => {
                dense::add_by_output_i8(out, &w[first..], &self.scale[start..], x);
            }
            (Store::I4(w), Arrival::Dense(x)) => {
                let first = start * self.rows.div_ceil(2);
                dense::add_by_output_i4(out, &w[first..], &self.scale[start..], x);
            }
            (Store::GroupsI8(w), Arrival::Dense(_)) => {
                matvec::add_i8(out, &w[first..], &self.scale[groups..], rounded);
            }
            (Store::GroupsI4(w), Arrival::Dense(_)) => {
                matvec::add_i4(out, &w[first / 2..], &self.scale[groups..], rounded);
            }
            (_, Arrival::Graded(events, x)) => {
                let columns = start..start + out.len();
                let rows = Rows { width: self.outputs, columns, events, x };
                match &self.store {
                    Store::F32(w) => matvec::add_rows_f32(out, w, &rows),
                    Store::F16(w) => matvec::add_rows_f16(out, w, &rows),
                    Store::GroupsI8(w) => matvec::add_rows_i8(out, w, &self.scale, &rows),
                    Store::GroupsI4(w) => matvec::add_rows_i4(out, w, &self.scale, &rows),
                    _ => unreachable!("sums of integers come first"),
                }
            }
            _ => unreachable!("spikes and packed kernels have forms of their own"),
        }
    }

    pub(super) fn with_integers(
        &self,
        out: &mut [f32],
        sums: &mut Sums,
        add: impl FnOnce(&mut [i32]),
    ) {
        let acc = &mut sums.integers[..out.len()];
        acc.fill(0);
        add(acc);
        for (out, acc) in out.chunks_mut(self.outputs).zip(acc.chunks(self.outputs)) {
            quant::add_scaled(out, acc, &self.scale);
        }
    }

    pub(super) fn with_floats(
        &self,
        out: &mut [f32],
        sums: &mut Sums,
        add: impl FnOnce(&mut [f32]),
    ) {
        let acc = &mut sums.floats[..out.len()];
        acc.fill(0.0);
        add(acc);
        for (out, acc) in out.chunks_mut(self.outputs).zip(acc.chunks(self.outputs)) {
            quant::add_scaled_f32(out, acc, &self.scale);
        }
    }
}

/// One of several inputs of a product.
pub(crate) struct Lane<'a> {
    pub(crate) x: Arrival<'a>,
    pub(crate) rounded: &'a Rounded,
    pub(crate) out: &'a mut [f32],
}

impl Lane<'_> {
    fn events(&mut self) -> EventLane<'_> {
        let Arrival::Graded(events, x) = self.x else {
            unreachable!("weights by input take events with values")
        };
        EventLane { events, x, out: self.out }
    }
}

fn dense<'a>(lanes: &'a mut [Lane]) -> Vec<matvec::Lane<'a, [f32]>> {
    let lane = |lane: &'a mut Lane| match lane.x {
        Arrival::Dense(x) => matvec::Lane { x, out: lane.out },
        _ => unreachable!("weights by output take dense values"),
    };
    lanes.iter_mut().map(lane).collect()
}

fn rounded<'a>(lanes: &'a mut [Lane]) -> Vec<matvec::Lane<'a, Rounded>> {
    lanes.iter_mut().map(|lane| matvec::Lane { x: lane.rounded, out: lane.out }).collect()
}

/// The outputs of all lanes before a place, and those from it on.
fn cut<'a>(lanes: Vec<Lane<'a>>, at: usize) -> (Vec<Lane<'a>>, Vec<Lane<'a>>) {
    let cut = |Lane { x, rounded, out }: Lane<'a>| {
        let (before, after) = out.split_at_mut(at);
        (Lane { x, rounded, out: before }, Lane { x, rounded, out: after })
    };
    lanes.into_iter().map(cut).unzip()
}
