//! Compiling a graph into a plan.
//!
//! Every node leaves a [`Value`]: an event list, dense values, or both; a consumer that needs the
//! other form gets an instruction that makes it. Three shortcuts keep steps short:
//!
//! - A product whose only use is to be added up with others adds directly into their sum.
//! - A value that is read one step later, and only by nodes that run before its own, stays where
//!   it is. All other delayed values go through a ring of the last steps.
//! - What only passes values on (flatten, sums, outputs, the read-out `last`) has no instruction
//!   of its own.

mod attention;
mod delays;
mod egru;
mod neurons;
mod products;
mod still;
mod tokens;
mod values;

use crate::{
    block::{sections, side_by_side, steps_together},
    buffers::{Buffer, Content, Wishes},
    error::Error,
    integer::Integers,
    plan::{Input, Instruction, Mark, MarkOutput, NodeFacts, Plan, Product},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};
use spikelet_graph::{
    Graph, Membrane, Neuron, Node, Op, Phase, Program, Readout, Signal, Topology,
};
use spikelet_kernels::{conv::Conv, window::Window};

/// Compiles a graph; with `tables`, what embeddings add to the gates of a cell is worked out
/// beforehand.
pub(crate) fn compile(graph: &Graph, tables: bool) -> Result<Plan, Error> {
    let topology = graph.validate()?;
    let operations = graph.operations(&topology);
    let mut compiler = Compiler {
        signals: graph.signals(&topology),
        position: vec![0; graph.nodes.len()],
        now: vec![None; graph.nodes.len()],
        graph,
        topology: &topology,
        tables,
        plan: Plan { name: graph.name.clone(), ..Plan::default() },
        wishes: Wishes::default(),
        values: Vec::new(),
        delayed: BTreeMap::new(),
        recalls: BTreeMap::new(),
        remembers: BTreeMap::new(),
        sums: BTreeMap::new(),
        inputs: BTreeMap::new(),
        loaded: BTreeMap::new(),
        products: Vec::new(),
    };
    for (position, node) in topology.order.iter().enumerate() {
        compiler.position[*node] = position;
    }
    for (node, operations) in graph.nodes.iter().zip(operations) {
        compiler.plan.nodes.push(NodeFacts {
            name: node.name.clone(),
            shape: node.shape.clone(),
            len: node.len(),
            once: node.phase == Phase::Sequence,
            operations,
            row_bytes: 0,
            potential: None,
        });
    }
    if graph.integer.is_some() {
        compiler.integers()?;
    } else {
        compiler.run()?;
    }
    Ok(compiler.plan)
}

/// What a node (or a sum) gives in one step.
#[derive(Clone, Copy)]
struct Value {
    signal: Signal,
    len: usize,
    dense: Option<Buffer>,
    events: Option<Buffer>,
}

/// The place of a [`Value`] in [`Compiler::values`].
type ValueId = usize;

/// Tensor, scales, whether it lies by input, whether events come in, shape of a convolution.
type WeightsKey<'a> = (&'a str, Option<&'a str>, bool, bool, Option<Conv>);

struct Compiler<'a> {
    graph: &'a Graph,
    topology: &'a Topology,
    signals: Vec<Signal>,
    tables: bool,
    /// When a node runs.
    position: Vec<usize>,
    plan: Plan,
    wishes: Wishes,
    values: Vec<Value>,
    /// What a node gave in this step, once it has run (or kept from the last one, see `latched`).
    now: Vec<Option<ValueId>>,
    /// Earlier values, by node and delay.
    delayed: BTreeMap<(usize, usize), ValueId>,
    /// How those that lie in rings are read, until that is done.
    recalls: BTreeMap<(usize, usize), Instruction>,
    /// Rings to be written, by the node whose values they hold.
    remembers: BTreeMap<usize, usize>,
    /// Sums that have begun, by node and port.
    sums: BTreeMap<(usize, usize), Buffer>,
    /// Where the values of an input node begin.
    inputs: BTreeMap<usize, usize>,
    /// Weights that several nodes may share.
    loaded: BTreeMap<WeightsKey<'a>, usize>,
    /// Products of the node that is being compiled.
    products: Vec<Product>,
}

