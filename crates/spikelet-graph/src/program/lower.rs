//! From a graph to the steps of a program.

use super::{
    BufferId, Constant, Content, Convolution, Factor, Program, Source, Step, Weights, Window,
    bounds::{Formats, formats, unsupported},
    fixed,
    values::{Value, ValueId, passes_on},
};
use crate::{
    error::GraphError,
    graph::{Graph, Node},
    int4,
    op::{Layout, Op, Pooling, Readout, Signal, Weight},
    tensor::{Tensor, Values},
    topology::Topology,
};
use alloc::{collections::BTreeMap, format, vec, vec::Vec};

pub(super) struct Lower<'a> {
    pub(super) graph: &'a Graph,
    pub(super) topology: &'a Topology,
    pub(super) signals: Vec<Signal>,
    /// Of an integer-only graph.
    pub(super) formats: Formats,
    /// When a node runs.
    pub(super) position: Vec<usize>,
    pub(super) program: Program,
    pub(super) values: Vec<Value>,
    /// The buffer a node writes.
    pub(super) own: Vec<Option<BufferId>>,
    /// What a node gave in this step, once it has run.
    pub(super) now: Vec<Option<ValueId>>,
    /// Earlier values, by node and delay.
    pub(super) delayed: BTreeMap<(usize, usize), ValueId>,
    /// Sums that have begun, by node and port.
    pub(super) sums: BTreeMap<(usize, usize), BufferId>,
}

pub(super) fn lower(graph: &Graph) -> Result<Program, GraphError> {
    let topology = graph.validate()?;
    let integer = graph.integer.is_some();
    let formats = if integer { formats(graph, &topology)? } else { Formats::default() };
    let mut lower = Lower {
        signals: graph.signals(&topology),
        formats,
        position: vec![0; graph.nodes.len()],
        program: Program {
            integer,
            inputs: 0,
            buffers: Vec::new(),
            steps: Vec::new(),
            outputs: Vec::new(),
        },
        values: Vec::new(),
        own: vec![None; graph.nodes.len()],
        now: vec![None; graph.nodes.len()],
        delayed: BTreeMap::new(),
        sums: BTreeMap::new(),
        graph,
        topology: &topology,
    };
    for (position, node) in topology.order.iter().enumerate() {
        lower.position[*node] = position;
    }
    let copies = lower.place_delays();
    for &index in &topology.order {
        lower.node(index)?;
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        if let (Op::Output, Some(value)) = (&node.op, lower.now[index]) {
            let buffer = lower.dense(value);
            lower.program.outputs.push(buffer);
        }
    }
    for (index, chain) in copies {
        lower.keep(index, &chain);
    }
    Ok(lower.program)
}

