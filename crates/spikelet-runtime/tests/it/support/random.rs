//! Random small graphs whose values are exact in 32-bit floats.

use spikelet_graph::{
    Function, Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Pooling, Readout, Reset,
    Signal, Tensor, Values, Weight, int4,
};

/// A small random number generator (xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high + 1 - low)
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A multiple of 1/8 of small magnitude, zero now and then.
    fn weight(&mut self) -> f32 {
        if self.chance(20) { 0.0 } else { self.below(17) as f32 / 8.0 - 1.0 }
    }

    fn weights(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.weight()).collect()
    }
}

/// Values for an input.
pub fn input(random: &mut Random, signal: Signal, len: usize) -> Vec<f32> {
    (0..len)
        .map(|_| match signal {
            Signal::Binary => f32::from(random.chance(40)),
            Signal::Graded if random.chance(50) => 0.0,
            Signal::Graded | Signal::Dense => random.pick(&[1.0, -1.0, 0.5, 2.0]),
        })
        .collect()
}

/// A graph in the making: its nodes with their shapes.
struct Maker {
    random: Random,
    graph: GraphBuilder,
    nodes: Vec<(String, Vec<usize>)>,
}

/// A random graph and the signal of its input.
pub fn graph(seed: u64) -> (Graph, Signal) {
    let mut random = Random::new(seed);
    let signal = random.pick(&[Signal::Binary, Signal::Graded, Signal::Dense]);
    let shape = match random.below(2) {
        0 => vec![random.within(1, 40)],
        _ => vec![random.within(1, 4), random.within(1, 4), random.pick(&[1, 2, 4])],
    };
    let mut graph = GraphBuilder::new("random");
    graph.input("x", signal, &shape);
    let mut maker = Maker { random, graph, nodes: vec![("x".to_string(), shape)] };
    for _ in 0..maker.random.within(1, 5) {
        maker.add();
    }
    maker.finish(signal)
}

impl Maker {
    fn finish(mut self, signal: Signal) -> (Graph, Signal) {
        for output in 0..self.random.within(1, 2) {
            let (name, _) =
                if output == 0 { self.nodes[self.nodes.len() - 1].clone() } else { self.any() };
            let readouts = [Readout::Sum, Readout::Mean, Readout::Last, Readout::Max];
            let readout = self.random.pick(&readouts);
            let count = format!("count{output}");
            if self.random.chance(70) {
                self.graph.readout(&count, &name, readout);
                self.graph.output(&format!("y{output}"), &count);
            } else {
                self.graph.output(&format!("y{output}"), &name);
            }
        }
        (self.graph.finish().unwrap(), signal)
    }

    fn any(&mut self) -> (String, Vec<usize>) {
        let at = self.random.below(self.nodes.len());
        self.nodes[at].clone()
    }

