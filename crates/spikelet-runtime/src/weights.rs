//! Weights as the kernels want them, and the products with them.

use crate::{plan::Input, threads::Threads};
use alloc::{vec, vec::Vec};
use core::ops::Range;
use spikelet_graph::{Graph, GraphError, Layout, Signal, Tensor, Values, Weight, int4, slab::Slab};
#[cfg(feature = "std")]
use spikelet_kernels::spike_conv::{DenseWeights, EventWeights, Events};
use spikelet_kernels::{
    conv,
    conv::Conv,
    dense, gather,
    matvec::{self, Arrangement, EventLane, GROUP, Rounded, Rows},
    quant,
    sparse::SparseRows,
};

/// Kernels with fewer weights and dense products than these are left as they are: threads and rows of
/// at least 16 outputs take longer to set up than such a convolution takes.
#[cfg(feature = "std")]
const PACKED: usize = 1 << 14;
#[cfg(feature = "std")]
const PRODUCTS: usize = 1 << 17;

/// Outputs from which on rows of floats are read from end to end. Narrower ones are read in blocks
/// whose sums stay in registers.
const WIDE: usize = 256;

/// Parts of a product that a thread takes one after the other.
const EACH: usize = 4;

/// What arrives at a node in one step.
#[derive(Clone, Copy)]
pub(crate) enum Arrival<'a> {
    /// Spikes: the indices of the active inputs.
    Spikes(&'a [u32]),
    /// Events with values: the indices of those that are not zero, and all values.
    Graded(&'a [u32], &'a [f32]),
    /// Dense values.
    Dense(&'a [f32]),
}

/// Matrices of which a smaller fraction than this is not zero keep only that: an index takes as
/// much memory as a weight, and products add weight by weight. At least so large, because small ones
/// stay in a cache.
const SPARSE: f64 = 0.2;
const LARGE: usize = 1 << 14;

/// Weights of one precision.
#[derive(Clone, Debug)]
enum Store {
    F32(Slab<f32>),
    /// A pruned matrix, by input.
    Sparse(SparseRows),
    /// The kernel of a convolution, packed for its events.
    #[cfg(feature = "std")]
    Packed(EventWeights),
    /// The same for dense values.
    #[cfg(feature = "std")]
    Panels(DenseWeights),
    /// Half precision.
    F16(Slab<u16>),
    /// A scale for every output.
    I8(Slab<i8>),
    /// Two in a byte, see [`int4`]; a scale for every output.
    I4(Slab<u8>),
    /// A scale for every [`GROUP`] weights of a row.
    GroupsI8(Slab<i8>),
    /// The same with two in a byte.
    GroupsI4(Slab<u8>),
}

/// What the products of integer weights add up in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) integers: Vec<i32>,
    pub(crate) floats: Vec<f32>,
    /// The input of a product with groups.
    pub(crate) rounded: Rounded,
}

impl Sums {
    /// Room for the longest output of a product.
    pub(crate) fn new(longest: usize) -> Self {
        let rounded = Rounded::default();
        Self { integers: vec![0; longest], floats: vec![0.0; longest], rounded }
    }

    /// Numbers there is room for.
    pub(crate) fn len(&self) -> usize {
        self.integers.len() + self.floats.len()
    }
}

/// A matrix, or the kernel of a convolution (whose input channels are those of one group).
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    store: Store,
    /// One per output or group; empty for float weights.
    scale: Slab<f32>,
    pub(crate) layout: Layout,
    /// The taps of a convolution, or 1, times the inputs.
    pub(crate) rows: usize,
    pub(crate) outputs: usize,
}

