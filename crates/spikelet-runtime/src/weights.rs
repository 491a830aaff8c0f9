//! Weights as the kernels want them, and the products with them.

use alloc::{vec, vec::Vec};
use spikelet_graph::{Graph, GraphError, Layout, Signal, Tensor, Values, Weight, int4};
#[cfg(feature = "std")]
use spikelet_kernels::spike_conv::{DenseWeights, EventLists, EventWeights};
use spikelet_kernels::{conv, conv::Conv, dense, gather, quant, sparse::SparseRows};

/// Kernels with fewer weights than this are left as they are: threads and rows of at least 16
/// outputs take longer to set up than such a convolution takes.
#[cfg(feature = "std")]
const PACKED: usize = 1 << 14;
/// Convolutions of dense values with fewer products than this are left as they are.
#[cfg(feature = "std")]
const PRODUCTS: usize = 1 << 17;

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
    F32(Vec<f32>),
    /// A pruned matrix, by input.
    Sparse(SparseRows),
    /// The kernel of a convolution, packed for its events.
    #[cfg(feature = "std")]
    Packed(EventWeights),
    /// The same for dense values.
    #[cfg(feature = "std")]
    Panels(DenseWeights),
    I8(Vec<i8>),
    /// Two in a byte, see [`int4`].
    I4(Vec<u8>),
}

/// What the products of integer weights add up in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) integers: Vec<i32>,
    pub(crate) floats: Vec<f32>,
}

impl Sums {
    /// Room for the longest output of a product.
    pub(crate) fn new(longest: usize) -> Self {
        Self { integers: vec![0; longest], floats: vec![0.0; longest] }
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
    /// One per output; empty for float weights.
    scale: Vec<f32>,
    pub(crate) layout: Layout,
    /// The taps of a convolution, or 1, times the inputs.
    pub(crate) rows: usize,
    pub(crate) outputs: usize,
}

impl Weights {
    /// The weights of a node whose input is `signal`. Events need rows by input: weights that lie
    /// by output are turned round. 4-bit kernels of convolutions become 8-bit ones, because their
    /// groups may start within a byte.
    pub(crate) fn load(
        graph: &Graph,
        node: &str,
        weight: &Weight,
        signal: Signal,
        convolution: bool,
    ) -> Result<Self, GraphError> {
        let tensor = graph.tensor(node, &weight.tensor)?;
        let scale = match &weight.scale {
            Some(name) => graph.tensor(node, name)?.to_f32(),
            None => Vec::new(),
        };
        let outputs = tensor.output_channels(weight.layout);
        let turned = if signal != Signal::Dense && weight.layout == Layout::ByOutput {
            let axes: Vec<usize> = (1..tensor.shape.len()).chain([0]).collect();
            tensor.permuted(&axes)
        } else {
            None
        };
        let sparse = !convolution
            && matches!(tensor.values, Values::F32(_) | Values::F16(_))
            && tensor.len() >= LARGE
            && (tensor.len() - tensor.zero_count()) as f64 <= SPARSE * tensor.len() as f64;
        if sparse {
            return Ok(Self::sparse(tensor, weight.layout, turned.as_ref()));
        }
        let layout = if turned.is_some() { Layout::ByInput } else { weight.layout };
        let tensor = turned.as_ref().unwrap_or(tensor);
        let store = match &tensor.values {
            Values::I8(values) => Store::I8(values.clone()),
            Values::I4(values) if convolution => {
                Store::I8(int4::unpack(values, tensor.shape.last().copied().unwrap_or(1)))
            }
            Values::I4(values) => Store::I4(values.clone()),
            Values::F32(_) | Values::F16(_) | Values::I32(_) => Store::F32(tensor.to_f32()),
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
        let (scale, layout, inputs) = (Vec::new(), Layout::ByInput, rows.inputs());
        Weights { store: Store::Sparse(rows), scale, layout, rows: inputs, outputs }
    }

    /// A table of rows of so many values.
    pub(crate) fn table(values: Vec<f32>, outputs: usize) -> Self {
        let (scale, layout, rows) = (Vec::new(), Layout::ByInput, values.len() / outputs);
        Weights { store: Store::F32(values), scale, layout, rows, outputs }
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
            } else if w.len() >= PACKED && shape.outputs / shape.groups >= 16 {
                self.store = Store::Packed(EventWeights::new(shape, w));
            }
        }
    }

    /// Whether dense input must come with the list of what is not zero.
    pub(crate) fn wants_events(&self) -> bool {
        self.layout == Layout::ByInput && self.is_integer()
    }

