//! Random graphs of the operations that language models and transformers of images have, and that
//! every operation of a graph maps and simulates.

use crate::support::check::{STEPS, check};
use crate::support::random::Random;
use proptest::prelude::*;
use spikelet_chip::{Chip, ChipError, Wishes, map};
use spikelet_graph::{
    Function, Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Pooling, Readout, Reset,
    Signal, Tensor, Weight,
};
use std::collections::BTreeSet;

/// A graph in the making: the node that comes next, and its shape.
struct Maker {
    random: Random,
    graph: GraphBuilder,
    last: String,
    shape: Vec<usize>,
    nodes: usize,
}

const TOKENS: usize = 9;

/// A random graph and its input.
fn graph(seed: u64) -> (Graph, Vec<f32>) {
    let mut random = Random::new(seed);
    let mut builder = GraphBuilder::new("every operation");
    let kind = random.below(3);
    let (shape, x) = match kind {
        0 => {
            builder.input("x", Signal::Dense, &[1]);
            (vec![1], (0..STEPS).map(|_| random.below(TOKENS) as f32).collect())
        }
        1 => {
            let shape = vec![2 + random.below(9)];
            builder.input("x", Signal::Graded, &shape);
            let x = (0..STEPS * shape[0]).map(|_| value(&mut random)).collect();
            (shape, x)
        }
        _ => {
            let shape = vec![2 + random.below(3), 2 + random.below(3), 2 + random.below(3)];
            builder.input("x", Signal::Binary, &shape);
            let len: usize = shape.iter().product();
            (shape, (0..STEPS * len).map(|_| f32::from(random.chance(40))).collect())
        }
    };
    let mut maker = Maker { random, graph: builder, last: "x".to_owned(), shape, nodes: 0 };
    if kind == 0 {
        let channels = 2 + maker.random.below(9);
        let table = maker.tensor(&[TOKENS, channels]);
        maker.graph.embedding("embedding", "x", table);
        (maker.last, maker.shape) = ("embedding".to_owned(), vec![channels]);
    }
    for _ in 0..1 + maker.random.below(5) {
        maker.add();
    }
    if maker.random.chance(50) {
        let readouts = [Readout::Sum, Readout::Mean, Readout::Last, Readout::Max];
        let readout = readouts[maker.random.below(4)];
        maker.graph.readout("readout", &maker.last, readout);
        maker.last = "readout".to_owned();
    }
    maker.graph.output("y", &maker.last);
    (maker.graph.finish().unwrap(), x)
}

/// From -1 to 1, 0 in two of five cases.
fn value(random: &mut Random) -> f32 {
    if random.chance(40) { 0.0 } else { random.below(2001) as f32 / 1000.0 - 1.0 }
}

fn lif(threshold: f32) -> Neuron {
    Neuron {
        membrane: Membrane::Lif { beta: Param::Shared(0.5), input_decay: false },
        threshold: Param::Shared(threshold),
        fires_at_threshold: false,
        reset: Reset::Subtract,
        reset_delayed: false,
    }
}

