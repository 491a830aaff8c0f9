//! What a core does with what arrives: one task for everything a layer reads.
//!
//! The cost model. Events are processed row by row: an event with 32-bit weights reads its row and
//! adds it to the sums of the core's units. Integer weights that meet integers run on the
//! multiply-accumulate array (all inputs, whatever is active) or event by event on the core, whichever
//! is faster; those that meet 32-bit floats are products of the core.

use crate::{
    chip::Chip,
    layers::{Layer, Read, element_wise},
    slice::{Extent, Slice},
    weights::Matrix,
    work::Work,
};
use spikelet_graph::{
    Graph, GraphError, Layout, NodeCounts, Op, Signal, Weight, shape::adaptive_window,
};
use std::ops::Range;

/// What is done with a read.
#[derive(Clone, Debug)]
enum Kind {
    /// The matrix of a linear layer or cell, whose columns come gate after gate.
    Matrix { matrix: Matrix, gates: usize, positions: bool },
    /// A convolution.
    Convolution { window: Window, matrix: Matrix },
    /// A pooling.
    Pool { window: Window },
    /// A pooling to a number of positions.
    Adaptive { input: [usize; 2], output: [usize; 2] },
    /// The states (or the inputs) of Legendre memories.
    Memory { order: usize, states: bool },
    /// A row of a table.
    Table { matrix: Matrix },
    /// Element by element.
    Element,
    /// Every value of a row is needed for every other.
    Row,
    /// Queries, keys or values (by port) of heads of so many channels.
    Attention { head: usize, port: usize },
    /// An operation this model knows by its counts only: a whole layer on one core.
    Counted { synapses: f64 },
}

#[derive(Clone, Copy, Debug)]
struct Window {
    input: [usize; 3],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
}

/// What a layer does with one of its reads.
#[derive(Clone, Debug)]
pub struct Task {
    kind: Kind,
    /// What arrives.
    pub signal: Signal,
    /// Shape of what arrives.
    pub from: Extent,
    layer: Extent,
    fixed: bool,
    integers: Option<Integers>,
}

/// The integers that integer weights meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Integers {
    /// Spikes, or values rounded to 8 bits in groups.
    Bytes,
    /// Values of an integer-only graph, of which the array takes two of its units for each.
    Words,
}