impl<'a> Compiler<'a> {
    fn run(&mut self) -> Result<(), Error> {
        self.place_delays();
        let (step, sequence): (Vec<usize>, Vec<usize>) = self
            .topology
            .order
            .iter()
            .partition(|node| self.graph.nodes[**node].phase == Phase::Step);
        let mut still = BTreeSet::new();
        let (mut all_still, mut still_end) = (true, 0);
        for index in step {
            all_still &= self.is_still(index, &still);
            self.recall(index);
            self.node(index)?;
            self.remember(index);
            if all_still {
                still.insert(index);
                still_end = self.plan.instructions.len();
            }
        }
        self.plan.sequence = self.plan.instructions.len();
        for index in sequence {
            let node = &self.graph.nodes[index];
            let has_state = match &node.op {
                Op::Neuron(neuron) => !self.forgets(node, neuron)?,
                Op::Wkv { .. } | Op::Egru { .. } => true,
                op => keeps_state(op),
            };
            if has_state {
                return Err(Error::StateInSequence { node: node.name.clone() });
            }
            self.node(index)?;
        }
        for index in 0..self.graph.nodes.len() {
            if let (Op::Output, Some(value)) = (&self.graph.nodes[index].op, self.now[index]) {
                let output = self.native(value);
                let end = self.plan.instructions.len();
                self.touch_input(output, end);
                self.plan.output_len += self.values[value].len;
                self.plan.outputs.push(output);
            }
        }
        self.keep_still(&still, still_end);
        self.plan.places = core::mem::take(&mut self.wishes).place();
        let result_only = self.after_state().max(self.plan.still);
        self.plan.sequence = self.plan.sequence.min(result_only);
        self.plan.sections = sections(&self.plan);
        self.plan.together = steps_together(&self.plan);
        self.plan.side_by_side = side_by_side(&self.plan);
        Ok(())
    }

    /// Whether a population is at rest again after every step: its potentials decay at once, and no
    /// reset waits for the next step.
    fn forgets(&self, node: &Node, neuron: &Neuron) -> Result<bool, Error> {
        let Membrane::Lif { beta, .. } = &neuron.membrane else { return Ok(false) };
        if neuron.reset_delayed {
            return Ok(false);
        }
        let decays = self.graph.param(&node.name, beta)?;
        Ok(decays.iter().all(|decay| *decay == 0.0))
    }

    /// The first instruction behind all that touch what survives a step.
    fn after_state(&self) -> usize {
        let touches = |instruction: &Instruction| {
            let mut found = false;
            instruction.for_each_buffer(&self.plan, |b| found |= self.plan.places.keeps(b));
            found
        };
        self.plan.instructions.iter().rposition(touches).map_or(0, |last| last + 1)
    }

    /// An integer-only graph is executed by its program.
    fn integers(&mut self) -> Result<(), Error> {
        for &index in &self.topology.order {
            let node = &self.graph.nodes[index];
            if let Op::Input { signal } = node.op {
                let from = self.plan.input_len;
                self.plan.input_len += node.len();
                if signal == Signal::Binary {
                    self.plan.spike_inputs.push((index, from..from + node.len()));
                }
            }
        }
        let integers = Integers::new(Program::new(self.graph)?);
        self.plan.output_len = integers.output_len();
        self.plan.integers = Some(integers);
        Ok(())
    }