impl Weights {
    /// The weights of a node whose input is `signal`. Events need rows by input: weights that lie
    /// by output are turned round, where they have a scale per group as floats. 4-bit kernels of
    /// convolutions become 8-bit ones, because their groups may start within a byte.
    pub(crate) fn load(
        graph: &Graph,
        node: &str,
        weight: &Weight,
        signal: Signal,
        convolution: bool,
    ) -> Result<Self, GraphError> {
        let tensor = graph.tensor(node, &weight.tensor)?;
        let scales = weight.scale.as_ref().map(|name| graph.tensor(node, name)).transpose()?;
        let grouped = scales.is_some_and(|scales| scales.shape.len() == 2);
        let scale = match scales.map(|scales| &scales.values) {
            Some(Values::F32(values)) => values.clone(),
            _ => Vec::new().into(),
        };
        let outputs = tensor.output_channels(weight.layout);
        let turn = signal != Signal::Dense && weight.layout == Layout::ByOutput;
        if turn && grouped {
            let floats = Tensor::f32(&tensor.shape, graph.weight(node, weight)?)?;
            let store = Store::F32(turned(&floats).to_f32().into());
            let (scale, layout) = (Vec::new().into(), Layout::ByInput);
            return Ok(Weights { store, scale, layout, rows: tensor.len() / outputs, outputs });
        }
        let turned = turn.then(|| turned(tensor));
        let sparse = !convolution
            && !grouped
            && matches!(tensor.values, Values::F32(_) | Values::F16(_))
            && tensor.len() >= LARGE
            && (tensor.len() - tensor.zero_count()) as f64 <= SPARSE * tensor.len() as f64;
        if sparse {
            return Ok(Self::sparse(tensor, weight.layout, turned.as_ref()));
        }
        let layout = if turn { Layout::ByInput } else { weight.layout };
        let tensor = turned.as_ref().unwrap_or(tensor);
        let store = match &tensor.values {
            Values::F16(values) if !convolution => Store::F16(values.clone()),
            Values::I8(values) if grouped => Store::GroupsI8(values.clone()),
            Values::I4(values) if grouped => Store::GroupsI4(values.clone()),
            Values::I8(values) => Store::I8(values.clone()),
            Values::I4(values) if convolution => {
                Store::I8(int4::unpack(values, tensor.shape.last().copied().unwrap_or(1)).into())
            }
            Values::I4(values) => Store::I4(values.clone()),
            Values::F32(values) => Store::F32(values.clone()),
            Values::F16(_) | Values::I32(_) => Store::F32(tensor.to_f32().into()),
        };
        Ok(Weights { store, scale, layout, rows: tensor.len() / outputs.max(1), outputs })
    }

    fn sparse(tensor: &Tensor, layout: Layout, turned: Option<&Tensor>) -> Self {
        let outputs = tensor.output_channels(layout);
        let again = match (layout, turned) {
            (Layout::ByOutput, None) => tensor.permuted(&[1, 0]),
            _ => None,
        };
        let by_input = again.as_ref().or(turned).unwrap_or(tensor);
        let rows = SparseRows::of(&by_input.to_f32(), outputs);
        let (scale, layout, inputs) = (Vec::new().into(), Layout::ByInput, rows.inputs());
        Weights { store: Store::Sparse(rows), scale, layout, rows: inputs, outputs }
    }

    /// A table of rows of so many values.
    pub(crate) fn table(values: Vec<f32>, outputs: usize) -> Self {
        let (scale, layout, rows) = (Vec::new().into(), Layout::ByInput, values.len() / outputs);
        Weights { store: Store::F32(values.into()), scale, layout, rows, outputs }
    }

    /// Packs the kernel of a convolution of `signal`, if that makes it faster.
    #[cfg_attr(not(feature = "std"), allow(unused_variables))]
    pub(crate) fn pack(&mut self, shape: &Conv, signal: Signal) {
        #[cfg(feature = "std")]
        if let (Store::F32(w), Layout::ByInput) = (&self.store, self.layout) {
            let positions: usize = shape.window.output.iter().product();
            let many = w.len().saturating_mul(positions) >= PRODUCTS;
            if many && (signal == Signal::Dense || DenseWeights::is_depthwise(shape)) {
                self.store = Store::Panels(DenseWeights::new(shape, w));
            } else if (many || w.len() >= PACKED) && shape.outputs / shape.groups >= 16 {
                self.store = Store::Packed(EventWeights::new(shape, w));
            }
        }
    }

    /// Whether dense input must come with the list of what is not zero.
    pub(crate) fn wants_events(&self) -> bool {
        self.layout == Layout::ByInput && !matches!(self.store, Store::F32(_))
    }

