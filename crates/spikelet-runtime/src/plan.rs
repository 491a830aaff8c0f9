//! A compiled graph: a list of instructions over the buffers of a stream.

use crate::{
    block::Section,
    buffers::{Bank, Buffer, Places},
    integer::Integers,
    threads::Threads,
    weights::{Arrival, Sums, Weights},
};
use alloc::{string::String, vec::Vec};
use core::ops::Range;
use spikelet_graph::{Function, Pooling, Readout, counts::Operations};
use spikelet_kernels::{
    attention::Attention,
    conv::Conv,
    legendre_step,
    neuron::{NeuronSpec, Param, Params},
    window::Window,
};

/// Where an instruction finds its input.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input {
    /// An event list.
    Spikes(Buffer),
    /// An event list and all values.
    Graded(Buffer, Buffer),
    /// All values.
    Dense(Buffer),
}

impl Input {
    /// Calls `visit` for its buffers.
    pub(crate) fn for_each_buffer(self, mut visit: impl FnMut(Buffer)) {
        match self {
            Self::Spikes(buffer) | Self::Dense(buffer) => visit(buffer),
            Self::Graded(events, values) => {
                visit(events);
                visit(values);
            }
        }
    }
}

/// A product that adds to its output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) kind: ProductKind,
    pub(crate) input: Input,
}

/// Which product; numbers are places in the lists of the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProductKind {
    /// With [`Plan::weights`].
    Matrix(usize),
    /// With [`Plan::weights`], shape in [`Plan::convolutions`].
    Convolution(usize, usize),
    /// Of the states of [`Plan::legendres`].
    LegendreStates(usize),
    /// Of the inputs of [`Plan::legendres`].
    LegendreInputs(usize),
}

/// One instruction.
#[derive(Clone, Debug)]
pub(crate) enum Instruction {
    /// Copies input values from a position on.
    Load { from: usize, to: Buffer },
    /// Lists the active input values from a position on.
    LoadSpikes { from: usize, len: usize, to: Buffer },
    /// Starts a sum from zero.
    Clear { to: Buffer },
    /// Starts a sum from a bias, repeated over positions ([`Plan::vectors`]).
    SetBias { bias: usize, to: Buffer },
    /// Adds a bias, repeated over positions.
    AddBias { bias: usize, to: Buffer },
    /// Adds a product.
    Multiply { product: Product, to: Buffer },
    /// Writes a convolution whose weights are packed, with a bias, or adds it.
    Convolve { product: Product, bias: Option<usize>, add: bool, to: Buffer },
    /// Adds values or spikes as they are.
    Add { from: Input, to: Buffer },
    /// Turns an event list into values.
    Densify { from: Buffer, to: Buffer },
    /// Lists what is not zero.
    List { from: Buffer, to: Buffer },
    /// Copies a run of the last axis: of `widths` channels, from the first to the second.
    CopyChannels { from: Buffer, to: Buffer, widths: [usize; 2], starts: [usize; 2], len: usize },
    /// Pools.
    Pool { pooling: Pooling, window: Window, channels: usize, from: Buffer, to: Buffer },
    /// Pools to a number of positions.
    AdaptivePool {
        input: [usize; 2],
        output: [usize; 2],
        channels: usize,
        from: Buffer,
        to: Buffer,
    },
    /// Interpolates to a number of positions.
    Interpolate { input: [usize; 2], output: [usize; 2], channels: usize, from: Buffer, to: Buffer },
    /// Puts a border of the values ([`Plan::vectors`]) around an image of this width.
    Frame { value: usize, width: usize, from: Buffer, to: Buffer },
    /// Attention of spikes of this many channels; `bits` and `counts` are its working memory.
    Attend { shape: Attention, qkv: [Buffer; 3], bits: Buffer, counts: Buffer, to: Buffer },
    /// Scales channels.
    Scale { factor: usize, shift: Option<usize>, from: Buffer, to: Buffer },
    /// Applies a function to every value.
    Apply { function: Function, from: Buffer, to: Buffer },
    /// Advances a population ([`Plan::neurons`]) that gives spikes.
    Fire { neuron: usize, current: Buffer, to: Buffer },
    /// Advances a population of integrators.
    Integrate { neuron: usize, current: Buffer, to: Buffer },
    /// Copies the row of a table ([`Plan::weights`]) that a token names.
    Embed { table: usize, from: Buffer, to: Buffer },
    /// Normalises rows of as many values as there are weights.
    Normalize { weight: usize, bias: usize, from: Buffer, to: Buffer },
    /// Mixes with the token before.
    Shift { mix: usize, now: Buffer, before: Buffer, to: Buffer },
    /// The product of two values, value by value.
    Product { from: [Buffer; 2], to: Buffer },
    /// Advances a WKV recurrence: `decay` and `first`, keys and values, `p`, `q` and `o`.
    Wkv { params: [usize; 2], from: [Buffer; 2], state: [Buffer; 3], to: Buffer },
    /// The gates of an LSTM.
    Lstm { gates: Buffer, cell: Buffer, hidden: Buffer },
    /// The gates of a GRU.
    Gru { from_input: Buffer, from_hidden: Buffer, hidden: Buffer },
    /// Advances an EGRU: what its input and its events add to the gates, its threshold
    /// ([`Plan::vectors`]), the share of the new state under zoneout, and after how many steps the
    /// state starts again.
    Egru {
        gates: [Buffer; 2],
        threshold: usize,
        share: f32,
        restart: Option<usize>,
        h: Buffer,
        to: Buffer,
    },
    /// Reduces over time.
    Accumulate { readout: Readout, from: Input, sum: Buffer, to: Buffer },
    /// Writes the value of `delay` steps ago ([`Plan::rings`]).
    Recall { ring: usize, delay: usize, to: Buffer },
    /// Keeps the value of this step.
    Remember { ring: usize, from: Buffer },
}