impl Task {
    /// The task for a read. `fixed` computes in s16.15 instead of 32-bit floats.
    ///
    /// # Errors
    /// A tensor that is not there.
    pub fn new(
        graph: &Graph,
        layer: &Layer,
        read: &Read,
        signals: &[Signal],
        counts: &[NodeCounts],
        chip: &Chip,
        fixed: bool,
    ) -> Result<Self, GraphError> {
        let node = &graph.nodes[read.node];
        let from = &graph.nodes[read.from[0].node];
        let load = |weight: &Weight| Matrix::load(graph, &node.name, weight, chip);
        let image = |shape: &[usize]| match *shape {
            [height, width, channels] => [height, width, channels],
            _ => [1, 1, shape.iter().product()],
        };
        let cell = |weights: [&Weight; 2], gates| -> Result<Kind, GraphError> {
            let matrix = load(weights[usize::from(read.port != 0)])?;
            Ok(Kind::Matrix { matrix, gates, positions: false })
        };
        let kind = match &node.op {
            Op::Linear { weight, .. } => {
                let positions = node.shape.len() > 1;
                Kind::Matrix { matrix: load(weight)?, gates: 1, positions }
            }
            Op::Lstm { weight_input, weight_hidden, .. } => cell([weight_input, weight_hidden], 4)?,
            Op::Gru { weight_input, weight_hidden, .. }
            | Op::Egru { weight_input, weight_hidden, .. } => {
                cell([weight_input, weight_hidden], 3)?
            }
            Op::Conv2d { weight, stride, padding, dilation, groups, .. } => {
                let matrix = load(weight)?.dense();
                let input = image(&from.shape);
                let taps = matrix.inputs * groups / input[2].max(1);
                let tensor = graph.tensor(&node.name, &weight.tensor)?;
                let height = match weight.layout {
                    Layout::ByInput => tensor.shape[0],
                    Layout::ByOutput => tensor.shape[1],
                };
                let kernel = [height, taps / height.max(1)];
                let (stride, padding, dilation) = (*stride, *padding, *dilation);
                let window = Window { input, kernel, stride, padding, dilation, groups: *groups };
                Kind::Convolution { window, matrix }
            }
            Op::Pool2d { kernel, stride, padding, .. } => Kind::Pool {
                window: Window {
                    input: image(&from.shape),
                    kernel: *kernel,
                    stride: *stride,
                    padding: *padding,
                    dilation: [1, 1],
                    groups: 1,
                },
            },
            // Every position stays the only one in its window.
            Op::Border { .. } => Kind::Pool {
                window: Window {
                    input: image(&from.shape),
                    kernel: [1, 1],
                    stride: [1, 1],
                    padding: [1, 1],
                    dilation: [1, 1],
                    groups: 1,
                },
            },
            Op::Attention { heads, .. } => {
                let channels = node.shape.last().copied().unwrap_or(1);
                Kind::Attention { head: channels / heads, port: read.port }
            }
            Op::AdaptivePool2d { size } => {
                let [height, width, _] = image(&from.shape);
                Kind::Adaptive { input: [height, width], output: *size }
            }
            Op::Legendre { order, .. } => Kind::Memory { order: *order, states: read.port == 1 },
            Op::Embedding { weight } => Kind::Table { matrix: load(weight)? },
            Op::LayerNorm { .. } => Kind::Row,
            op if element_wise(op) => Kind::Element,
            _ => {
                let reads = layer.reads.iter().filter(|other| other.node == read.node).count();
                let synapses = counts[read.node].dense as f64 / reads.max(1) as f64;
                Kind::Counted { synapses }
            }
        };
        let signal = if read.from.len() > 1 { Signal::Dense } else { signals[read.from[0].node] };
        let weights = node.op.weights();
        let weight = weights.get(usize::from(read.port != 0)).or(weights.first());
        let scales = weight.and_then(|weight| graph.tensors.get(weight.scale.as_ref()?));
        let grouped = scales.is_some_and(|scales| scales.shape.len() == 2);
        let integers = match (signal, graph.integer.is_some()) {
            (Signal::Binary, _) => Some(Integers::Bytes),
            (_, true) => Some(Integers::Words),
            (Signal::Dense, false) if grouped => Some(Integers::Bytes),
            _ => None,
        };
        let (from, layer) = (Extent::of(&from.shape), Extent::of(&layer.shape));
        Ok(Task { kind, signal, from, layer, fixed, integers })
    }

    /// Into how many parts rows and channels can be cut.
    pub fn most_parts(&self) -> [usize; 2] {
        match self.kind {
            Kind::Row => [self.layer.rows, 1],
            // Keys and values of all positions add up.
            Kind::Attention { .. } => [1, self.layer.channels],
            Kind::Counted { .. } => [1, 1],
            _ => [self.layer.rows, self.layer.channels],
        }
    }

    /// The part of what arrives that a part of the layer needs.
    pub fn needs(&self, slice: &Slice) -> Slice {
        let whole = self.from.whole();
        match &self.kind {
            Kind::Element => slice.clone(),
            Kind::Matrix { positions: true, .. } | Kind::Row => {
                Slice { rows: slice.rows.clone(), ..whole }
            }
            Kind::Convolution { window, .. } => Slice { rows: window.rows(&slice.rows), ..whole },
            Kind::Pool { window } => {
                Slice { rows: window.rows(&slice.rows), channels: slice.channels.clone() }
            }
            Kind::Attention { port: 2, .. } => Slice { channels: slice.channels.clone(), ..whole },
            Kind::Adaptive { input, output } => {
                let first = adaptive_window(input[0], output[0], slice.rows.start);
                let last = adaptive_window(input[0], output[0], slice.rows.end - 1);
                Slice { rows: first.start..last.end, channels: slice.channels.clone() }
            }
            _ => whole,
        }
    }