impl Maker {
    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let len = shape.iter().product();
        let values = (0..len).map(|_| value(&mut self.random)).collect();
        Tensor::f32(shape, values).unwrap()
    }

    /// A tensor of the graph.
    fn named(&mut self, name: &str, shape: &[usize]) -> String {
        let tensor = self.tensor(shape);
        self.graph.tensor(name, tensor)
    }

    fn name(&mut self, kind: &str) -> String {
        self.nodes += 1;
        format!("{kind}{}", self.nodes)
    }

    fn channels(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }

    fn add(&mut self) {
        let image = self.shape.len() == 3;
        match self.random.below(16) {
            0 => self.layer_norm(),
            1 => self.token_shift(),
            2 => self.gate(),
            3 => self.pointwise(),
            4 => self.linear(),
            5 => self.neurons(),
            6 => self.residual(),
            7 | 8 if image => self.attention(),
            9 if image => self.border(),
            10 if image => self.pool(),
            11 if image => self.flatten(),
            7 | 8 => self.cell("lstm", 4),
            9 => self.cell("gru", 3),
            10 | 11 => self.cell("egru", 3),
            12 if !image => self.wkv(),
            13 => self.slices(),
            14 if !image => self.memory(),
            _ => self.linear(),
        }
    }

    /// The node that comes next.
    fn put(&mut self, name: String, shape: Vec<usize>) {
        (self.last, self.shape) = (name, shape);
    }

    fn layer_norm(&mut self) {
        let (name, channels) = (self.name("norm"), self.channels());
        let (weight, bias) = (self.tensor(&[channels]), self.tensor(&[channels]));
        self.graph.layer_norm(&name, &self.last, weight, bias);
        self.put(name, self.shape.clone());
    }

    fn token_shift(&mut self) {
        let (name, channels) = (self.name("shift"), self.channels());
        let mix = self.tensor(&[channels]);
        self.graph.token_shift(&name, &self.last, mix);
        self.put(name, self.shape.clone());
    }

    /// What comes next times a sigmoid of it.
    fn gate(&mut self) {
        let (name, gated) = (self.name("gate"), self.name("gated"));
        self.graph.activation(&name, &self.last, Function::Sigmoid);
        self.graph.multiply(&gated, [&name, &self.last]);
        self.put(gated, self.shape.clone());
    }

    fn pointwise(&mut self) {
        let (name, channels) = (self.name("pointwise"), self.channels());
        let functions = [Function::Relu, Function::ReluSquared, Function::Tanh];
        let op = match self.random.below(4) {
            3 => {
                let factor = self.named(&format!("{name}.factor"), &[channels]);
                let shift = self.random.chance(50);
                let shift = shift.then(|| self.named(&format!("{name}.shift"), &[channels]));
                Op::Scale { factor, shift }
            }
            at => Op::Activation { function: functions[at] },
        };
        self.graph.node(&name, op);
        self.graph.edge(self.last.as_str(), &name, 0);
        self.put(name, self.shape.clone());
    }

    fn linear(&mut self) {
        let (name, channels) = (self.name("linear"), self.channels());
        let outputs = 2 + self.random.below(9);
        let weight = self.tensor(&[outputs, channels]);
        let layout = if self.random.chance(50) { Layout::ByInput } else { Layout::ByOutput };
        let bias = self.random.chance(50).then(|| self.tensor(&[outputs]));
        self.graph.linear(&name, self.last.as_str(), &weight, bias, layout);
        let outer = self.shape[..self.shape.len() - 1].to_vec();
        self.put(name, [outer, vec![outputs]].concat());
    }

    fn neurons(&mut self) {
        let name = self.name("neurons");
        self.graph.neuron(&name, &[&self.last], lif(0.4));
        self.put(name, self.shape.clone());
    }

    fn residual(&mut self) {
        let (name, channels) = (self.name("residual"), self.channels());
        let weight = self.tensor(&[channels, channels]);
        let branch = format!("{name}.branch");
        self.graph.linear(&branch, self.last.as_str(), &weight, None, Layout::ByInput);
        self.graph.node(&name, Op::Add);
        self.graph.edge(self.last.as_str(), &name, 0);
        self.graph.edge(branch.as_str(), &name, 0);
        self.put(name, self.shape.clone());
    }

    /// Queries, keys and values from convolutions of one tap, and what follows a sum of them.
    fn attention(&mut self) {
        let (name, channels) = (self.name("attention"), self.channels());
        let heads = if channels.is_multiple_of(2) && self.random.chance(60) { 2 } else { 1 };
        let parts = ["q", "k", "v"].map(|part| {
            let (conv, spikes) = (format!("{name}.{part}.conv"), format!("{name}.{part}"));
            let weight = self.tensor(&[channels, channels, 1, 1]);
            let from = self.last.as_str();
            self.graph.conv2d(&conv, from, &weight, None, Layout::ByInput, [1; 2], [0; 2], 1);
            self.graph.neuron(&spikes, &[&conv], lif(0.2));
            spikes
        });
        self.graph.attention(&name, parts.each_ref().map(String::as_str), heads, 0.125);
        self.put(name, self.shape.clone());
    }

    fn border(&mut self) {
        let (name, channels) = (self.name("border"), self.channels());
        let value = self.tensor(&[channels]);
        self.graph.border(&name, &self.last, value);
        let shape = vec![self.shape[0] + 2, self.shape[1] + 2, channels];
        self.put(name, shape);
    }

    fn pool(&mut self) {
        let (name, channels) = (self.name("pool"), self.channels());
        let (h, w) = (self.shape[0], self.shape[1]);
        let pooling = [Pooling::Max, Pooling::Average, Pooling::Sum][self.random.below(3)];
        let free = [1 + self.random.below(h + 1), 1 + self.random.below(w + 1)];
        let (op, size) = match self.random.below(3) {
            0 => (Op::AdaptivePool2d { size: free }, free),
            1 => (Op::Interpolate2d { size: free }, free),
            _ => {
                let (kernel, stride, padding) = ([2, 2], [1, 1], [0, 0]);
                (Op::Pool2d { pooling, kernel, stride, padding }, [h - 1, w - 1])
            }
        };
        if size.contains(&0) || h < 2 || w < 2 {
            return self.linear();
        }
        self.graph.node(&name, op);
        self.graph.edge(self.last.as_str(), &name, 0);
        self.put(name, vec![size[0], size[1], channels]);
    }

    fn flatten(&mut self) {
        let name = self.name("flat");
        self.graph.node(&name, Op::Flatten);
        // What is moved and delayed at once is work of its own.
        let delay = usize::from(self.random.chance(30));
        self.graph.edge((self.last.as_str(), delay), &name, 0);
        let len = self.shape.iter().product();
        self.put(name, vec![len]);
    }

    fn slices(&mut self) {
        let (first, second, name) = (self.name("slice"), self.name("slice"), self.name("concat"));
        let channels = self.channels();
        let start = self.random.below(channels);
        let length = channels - start;
        for slice in [&first, &second] {
            self.graph.node(slice, Op::Slice { start, length });
            self.graph.edge(self.last.as_str(), slice, 0);
        }
        self.graph.node(&name, Op::Concat);
        self.graph.edge(first.as_str(), &name, 0);
        self.graph.edge((second.as_str(), usize::from(self.random.chance(50))), &name, 1);
        let outer = self.shape[..self.shape.len() - 1].to_vec();
        self.put(name, [outer, vec![2 * length]].concat());
    }

    fn cell(&mut self, kind: &str, gates: usize) {
        let (name, inputs) = (self.name(kind), self.channels());
        let hidden = 2 + self.random.below(8);
        let mut weight = |end: &str, inputs: usize| {
            let by_input = self.random.chance(50);
            let shape = [inputs, gates * hidden];
            let (shape, layout) = match by_input {
                true => (shape, Layout::ByInput),
                false => ([shape[1], shape[0]], Layout::ByOutput),
            };
            Weight { tensor: self.named(&format!("{name}.{end}"), &shape), scale: None, layout }
        };
        let (weight_input, weight_hidden) = (weight("input", inputs), weight("hidden", hidden));
        let mut bias = |end: &str| self.named(&format!("{name}.{end}"), &[gates * hidden]);
        let bias_input = bias("bias");
        let op = match kind {
            "lstm" => Op::Lstm { weight_input, weight_hidden, bias: bias_input },
            "gru" => {
                let bias_hidden = bias("bias_hidden");
                Op::Gru { weight_input, weight_hidden, bias_input, bias_hidden }
            }
            _ => {
                let bias_hidden = bias("bias_hidden");
                let threshold = Tensor::f32(&[hidden], vec![0.05; hidden]).unwrap();
                Op::Egru {
                    weight_input,
                    weight_hidden,
                    bias_input,
                    bias_hidden,
                    threshold: self.graph.tensor(&format!("{name}.threshold"), threshold),
                    zoneout: [0.0, 0.1][self.random.below(2)],
                    restart: [None, Some(2)][self.random.below(2)],
                }
            }
        };
        self.graph.node(&name, op);
        self.graph.edge(self.last.as_str(), &name, 0);
        if kind == "egru" {
            self.graph.edge((name.as_str(), 1), &name, 1);
        }
        self.put(name, vec![hidden]);
    }

    fn wkv(&mut self) {
        let (name, channels) = (self.name("wkv"), self.channels());
        let parts = ["k", "v"].map(|part| {
            let matrix = format!("{name}.{part}");
            let weight = self.tensor(&[channels, channels]);
            self.graph.linear(&matrix, self.last.as_str(), &weight, None, Layout::ByInput);
            matrix
        });
        let decay = Tensor::f32(&[channels], vec![-0.3; channels]).unwrap();
        let first = self.tensor(&[channels]);
        self.graph.wkv(&name, parts.each_ref().map(String::as_str), decay, first);
        self.put(name, vec![channels]);
    }

    fn memory(&mut self) {
        let (name, memories) = (self.name("memory"), self.channels());
        let (a, b) = (self.tensor(&[2, 2]), self.tensor(&[2]));
        let back = (name.as_str(), 1);
        self.graph.legendre(&name, self.last.as_str(), back, memories, a, b);
        self.put(name.clone(), vec![2 * memories]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn cores_receive_what_the_runtime_computes(seed in any::<u64>()) {
        let (graph, x) = graph(seed);
        check(&graph, &x, &mut Random::new(seed ^ 0xc0de))?;
    }
}

/// All names that a node of a graph can have.
const OPERATIONS: [&str; 26] = [
    "activation",
    "adaptive_pool2d",
    "add",
    "attention",
    "border",
    "concat",
    "conv2d",
    "egru",
    "embedding",
    "flatten",
    "gru",
    "input",
    "interpolate2d",
    "layer_norm",
    "legendre",
    "linear",
    "lstm",
    "multiply",
    "neuron",
    "output",
    "pool2d",
    "readout",
    "scale",
    "slice",
    "token_shift",
    "wkv",
];

#[test]
fn every_operation_is_simulated() {
    let mut seen = BTreeSet::new();
    let mut fits = 0;
    for seed in 0..300 {
        let (graph, x) = graph(seed * 7919 + 1);
        if check(&graph, &x, &mut Random::new(seed)).unwrap() {
            seen.extend(graph.nodes.iter().map(|node| node.op.name()));
            fits += 1;
        }
    }
    assert!(fits > 200, "{fits} of 300");
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), OPERATIONS);
}

