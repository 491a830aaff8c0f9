//! Weights as the kernels want them.

mod convolution;
mod products;

use alloc::{vec, vec::Vec};
pub(crate) use products::Lane;
use spikelet_graph::{Graph, GraphError, Layout, Signal, Tensor, Values, Weight, int4, slab::Slab};
#[cfg(feature = "std")]
use spikelet_kernels::spike_conv::{DenseWeights, EventWeights};
use spikelet_kernels::{
    conv::Conv,
    matvec::{GROUP, Rounded},
    sparse::SparseRows,
};

/// Kernels with fewer weights and dense products than these are left as they are: threads and rows of
/// at least 16 outputs take longer to set up than such a convolution takes.
#[cfg(feature = "std")]
const PACKED: usize = 1 << 14;
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
}

/// With the output axis last.
fn turned(tensor: &Tensor) -> Tensor {
    let axes: Vec<usize> = (1..tensor.shape.len()).chain([0]).collect();
    tensor.permuted(&axes).expect("every axis once")
}