    /// Bytes of the weights a part of the layer stores.
    pub fn weight_bytes(&self, slice: &Slice, chip: &Chip) -> usize {
        let value = chip.value_bytes as usize;
        match &self.kind {
            Kind::Matrix { matrix, gates, .. } => {
                matrix.bytes(&columns(slice, *gates, matrix.columns), chip)
            }
            Kind::Convolution { matrix, .. } | Kind::Table { matrix } => {
                matrix.bytes(std::slice::from_ref(&slice.channels), chip)
            }
            Kind::Memory { order, states: true } => {
                order * (*order).min(slice.channels.len()) * value
            }
            Kind::Memory { order, states: false } => order * value,
            Kind::Counted { synapses, .. } => *synapses as usize * value,
            Kind::Pool { .. }
            | Kind::Adaptive { .. }
            | Kind::Element
            | Kind::Row
            | Kind::Attention { .. } => 0,
        }
    }

    /// Bytes of the rows of weights that a core holds which gets them from the DRAM one by one.
    pub fn row_buffer(&self, slice: &Slice, chip: &Chip) -> usize {
        let row = match &self.kind {
            Kind::Matrix { matrix, gates, .. } => {
                slice.channels.len() * gates * matrix.entry_bytes(chip)
            }
            Kind::Convolution { matrix, .. } | Kind::Table { matrix } => {
                slice.channels.len() * matrix.entry_bytes(chip)
            }
            _ => return self.weight_bytes(slice, chip),
        };
        chip.rows_buffered as usize * row
    }

    /// Whether its weights can come from the DRAM.
    pub fn can_stream(&self) -> bool {
        matches!(self.kind, Kind::Matrix { .. } | Kind::Convolution { .. } | Kind::Table { .. })
    }

    /// Values a sum has a unit: 1, or one a gate.
    pub fn sums(&self) -> usize {
        match &self.kind {
            Kind::Matrix { gates, .. } => *gates,
            Kind::Row | Kind::Element => 0,
            // The output, and a row of keys times values for every channel.
            Kind::Attention { head, .. } => {
                1 + head.div_ceil((self.layer.rows * self.layer.between).max(1))
            }
            _ => 1,
        }
    }

    /// Prepares the costs of a part of the layer.
    pub fn cost(&self, slice: &Slice, streams: bool) -> TaskCost<'_> {
        let row_values = match &self.kind {
            Kind::Matrix { matrix, gates, .. } => {
                matrix.row_values(&columns(slice, *gates, matrix.columns))
            }
            _ => None,
        };
        let needs = self.needs(slice);
        let all = needs == self.from.whole();
        TaskCost { task: self, slice: slice.clone(), needs, all, row_values, streams }
    }
}

/// The columns of a slice, gate after gate.
fn columns(slice: &Slice, gates: usize, columns: usize) -> Vec<Range<usize>> {
    let units = columns / gates;
    let gate = |gate: usize| gate * units + slice.channels.start..gate * units + slice.channels.end;
    (0..gates).map(gate).collect()
}

impl Window {
    /// The input rows that output rows cover.
    fn rows(&self, rows: &Range<usize>) -> Range<usize> {
        let at = |row: usize, tap: usize| {
            (row * self.stride[0] + tap * self.dilation[0]).saturating_sub(self.padding[0])
        };
        let start = at(rows.start, 0).min(self.input[0]);
        let end = (at(rows.end - 1, self.kernel[0] - 1) + 1).min(self.input[0]);
        start..end.max(start)
    }

    /// Output positions within a range that an input position reaches along an axis.
    fn reached(&self, axis: usize, position: usize, outputs: &Range<usize>) -> usize {
        let hits = |tap: &usize| {
            let at = position + self.padding[axis];
            let Some(at) = at.checked_sub(tap * self.dilation[axis]) else { return false };
            at.is_multiple_of(self.stride[axis]) && outputs.contains(&(at / self.stride[axis]))
        };
        (0..self.kernel[axis]).filter(hits).count()
    }
}