    fn delay(&mut self) -> usize {
        self.random.pick(&[0, 0, 0, 1, 1, 2, 3])
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}{}", self.nodes.len())
    }

    fn put(&mut self, name: String, shape: &[usize]) {
        self.nodes.push((name, shape.to_vec()));
    }

    /// Weights `shape`, whose first axis is the last in memory for `ByInput`.
    fn weight(&mut self, name: &str, by_input: &[usize], by_output: &[usize]) -> Weight {
        let layout = self.random.pick(&[Layout::ByInput, Layout::ByOutput]);
        let (shape, outputs) = match layout {
            Layout::ByInput => (by_input, by_input[by_input.len() - 1]),
            Layout::ByOutput => (by_output, by_output[0]),
        };
        let len: usize = shape.iter().product();
        let integers: Vec<i8> = (0..len).map(|_| (self.random.weight() * 7.9) as i8).collect();
        let values = match self.random.below(3) {
            0 => Values::F32(self.random.weights(len).into()),
            1 => Values::I8(integers.into()),
            _ => Values::I4(int4::pack(&integers, shape[shape.len() - 1]).into()),
        };
        let scale = (!matches!(values, Values::F32(_))).then(|| {
            let scales = (0..outputs).map(|_| self.random.pick(&[0.25, 0.125])).collect();
            let scales = Tensor::f32(&[outputs], scales).unwrap();
            self.graph.tensor(&format!("{name}.scale"), scales)
        });
        let tensor =
            self.graph.tensor(&format!("{name}.weight"), Tensor::new(shape, values).unwrap());
        Weight { tensor, scale, layout }
    }

    fn vector(&mut self, name: &str, len: usize) -> String {
        let values = self.random.weights(len);
        self.graph.tensor(name, Tensor::f32(&[len], values).unwrap())
    }

    fn linear(&mut self, name: &str, from: (&str, usize), inputs: usize, outputs: usize) {
        let weight = self.weight(name, &[inputs, outputs], &[outputs, inputs]);
        let bias = self.random.chance(40).then(|| self.vector(&format!("{name}.bias"), outputs));
        self.graph.node(name, Op::Linear { weight, bias });
        self.graph.edge(from, name, 0);
    }

    /// A parameter of a population, shared or one per channel.
    fn param(&mut self, name: String, channels: usize, choices: &[f32]) -> Param {
        if self.random.chance(50) {
            return Param::Shared(self.random.pick(choices));
        }
        let values = (0..channels).map(|_| self.random.pick(choices)).collect();
        Param::Tensor(self.graph.tensor(&name, Tensor::f32(&[channels], values).unwrap()))
    }

    fn neuron(&mut self, name: &str, channels: usize) -> Neuron {
        let model = self.random.below(6);
        let mut decay = |what: &str| self.param(format!("{name}.{what}"), channels, &[1.0, 0.5]);
        let membrane = match model {
            0 => Membrane::If,
            1 => Membrane::Lif { beta: decay("beta"), input_decay: true },
            2 => Membrane::CubaLif { alpha: decay("alpha"), beta: decay("beta") },
            3 => Membrane::AdaptiveLif {
                beta: decay("beta"),
                rho: decay("rho"),
                gain: decay("gain"),
            },
            4 => Membrane::Li { beta: decay("beta") },
            _ => Membrane::Lif { beta: decay("beta"), input_decay: false },
        };
        Neuron {
            membrane,
            threshold: self.param(format!("{name}.threshold"), channels, &[0.5, 1.0, 0.25]),
            fires_at_threshold: self.random.chance(50),
            reset: self.random.pick(&[Reset::None, Reset::Subtract, Reset::Zero]),
            reset_delayed: self.random.chance(50),
        }
    }

    fn add(&mut self) {
        let (from, shape) = self.any();
        match self.random.below(10) {
            0..=3 => self.population(),
            4 => self.memory(),
            5 if shape.len() == 3 => self.convolution(&from, &shape),
            6 if shape.len() == 3 => self.pool(&from, &shape),
            7 => self.join(&from, &shape),
            8 => self.pointwise(&from, &shape),
            _ => {
                let (name, outputs) = (self.name("linear"), self.random.within(1, 9));
                let channels = shape[shape.len() - 1];
                let delay = self.delay();
                self.linear(&name, (&from, delay), channels, outputs);
                let shape = [&shape[..shape.len() - 1], &[outputs]].concat();
                self.put(name, &shape);
            }
        }
    }

    /// A node as one axis.
    fn flat(&mut self) -> (String, usize) {
        let (from, shape) = self.any();
        if let [len] = shape[..] {
            return (from, len);
        }
        let (name, len) = (self.name("flat"), shape.iter().product());
        self.graph.node(&name, Op::Flatten);
        let delay = self.delay();
        self.graph.edge((from.as_str(), delay), &name, 0);
        self.put(name.clone(), &[len]);
        (name, len)
    }

    /// Neurons with several matrices, feedback, and spikes of their own.
    fn population(&mut self) {
        let name = self.name("neuron");
        let len = self.random.within(1, 70);
        let mut sources = Vec::new();
        for k in 0..self.random.within(1, 3) {
            let (from, inputs) = self.flat();
            let matrix = format!("{name}_in{k}");
            let delay = self.delay();
            self.linear(&matrix, (&from, delay), inputs, len);
            if self.random.chance(30) {
                self.put(matrix.clone(), &[len]);
            }
            sources.push((matrix, 0));
        }
        if self.random.chance(50) {
            let matrix = format!("{name}_back");
            let delay = self.random.within(1, 2);
            self.linear(&matrix, (&name, delay), len, len);
            sources.push((matrix, 0));
        }
        if self.random.chance(30) {
            sources.push((name.clone(), self.random.within(1, 3)));
        }
        let neuron = self.neuron(&name, len);
        self.graph.node(&name, Op::Neuron(neuron));
        for (from, delay) in sources {
            self.graph.edge((from.as_str(), delay), &name, 0);
        }
        self.put(name, &[len]);
    }

    /// Legendre memories that feed back themselves, or the neurons behind them.
    fn memory(&mut self) {
        let (u, memories) = self.flat();
        let (name, order) = (self.name("memory"), self.random.within(1, 3));
        let mut tensor = |shape: &[usize]| {
            let values = self.random.weights(shape.iter().product());
            Tensor::f32(shape, values.into_iter().map(|w| w / 2.0).collect()).unwrap()
        };
        let (a, b) = (tensor(&[order, order]), tensor(&[order]));
        let behind = format!("{name}_neurons");
        let spiking = self.random.chance(60);
        let back = (if spiking { behind.as_str() } else { name.as_str() }, 1);
        let delay = self.delay();
        self.graph.legendre(&name, (u.as_str(), delay), back, memories, a, b);
        if spiking {
            let neuron = self.neuron(&behind, memories * order);
            self.graph.neuron(&behind, &[&name], neuron);
            self.put(behind.clone(), &[memories * order]);
        } else {
            self.put(name, &[memories * order]);
        }
    }

    fn convolution(&mut self, from: &str, shape: &[usize]) {
        let name = self.name("conv");
        let groups = self.random.pick(&[1, shape[2]]);
        let (per_group, outputs) = (shape[2] / groups, groups * self.random.within(1, 3));
        let kernel = [self.random.within(1, shape[0]), self.random.within(1, shape[1])];
        let mut pair = |low, high| [self.random.within(low, high), self.random.within(low, high)];
        let (stride, padding, mut dilation) = (pair(1, 2), pair(0, 1), pair(1, 2));
        for axis in 0..2 {
            if (kernel[axis] - 1) * dilation[axis] >= shape[axis] + 2 * padding[axis] {
                dilation[axis] = 1;
            }
        }
        let weight = self.weight(
            &name,
            &[kernel[0], kernel[1], per_group, outputs],
            &[outputs, kernel[0], kernel[1], per_group],
        );
        let bias = self.random.chance(40).then(|| self.vector(&format!("{name}.bias"), outputs));
        self.graph.node(&name, Op::Conv2d { weight, bias, stride, padding, dilation, groups });
        let delay = self.delay();
        self.graph.edge((from, delay), &name, 0);
        let side = |axis: usize| {
            (shape[axis] + 2 * padding[axis] - (kernel[axis] - 1) * dilation[axis] - 1)
                / stride[axis]
                + 1
        };
        let shape = [side(0), side(1), outputs];
        let fired = format!("{name}_neurons");
        if self.random.chance(60) {
            let neuron = self.neuron(&fired, outputs);
            self.graph.neuron(&fired, &[&name], neuron);
            self.put(fired, &shape);
        } else {
            self.put(name, &shape);
        }
    }

    fn pool(&mut self, from: &str, shape: &[usize]) {
        let name = self.name("pool");
        if self.random.chance(30) {
            // One more output than inputs: means over one or two values, which are exact.
            let size = [shape[0], shape[1]].map(|size| size + self.random.below(2));
            self.graph.node(&name, Op::AdaptivePool2d { size });
            self.graph.edge(from, &name, 0);
            return self.put(name, &[size[0], size[1], shape[2]]);
        }
        let pooling = self.random.pick(&[Pooling::Sum, Pooling::Average, Pooling::Max]);
        let kernel = [2.min(shape[0]), 2.min(shape[1])];
        let stride = [self.random.within(1, 2), self.random.within(1, 2)];
        let padding = [0, if kernel[1] == 2 { self.random.below(2) } else { 0 }];
        self.graph.node(&name, Op::Pool2d { pooling, kernel, stride, padding });
        self.graph.edge(from, &name, 0);
        let side =
            |axis: usize| (shape[axis] + 2 * padding[axis] - kernel[axis]) / stride[axis] + 1;
        self.put(name, &[side(0), side(1), shape[2]]);
    }

    /// Adds or joins a node to itself, delayed, or takes a part of it.
    fn join(&mut self, from: &str, shape: &[usize]) {
        let channels = shape[shape.len() - 1];
        let outer = &shape[..shape.len() - 1];
        let delay = self.delay();
        if self.random.chance(30) {
            let name = self.name("add");
            self.graph.node(&name, Op::Add);
            self.graph.edge(from, &name, 0);
            self.graph.edge((from, self.random.within(1, 2)), &name, 0);
            return self.put(name, shape);
        }
        if self.random.chance(50) {
            let name = self.name("concat");
            self.graph.node(&name, Op::Concat);
            self.graph.edge(from, &name, 0);
            self.graph.edge((from, delay), &name, 1);
            self.put(name, &[outer, &[2 * channels]].concat());
        } else {
            let name = self.name("slice");
            let start = self.random.below(channels);
            let length = self.random.within(1, channels - start);
            self.graph.node(&name, Op::Slice { start, length });
            self.graph.edge((from, delay), &name, 0);
            self.put(name, &[outer, &[length]].concat());
        }
    }

    fn pointwise(&mut self, from: &str, shape: &[usize]) {
        let channels = shape[shape.len() - 1];
        let name = self.name("pointwise");
        let op = if self.random.chance(50) {
            let values = (0..channels).map(|_| self.random.pick(&[0.5, -1.0, 2.0])).collect();
            let values = Tensor::f32(&[channels], values).unwrap();
            let factor = self.graph.tensor(&format!("{name}.factor"), values);
            let shift =
                self.random.chance(50).then(|| self.vector(&format!("{name}.shift"), channels));
            Op::Scale { factor, shift }
        } else {
            Op::Activation { function: Function::Relu }
        };
        self.graph.node(&name, op);
        let delay = self.delay();
        self.graph.edge((from, delay), &name, 0);
        self.put(name, shape);
    }
}