/// Attention over many positions is cut by its channels, a border by its rows; what cannot be cut at
/// all says so.
#[test]
fn large_images_are_divided_or_refused_with_a_reason() {
    let image = |size: usize, delay: usize| {
        let mut graph = GraphBuilder::new("image");
        graph.input("x", Signal::Binary, &[size, size, 16]);
        graph.border("border", "x", Tensor::f32(&[16], vec![0.5; 16]).unwrap());
        let parts = ["q", "k", "v"].map(|part| {
            graph.neuron(part, &["border"], lif(0.2));
            part
        });
        graph.attention("attention", parts, 4, 0.125);
        graph.node("flat", Op::Flatten);
        graph.edge(("attention", delay), "flat", 0);
        let len = (size + 2) * (size + 2) * 16;
        let weight = Tensor::f32(&[2, len], vec![0.01; 2 * len]).unwrap();
        graph.linear("y", "flat", &weight, None, Layout::ByInput);
        graph.output("out", "y");
        graph.finish().unwrap()
    };
    let chip = Chip::spinnaker2().unwrap();
    let mapping = map(&image(30, 0), &chip, Wishes::default()).unwrap();
    let assignment = mapping.assignment();
    let parts = |name: &str| {
        assignment.layers.iter().find(|layer| layer.layer == name).map_or(0, |l| l.parts.len())
    };
    assert!(parts("attention") > 1, "{assignment:?}");
    // A delayed move is no part of its reader, and one core does it.
    let error = map(&image(62, 1), &chip, Wishes::default()).map(|_| ()).unwrap_err();
    let ChipError::DoesNotFit { problem, .. } = error else { panic!("{error}") };
    assert!(problem.contains("`flat`") && problem.contains("cannot be divided"), "{problem}");
}