/// The costs of a task on one core.
#[derive(Clone, Debug)]
pub struct TaskCost<'a> {
    task: &'a Task,
    slice: Slice,
    /// What it needs of what arrives.
    pub needs: Slice,
    all: bool,
    row_values: Option<Vec<u32>>,
    streams: bool,
}

impl TaskCost<'_> {
    /// The work of a step in which the elements `active` are not zero; `None` stands for all.
    pub fn work(&self, active: Option<&[u32]>, chip: &Chip) -> Work {
        let task = self.task;
        let dense = task.signal == Signal::Dense || active.is_none();
        let arriving = task.from.units(&self.needs) as f64;
        let (rows, values) = match active {
            Some(active) if !dense && self.alike() => self.rows_alike(active.len() as f64),
            Some(active) if !dense => {
                self.rows_and_values(task.from.active_within(&self.needs, active))
            }
            _ if self.alike() => self.rows_alike(arriving),
            _ => self.rows_and_values(
                (0..task.from.len())
                    .filter(|&at| self.all || task.from.within(&self.needs, at).is_some()),
            ),
        };
        let scan = if dense { 0.0 } else { (arriving / chip.scan_flags).ceil() * chip.scan_cycles };
        let event = |entry: f64| scan + rows * chip.row_cycles + values * entry;
        let spikes = task.signal == Signal::Binary;
        let mut work = Work { synapses: values, ..Work::default() };
        match &task.kind {
            Kind::Matrix { matrix, .. } | Kind::Convolution { matrix, .. } => {
                let sparse = matrix.is_sparse();
                work.cycles = match (matrix.integer, task.fixed, spikes) {
                    (true, ..) if task.integers.is_some() => event(chip.int8_entry),
                    (_, _, true) => event(if sparse { chip.sparse_add } else { chip.dense_add }),
                    (_, true, false) => {
                        event(if sparse { chip.sparse_fixed } else { chip.dense_fixed })
                    }
                    (_, false, false) => {
                        event(if sparse { chip.sparse_entry } else { chip.dense_entry })
                    }
                };
                // A sum is read and written for every value.
                work.sram = values * (matrix.entry_bytes(chip) as f64 + chip.sram_sum);
                if let (true, Some(integers)) = (matrix.integer, task.integers) {
                    self.try_array(integers, chip, &mut work);
                }
                if self.streams {
                    // Every row comes at most once a step: what needs it is done together.
                    let all = task.weight_bytes(&self.slice, chip) as f64;
                    let rows = values * matrix.entry_bytes(chip) as f64;
                    work.dram = if work.macs > 0.0 { all } else { rows.min(all) };
                }
            }
            Kind::Table { matrix } => {
                let bytes = values * matrix.entry_bytes(chip) as f64;
                work.cycles = chip.row_cycles + values * chip.dense_add;
                work.sram = chip.sram_table_accesses * bytes;
                work.dram = if self.streams { bytes } else { 0.0 };
                work.synapses = 0.0;
            }
            Kind::Memory { .. } | Kind::Counted { .. } => {
                work.cycles = event(if task.fixed { chip.dense_fixed } else { chip.dense_entry });
                work.sram = values * chip.sram_dense_weight;
            }
            Kind::Attention { .. } => {
                work.cycles = event(if spikes { chip.dense_add } else { chip.dense_entry });
                work.sram = values * chip.sram_element;
            }
            Kind::Pool { .. } | Kind::Adaptive { .. } => {
                work.cycles = scan + values * chip.tap_cycles;
                work.sram = values * chip.sram_element;
                work.synapses = 0.0;
            }
            Kind::Element | Kind::Row => {
                work.cycles = scan + rows * chip.operation_cycles;
                work.sram = rows * chip.sram_element;
                work.synapses = 0.0;
            }
        }
        work
    }

    /// Takes the array if that is faster.
    fn try_array(&self, integers: Integers, chip: &Chip, work: &mut Work) {
        let task = self.task;
        let units = task.layer.units(&self.slice) as f64;
        let (products, part) = match &task.kind {
            Kind::Matrix { matrix, gates, .. } => {
                (units * (matrix.inputs * gates) as f64, chip.array_use_linear)
            }
            Kind::Convolution { matrix, window } => {
                (units * (matrix.inputs / window.groups) as f64, chip.array_use_convolution)
            }
            _ => return,
        };
        let each = if integers == Integers::Words { chip.array_units_16_bit } else { 1.0 };
        let macs = each * products;
        let cycles = chip.array_start + macs / (chip.array_macs * part);
        if cycles < work.cycles {
            let input = task.from.units(&self.needs) as f64;
            let weights = task.weight_bytes(&self.slice, chip) as f64;
            *work = Work {
                array: cycles,
                macs,
                sram: weights + chip.array_input_bytes * input + chip.array_output_bytes * units,
                synapses: products,
                ..Work::default()
            };
        }
    }

    /// Whether every element that arrives is needed and means as much work.
    fn alike(&self) -> bool {
        let kind = &self.task.kind;
        let differ =
            matches!(kind, Kind::Convolution { .. } | Kind::Pool { .. } | Kind::Attention { .. });
        self.all && self.row_values.is_none() && !differ
    }

    /// Rows and values of some elements that are alike.
    fn rows_alike(&self, rows: f64) -> (f64, f64) {
        let (from, width) = (self.task.from.len() as f64, self.slice.channels.len());
        match &self.task.kind {
            Kind::Matrix { gates, .. } => (rows, rows * (width * gates) as f64),
            Kind::Table { .. } => (1.0, width as f64),
            Kind::Memory { order, states } => {
                // Only what belongs to a core's own memories reaches its units.
                let memories = width.div_ceil(*order);
                let own = if *states { memories * order } else { memories };
                let rows = rows * (own as f64 / from).min(1.0);
                (rows, rows * width.min(*order) as f64)
            }
            Kind::Counted { synapses, .. } => (rows, synapses * rows / from.max(1.0)),
            _ => (rows, rows),
        }
    }

    /// Rows and values of some elements, all of which are needed.
    fn rows_and_values(&self, needed: impl Iterator<Item = usize>) -> (f64, f64) {
        let width = self.slice.channels.len();
        let sum = |per: &dyn Fn(usize) -> usize| {
            let (rows, values) = needed.fold((0, 0), |(n, sum), at| (n + 1, sum + per(at)));
            (rows as f64, values as f64)
        };
        let reached = |window: &Window, at: usize| {
            let (position, across) = (at / window.input[2], window.input[1]);
            let columns = 0..self.task.layer.between;
            window.reached(0, position / across, &self.slice.rows)
                * window.reached(1, position % across, &columns)
        };
        match &self.task.kind {
            Kind::Matrix { gates, .. } => match &self.row_values {
                Some(values) => sum(&|at| values[at % values.len()] as usize),
                None => sum(&|_| width * gates),
            },
            Kind::Convolution { window, matrix } => {
                let channels = (window.input[2] / window.groups).max(1);
                let per_group = matrix.columns / window.groups;
                sum(&|at| {
                    let group = at % window.input[2] / channels * per_group;
                    let start = self.slice.channels.start.max(group);
                    let end = self.slice.channels.end.min(group + per_group);
                    reached(window, at) * end.saturating_sub(start)
                })
            }
            Kind::Pool { window } => sum(&|at| reached(window, at)),
            // A key meets the values of its head that are here, a query the sums of these.
            Kind::Attention { head, port } => sum(&|at| {
                let first = at % self.task.from.channels / head * head;
                let start = self.slice.channels.start.max(first);
                let here = self.slice.channels.end.min(first + head).saturating_sub(start);
                if *port == 2 { here.min(1) } else { here }
            }),
            _ => {
                let (rows, _) = sum(&|_| 0);
                self.rows_alike(rows)
            }
        }
    }
}