impl Lower<'_> {
    fn node(&mut self, index: usize) -> Result<(), GraphError> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        match &node.op {
            Op::Input { signal } => {
                let start = self.program.inputs;
                self.program.inputs += node.len();
                if *signal == Signal::Binary {
                    let to = self.own(index, Content::Events, 0, false);
                    self.push(Step::LoadEvents { start, to });
                } else {
                    let to = self.own_values(index, graph.input_fraction(node), false);
                    self.push(Step::Load { start, to });
                }
            }
            Op::Linear { weight, bias } => self.product(index, weight, bias.as_deref())?,
            Op::Conv2d { weight, bias, .. } => self.product(index, weight, bias.as_deref())?,
            Op::Legendre { order, a, b, .. } => self.legendre(index, *order, a, b)?,
            Op::Pool2d { pooling, kernel, stride, padding } => {
                let source = self.source_shape(index);
                let window = Window {
                    input: [source[0], source[1]],
                    output: [node.shape[0], node.shape[1]],
                    kernel: *kernel,
                    stride: *stride,
                    padding: *padding,
                    dilation: [1, 1],
                };
                self.pool(index, *pooling, window)?;
            }
            Op::AdaptivePool2d { size } => {
                let source = self.source_shape(index);
                let input = [source[0], source[1]];
                if (0..2).any(|axis| !input[axis].is_multiple_of(size[axis])) {
                    let problem = "its windows differ in size: only equal ones are there";
                    return Err(unsupported(node, problem));
                }
                let kernel = [input[0] / size[0], input[1] / size[1]];
                let window = Window {
                    input,
                    output: *size,
                    kernel,
                    stride: kernel,
                    padding: [0, 0],
                    dilation: [1, 1],
                };
                self.pool(index, Pooling::Average, window)?;
            }
            op if passes_on(op) => {
                let value = self.port(index, 0);
                self.now[index] = Some(value);
            }
            Op::Scale { factor, shift } => {
                let value = self.port(index, 0);
                let from = self.dense(value);
                let fraction = self.format(index);
                let to = self.own_values(index, fraction, false);
                let factors = graph.tensor(&node.name, factor)?.to_f32();
                let factor = self.factor(node, &factors, from, to)?;
                let offset = shift.as_deref().map(|name| self.vector(node, name, to));
                let offset = offset.transpose()?;
                self.push(Step::Scale { factor, offset, from, to });
            }
            Op::Activation { function } => self.activation(index, *function)?,
            Op::Neuron(neuron) => self.neuron(index, neuron)?,
            Op::Egru { .. } => self.egru(index)?,
            Op::Readout { readout } => self.readout(index, *readout),
            _ => {
                let problem = "programs for small devices do not have this operation yet";
                return Err(unsupported(node, problem));
            }
        }
        Ok(())
    }

    /// The fraction bits of a node's output.
    pub(super) fn format(&self, index: usize) -> u32 {
        self.formats.output.get(index).copied().unwrap_or(0)
    }

    // Products.

    fn product(
        &mut self,
        index: usize,
        weight: &Weight,
        bias: Option<&str>,
    ) -> Result<(), GraphError> {
        let value = self.port(index, 0);
        let shape = self.convolution(index, weight);
        let to = match self.only_sum(index) {
            Some((target, port)) => self.sum(target, port),
            None => (self.own_values(index, self.format(index), false), false),
        };
        self.multiply((index, 0), weight, bias, value, shape, to)
    }

    /// Adds the product with what arrives at a port (and a bias) to a buffer, which may have begun.
    pub(super) fn multiply(
        &mut self,
        (index, port): (usize, usize),
        weight: &Weight,
        bias: Option<&str>,
        value: ValueId,
        shape: Option<Convolution>,
        (to, begun): (BufferId, bool),
    ) -> Result<(), GraphError> {
        let (graph, node) = (self.graph, &self.graph.nodes[index]);
        let input = self.values[value];
        let (weights, scale) = self.weights(node, weight, &input, shape.is_some())?;
        let from = match (input.binary, self.program.integer) {
            (true, _) => Source::Events(self.events(value)),
            (false, _) => Source::Values(self.dense(value)),
        };
        let constant = bias.map(|name| self.vector(node, name, to)).transpose()?;
        match (constant, begun) {
            (Some(bias), true) => self.push(Step::AddBias { bias, to }),
            (bias, false) => self.push(Step::Begin { bias, to }),
            (None, true) => {}
        }
        let Some(scale) = scale else {
            self.push(step(weights, shape, from, to));
            return Ok(());
        };
        let fraction = match from {
            Source::Events(_) => 0,
            Source::Values(buffer) => self.program.buffers[buffer].fraction,
        };
        if self.program.integer {
            self.formats.check(graph, (index, port), weight, fraction)?;
        } else if !matches!(from, Source::Events(_)) {
            let problem = "integer weights on values that are no spikes need an integer-only graph";
            return Err(unsupported(node, problem));
        }
        let name = format!("{} sums", node.name);
        let sums = self.buffer(&name, Content::Sums, self.len(to), false, fraction);
        self.push(Step::Begin { bias: None, to: sums });
        self.push(step(weights, shape, from, sums));
        let factor = self.factor(node, &scale, sums, to)?;
        self.push(Step::Finish { factor, from: sums, to });
        Ok(())
    }

    /// The weights in the form in which they are stored, and the scales of integer ones. Events
    /// (and all integer products) add rows by input: weights that lie by output are turned round.
    fn weights(
        &self,
        node: &Node,
        weight: &Weight,
        input: &Value,
        convolution: bool,
    ) -> Result<(Weights, Option<Vec<f32>>), GraphError> {
        let stored = self.graph.tensor(&node.name, &weight.tensor)?;
        let by_input = self.program.integer || !input.dense || weight.layout == Layout::ByInput;
        let turn = by_input && weight.layout == Layout::ByOutput;
        let turned = turn.then(|| {
            let axes: Vec<usize> = (1..stored.shape.len()).chain([0]).collect();
            stored.permuted(&axes)
        });
        let tensor = turned.as_ref().and_then(Option::as_ref).unwrap_or(stored);
        let layout = if by_input { Layout::ByInput } else { Layout::ByOutput };
        if convolution && !by_input && tensor.shape.len() > 2 {
            let problem = "a dense convolution needs an integer-only graph";
            return Err(unsupported(node, problem));
        }
        let outputs = tensor.output_channels(layout);
        let weights = Weights {
            name: weight.tensor.clone(),
            values: constant(tensor, convolution),
            layout,
            rows: tensor.len() / outputs.max(1),
            outputs,
        };
        let scale = match &weight.scale {
            Some(name) => Some(self.graph.tensor(&node.name, name)?),
            None => None,
        };
        if scale.is_some_and(|scale| scale.shape.len() == 2) {
            let problem = "its weights have a scale per group, and sums of integers need one per \
                           output: `spikelet compress --integer-only` makes them";
            return Err(unsupported(node, problem));
        }
        Ok((weights, scale.map(Tensor::to_f32)))
    }

    fn legendre(
        &mut self,
        index: usize,
        order: usize,
        a: &Weight,
        b: &Weight,
    ) -> Result<(), GraphError> {
        let (graph, node) = (self.graph, &self.graph.nodes[index]);
        let (u, m) = (self.port(index, 0), self.port(index, 1));
        let mut sources = Vec::new();
        for value in [m, u] {
            sources.push(match self.values[value].binary {
                true => Source::Events(self.events(value)),
                false if self.program.integer => {
                    let problem = "an integer-only Legendre memory needs spikes at both ports";
                    return Err(unsupported(node, problem));
                }
                false => Source::Values(self.dense(value)),
            });
        }
        let (to, begun) = match self.only_sum(index) {
            Some((target, port)) => self.sum(target, port),
            None => (self.own_values(index, self.format(index), false), false),
        };
        if !begun {
            self.push(Step::Begin { bias: None, to });
        }
        let (rows, b) = (graph.weight(&node.name, a)?, graph.weight(&node.name, b)?);
        let columns: Vec<f32> =
            (0..rows.len()).map(|k| rows[k % order * order + k / order]).collect();
        let [a, b] = [&columns, &b].map(|values| self.numbers(values, to));
        self.push(Step::LegendreStates { a, order, from: sources[0], to });
        self.push(Step::LegendreInputs { b, from: sources[1], to });
        Ok(())
    }

    /// The shape of a product that is a convolution; a matrix over several positions is one too.
    fn convolution(&self, index: usize, weight: &Weight) -> Option<Convolution> {
        let node = &self.graph.nodes[index];
        let source = self.source_shape(index);
        if let Op::Conv2d { stride, padding, dilation, groups, .. } = node.op {
            let shape = &self.graph.tensors[&weight.tensor].shape;
            let kernel = match weight.layout {
                Layout::ByInput => [shape[0], shape[1]],
                Layout::ByOutput => [shape[1], shape[2]],
            };
            let window = Window {
                input: [source[0], source[1]],
                output: [node.shape[0], node.shape[1]],
                kernel,
                stride,
                padding,
                dilation,
            };
            return Some(Convolution { window, inputs: source[2], outputs: node.shape[2], groups });
        }
        let outputs = node.shape.last().copied().unwrap_or(1);
        let positions = node.len() / outputs.max(1);
        let window = Window {
            input: [1, positions],
            output: [1, positions],
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
        };
        let inputs = source.last().copied().unwrap_or(1);
        (positions > 1).then_some(Convolution { window, inputs, outputs, groups: 1 })
    }

    fn source_shape(&self, index: usize) -> &[usize] {
        &self.graph.nodes[self.topology.sources[index][0].node].shape
    }

    // Constants.

    /// A vector in the numbers of a buffer.
    fn vector(&self, node: &Node, name: &str, to: BufferId) -> Result<Constant, GraphError> {
        Ok(self.numbers(&self.graph.tensor(&node.name, name)?.to_f32(), to))
    }

    pub(super) fn numbers(&self, values: &[f32], to: BufferId) -> Constant {
        match self.program.integer {
            true => fixed::integers(values, self.program.buffers[to].fraction),
            false => Constant::F32(values.to_vec()),
        }
    }

    /// Factors between two buffers.
    pub(super) fn factor(
        &self,
        node: &Node,
        factors: &[f32],
        from: BufferId,
        to: BufferId,
    ) -> Result<Factor, GraphError> {
        if !self.program.integer {
            return Ok(Factor { values: Constant::F32(factors.to_vec()), shift: 0 });
        }
        let fraction = |buffer: BufferId| self.program.buffers[buffer].fraction as i32;
        let unit = fixed::power(fraction(to) - fraction(from));
        let ratios: Vec<f64> = factors.iter().map(|factor| f64::from(*factor) * unit).collect();
        fixed::factor(&ratios).ok_or_else(|| unsupported(node, "a factor is over 2^29"))
    }

    // Pooling and reading out.

    fn pool(&mut self, index: usize, pooling: Pooling, window: Window) -> Result<(), GraphError> {
        let node = &self.graph.nodes[index];
        let value = self.port(index, 0);
        let from = self.dense(value);
        let fraction = match pooling {
            Pooling::Average => self.format(index),
            Pooling::Sum | Pooling::Max => self.program.buffers[from].fraction,
        };
        let to = self.own_values(index, fraction, false);
        let taps = (window.kernel[0] * window.kernel[1]) as f32;
        let factor = match pooling {
            Pooling::Average => Some(match self.program.integer {
                true => self.factor(node, &[1.0 / taps], from, to)?,
                false => Factor { values: Constant::F32(vec![taps]), shift: 0 },
            }),
            Pooling::Sum | Pooling::Max => None,
        };
        let channels = node.shape[2];
        self.push(Step::Pool { pooling, window, channels, factor, from, to });
        Ok(())
    }

    fn readout(&mut self, index: usize, readout: Readout) {
        let node = &self.graph.nodes[index];
        let value = self.port(index, 0);
        let from = self.native(value);
        let at = match from {
            Source::Events(_) => 0,
            Source::Values(buffer) => self.program.buffers[buffer].fraction,
        };
        let fraction = if readout == Readout::Mean { self.format(index) } else { at };
        let to = self.own_values(index, fraction, true);
        let sum = match readout {
            Readout::Mean => {
                let name = format!("{} sum", node.name);
                self.buffer(&name, Content::Values, node.len(), true, at)
            }
            _ => to,
        };
        self.push(Step::Reduce { readout, from, sum, to });
    }
}

fn step(weights: Weights, shape: Option<Convolution>, from: Source, to: BufferId) -> Step {
    match shape {
        Some(shape) => Step::Convolve { weights, shape, from, to },
        None => Step::Matrix { weights, from, to },
    }
}

/// Weights as they are stored; 4-bit kernels of convolutions become 8-bit ones, because their
/// groups may start within a byte.
fn constant(tensor: &Tensor, convolution: bool) -> Constant {
    match &tensor.values {
        Values::I8(values) => Constant::I8(values.to_vec()),
        Values::I4(values) if convolution => {
            Constant::I8(int4::unpack(values, tensor.shape.last().copied().unwrap_or(1)))
        }
        Values::I4(values) => Constant::I4(values.to_vec()),
        Values::F32(_) | Values::F16(_) | Values::I32(_) => Constant::F32(tensor.to_f32()),
    }
}
