//! What a core runs for a layer: the tasks of its reads, the update of its units, and what all of
//! it takes in SRAM.

use crate::{
    chip::Chip,
    error::ChipError,
    layers::{Layer, Layers},
    slice::{Extent, Slice},
    task::Task,
    work::Work,
};
use serde::Serialize;
use spikelet_graph::{Function, Graph, Membrane, NodeCounts, Op, Param, Phase, Signal};
use std::collections::BTreeMap;

/// Bytes of SRAM that a part of a layer takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Weights, or room for some rows of them where they come from the DRAM.
    pub weights: usize,
    /// Biases and parameters.
    pub constants: usize,
    /// What survives a step, and sums.
    pub state: usize,
    /// What arrives.
    pub buffers: usize,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.constants + self.state + self.buffers
    }
}

/// A layer with everything that its cost depends on.
#[derive(Clone, Debug)]
pub struct Program {
    /// One for every read of the layer, in its order.
    pub tasks: Vec<Task>,
    /// The layer's shape.
    pub extent: Extent,
    /// Into how many parts rows and channels can be cut.
    pub most_parts: [usize; 2],
    /// It runs once, after the last step of a window.
    pub at_end: bool,
    /// The signals of what it sends, in the order of [`Layer::sends`].
    pub sends: Vec<Signal>,
    /// Bytes of constants a unit has, and operations and functions its update takes.
    unit: Unit,
    /// Steps that buffers hold of every source, and bits a value has there.
    buffers: Vec<(usize, usize)>,
}

/// What a unit of a layer takes.
#[derive(Clone, Copy, Debug, Default)]
struct Unit {
    constants: f64,
    state: f64,
    operations: f64,
    functions: f64,
}

impl Program {
    /// The program of a layer.
    ///
    /// # Errors
    /// A tensor that is not there.
    pub fn new(
        graph: &Graph,
        layers: &Layers,
        layer: &Layer,
        counts: &[NodeCounts],
        chip: &Chip,
        fixed: bool,
    ) -> Result<Self, ChipError> {
        let task = |read| Task::new(graph, layer, read, &layers.signals, counts, chip, fixed);
        let tasks = layer.reads.iter().map(task).collect::<Result<Vec<Task>, _>>()?;
        let extent = Extent::of(&layer.shape);
        let most = |axis: usize| tasks.iter().map(|task| task.most_parts()[axis]).min();
        let all = [extent.rows, extent.channels];
        let most_parts = [most(0).unwrap_or(all[0]), most(1).unwrap_or(all[1])];
        let mut unit = Unit::default();
        for &node in &layer.nodes {
            unit.add_node(graph, node, &counts[node], chip);
        }
        unit.state += chip.sum_bytes * tasks.iter().map(Task::sums).max().unwrap_or(0) as f64;
        // What several tasks read from one node lies in one buffer.
        let mut delays = BTreeMap::new();
        for (at, read) in layer.reads.iter().enumerate() {
            for from in &read.from {
                let slot = delays.entry(from.node).or_insert((at, 0));
                slot.1 = from.delay.max(slot.1);
            }
        }
        let flight = chip.steps_in_flight as usize;
        let mut buffers = vec![(0, 0); tasks.len()];
        for (at, delay) in delays.into_values() {
            let bits = if tasks[at].signal == Signal::Binary { 1 } else { 32 };
            buffers[at] = (flight + delay, bits);
        }
        Ok(Program {
            extent,
            most_parts,
            at_end: layer.phase == Phase::Sequence,
            sends: layer.sends.iter().map(|&node| layers.signals[node]).collect(),
            unit,
            buffers,
            tasks,
        })
    }

    /// Bytes of SRAM a part takes; `streams` keeps weights in the DRAM.
    pub fn memory(&self, slice: &Slice, streams: bool, chip: &Chip) -> Memory {
        let units = self.extent.units(slice) as f64;
        let mut memory = Memory {
            constants: (units * self.unit.constants).ceil() as usize,
            state: (units * self.unit.state).ceil() as usize,
            ..Memory::default()
        };
        for (task, &(steps, bits)) in self.tasks.iter().zip(&self.buffers) {
            memory.weights += match streams && task.can_stream() {
                true => task.row_buffer(slice, chip).min(task.weight_bytes(slice, chip)),
                false => task.weight_bytes(slice, chip),
            };
            let needed = task.from.units(&task.needs(slice));
            memory.buffers += (steps * needed * bits).div_ceil(8);
        }
        memory
    }

    /// Bytes of weights of a part that can lie in the DRAM.
    pub fn streamed_bytes(&self, slice: &Slice, chip: &Chip) -> usize {
        let streamed = self.tasks.iter().filter(|task| task.can_stream());
        streamed.map(|task| task.weight_bytes(slice, chip)).sum()
    }