    fn node(&mut self, index: usize) -> Result<(), Error> {
        let node = &self.graph.nodes[index];
        self.products.clear();
        let mut inputs = Vec::new();
        let mut current = None;
        let mut summed = None;
        match &node.op {
            Op::Input { signal } => self.input(index, *signal),
            Op::Linear { weight, bias } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                let product = self.linear(node, weight, value)?;
                summed = self.multiply(index, bias.as_deref(), &[product])?;
            }
            Op::Conv2d { weight, bias, .. } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                let shape = self.convolution(index, weight);
                let product = self.convolve(node, weight, shape, value)?;
                summed = self.multiply(index, bias.as_deref(), &[product])?;
            }
            Op::Legendre { a, b, .. } => {
                let (u, m) = (self.port(index, 0), self.port(index, 1));
                inputs.extend([self.native(u), self.native(m)]);
                let products = self.legendre(node, a, b, u, m)?;
                summed = self.multiply(index, None, &products)?;
            }
            Op::Pool2d { pooling, kernel, stride, padding } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                let source = self.source_shape(index);
                let window = Window {
                    input: [source[0], source[1]],
                    output: [node.shape[0], node.shape[1]],
                    kernel: *kernel,
                    stride: *stride,
                    padding: *padding,
                    dilation: [1, 1],
                };
                let (from, to) = (self.dense(value), self.own_dense(index));
                let (pooling, channels) = (*pooling, node.shape[2]);
                self.push(Instruction::Pool { pooling, window, channels, from, to });
            }
            Op::AdaptivePool2d { size } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                let source = self.source_shape(index);
                let (from, to) = (self.dense(value), self.own_dense(index));
                let (input, output, channels) = ([source[0], source[1]], *size, node.shape[2]);
                self.push(Instruction::AdaptivePool { input, output, channels, from, to });
            }
            Op::Interpolate2d { size } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                let source = self.source_shape(index);
                let (from, to) = (self.dense(value), self.own_dense(index));
                let (input, output, channels) = ([source[0], source[1]], *size, node.shape[2]);
                self.push(Instruction::Interpolate { input, output, channels, from, to });
            }
            Op::Flatten | Op::Add | Op::Output | Op::Readout { readout: Readout::Last } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                self.now[index] = Some(value);
            }
            Op::Concat => {
                let ports = self.topology.sources[index].last().map_or(0, |link| link.port + 1);
                let to = self.own_dense(index);
                let width = channels(node);
                let mut start = 0;
                for port in 0..ports {
                    let value = self.port(index, port);
                    inputs.push(self.native(value));
                    let from = self.dense(value);
                    let len = self.port_channels(index, port);
                    let (widths, starts) = ([len, width], [0, start]);
                    self.push(Instruction::CopyChannels { from, to, widths, starts, len });
                    start += len;
                }
            }
            Op::Slice { start, length } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                let (from, to) = (self.dense(value), self.own_dense(index));
                let widths = [self.port_channels(index, 0), *length];
                let (starts, len) = ([*start, 0], *length);
                self.push(Instruction::CopyChannels { from, to, widths, starts, len });
            }
            Op::Scale { factor, shift } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                let factor = self.vector(node, factor)?;
                let shift = shift.as_deref().map(|name| self.vector(node, name)).transpose()?;
                let (from, to) = (self.dense(value), self.own_dense(index));
                self.push(Instruction::Scale { factor, shift, from, to });
            }
            Op::Activation { function } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                let (from, to) = (self.dense(value), self.own_dense(index));
                self.push(Instruction::Apply { function: *function, from, to });
            }
            Op::Border { value } => {
                let source = self.port(index, 0);
                inputs.push(self.native(source));
                let value = self.vector(node, value)?;
                let width = self.source_shape(index)[1];
                let (from, to) = (self.dense(source), self.own_dense(index));
                self.push(Instruction::Frame { value, width, from, to });
            }
            Op::Attention { heads, scale } => inputs.extend(self.attention(index, *heads, *scale)),
            Op::Neuron(neuron) => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                current = Some(self.neuron(index, neuron, value)?);
            }
            Op::Lstm { weight_input, weight_hidden, bias } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                let hidden = self.own_dense(index);
                let gates = self.gates(node, bias, weight_input, value)?;
                self.add_recurrent(node, weight_hidden, hidden, gates)?;
                let cell = self.wishes.add(Content::Values, node.len(), true);
                self.push(Instruction::Lstm { gates, cell, hidden });
            }
            Op::Gru { weight_input, weight_hidden, bias_input, bias_hidden } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                let hidden = self.own_dense(index);
                let from_input = self.gates(node, bias_input, weight_input, value)?;
                let bias = self.vector(node, bias_hidden)?;
                let from_hidden = self.wishes.add(Content::Values, 3 * node.len(), false);
                self.push(Instruction::SetBias { bias, to: from_hidden });
                self.add_recurrent(node, weight_hidden, hidden, from_hidden)?;
                self.push(Instruction::Gru { from_input, from_hidden, hidden });
            }
            Op::Egru { .. } => inputs.extend(self.egru(index)?),
            Op::Embedding { weight } => inputs.push(self.embedding(index, weight)?),
            Op::LayerNorm { weight, bias } => {
                let value = self.port(index, 0);
                inputs.push(self.native(value));
                let (weight, bias) = (self.vector(node, weight)?, self.vector(node, bias)?);
                let (from, to) = (self.dense(value), self.own_dense(index));
                self.push(Instruction::Normalize { weight, bias, from, to });
            }
            Op::TokenShift { mix } => inputs.extend(self.token_shift(index, mix)?),
            Op::Wkv { decay, first } => inputs.extend(self.wkv(index, decay, first)?),
            Op::Multiply => inputs = self.product_of_ports(index),
            Op::Readout { readout } => {
                let value = self.port(index, 0);
                let from = self.native(value);
                inputs.push(from);
                let to = self.own_dense(index);
                let sum = match readout {
                    Readout::Mean => self.wishes.add(Content::Values, node.len(), true),
                    _ => to,
                };
                self.push(Instruction::Accumulate { readout: *readout, from, sum, to });
            }
        }
        self.mark(index, inputs, current, summed);
        Ok(())
    }

    fn input(&mut self, index: usize, signal: Signal) {
        let (from, len) = (self.plan.input_len, self.graph.nodes[index].len());
        self.plan.input_len += len;
        self.inputs.insert(index, from);
        let value = self.own(index);
        if signal == Signal::Binary {
            self.plan.spike_inputs.push((index, from..from + len));
            let to = self.events(value);
            self.push(Instruction::LoadSpikes { from, len, to });
        } else {
            let to = self.dense(value);
            self.push(Instruction::Load { from, to });
        }
    }

    fn push(&mut self, instruction: Instruction) {
        let index = self.plan.instructions.len();
        instruction.for_each_buffer(&self.plan, |buffer| self.wishes.touch(buffer, index));
        self.plan.instructions.push(instruction);
    }

    /// Lets observers see a node; what it read and wrote must last until then.
    fn mark(
        &mut self,
        index: usize,
        inputs: Vec<Input>,
        current: Option<Buffer>,
        summed: Option<Option<usize>>,
    ) {
        let after = self.plan.instructions.len().saturating_sub(1);
        let output = match (summed, self.now[index]) {
            (None, Some(value)) => MarkOutput::Own(self.native(value)),
            (bias, _) => MarkOutput::Summed { bias: bias.flatten() },
        };
        let products = core::mem::take(&mut self.products);
        let seen = inputs.iter().copied().chain(products.iter().map(|product| product.input));
        for input in seen.collect::<Vec<_>>() {
            self.touch_input(input, after);
        }
        if let MarkOutput::Own(input) = output {
            self.touch_input(input, after);
        }
        self.plan.marks.push(Mark { node: index, after, output, products, inputs, current });
    }

    fn touch_input(&mut self, input: Input, instruction: usize) {
        input.for_each_buffer(|buffer| self.wishes.touch(buffer, instruction));
    }

    // Shapes.

    fn source_shape(&self, index: usize) -> &'a [usize] {
        &self.graph.nodes[self.topology.sources[index][0].node].shape
    }

    fn port_channels(&self, index: usize, port: usize) -> usize {
        let source = self.topology.sources[index].iter().find(|link| link.port == port);
        source.map_or(0, |link| channels(&self.graph.nodes[link.node]))
    }
}

fn channels(node: &Node) -> usize {
    node.shape.last().copied().unwrap_or(1)
}

/// Whether the output of a node is its input.
fn passes_on(op: &Op) -> bool {
    matches!(op, Op::Flatten | Op::Add | Op::Output | Op::Readout { readout: Readout::Last })
}

/// Whether the output of a node must survive a step, because it is its state.
fn keeps_state(op: &Op) -> bool {
    match op {
        Op::Lstm { .. } | Op::Gru { .. } => true,
        Op::Readout { readout } => *readout != Readout::Last,
        _ => false,
    }
}
