//! A graph as a sequence of steps over named buffers: what a small device executes.
//!
//! [`Program::new`] puts the nodes of a graph in order, gives every value a buffer and turns every
//! weight into the constant that is stored. With [`Graph::integer`](crate::Graph::integer) the
//! program works in integers alone ([`fixed`] says how); then it is what the runtime executes and
//! what is exported, so that both give the same bits.

mod bounds;
mod egru;
pub mod fixed;
mod integer;
mod lower;
mod values;

use crate::{
    error::GraphError,
    graph::Graph,
    neuron::Reset,
    op::{Function, Layout, Pooling, Readout},
};
use alloc::{string::String, vec::Vec};

/// The place of a [`Buffer`] in [`Program::buffers`].
pub type BufferId = usize;

/// The steps of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Whether it works in integers alone.
    pub integer: bool,
    /// Values of all inputs together.
    pub inputs: usize,
    /// All buffers; zero at the start of a sequence.
    pub buffers: Vec<Buffer>,
    /// What happens in one time step, in order.
    pub steps: Vec<Step>,
    /// The values returned, in the order of the graph's output nodes.
    pub outputs: Vec<BufferId>,
}

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The ascending indices of what spiked, and their number.
    Events,
    /// 32-bit integers, or 32-bit floats.
    Values,
    /// 32-bit integers, whatever the program works in.
    Sums,
}

/// A buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// The node or what it is for.
    pub name: String,
    /// What it holds.
    pub content: Content,
    /// How many values, or neurons that may spike.
    pub len: usize,
    /// Whether it survives the time step.
    pub kept: bool,
    /// Integers of value `n` stand for `n / 2^fraction`.
    pub fraction: u32,
}

/// Constants as they are stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 8-bit integers.
    I8(Vec<i8>),
    /// 4-bit integers in rows that start on a byte, even index in the low nibble.
    I4(Vec<u8>),
    /// 32-bit integers.
    I32(Vec<i32>),
}

/// Where the events or values of a product come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Spikes.
    Events(BufferId),
    /// Values; what is zero adds nothing.
    Values(BufferId),
}

/// Weights of a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The name of the tensor.
    pub name: String,
    /// Matrix: `[rows, outputs]` by input, `[outputs, rows]` by output. Convolution:
    /// `[kh, kw, in / groups, out]`, always by input.
    pub values: Constant,
    /// How they lie.
    pub layout: Layout,
    /// The taps of a convolution, or 1, times the inputs.
    pub rows: usize,
    /// Outputs of a row.
    pub outputs: usize,
}

/// The geometry of a window that slides over `[h, w, channels]`, vertical and horizontal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Taps.
    pub kernel: [usize; 2],
    /// Steps of the window.
    pub stride: [usize; 2],
    /// Zero padding on both sides.
    pub padding: [usize; 2],
    /// Spacing of the taps.
    pub dilation: [usize; 2],
}

/// The shape of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Where the kernel goes.
    pub window: Window,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Groups of channels that do not mix.
    pub groups: usize,
}

/// Factors of channels: `y = x * factor`, in integers `(x * factor + 2^(shift - 1)) >> shift`.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    /// One for all channels or one a channel, repeated over positions.
    pub values: Constant,
    /// Bits by which the product of integers is shifted; 0 for floats.
    pub shift: u32,
}

/// The neurons of a population in the numbers of the program. `fixed` has the equations.
#[derive(Clone, Debug, PartialEq)]
pub struct Population {
    /// The node.
    pub name: String,
    /// How the membrane integrates.
    pub model: Model,
    /// What a spike does.
    pub reset: Reset,
    /// It does so in the next step.
    pub reset_delayed: bool,
    /// Fires at `v >= threshold`.
    pub fires_at_threshold: bool,
    /// Firing threshold.
    pub threshold: Constant,
    /// Decay of the potential; empty for IF.
    pub beta: Constant,
    /// What the current is multiplied by (`input_decay`); empty: nothing.
    pub drive: Constant,
    /// Decay of the second value; empty without one.
    pub second_decay: Constant,
    /// What one unit of adaptation adds to the threshold; empty but for adaptive LIF.
    pub gain: Constant,
    /// Whether a potential or synaptic current may reach [`fixed::LIMIT`] and must be limited.
    pub saturates: bool,
    /// Potentials.
    pub v: BufferId,
    /// Synaptic currents or adaptations.
    pub second: Option<BufferId>,
}

/// The model of a population.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Leaky or not.
    Lif,
    /// The current leaks too.
    CubaLif,
    /// The threshold rises with every spike.
    AdaptiveLif,
    /// The output is the potential.
    Li,
}

/// The units of an EGRU in the numbers of the program. `fixed` has the equations.
#[derive(Clone, Debug, PartialEq)]
pub struct Units {
    /// The node.
    pub name: String,
    /// One a unit, in units of `2^-STATE`.
    pub threshold: Constant,
    /// What zoneout leaves of a change, in units of `2^-DECAY`; `None` without it.
    pub share: Option<i32>,
    /// Steps after which the states start again from zero.
    pub restart: Option<usize>,
    /// States.
    pub h: BufferId,
}