    /// The work of updating the units of a part, without sending.
    pub fn update(&self, slice: &Slice, chip: &Chip) -> Work {
        let units = self.extent.units(slice) as f64;
        let function = chip.exponential_cycles + chip.function_cycles;
        let unit = chip.unit_cycles
            + self.unit.operations * chip.operation_cycles
            + self.unit.functions * function;
        Work {
            cycles: chip.step_cycles + units * unit,
            sram: units * (chip.sram_state_accesses * self.unit.state + self.unit.constants),
            ..Work::default()
        }
    }

    /// Packets that a part sends in a step in which this many of its values are not zero.
    pub fn packets(&self, signal: Signal, units: usize, active: usize, chip: &Chip) -> usize {
        match signal {
            Signal::Binary | Signal::Graded => active,
            Signal::Dense => units.div_ceil(values_per_packet(chip)),
        }
    }
}

/// Values of 32 bits that a packet carries.
pub fn values_per_packet(chip: &Chip) -> usize {
    (chip.payload_bits as usize / 32).max(1)
}

/// Bits of a packet: a spike is its key, an event carries its value, dense values fill a packet.
pub fn packet_bits(signal: Signal, chip: &Chip) -> f64 {
    match signal {
        Signal::Binary => chip.header_bits,
        Signal::Graded => chip.header_bits + 32.0,
        Signal::Dense => chip.header_bits + chip.payload_bits,
    }
}

impl Unit {
    /// Adds a node of a layer. Operations are loads, arithmetic and stores; functions need the
    /// exponential unit.
    fn add_node(&mut self, graph: &Graph, node: usize, counts: &NodeCounts, chip: &Chip) {
        let node = &graph.nodes[node];
        let elements = node.len().max(1) as f64;
        let (operations, functions, state) = match &node.op {
            Op::Linear { .. } | Op::Conv2d { .. } | Op::Legendre { .. } | Op::Embedding { .. } => {
                (chip.operations_linear, 0.0, 0.0)
            }
            Op::Neuron(neuron) => match neuron.membrane {
                Membrane::If => (chip.operations_if, 0.0, chip.state_if),
                Membrane::Lif { .. } => (chip.operations_lif, 0.0, chip.state_lif),
                Membrane::CubaLif { .. } => (chip.operations_cuba_lif, 0.0, chip.state_cuba_lif),
                Membrane::AdaptiveLif { .. } => {
                    (chip.operations_adaptive_lif, 0.0, chip.state_adaptive_lif)
                }
                Membrane::Li { .. } => (chip.operations_li, 0.0, chip.state_li),
            },
            Op::Activation { function: Function::Tanh | Function::Sigmoid } => {
                (0.0, chip.functions_activation, 0.0)
            }
            Op::Activation { .. } | Op::Multiply | Op::Add => (chip.operations_simple, 0.0, 0.0),
            Op::Scale { .. } => (chip.operations_scale, 0.0, 0.0),
            Op::Readout { .. } => (chip.operations_readout, 0.0, chip.state_readout),
            Op::TokenShift { .. } => (chip.operations_token_shift, 0.0, 0.0),
            Op::Wkv { .. } => (chip.operations_wkv, chip.functions_wkv, chip.state_wkv),
            Op::Lstm { .. } => (chip.operations_lstm, chip.functions_lstm, chip.state_lstm),
            Op::Gru { .. } => (chip.operations_gru, chip.functions_gru, chip.state_gru),
            Op::Egru { .. } => (chip.operations_egru, chip.functions_egru, chip.state_egru),
            _ => {
                let known = (counts.elementwise + counts.gate_multiplies) as f64;
                (chip.operations_other + known / elements, 0.0, chip.state_other)
            }
        };
        self.operations += operations;
        self.functions += functions;
        self.state += state;
        let weights: Vec<&str> = node.op.weights().iter().map(|w| w.tensor.as_str()).collect();
        let tensors = node.op.tensors().into_iter().filter(|name| !weights.contains(name));
        // A parameter of the channels is stored once a channel; rows share it.
        let extent = Extent::of(&node.shape);
        let shared = match &node.op {
            Op::Neuron(neuron) => {
                neuron.params().iter().filter(|param| matches!(param, Param::Shared(_))).count()
            }
            _ => 0,
        };
        let values: usize =
            tensors.filter_map(|name| graph.tensors.get(name)).map(|tensor| tensor.len()).sum();
        let positions = (extent.rows * extent.between).max(1);
        let per_channel = values as f64 / extent.channels.max(1) as f64;
        let parameters = per_channel / positions as f64 + shared as f64 / elements;
        self.constants += chip.parameter_bytes * parameters;
    }
}
