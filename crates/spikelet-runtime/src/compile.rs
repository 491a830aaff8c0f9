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

use crate::{
    buffers::{Buffer, Content, Wishes},
    error::Error,
    plan::{
        Input, Instruction, Legendre, Mark, MarkOutput, NodeFacts, Parameter, Plan, Population,
        Product, ProductKind, Ring,
    },
    weights::Weights,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};
use spikelet_graph::{
    Graph, GraphError, Layout, Link, Membrane, Neuron, Node, Op, Param, Phase, Readout, Reset,
    Signal, Topology, Weight,
};
use spikelet_kernels::{
    conv::Conv,
    neuron::{self, Model, NeuronSpec},
    window::Window,
};

/// Compiles a graph.
pub(crate) fn compile(graph: &Graph) -> Result<Plan, Error> {
    let topology = graph.validate()?;
    let counts = graph.counts()?;
    let mut compiler = Compiler {
        signals: graph.signals(&topology),
        position: vec![0; graph.nodes.len()],
        now: vec![None; graph.nodes.len()],
        graph,
        topology: &topology,
        plan: Plan { name: graph.name.clone(), ..Plan::default() },
        wishes: Wishes::default(),
        values: Vec::new(),
        delayed: BTreeMap::new(),
        sums: BTreeMap::new(),
        loaded: BTreeMap::new(),
        products: Vec::new(),
    };
    for (position, node) in topology.order.iter().enumerate() {
        compiler.position[*node] = position;
    }
    for (node, counts) in graph.nodes.iter().zip(counts.nodes) {
        compiler.plan.nodes.push(NodeFacts {
            name: node.name.clone(),
            shape: node.shape.clone(),
            len: node.len(),
            counts,
            potential: None,
        });
    }
    compiler.run()?;
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

/// Tensor, scales, whether it lies by input, whether events come in, whether for a convolution.
type WeightsKey<'a> = (&'a str, Option<&'a str>, bool, bool, bool);

struct Compiler<'a> {
    graph: &'a Graph,
    topology: &'a Topology,
    signals: Vec<Signal>,
    /// When a node runs.
    position: Vec<usize>,
    plan: Plan,
    wishes: Wishes,
    values: Vec<Value>,
    /// What a node gave in this step, once it has run (or kept from the last one, see `latched`).
    now: Vec<Option<ValueId>>,
    /// Earlier values, by node and delay.
    delayed: BTreeMap<(usize, usize), ValueId>,
    /// Sums that have begun, by node and port.
    sums: BTreeMap<(usize, usize), Buffer>,
    /// Weights that several nodes may share.
    loaded: BTreeMap<WeightsKey<'a>, usize>,
    /// Products of the node that is being compiled.
    products: Vec<Product>,
}