    /// Whether [`Weights::convolve`] works.
    pub(crate) fn is_packed(&self) -> bool {
        #[cfg(feature = "std")]
        return matches!(self.store, Store::Packed(_) | Store::Panels(_));
        #[cfg(not(feature = "std"))]
        false
    }

    /// Whether [`Weights::convolve`] is done for several steps one after the other, so that its weights
    /// are read once.
    pub(crate) fn takes_batches(&self) -> bool {
        #[cfg(feature = "std")]
        return matches!(self.store, Store::Packed(_));
        #[cfg(not(feature = "std"))]
        false
    }

    /// Whether a convolution takes values, zeros too.
    pub(crate) fn wants_values(&self) -> bool {
        #[cfg(feature = "std")]
        return matches!(self.store, Store::Panels(_));
        #[cfg(not(feature = "std"))]
        false
    }

    /// Whether products are added up in [`Sums::integers`] or [`Sums::floats`] first.
    pub(crate) fn sums_first(&self) -> bool {
        matches!(self.store, Store::I8(_) | Store::I4(_))
    }

    /// Bytes in memory, with scales.
    pub(crate) fn bytes(&self) -> usize {
        if let Store::Sparse(w) = &self.store {
            return w.bytes();
        }
        #[cfg(feature = "std")]
        match &self.store {
            Store::Packed(w) => return w.bytes(),
            Store::Panels(w) => return w.bytes(),
            _ => {}
        }
        let rows = if self.layout == Layout::ByInput { self.rows } else { self.outputs };
        let width = if self.layout == Layout::ByInput { self.outputs } else { self.rows };
        self.scale_bytes() + rows * self.bytes_of(width)
    }

    /// Bytes of one row by input, with the scales of its groups.
    pub(crate) fn row_bytes(&self) -> usize {
        let groups = if self.has_groups() { 4 * self.outputs / GROUP } else { 0 };
        self.bytes_of(self.outputs) + groups
    }

    fn bytes_of(&self, weights: usize) -> usize {
        match &self.store {
            Store::F32(_) => 4 * weights,
            Store::Sparse(w) => w.bytes() / self.rows.max(1),
            #[cfg(feature = "std")]
            Store::Packed(_) | Store::Panels(_) => 4 * weights,
            Store::F16(_) => 2 * weights,
            Store::I8(_) | Store::GroupsI8(_) => weights,
            Store::I4(_) | Store::GroupsI4(_) => weights.div_ceil(2),
        }
    }

    fn has_groups(&self) -> bool {
        matches!(self.store, Store::GroupsI8(_) | Store::GroupsI4(_))
    }

    /// Bytes of the scales of all outputs or groups.
    pub(crate) fn scale_bytes(&self) -> usize {
        4 * self.scale.len()
    }

    /// Bytes of scales that are read whatever arrives: those of outputs.
    pub(crate) fn fixed_bytes(&self) -> usize {
        if self.has_groups() { 0 } else { self.scale_bytes() }
    }