/// One step. `from` (or `current`) is read, `to` written or added to.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields are as the comment of the step and of their types say")]
pub enum Step {
    /// Input values from a position on; in integers, rounded to the buffer's fraction.
    Load { start: usize, to: BufferId },
    /// Lists the input values that are not zero.
    LoadEvents { start: usize, to: BufferId },
    /// Starts from a bias repeated over positions, or from zero.
    Begin { bias: Option<Constant>, to: BufferId },
    /// Adds a bias, repeated over positions.
    AddBias { bias: Constant, to: BufferId },
    /// Adds a matrix product.
    Matrix { weights: Weights, from: Source, to: BufferId },
    /// Adds a convolution.
    Convolve { weights: Weights, shape: Convolution, from: Source, to: BufferId },
    /// Multiplies sums by their factor and adds them.
    Finish { factor: Factor, from: BufferId, to: BufferId },
    /// Adds `A m` of Legendre memories for states that spike: `a` lies column after column.
    LegendreStates { a: Constant, order: usize, from: Source, to: BufferId },
    /// Adds `B u`.
    LegendreInputs { b: Constant, from: Source, to: BufferId },
    /// Adds values, of integers shifted to the left by `shift` (or right if negative, rounding).
    Add { from: Source, shift: i32, to: BufferId },
    /// 1 at every event, 0 elsewhere.
    Densify { from: BufferId, to: BufferId },
    /// Lists what is not zero.
    List { from: BufferId, to: BufferId },
    /// Pools; a mean is the sum times `factor`.
    Pool {
        pooling: Pooling,
        window: Window,
        channels: usize,
        factor: Option<Factor>,
        from: BufferId,
        to: BufferId,
    },
    /// Multiplies channels and adds to them.
    Scale { factor: Factor, offset: Option<Constant>, from: BufferId, to: BufferId },
    /// Applies a function; tanh and sigmoid of integers with a [`fixed::table`].
    Apply { function: Function, from: BufferId, to: BufferId },
    /// Advances neurons that spike.
    Fire { population: Population, current: BufferId, to: BufferId },
    /// Advances leaky integrators.
    Integrate { population: Population, current: BufferId, to: BufferId },
    /// Advances the units of an EGRU; `gates` are what the input and the events add to `z`, `r`, `g`.
    Egru { units: Units, gates: [BufferId; 2], to: BufferId },
    /// Reduces over time.
    Reduce { readout: Readout, from: Source, sum: BufferId, to: BufferId },
    /// Copies at the end of the step.
    Keep { from: BufferId, to: BufferId },
}

impl Constant {
    /// How many values there are; of 4-bit integers, bytes.
    pub fn len(&self) -> usize {
        match self {
            Constant::F32(values) => values.len(),
            Constant::I8(values) => values.len(),
            Constant::I4(values) => values.len(),
            Constant::I32(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of storage.
    pub fn bytes(&self) -> usize {
        match self {
            Constant::F32(_) | Constant::I32(_) => 4 * self.len(),
            Constant::I8(_) | Constant::I4(_) => self.len(),
        }
    }

    /// 32-bit integers; empty if these are others.
    pub fn integers(&self) -> &[i32] {
        match self {
            Constant::I32(values) => values,
            _ => &[],
        }
    }
}

impl Program {
    /// The steps of a graph.
    ///
    /// # Errors
    /// A graph that is not valid, and operations that small devices are not given, by node.
    pub fn new(graph: &Graph) -> Result<Self, GraphError> {
        lower::lower(graph)
    }
}

impl Step {
    /// Bytes of the constants it uses.
    pub fn constant_bytes(&self) -> usize {
        match self {
            Step::Begin { bias, .. } => bias.as_ref().map_or(0, Constant::bytes),
            Step::AddBias { bias, .. } => bias.bytes(),
            Step::Matrix { weights, .. } | Step::Convolve { weights, .. } => weights.values.bytes(),
            Step::Finish { factor, .. } => factor.values.bytes(),
            Step::LegendreStates { a, .. } => a.bytes(),
            Step::LegendreInputs { b, .. } => b.bytes(),
            Step::Pool { factor, .. } => factor.as_ref().map_or(0, |f| f.values.bytes()),
            Step::Scale { factor, offset, .. } => {
                factor.values.bytes() + offset.as_ref().map_or(0, Constant::bytes)
            }
            Step::Fire { population: p, .. } | Step::Integrate { population: p, .. } => {
                [&p.threshold, &p.beta, &p.drive, &p.second_decay, &p.gain]
                    .map(Constant::bytes)
                    .iter()
                    .sum()
            }
            Step::Egru { units, .. } => units.threshold.bytes(),
            _ => 0,
        }
    }

    /// Calls `visit` for every buffer of the step.
    pub fn for_each_buffer(&self, mut visit: impl FnMut(BufferId)) {
        let source = |source: &Source| match source {
            Source::Events(buffer) | Source::Values(buffer) => *buffer,
        };
        match self {
            Step::Load { to, .. }
            | Step::LoadEvents { to, .. }
            | Step::Begin { to, .. }
            | Step::AddBias { to, .. } => visit(*to),
            Step::Matrix { from, to, .. }
            | Step::Convolve { from, to, .. }
            | Step::LegendreStates { from, to, .. }
            | Step::LegendreInputs { from, to, .. }
            | Step::Add { from, to, .. } => {
                visit(source(from));
                visit(*to);
            }
            Step::Finish { from, to, .. }
            | Step::Densify { from, to }
            | Step::List { from, to }
            | Step::Pool { from, to, .. }
            | Step::Scale { from, to, .. }
            | Step::Apply { from, to, .. }
            | Step::Keep { from, to } => {
                visit(*from);
                visit(*to);
            }
            Step::Fire { population, current, to }
            | Step::Integrate { population, current, to } => {
                [*current, *to, population.v].into_iter().chain(population.second).for_each(visit);
            }
            Step::Egru { units, gates, to } => {
                gates.iter().chain([&units.h, to]).copied().for_each(visit);
            }
            Step::Reduce { from, sum, to, .. } => {
                [source(from), *sum, *to].into_iter().for_each(visit);
            }
        }
    }
}