impl<'a> Compiler<'a> {
    fn run(&mut self) -> Result<(), Error> {
        let rings = self.place_delays();
        let (step, sequence): (Vec<usize>, Vec<usize>) = self
            .topology
            .order
            .iter()
            .partition(|node| self.graph.nodes[**node].phase == Phase::Step);
        for index in step {
            self.node(index)?;
        }
        for (node, ring) in rings {
            self.remember(node, ring);
        }
        self.plan.sequence = self.plan.instructions.len();
        for index in sequence {
            let node = &self.graph.nodes[index];
            let has_state =
                matches!(node.op, Op::Readout { .. } | Op::Neuron(_)) || keeps_state(&node.op);
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
        self.plan.places = core::mem::take(&mut self.wishes).place();
        Ok(())
    }

    // Delays.

    /// Gives every delayed value a buffer; returns the rings to be written, by node.
    fn place_delays(&mut self) -> Vec<(usize, usize)> {
        let mut rings = Vec::new();
        for node in 0..self.graph.nodes.len() {
            let delays: BTreeSet<usize> = self.topology.targets[node]
                .iter()
                .map(|link| link.delay)
                .filter(|delay| *delay > 0)
                .collect();
            let Some(&depth) = delays.last() else { continue };
            if self.latched(node) {
                let value = self.own_value(node, true);
                self.delayed.insert((node, 1), value);
                // A second value over the same buffer: conversions differ before and after.
                let value = self.values[value];
                self.now[node] = Some(self.add_value(value));
                continue;
            }
            let (signal, len) = (self.signals[node], self.graph.nodes[node].len());
            let spikes = signal == Signal::Binary;
            let width = if spikes { len.div_ceil(32) } else { len };
            let content = if spikes { Content::Bits } else { Content::Values };
            let buffer = self.wishes.add(content, depth * width, true);
            let ring = self.plan.rings.len();
            self.plan.rings.push(Ring { buffer, depth, width, spikes, neurons: len });
            rings.push((node, ring));
            for delay in delays {
                let content = if spikes { Content::Events } else { Content::Values };
                let to = self.wishes.add(content, len, false);
                let (dense, events) = if spikes { (None, Some(to)) } else { (Some(to), None) };
                let value = self.add_value(Value { signal, len, dense, events });
                self.delayed.insert((node, delay), value);
                self.push(Instruction::Recall { ring, delay, to });
            }
        }
        rings
    }

    /// Whether a value can stay where it is until the next step.
    fn latched(&self, node: usize) -> bool {
        !passes_on(&self.graph.nodes[node].op)
            && self.topology.targets[node].iter().filter(|link| link.delay > 0).all(|link| {
                link.delay == 1
                    && link.node != node
                    && self.position[link.node] < self.position[node]
                    && !passes_on(&self.graph.nodes[link.node].op)
            })
    }

    fn remember(&mut self, node: usize, ring: usize) {
        let Some(value) = self.now[node] else { return };
        let from = match self.plan.rings[ring].spikes {
            true => self.events(value),
            false => self.dense(value),
        };
        self.push(Instruction::Remember { ring, from });
    }

    // Nodes.

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

    /// A matrix product; over several positions it is a convolution with one tap.
    fn linear(&mut self, node: &Node, weight: &'a Weight, x: ValueId) -> Result<Product, Error> {
        let positions = node.len() / channels(node);
        if positions == 1 {
            let weights = self.weights(node, weight, x, false)?;
            let kind = ProductKind::Matrix(weights);
            return Ok(Product { kind, input: self.input_of(x, weights) });
        }
        let window = Window {
            input: [1, positions],
            output: [1, positions],
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
        };
        let (inputs, outputs) = (self.values[x].len / positions, channels(node));
        self.convolve(node, weight, Conv { window, inputs, outputs, groups: 1 }, x)
    }

    fn convolution(&self, index: usize, weight: &Weight) -> Conv {
        let node = &self.graph.nodes[index];
        let Op::Conv2d { stride, padding, dilation, groups, .. } = node.op else {
            unreachable!("only called for convolutions")
        };
        let source = self.source_shape(index);
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
        Conv { window, inputs: source[2], outputs: node.shape[2], groups }
    }

    fn convolve(
        &mut self,
        node: &Node,
        weight: &'a Weight,
        shape: Conv,
        x: ValueId,
    ) -> Result<Product, Error> {
        let weights = self.weights(node, weight, x, true)?;
        self.plan.convolutions.push(shape);
        let kind = ProductKind::Convolution(weights, self.plan.convolutions.len() - 1);
        let input = if self.plan.weights[weights].layout == Layout::ByInput
            && self.values[x].signal == Signal::Dense
        {
            // By input there is only the event-driven form.
            let dense = self.dense(x);
            Input::Graded(self.events(x), dense)
        } else {
            self.input_of(x, weights)
        };
        Ok(Product { kind, input })
    }

    fn legendre(
        &mut self,
        node: &Node,
        a: &Weight,
        b: &Weight,
        u: ValueId,
        m: ValueId,
    ) -> Result<[Product; 2], Error> {
        let (rows, b) = (self.graph.weight(&node.name, a)?, self.graph.weight(&node.name, b)?);
        let order = b.len();
        let a = (0..rows.len()).map(|k| rows[k % order * order + k / order]).collect();
        self.plan.legendres.push(Legendre { a, b });
        let memory = self.plan.legendres.len() - 1;
        let mut input = |value: ValueId| match self.values[value].signal {
            Signal::Binary => Input::Spikes(self.events(value)),
            Signal::Graded | Signal::Dense => Input::Dense(self.dense(value)),
        };
        let states = Product { kind: ProductKind::LegendreStates(memory), input: input(m) };
        let inputs = Product { kind: ProductKind::LegendreInputs(memory), input: input(u) };
        Ok([states, inputs])
    }

    /// Adds products and a bias to the output of a node, which may be a sum. Then it returns the
    /// bias.
    #[allow(clippy::option_option, reason = "the outer one says whether the node is summed")]
    fn multiply(
        &mut self,
        index: usize,
        bias: Option<&str>,
        products: &[Product],
    ) -> Result<Option<Option<usize>>, Error> {
        let node = &self.graph.nodes[index];
        let bias = bias.map(|name| self.vector(node, name)).transpose()?;
        let sum = self.only_sum(index);
        let (to, begun) = match sum {
            Some((target, port)) => self.sum(target, port),
            None => (self.own_dense(index), false),
        };
        match (bias, begun) {
            (Some(bias), false) => self.push(Instruction::SetBias { bias, to }),
            (Some(bias), true) => self.push(Instruction::AddBias { bias, to }),
            (None, false) => self.push(Instruction::Clear { to }),
            (None, true) => {}
        }
        for product in products {
            self.product(*product, to, node.len());
        }
        Ok(sum.map(|_| bias))
    }

    /// The sum a node adds to directly: when several edges add up at its only target.
    fn only_sum(&self, index: usize) -> Option<(usize, usize)> {
        let &[Link { node, port, delay: 0 }] = self.topology.targets[index].as_slice() else {
            return None;
        };
        let multiplies = matches!(
            self.graph.nodes[index].op,
            Op::Linear { .. } | Op::Conv2d { .. } | Op::Legendre { .. }
        );
        let addends = self.topology.sources[node].iter().filter(|link| link.port == port).count();
        let same_phase = self.graph.nodes[node].phase == self.graph.nodes[index].phase;
        (multiplies && addends > 1 && same_phase).then_some((node, port))
    }

    fn neuron(&mut self, index: usize, neuron: &Neuron, value: ValueId) -> Result<Buffer, Error> {
        let node = &self.graph.nodes[index];
        let current = self.dense(value);
        let zero = Parameter::Shared(0.0);
        let param = |param: &Param| -> Result<Parameter, GraphError> {
            Ok(match param {
                Param::Shared(value) => Parameter::Shared(*value),
                Param::Tensor(_) => Parameter::PerNeuron(self.graph.param(&node.name, param)?),
            })
        };
        let (model, beta, second_decay, gain) = match &neuron.membrane {
            Membrane::If => (Model::If, zero.clone(), zero.clone(), zero),
            Membrane::Lif { beta, input_decay } => {
                let model = Model::Lif { input_decay: *input_decay };
                (model, param(beta)?, zero.clone(), zero)
            }
            Membrane::CubaLif { alpha, beta } => {
                (Model::CubaLif, param(beta)?, param(alpha)?, zero)
            }
            Membrane::AdaptiveLif { beta, rho, gain } => {
                (Model::AdaptiveLif, param(beta)?, param(rho)?, param(gain)?)
            }
            Membrane::Li { beta } => (Model::Li, param(beta)?, zero.clone(), zero),
        };
        let threshold = param(&neuron.threshold)?;
        let reset = match neuron.reset {
            Reset::None => neuron::Reset::None,
            Reset::Subtract => neuron::Reset::Subtract,
            Reset::Zero => neuron::Reset::Zero,
        };
        let spec = NeuronSpec {
            model,
            reset,
            reset_delayed: neuron.reset_delayed,
            fires_at_threshold: neuron.fires_at_threshold,
        };
        let v = self.wishes.add(Content::Values, node.len(), true);
        let second = spec.has_second().then(|| self.wishes.add(Content::Values, node.len(), true));
        self.plan.nodes[index].potential = Some(v);
        let population = Population { spec, threshold, beta, second_decay, gain, v, second };
        self.plan.neurons.push(population);
        let neuron = self.plan.neurons.len() - 1;
        let value = self.own(index);
        if model == Model::Li {
            let to = self.dense(value);
            self.push(Instruction::Integrate { neuron, current, to });
        } else {
            let to = self.events(value);
            self.push(Instruction::Fire { neuron, current, to });
        }
        Ok(current)
    }

    /// The gates of a recurrent cell with what the input adds.
    fn gates(
        &mut self,
        node: &Node,
        bias: &str,
        weight: &'a Weight,
        x: ValueId,
    ) -> Result<Buffer, Error> {
        let bias = self.vector(node, bias)?;
        let len = self.plan.vectors[bias].len();
        let to = self.wishes.add(Content::Values, len, false);
        self.push(Instruction::SetBias { bias, to });
        let weights = self.weights(node, weight, x, false)?;
        let input = self.input_of(x, weights);
        self.product(Product { kind: ProductKind::Matrix(weights), input }, to, len);
        Ok(to)
    }

    /// Adds what the hidden state of the last step adds to the gates.
    fn add_recurrent(
        &mut self,
        node: &Node,
        weight: &'a Weight,
        hidden: Buffer,
        to: Buffer,
    ) -> Result<(), Error> {
        let (signal, len) = (Signal::Dense, node.len());
        let before = self.add_value(Value { signal, len, dense: Some(hidden), events: None });
        let weights = self.weights(node, weight, before, false)?;
        let input = self.input_of(before, weights);
        let outputs = self.plan.weights[weights].outputs;
        self.product(Product { kind: ProductKind::Matrix(weights), input }, to, outputs);
        Ok(())
    }

    fn product(&mut self, product: Product, to: Buffer, len: usize) {
        let weights = match product.kind {
            ProductKind::Matrix(weights) | ProductKind::Convolution(weights, _) => Some(weights),
            ProductKind::LegendreStates(_) | ProductKind::LegendreInputs(_) => None,
        };
        if weights.is_some_and(|weights| self.plan.weights[weights].is_integer()) {
            self.plan.longest_sum = self.plan.longest_sum.max(len);
        }
        self.products.push(product);
        self.push(Instruction::Multiply { product, to });
    }

    // Weights and constants.

    fn weights(
        &mut self,
        node: &Node,
        weight: &'a Weight,
        x: ValueId,
        convolution: bool,
    ) -> Result<usize, Error> {
        let signal = self.values[x].signal;
        let by_input = weight.layout == Layout::ByInput;
        let scale = weight.scale.as_deref();
        let key = (&*weight.tensor, scale, by_input, signal != Signal::Dense, convolution);
        if let Some(weights) = self.loaded.get(&key) {
            return Ok(*weights);
        }
        let weights = Weights::load(self.graph, &node.name, weight, signal, convolution)?;
        self.plan.weights.push(weights);
        self.loaded.insert(key, self.plan.weights.len() - 1);
        Ok(self.plan.weights.len() - 1)
    }

    /// The form in which weights want a value.
    fn input_of(&mut self, value: ValueId, weights: usize) -> Input {
        match self.values[value].signal {
            Signal::Binary => Input::Spikes(self.events(value)),
            Signal::Dense if !self.plan.weights[weights].wants_events() => {
                Input::Dense(self.dense(value))
            }
            Signal::Graded | Signal::Dense => {
                let dense = self.dense(value);
                Input::Graded(self.events(value), dense)
            }
        }
    }

    fn vector(&mut self, node: &Node, name: &str) -> Result<usize, Error> {
        self.plan.vectors.push(self.graph.tensor(&node.name, name)?.to_f32());
        Ok(self.plan.vectors.len() - 1)
    }

    // Values.

    fn add_value(&mut self, value: Value) -> ValueId {
        self.values.push(value);
        self.values.len() - 1
    }

    /// The value a node gives, in the form in which its instruction writes it.
    fn own(&mut self, index: usize) -> ValueId {
        match self.now[index] {
            Some(value) => value,
            None => {
                let keep = keeps_state(&self.graph.nodes[index].op);
                let value = self.own_value(index, keep);
                self.now[index] = Some(value);
                value
            }
        }
    }

    fn own_value(&mut self, index: usize, keep: bool) -> ValueId {
        let node = &self.graph.nodes[index];
        let (signal, len) = (self.signals[index], node.len());
        let as_events = match &node.op {
            Op::Input { signal } => *signal == Signal::Binary,
            Op::Neuron(neuron) => !matches!(neuron.membrane, Membrane::Li { .. }),
            _ => false,
        };
        let content = if as_events { Content::Events } else { Content::Values };
        let buffer = self.wishes.add(content, len, keep);
        let (dense, events) = if as_events { (None, Some(buffer)) } else { (Some(buffer), None) };
        self.add_value(Value { signal, len, dense, events })
    }

    fn own_dense(&mut self, index: usize) -> Buffer {
        let value = self.own(index);
        self.dense(value)
    }

    /// Everything that arrives at a port.
    fn port(&mut self, index: usize, port: usize) -> ValueId {
        let links: Vec<Link> =
            self.topology.sources[index].iter().filter(|link| link.port == port).copied().collect();
        if let [link] = links.as_slice() {
            return self.source(*link);
        }
        let (to, begun) = self.sum(index, port);
        if !begun {
            self.push(Instruction::Clear { to });
        }
        for link in &links {
            if link.delay == 0 && self.only_sum(link.node) == Some((index, port)) {
                continue; // It has added itself.
            }
            let value = self.source(*link);
            let from = self.native(value);
            self.push(Instruction::Add { from, to });
        }
        let len = self.graph.nodes[links[0].node].len();
        self.add_value(Value { signal: Signal::Dense, len, dense: Some(to), events: None })
    }

    /// The buffer of a sum, and whether it has begun.
    fn sum(&mut self, index: usize, port: usize) -> (Buffer, bool) {
        if let Some(buffer) = self.sums.get(&(index, port)) {
            return (*buffer, true);
        }
        let source = self.topology.sources[index].iter().find(|link| link.port == port);
        let len = source.map_or(0, |link| self.graph.nodes[link.node].len());
        let buffer = self.wishes.add(Content::Values, len, false);
        self.sums.insert((index, port), buffer);
        (buffer, false)
    }

    fn source(&self, link: Link) -> ValueId {
        let value = match link.delay {
            0 => self.now[link.node],
            delay => self.delayed.get(&(link.node, delay)).copied(),
        };
        value.expect("sources run before their targets, delayed values have buffers")
    }

    /// A value in the form it has.
    fn native(&self, value: ValueId) -> Input {
        match self.values[value] {
            Value { events: Some(events), dense: None, .. } => Input::Spikes(events),
            Value { dense: Some(dense), .. } => Input::Dense(dense),
            Value { dense: None, events: None, .. } => unreachable!("values have a form"),
        }
    }

    fn dense(&mut self, value: ValueId) -> Buffer {
        let Value { dense, events, len, .. } = self.values[value];
        match (dense, events) {
            (None, Some(from)) => {
                let to = self.wishes.add(Content::Values, len, false);
                self.push(Instruction::Densify { from, to });
                self.values[value].dense = Some(to);
                to
            }
            (Some(dense), _) => dense,
            (None, None) => unreachable!("values have a form"),
        }
    }

    fn events(&mut self, value: ValueId) -> Buffer {
        let Value { dense, events, len, .. } = self.values[value];
        match (events, dense) {
            (None, Some(from)) => {
                let to = self.wishes.add(Content::Events, len, false);
                self.push(Instruction::List { from, to });
                self.values[value].events = Some(to);
                to
            }
            (Some(events), _) => events,
            (None, None) => unreachable!("values have a form"),
        }
    }

    // Instructions.

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
        let (first, second) = match input {
            Input::Spikes(buffer) | Input::Dense(buffer) => (buffer, None),
            Input::Graded(events, values) => (events, Some(values)),
        };
        self.wishes.touch(first, instruction);
        if let Some(second) = second {
            self.wishes.touch(second, instruction);
        }
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