    /// Which weights are not zero, `[rows, outputs]`.
    pub(crate) fn nonzero(&self) -> Vec<bool> {
        let flags: Vec<bool> = match &self.store {
            Store::F32(w) => w.iter().map(|w| *w != 0.0).collect(),
            Store::Sparse(w) => w.to_dense().iter().map(|w| *w != 0.0).collect(),
            #[cfg(feature = "std")]
            Store::Packed(w) => w.unpack().iter().map(|w| *w != 0.0).collect(),
            #[cfg(feature = "std")]
            Store::Panels(w) => w.unpack().iter().map(|w| *w != 0.0).collect(),
            Store::F16(w) => w.iter().map(|w| w & 0x7fff != 0).collect(),
            Store::I8(w) | Store::GroupsI8(w) => w.iter().map(|w| *w != 0).collect(),
            Store::I4(w) | Store::GroupsI4(w) => {
                let row = if self.layout == Layout::ByInput { self.outputs } else { self.rows };
                int4::unpack(w, row).iter().map(|w| *w != 0).collect()
            }
        };
        match self.layout {
            Layout::ByInput => flags,
            Layout::ByOutput => {
                let mut turned = vec![false; flags.len()];
                for (k, flag) in flags.into_iter().enumerate() {
                    turned[k % self.rows * self.outputs + k / self.rows] = flag;
                }
                turned
            }
        }
    }

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
                // Part of a row should be long: what comes next is another row.
                let each = if self.layout == Layout::ByInput { 1 } else { EACH };
                let sizes = [out.len(), self.unit(), self.bytes(), each];
                let work = |range: Range<usize>, out: &mut &mut [f32]| {
                    self.add_part(x, rounded, range.start, out);
                };
                threads.divide(sizes, out, |out, at| out.split_at_mut(at), work);
            }
        }
    }

    /// Adds a product to every lane, so that weights are read once for all of them.
    pub(crate) fn add_products(&self, lanes: Vec<Lane>, threads: &Threads) {
        let sizes = [self.outputs, self.unit(), self.bytes() * lanes.len(), EACH];
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

    /// `out += W * x`, a convolution.
    pub(crate) fn add_convolution(
        &self,
        shape: &Conv,
        x: Arrival,
        out: &mut [f32],
        sums: &mut Sums,
    ) {
        match (&self.store, x) {
            #[cfg(feature = "std")]
            (Store::Packed(_) | Store::Panels(_), x) => self.convolve(shape, x, &[], true, out),
            (Store::F32(w), Arrival::Spikes(events)) => conv::add_events(shape, out, w, events),
            (Store::F32(w), Arrival::Graded(events, x)) => {
                conv::add_graded(shape, out, w, events, x);
            }
            (Store::F32(w), Arrival::Dense(x)) => conv::add_dense(shape, out, w, x),
            (Store::I8(w), Arrival::Spikes(events)) => {
                self.with_integers(out, sums, |acc| conv::add_events_i8(shape, acc, w, events));
            }
            (Store::I8(w), Arrival::Graded(events, x)) => {
                self.with_floats(out, sums, |acc| conv::add_graded_i8(shape, acc, w, events, x));
            }
            (Store::I8(w), Arrival::Dense(x)) => {
                conv::add_dense_i8(shape, out, w, &self.scale, x);
            }
            (Store::F16(_) | Store::I4(_) | Store::GroupsI8(_) | Store::GroupsI4(_), _) => {
                unreachable!("kernels of convolutions are floats or have 8 bits")
            }
            (Store::Sparse(_), _) => unreachable!("kernels of convolutions are kept whole"),
        }
    }

    /// Writes `W * x` plus a bias (or an empty one) over `out`, or adds it; only where the weights are
    /// packed.
    #[cfg_attr(not(feature = "std"), allow(unused_variables))]
    pub(crate) fn convolve(
        &self,
        shape: &Conv,
        x: Arrival,
        bias: &[f32],
        add: bool,
        out: &mut [f32],
    ) {
        match (&self.store, x) {
            #[cfg(feature = "std")]
            (Store::Packed(w), x) => w.forward_into(shape, events_of(x), bias, add, out),
            #[cfg(feature = "std")]
            (Store::Panels(w), Arrival::Graded(_, x) | Arrival::Dense(x)) => {
                w.forward_into(x, bias, add, out);
            }
            _ => unreachable!("packed weights take events or values, as they were packed for"),
        }
    }

    fn with_integers(&self, out: &mut [f32], sums: &mut Sums, add: impl FnOnce(&mut [i32])) {
        let acc = &mut sums.integers[..out.len()];
        acc.fill(0);
        add(acc);
        for (out, acc) in out.chunks_mut(self.outputs).zip(acc.chunks(self.outputs)) {
            quant::add_scaled(out, acc, &self.scale);
        }
    }

    fn with_floats(&self, out: &mut [f32], sums: &mut Sums, add: impl FnOnce(&mut [f32])) {
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

/// With the output axis last.
fn turned(tensor: &Tensor) -> Tensor {
    let axes: Vec<usize> = (1..tensor.shape.len()).chain([0]).collect();
    tensor.permuted(&axes).expect("every axis once")
}

/// The events of an image.
#[cfg(feature = "std")]
fn events_of(x: Arrival) -> Events {
    match x {
        Arrival::Spikes(places) => Events { places, x: None },
        Arrival::Graded(places, x) => Events { places, x: Some(x) },
        Arrival::Dense(_) => unreachable!("by input there are events"),
    }
}