impl Instruction {
    /// Calls `visit` for every buffer used.
    pub(crate) fn for_each_buffer(&self, plan: &Plan, mut visit: impl FnMut(Buffer)) {
        match self {
            Self::Load { to, .. }
            | Self::LoadSpikes { to, .. }
            | Self::Clear { to }
            | Self::SetBias { to, .. }
            | Self::AddBias { to, .. } => visit(*to),
            Self::Multiply { product, to } | Self::Convolve { product, to, .. } => {
                product.input.for_each_buffer(&mut visit);
                visit(*to);
            }
            Self::Add { from, to } => {
                from.for_each_buffer(&mut visit);
                visit(*to);
            }
            Self::Densify { from, to }
            | Self::List { from, to }
            | Self::CopyChannels { from, to, .. }
            | Self::Pool { from, to, .. }
            | Self::AdaptivePool { from, to, .. }
            | Self::Interpolate { from, to, .. }
            | Self::Scale { from, to, .. }
            | Self::Frame { from, to, .. }
            | Self::Apply { from, to, .. } => {
                visit(*from);
                visit(*to);
            }
            Self::Fire { neuron, current, to } | Self::Integrate { neuron, current, to } => {
                let population = &plan.neurons[*neuron];
                [*current, *to, population.v].into_iter().for_each(&mut visit);
                population.second.into_iter().for_each(visit);
            }
            Self::Embed { from, to, .. } | Self::Normalize { from, to, .. } => {
                visit(*from);
                visit(*to);
            }
            Self::Shift { now, before, to, .. } => {
                [*now, *before, *to].into_iter().for_each(visit);
            }
            Self::Attend { qkv, bits, counts, to, .. } => {
                qkv.iter().chain([bits, counts, to]).copied().for_each(visit);
            }
            Self::Product { from, to } => {
                from.iter().chain([to]).copied().for_each(visit);
            }
            Self::Wkv { from, state, to, .. } => {
                from.iter().chain(state).chain([to]).copied().for_each(visit);
            }
            Self::Lstm { gates, cell, hidden } => {
                [*gates, *cell, *hidden].into_iter().for_each(visit);
            }
            Self::Egru { gates, h, to, .. } => {
                gates.iter().chain([h, to]).copied().for_each(visit);
            }
            Self::Gru { from_input, from_hidden, hidden } => {
                [*from_input, *from_hidden, *hidden].into_iter().for_each(visit);
            }
            Self::Accumulate { from, sum, to, .. } => {
                from.for_each_buffer(&mut visit);
                visit(*sum);
                visit(*to);
            }
            Self::Recall { ring, to, .. } => {
                visit(plan.rings[*ring].buffer);
                visit(*to);
            }
            Self::Remember { ring, from } => {
                visit(plan.rings[*ring].buffer);
                visit(*from);
            }
        }
    }
}

/// A population of neurons with its parameters and state.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    pub(crate) spec: NeuronSpec,
    pub(crate) threshold: Parameter,
    pub(crate) beta: Parameter,
    pub(crate) second_decay: Parameter,
    pub(crate) gain: Parameter,
    /// Potentials.
    pub(crate) v: Buffer,
    /// Synaptic currents or adaptations.
    pub(crate) second: Option<Buffer>,
}

impl Population {
    pub(crate) fn params(&self) -> Params<'_> {
        Params {
            threshold: self.threshold.get(),
            beta: self.beta.get(),
            second_decay: self.second_decay.get(),
            gain: self.gain.get(),
        }
    }
}

/// One value for all neurons, or one per neuron or channel.
#[derive(Clone, Debug)]
pub(crate) enum Parameter {
    Shared(f32),
    PerNeuron(Vec<f32>),
}

impl Parameter {
    fn get(&self) -> Param<'_> {
        match self {
            Self::Shared(value) => Param::Shared(*value),
            Self::PerNeuron(values) => Param::PerNeuron(values),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Shared(_) => 4,
            Self::PerNeuron(values) => 4 * values.len(),
        }
    }
}

/// Legendre memories.
#[derive(Clone, Debug)]
pub(crate) struct Legendre {
    /// `[order, order]`, column after column.
    pub(crate) a: Vec<f32>,
    pub(crate) b: Vec<f32>,
}

