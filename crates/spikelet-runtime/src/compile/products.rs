//! Products with weights: matrices, convolutions, Legendre memories, gates.

use super::{Compiler, Value, ValueId, channels};
use crate::{
    buffers::{Buffer, Content},
    error::Error,
    plan::{Input, Instruction, Legendre, Product, ProductKind},
    weights::Weights,
};
use spikelet_graph::{Layout, Link, Node, Op, Signal, Weight};
use spikelet_kernels::{conv::Conv, window::Window};

impl<'a> Compiler<'a> {
    /// A matrix product; over several positions it is a convolution with one tap.
    pub(super) fn linear(
        &mut self,
        node: &Node,
        weight: &'a Weight,
        x: ValueId,
    ) -> Result<Product, Error> {
        let positions = node.len() / channels(node);
        if positions == 1 {
            let weights = self.weights(node, weight, x, None)?;
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

    pub(super) fn convolution(&self, index: usize, weight: &Weight) -> Conv {
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

    pub(super) fn convolve(
        &mut self,
        node: &Node,
        weight: &'a Weight,
        shape: Conv,
        x: ValueId,
    ) -> Result<Product, Error> {
        let weights = self.weights(node, weight, x, Some(shape))?;
        self.plan.weights[weights].pack(&shape, self.values[x].signal);
        self.plan.convolutions.push(shape);
        let kind = ProductKind::Convolution(weights, self.plan.convolutions.len() - 1);
        let input = if self.plan.weights[weights].wants_values() {
            Input::Dense(self.dense(x))
        } else if self.plan.weights[weights].layout == Layout::ByInput
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

    pub(super) fn legendre(
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
    pub(super) fn multiply(
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
        if let [product @ Product { kind: ProductKind::Convolution(weights, _), .. }] = products
            && self.plan.weights[*weights].is_packed()
        {
            self.products.push(*product);
            self.push(Instruction::Convolve { product: *product, bias, add: begun, to });
            return Ok(sum.map(|_| bias));
        }
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
    pub(super) fn only_sum(&self, index: usize) -> Option<(usize, usize)> {
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

    /// The gates of a recurrent cell with what the input adds.
    pub(super) fn gates(
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
        let weights = self.weights(node, weight, x, None)?;
        let input = self.input_of(x, weights);
        self.product(Product { kind: ProductKind::Matrix(weights), input }, to, len);
        Ok(to)
    }

    /// Adds what the hidden state of the last step adds to the gates.
    pub(super) fn add_recurrent(
        &mut self,
        node: &Node,
        weight: &'a Weight,
        hidden: Buffer,
        to: Buffer,
    ) -> Result<(), Error> {
        let (signal, len) = (Signal::Dense, node.len());
        let before = self.add_value(Value { signal, len, dense: Some(hidden), events: None });
        let weights = self.weights(node, weight, before, None)?;
        let input = self.input_of(before, weights);
        let outputs = self.plan.weights[weights].outputs;
        self.product(Product { kind: ProductKind::Matrix(weights), input }, to, outputs);
        Ok(())
    }

    pub(super) fn product(&mut self, product: Product, to: Buffer, len: usize) {
        let weights = match product.kind {
            ProductKind::Matrix(weights) | ProductKind::Convolution(weights, _) => Some(weights),
            ProductKind::LegendreStates(_) | ProductKind::LegendreInputs(_) => None,
        };
        if weights.is_some_and(|weights| self.plan.weights[weights].sums_first()) {
            self.plan.longest_sum = self.plan.longest_sum.max(len);
        }
        self.products.push(product);
        self.push(Instruction::Multiply { product, to });
    }

    pub(super) fn weights(
        &mut self,
        node: &Node,
        weight: &'a Weight,
        x: ValueId,
        shape: Option<Conv>,
    ) -> Result<usize, Error> {
        let signal = self.values[x].signal;
        let by_input = weight.layout == Layout::ByInput;
        let scale = weight.scale.as_deref();
        let key = (&*weight.tensor, scale, by_input, signal != Signal::Dense, shape);
        if let Some(weights) = self.loaded.get(&key) {
            return Ok(*weights);
        }
        let weights = Weights::load(self.graph, &node.name, weight, signal, shape.is_some())?;
        self.plan.weights.push(weights);
        self.loaded.insert(key, self.plan.weights.len() - 1);
        Ok(self.plan.weights.len() - 1)
    }

    /// The form in which weights want a value.
    pub(super) fn input_of(&mut self, value: ValueId, weights: usize) -> Input {
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

    pub(super) fn vector(&mut self, node: &Node, name: &str) -> Result<usize, Error> {
        self.plan.vectors.push(self.graph.tensor(&node.name, name)?.to_f32());
        Ok(self.plan.vectors.len() - 1)
    }
}