    /// Whether [`Weights::convolve`] works.
    pub(crate) fn is_packed(&self) -> bool {
        #[cfg(feature = "std")]
        return matches!(self.store, Store::Packed(_) | Store::Panels(_));
        #[cfg(not(feature = "std"))]
        false
    }

    /// Whether [`Weights::convolve_batch`] works.
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

    pub(crate) fn is_integer(&self) -> bool {
        matches!(self.store, Store::I8(_) | Store::I4(_))
    }

    /// Bytes in memory, with scales.
    pub(crate) fn bytes(&self) -> usize {
        self.scale_bytes()
            + match &self.store {
                Store::F32(w) => 4 * w.len(),
                Store::Sparse(w) => w.bytes(),
                #[cfg(feature = "std")]
                Store::Packed(w) => w.bytes(),
                #[cfg(feature = "std")]
                Store::Panels(w) => w.bytes(),
                Store::I8(w) => w.len(),
                Store::I4(w) => w.len(),
            }
    }

    /// Bytes of one row by input.
    pub(crate) fn row_bytes(&self) -> usize {
        match &self.store {
            Store::F32(_) => 4 * self.outputs,
            Store::Sparse(w) => w.bytes() / self.rows.max(1),
            #[cfg(feature = "std")]
            Store::Packed(_) | Store::Panels(_) => 4 * self.outputs,
            Store::I8(_) => self.outputs,
            Store::I4(_) => self.outputs.div_ceil(2),
        }
    }

    pub(crate) fn scale_bytes(&self) -> usize {
        4 * self.scale.len()
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
            Store::I8(w) => w.iter().map(|w| *w != 0).collect(),
            Store::I4(w) => {
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
    pub(crate) fn add_product(&self, x: Arrival, out: &mut [f32], sums: &mut Sums) {
        match (&self.store, x) {
            #[cfg(feature = "std")]
            (Store::Packed(_) | Store::Panels(_), _) => {
                unreachable!("only kernels of convolutions are packed")
            }
            (Store::Sparse(w), Arrival::Spikes(events)) => w.add_rows(out, events, None),
            (Store::Sparse(w), Arrival::Graded(events, x)) => w.add_rows(out, events, Some(x)),
            (Store::Sparse(w), Arrival::Dense(x)) => w.add_dense(out, x),
            (Store::F32(w), Arrival::Spikes(events)) => gather::add_rows(out, w, events),
            (Store::F32(w), Arrival::Graded(events, x)) => {
                gather::add_rows_graded(out, w, events, x);
            }
            (Store::F32(w), Arrival::Dense(x)) => match self.layout {
                Layout::ByInput => dense::add_by_input(out, w, x),
                Layout::ByOutput => dense::add_by_output(out, w, x),
            },
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
            (Store::I8(w), Arrival::Dense(x)) => dense::add_by_output_i8(out, w, &self.scale, x),
            (Store::I4(w), Arrival::Dense(x)) => dense::add_by_output_i4(out, w, &self.scale, x),
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
            (Store::I4(_), _) => unreachable!("kernels of convolutions have at least 8 bits"),
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
            (Store::Packed(w), x) => w.forward_into(shape, &listed(shape, x), bias, add, out),
            #[cfg(feature = "std")]
            (Store::Panels(w), Arrival::Graded(_, x) | Arrival::Dense(x)) => {
                w.forward_into(x, bias, add, out);
            }
            _ => unreachable!("packed weights take events or values, as they were packed for"),
        }
    }

    /// `W * x` plus a bias (or an empty one) of several inputs, `[batch, output]`.
    pub(crate) fn convolve_batch(&self, shape: &Conv, xs: &[Arrival], bias: &[f32]) -> Vec<f32> {
        #[cfg(feature = "std")]
        if let Store::Packed(weights) = &self.store {
            use rayon::prelude::*;
            let lists = xs.par_iter().map(|x| listed(shape, *x)).collect();
            return weights.forward(shape, &EventLists::join(lists), xs.len(), bias);
        }
        let _ = (shape, xs, bias);
        unreachable!("asked for packed weights")
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

/// The events of an image, by pixel.
#[cfg(feature = "std")]
fn listed(shape: &Conv, x: Arrival) -> EventLists {
    let (events, x) = match x {
        Arrival::Spikes(events) => (events, None),
        Arrival::Graded(events, x) => (events, Some(x)),
        Arrival::Dense(_) => unreachable!("by input there are events"),
    };
    let pixels = shape.window.input[0] * shape.window.input[1];
    EventLists::from_events(events, x, pixels, shape.inputs, shape.groups)
}