/// The last steps of a value: bits for spikes, floats for others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    pub(crate) buffer: Buffer,
    /// Steps kept.
    pub(crate) depth: usize,
    /// Buffer units per step.
    pub(crate) width: usize,
    pub(crate) spikes: bool,
    /// Values per step.
    pub(crate) neurons: usize,
}

/// What can be seen of a node once it has run.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// Its place in the graph.
    pub(crate) node: usize,
    /// It has run after this instruction.
    pub(crate) after: usize,
    pub(crate) output: MarkOutput,
    /// Its synaptic products.
    pub(crate) products: Vec<Product>,
    /// What arrived, one per port.
    pub(crate) inputs: Vec<Input>,
    /// The input current of a population.
    pub(crate) current: Option<Buffer>,
}

/// Where the output of a node is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MarkOutput {
    /// In buffers of its own.
    Own(Input),
    /// Added to a sum: its products and this bias give it again.
    Summed { bias: Option<usize> },
}

/// Facts about a node that stay.
#[derive(Clone, Debug)]
pub(crate) struct NodeFacts {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) len: usize,
    /// Runs once a sequence, not in every step.
    pub(crate) once: bool,
    /// Operations per step that follow from the graph.
    pub(crate) operations: Operations,
    /// Bytes of one row of an embedding.
    pub(crate) row_bytes: usize,
    /// Potentials of a population.
    pub(crate) potential: Option<Buffer>,
}

/// A compiled graph.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) nodes: Vec<NodeFacts>,
    /// Values of all inputs, and of all outputs, per step and stream.
    pub(crate) input_len: usize,
    pub(crate) output_len: usize,
    /// Inputs that take spikes: node and where their values are.
    pub(crate) spike_inputs: Vec<(usize, Range<usize>)>,
    /// Inputs that take token numbers: node, where its value is, and how many tokens there are.
    pub(crate) token_inputs: Vec<(usize, usize, usize)>,
    /// What the outputs return.
    pub(crate) outputs: Vec<Input>,
    pub(crate) instructions: Vec<Instruction>,
    /// Up to this instruction, those that give the same as long as the input does.
    pub(crate) still: usize,
    /// From this instruction on, those that only make the result: they run where it is wanted.
    pub(crate) sequence: usize,
    /// The instructions, as several steps together run them, and how many steps that are.
    pub(crate) sections: Vec<Section>,
    pub(crate) together: usize,
    /// Whether several streams take their steps together.
    pub(crate) side_by_side: bool,
    /// The threads large products run on.
    pub(crate) threads: Threads,
    /// In the order of [`Mark::after`].
    pub(crate) marks: Vec<Mark>,
    pub(crate) places: Places,
    pub(crate) weights: Vec<Weights>,
    pub(crate) convolutions: Vec<Conv>,
    pub(crate) legendres: Vec<Legendre>,
    pub(crate) neurons: Vec<Population>,
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) rings: Vec<Ring>,
    /// The longest output of a product with integer weights.
    pub(crate) longest_sum: usize,
    /// Instead of instructions, what an integer-only graph does.
    pub(crate) integers: Option<Integers>,
}

impl Plan {
    /// Sizes of the memory of a stream: floats, event lists and bits, integers.
    pub(crate) fn banks(&self) -> [Bank; 3] {
        match &self.integers {
            None => [self.places.values, self.places.words, Bank::default()],
            Some(integers) => [Bank::default(), integers.words, integers.integers],
        }
    }

    /// Event lists that survive a step.
    pub(crate) fn kept_events(&self) -> &[Range<usize>] {
        match &self.integers {
            None => &self.places.kept_events,
            Some(integers) => &integers.kept_events,
        }
    }

    /// `out +=` a product.
    #[inline]
    pub(crate) fn add_product(
        &self,
        kind: ProductKind,
        x: Arrival,
        out: &mut [f32],
        sums: &mut Sums,
    ) {
        match kind {
            ProductKind::Matrix(weights) => {
                self.weights[weights].add_product(x, out, sums, &self.threads);
            }
            ProductKind::Convolution(weights, shape) => {
                let shape = &self.convolutions[shape];
                self.weights[weights].add_convolution(shape, x, out, sums);
            }
            ProductKind::LegendreStates(memory) => {
                let Legendre { a, b } = &self.legendres[memory];
                match x {
                    Arrival::Spikes(events) => {
                        legendre_step::add_state_events(out, a, b.len(), events);
                    }
                    Arrival::Graded(_, m) | Arrival::Dense(m) => {
                        legendre_step::add_states(out, a, b.len(), m);
                    }
                }
            }
            ProductKind::LegendreInputs(memory) => {
                let b = &self.legendres[memory].b;
                match x {
                    Arrival::Spikes(events) => legendre_step::add_input_events(out, b, events),
                    Arrival::Graded(_, u) | Arrival::Dense(u) => {
                        legendre_step::add_inputs(out, b, u);
                    }
                }
            }
        }
    }
}
