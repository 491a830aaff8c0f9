//! The meaning of a graph, written as plainly as possible: dense values in double precision, every
//! sum from its definition, the whole history kept.

use spikelet_graph::{
    Function, Graph, Layout, Membrane, Neuron, Node, Op, Param, Pooling, Readout, Reset, Topology,
    Weight,
};

/// Values on this grid, and sums of magnitudes below the limit, are exact in 32-bit floats in any
/// order of summation.
const GRID: f64 = 16384.0;
const LIMIT: f64 = 1024.0;

/// Synaptic pairs of one layer call, and whether its input holds only -1, 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    pub effective: u64,
    pub dense: u64,
    pub ternary: bool,
}

/// One stream of a graph.
pub struct Reference<'a> {
    graph: &'a Graph,
    topology: Topology,
    /// Outputs of all nodes, by step.
    pub history: Vec<Vec<Vec<f64>>>,
    /// Layer calls of all nodes, by step.
    pub calls: Vec<Vec<Vec<Call>>>,
    /// Potential and second value of populations, cell of LSTMs.
    state: Vec<[Vec<f64>; 2]>,
    /// Whether all sums so far are exact in 32-bit floats.
    pub exact: bool,
}

impl<'a> Reference<'a> {
    pub fn new(graph: &'a Graph) -> Self {
        let state = graph.nodes.iter().map(|n| [vec![0.0; n.len()], vec![0.0; n.len()]]).collect();
        let topology = graph.validate().unwrap();
        Self { graph, topology, history: Vec::new(), calls: Vec::new(), state, exact: true }
    }

    /// One step; `x` holds the values of the only input.
    pub fn step(&mut self, x: &[f32]) {
        let empty = vec![Vec::new(); self.graph.nodes.len()];
        self.history.push(empty);
        self.calls.push(vec![Vec::new(); self.graph.nodes.len()]);
        for index in self.topology.order.clone() {
            let output = self.node(index, x);
            self.exact &= output.iter().all(|v| (v * GRID).fract() == 0.0);
            self.history.last_mut().unwrap()[index] = output;
        }
    }

    fn port(&mut self, index: usize, port: usize) -> Vec<f64> {
        let now = self.history.len() - 1;
        let mut sum: Vec<f64> = Vec::new();
        for link in self.topology.sources[index].iter().filter(|link| link.port == port) {
            let len = self.graph.nodes[link.node].len();
            sum.resize(len, 0.0);
            if link.delay <= now {
                let from = &self.history[now - link.delay][link.node];
                sum.iter_mut().zip(from).for_each(|(s, x)| *s += x);
                self.exact &= from.iter().all(|x| x.abs() < LIMIT);
            }
        }
        sum
    }

    /// Adds pairs of inputs and weights: `pairs` gives input value and weight.
    fn dot(&mut self, call: &mut Call, pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
        let (mut sum, mut magnitude) = (0.0, 0.0);
        for (x, w) in pairs {
            sum += x * w;
            magnitude += (x * w).abs();
            call.dense += 1;
            call.effective += u64::from(x != 0.0 && w != 0.0);
        }
        self.exact &= magnitude < LIMIT && (magnitude * GRID).fract() == 0.0;
        sum
    }

    fn node(&mut self, index: usize, x: &[f32]) -> Vec<f64> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let ternary = |x: &[f64]| x.iter().all(|x| [0.0, 1.0, -1.0].contains(x));
        let call = |x: &[f64]| Call { effective: 0, dense: 0, ternary: ternary(x) };
        let tensor = |name: &str| -> Vec<f64> {
            graph.tensors[name].to_f32().into_iter().map(f64::from).collect()
        };
        let bias = |name: &Option<String>, len: usize| match name {
            Some(name) => tensor(name),
            None => vec![0.0; len],
        };
        let channels = *node.shape.last().unwrap();
        match &node.op {
            Op::Input { .. } => x.iter().map(|x| f64::from(*x)).collect(),
            Op::Linear { weight, bias: b } => {
                let x = self.port(index, 0);
                let rows = node.len() / channels;
                let inputs = x.len() / rows;
                let w = self.matrix(node, weight, inputs, channels);
                let b = bias(b, channels);
                let mut call = call(&x);
                let mut out = Vec::new();
                for row in x.chunks(inputs) {
                    for (o, b) in b.iter().enumerate() {
                        let pairs = row.iter().enumerate().map(|(i, x)| (*x, w(i, o)));
                        out.push(b + self.dot(&mut call, pairs));
                    }
                }
                self.calls.last_mut().unwrap()[index].push(call);
                out
            }
            Op::Conv2d { weight, bias: b, stride, padding, dilation, groups } => {
                let x = self.port(index, 0);
                let source = self.source_shape(index);
                let (h, w, inputs) = (source[0], source[1], source[2]);
                let per_group = inputs / groups;
                let shape = &graph.tensors[&weight.tensor].shape;
                let kernel = match weight.layout {
                    Layout::ByInput => [shape[0], shape[1]],
                    Layout::ByOutput => [shape[1], shape[2]],
                };
                let matrix = self.matrix(node, weight, kernel[0] * kernel[1] * per_group, channels);
                let b = bias(b, channels);
                let mut call = call(&x);
                let mut out = Vec::new();
                for oy in 0..node.shape[0] {
                    for ox in 0..node.shape[1] {
                        for (o, b) in b.iter().enumerate() {
                            let mut pairs = Vec::new();
                            for k in 0..kernel[0] * kernel[1] * per_group {
                                let (tap, c) = (k / per_group, k % per_group);
                                let y = (oy * stride[0] + tap / kernel[1] * dilation[0]) as i64
                                    - padding[0] as i64;
                                let xx = (ox * stride[1] + tap % kernel[1] * dilation[1]) as i64
                                    - padding[1] as i64;
                                if (0..h as i64).contains(&y) && (0..w as i64).contains(&xx) {
                                    let channel = o / (channels / groups) * per_group + c;
                                    let at = (y as usize * w + xx as usize) * inputs + channel;
                                    pairs.push((x[at], matrix(k, o)));
                                }
                            }
                            out.push(b + self.dot(&mut call, pairs.into_iter()));
                        }
                    }
                }
                self.calls.last_mut().unwrap()[index].push(call);
                out
            }
            Op::Legendre { memories, order, a, b } => {
                let (u, m) = (self.port(index, 0), self.port(index, 1));
                let a = self.matrix(node, a, *order, *order);
                let b = self.graph.weight(&node.name, b).unwrap();
                let (mut states, mut inputs) = (call(&m), call(&u));
                let mut out = Vec::new();
                for k in 0..*memories {
                    for (i, b) in b.iter().enumerate() {
                        let pairs = (0..*order).map(|j| (m[k * order + j], a(j, i)));
                        let state = self.dot(&mut states, pairs);
                        let input = [(u[k], f64::from(*b))].into_iter();
                        out.push(state + self.dot(&mut inputs, input));
                    }
                }
                self.calls.last_mut().unwrap()[index].extend([states, inputs]);
                out
            }
            Op::Pool2d { pooling, kernel, stride, padding } => {
                let x = self.port(index, 0);
                let source = self.source_shape(index);
                let (h, w) = (source[0] as i64, source[1] as i64);
                let mut out = Vec::new();
                for k in 0..node.len() {
                    let (oy, ox, c) =
                        (k / channels / node.shape[1], k / channels % node.shape[1], k % channels);
                    let mut window = Vec::new();
                    for tap in 0..kernel[0] * kernel[1] {
                        let y = (oy * stride[0] + tap / kernel[1]) as i64 - padding[0] as i64;
                        let xx = (ox * stride[1] + tap % kernel[1]) as i64 - padding[1] as i64;
                        if (0..h).contains(&y) && (0..w).contains(&xx) {
                            window.push(x[(y * w + xx) as usize * channels + c]);
                        }
                    }
                    let sum: f64 = window.iter().sum();
                    out.push(match pooling {
                        Pooling::Sum => sum,
                        Pooling::Average => sum / (kernel[0] * kernel[1]) as f64,
                        Pooling::Max => window.into_iter().fold(f64::NEG_INFINITY, f64::max),
                    });
                }
                out
            }
            Op::AdaptivePool2d { size } => {
                let source = &self.graph.nodes[self.topology.sources[index][0].node].shape;
                let (h, w) = (source[0], source[1]);
                let x = self.port(index, 0);
                let mut out = Vec::new();
                for position in 0..node.len() {
                    let (c, at) = (position % channels, position / channels);
                    let rows = window(h, size[0], at / size[1]);
                    let columns = window(w, size[1], at % size[1]);
                    let values: Vec<f64> = rows
                        .flat_map(|y| columns.clone().map(move |x| (y * w + x) * channels + c))
                        .map(|i| x[i])
                        .collect();
                    out.push(values.iter().sum::<f64>() / values.len() as f64);
                }
                out
            }
            Op::Flatten | Op::Add | Op::Output => self.port(index, 0),
            Op::Concat => {
                let ports = self.topology.sources[index].last().unwrap().port + 1;
                let parts: Vec<Vec<f64>> = (0..ports).map(|port| self.port(index, port)).collect();
                let rows = node.len() / channels;
                let part = |row: usize, x: &[f64]| {
                    x[row * x.len() / rows..(row + 1) * x.len() / rows].to_vec()
                };
                (0..rows).flat_map(|row| parts.iter().flat_map(move |x| part(row, x))).collect()
            }
            Op::Slice { start, length } => {
                let x = self.port(index, 0);
                let rows = node.len() / channels;
                x.chunks(x.len() / rows)
                    .flat_map(|row| row[*start..start + length].to_vec())
                    .collect()
            }
            Op::Scale { factor, shift } => {
                let (factor, shift) = (tensor(factor), bias(shift, channels));
                let x = self.port(index, 0);
                x.iter()
                    .enumerate()
                    .map(|(i, x)| x * factor[i % channels] + shift[i % channels])
                    .collect()
            }
            Op::Activation { function } => {
                let apply = |x: f64| match function {
                    Function::Relu => x.max(0.0),
                    Function::ReluSquared => x.max(0.0).powi(2),
                    Function::Tanh => x.tanh(),
                    Function::Sigmoid => logistic(x),
                };
                self.port(index, 0).into_iter().map(apply).collect()
            }
            Op::Neuron(neuron) => {
                let current = self.port(index, 0);
                self.neurons(index, neuron, &current)
            }
            Op::Lstm { weight_input, weight_hidden, bias } => {
                let x = self.port(index, 0);
                let hidden = self.previous(index);
                let n = node.len();
                let mut gates = tensor(bias);
                self.add_matrix(node, weight_input, &x, &mut gates);
                self.add_matrix(node, weight_hidden, &hidden, &mut gates);
                let cell = &mut self.state[index][0];
                (0..n)
                    .map(|j| {
                        cell[j] = logistic(gates[n + j]) * cell[j]
                            + logistic(gates[j]) * gates[2 * n + j].tanh();
                        logistic(gates[3 * n + j]) * cell[j].tanh()
                    })
                    .collect()
            }
            Op::Gru { weight_input, weight_hidden, bias_input, bias_hidden } => {
                let x = self.port(index, 0);
                let hidden = self.previous(index);
                let n = node.len();
                let (mut from_x, mut from_h) = (tensor(bias_input), tensor(bias_hidden));
                self.add_matrix(node, weight_input, &x, &mut from_x);
                self.add_matrix(node, weight_hidden, &hidden, &mut from_h);
                (0..n)
                    .map(|j| {
                        let reset = logistic(from_x[j] + from_h[j]);
                        let update = logistic(from_x[n + j] + from_h[n + j]);
                        let new = (from_x[2 * n + j] + reset * from_h[2 * n + j]).tanh();
                        (1.0 - update) * new + update * hidden[j]
                    })
                    .collect()
            }
            Op::Egru {
                weight_input,
                weight_hidden,
                bias_input,
                bias_hidden,
                threshold,
                zoneout,
                restart,
            } => {
                let (x, y) = (self.port(index, 0), self.port(index, 1));
                let (now, n, zoneout) = (self.history.len() - 1, node.len(), f64::from(*zoneout));
                let (mut from_x, mut from_y) = (tensor(bias_input), tensor(bias_hidden));
                self.add_matrix(node, weight_input, &x, &mut from_x);
                self.add_matrix(node, weight_hidden, &y, &mut from_y);
                let threshold = tensor(threshold);
                let h = &mut self.state[index][0];
                if restart.is_some_and(|after| now.is_multiple_of(after)) {
                    h.fill(0.0);
                }
                (0..n)
                    .map(|j| {
                        let keep = logistic(from_x[j] + from_y[j]);
                        let reset = logistic(from_x[n + j] + from_y[n + j]);
                        let new = (from_x[2 * n + j] + reset * from_y[2 * n + j]).tanh();
                        let c = keep * h[j] + (1.0 - keep) * new;
                        let c = zoneout * h[j] + (1.0 - zoneout) * c;
                        let fires = c > threshold[j];
                        h[j] = if fires { c - threshold[j] } else { c };
                        if fires { c } else { 0.0 }
                    })
                    .collect()
            }
            Op::Embedding { weight } => {
                let token = self.port(index, 0)[0] as usize;
                let tokens = graph.tensors[&weight.tensor].shape[0];
                let w = self.matrix(node, weight, tokens, channels);
                (0..channels).map(|c| w(token, c)).collect()
            }
            Op::LayerNorm { weight, bias } => {
                let (weight, bias) = (tensor(weight), tensor(bias));
                let normalize = |row: &[f64]| {
                    let n = row.len() as f64;
                    let mean = row.iter().sum::<f64>() / n;
                    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                    let scale = 1.0 / (variance + 1e-5).sqrt();
                    let row = row.iter().zip(weight.iter().zip(&bias));
                    row.map(|(x, (w, b))| (x - mean) * scale * w + b).collect::<Vec<_>>()
                };
                self.port(index, 0).chunks(channels).flat_map(normalize).collect()
            }
            Op::Interpolate2d { size } => {
                let source = &self.graph.nodes[self.topology.sources[index][0].node].shape;
                let x = self.port(index, 0);
                // Both pixels along an axis, and how near the position is to the second.
                let place = |axis: usize, o: usize| {
                    let (n, m) = (source[axis], size[axis]);
                    let at =
                        ((o as f64 + 0.5) * n as f64 / m as f64 - 0.5).clamp(0.0, n as f64 - 1.0);
                    (at as usize, (at as usize + 1).min(n - 1), at - at.floor())
                };
                let mut out = Vec::new();
                for k in 0..node.len() {
                    let (position, c) = (k / channels, k % channels);
                    let (top, below, v) = place(0, position / size[1]);
                    let (left, right, u) = place(1, position % size[1]);
                    let value =
                        |y: usize, column: usize| x[(y * source[1] + column) * channels + c];
                    let upper = value(top, left) * (1.0 - u) + value(top, right) * u;
                    let lower = value(below, left) * (1.0 - u) + value(below, right) * u;
                    out.push(upper * (1.0 - v) + lower * v);
                }
                out
            }
            Op::Border { value } => {
                let value = tensor(value);
                let (x, [height, width]) = (self.port(index, 0), [node.shape[0], node.shape[1]]);
                let mut out = Vec::new();
                for k in 0..node.len() {
                    let (row, column, c) =
                        (k / channels / width, k / channels % width, k % channels);
                    let inside = (1..height - 1).contains(&row) && (1..width - 1).contains(&column);
                    out.push(match inside {
                        true => x[((row - 1) * (width - 2) + column - 1) * channels + c],
                        false => value[c],
                    });
                }
                out
            }
            Op::Attention { heads, scale } => {
                let [q, k, v] = [0, 1, 2].map(|port| self.port(index, port));
                let (tokens, head) = (node.len() / channels, channels / heads);
                let mut out = vec![0.0; node.len()];
                for (at, y) in out.iter_mut().enumerate() {
                    let (token, channel) = (at / channels, at % channels);
                    let first = channel / head * head;
                    for inner in first..first + head {
                        let together: f64 = (0..tokens)
                            .map(|t| k[t * channels + inner] * v[t * channels + channel])
                            .sum();
                        *y += q[token * channels + inner] * together * f64::from(*scale);
                    }
                }
                out
            }
            Op::TokenShift { mix } => {
                let mix = tensor(mix);
                let (now, before) = (self.port(index, 0), self.port(index, 1));
                let mixed = now.iter().zip(before).enumerate();
                mixed
                    .map(|(i, (x, b))| x * mix[i % channels] + b * (1.0 - mix[i % channels]))
                    .collect()
            }
            Op::Wkv { decay, first } => {
                let (decay, first) = (tensor(decay), tensor(first));
                let (k, v) = (self.port(index, 0), self.port(index, 1));
                let [sums, weights] = &mut self.state[index];
                (0..channels)
                    .map(|c| {
                        let bonus = (first[c] + k[c]).exp();
                        let y = (sums[c] + bonus * v[c]) / (weights[c] + bonus);
                        sums[c] = decay[c].exp() * sums[c] + k[c].exp() * v[c];
                        weights[c] = decay[c].exp() * weights[c] + k[c].exp();
                        y
                    })
                    .collect()
            }
            Op::Multiply => {
                let ports = self.topology.sources[index].last().unwrap().port + 1;
                let mut product = self.port(index, 0);
                for port in 1..ports {
                    let factor = self.port(index, port);
                    product.iter_mut().zip(factor).for_each(|(p, f)| *p *= f);
                }
                product
            }
            Op::Readout { readout } => {
                let x = self.port(index, 0);
                let steps = self.history.len();
                let sum = &mut self.state[index][0];
                for (sum, x) in sum.iter_mut().zip(&x) {
                    *sum = match readout {
                        Readout::Sum | Readout::Mean => *sum + x,
                        Readout::Last => *x,
                        Readout::Max if steps == 1 => *x,
                        Readout::Max => sum.max(*x),
                    };
                }
                self.exact &= sum.iter().all(|sum| sum.abs() < LIMIT);
                let divisor = if *readout == Readout::Mean { steps as f64 } else { 1.0 };
                sum.iter().map(|sum| sum / divisor).collect()
            }
        }
    }

    fn neurons(&mut self, index: usize, neuron: &Neuron, current: &[f64]) -> Vec<f64> {
        let node = &self.graph.nodes[index];
        let param = |param: &Param, j: usize| {
            let values = self.graph.param(&node.name, param).unwrap();
            f64::from(values[j % values.len()])
        };
        let delayed = neuron.reset_delayed && neuron.reset != Reset::None;
        let fires = |excess: f64| excess > 0.0 || (neuron.fires_at_threshold && excess == 0.0);
        let [potentials, seconds] = &mut self.state[index];
        let mut out = Vec::new();
        for (j, input) in current.iter().enumerate() {
            let (v, second) = (&mut potentials[j], &mut seconds[j]);
            let base = param(&neuron.threshold, j);
            let gain = match &neuron.membrane {
                Membrane::AdaptiveLif { gain, .. } => param(gain, j),
                _ => 0.0,
            };
            let before = base + gain * *second;
            let fired_before = delayed && fires(*v - before);
            let (beta, drive) = match &neuron.membrane {
                Membrane::If => (1.0, *input),
                Membrane::Lif { beta, input_decay } => {
                    let beta = param(beta, j);
                    (beta, if *input_decay { (1.0 - beta) * input } else { *input })
                }
                Membrane::CubaLif { alpha, beta } => {
                    *second = param(alpha, j) * *second + input;
                    (param(beta, j), *second)
                }
                Membrane::AdaptiveLif { beta, .. } | Membrane::Li { beta } => {
                    (param(beta, j), *input)
                }
            };
            let mut new = beta * *v + drive;
            if matches!(neuron.membrane, Membrane::Li { .. }) {
                *v = new;
                out.push(new);
                continue;
            }
            let adapt = |second: &mut f64, fired: bool| {
                if let Membrane::AdaptiveLif { rho, .. } = &neuron.membrane {
                    *second = param(rho, j) * *second + f64::from(fired);
                }
            };
            let reset = |v: f64, threshold: f64| match neuron.reset {
                Reset::None => v,
                Reset::Subtract => v - threshold,
                Reset::Zero => 0.0,
            };
            let fired = if delayed {
                adapt(second, fired_before);
                if fired_before {
                    new = reset(new, before);
                }
                fires(new - (base + gain * *second))
            } else {
                let fired = fires(new - before);
                if fired {
                    new = reset(new, before);
                }
                adapt(second, fired);
                fired
            };
            self.exact &= new.abs() < LIMIT && (new * GRID).fract() == 0.0;
            self.exact &= second.abs() < LIMIT && (*second * GRID).fract() == 0.0;
            *v = new;
            out.push(f64::from(fired));
        }
        out
    }

    /// The weight from input `i` to output `o`.
    fn matrix(
        &self,
        node: &Node,
        weight: &Weight,
        inputs: usize,
        outputs: usize,
    ) -> impl Fn(usize, usize) -> f64 + use<> {
        let values = self.graph.weight(&node.name, weight).unwrap();
        let layout = weight.layout;
        move |i, o| {
            f64::from(match layout {
                Layout::ByInput => values[i * outputs + o],
                Layout::ByOutput => values[o * inputs + i],
            })
        }
    }

    fn add_matrix(&self, node: &Node, weight: &Weight, x: &[f64], out: &mut [f64]) {
        let w = self.matrix(node, weight, x.len(), out.len());
        for (o, y) in out.iter_mut().enumerate() {
            *y += x.iter().enumerate().map(|(i, x)| x * w(i, o)).sum::<f64>();
        }
    }

    /// The output of a node in the step before.
    fn previous(&self, index: usize) -> Vec<f64> {
        match self.history.len() {
            1 => vec![0.0; self.graph.nodes[index].len()],
            steps => self.history[steps - 2][index].clone(),
        }
    }

    fn source_shape(&self, index: usize) -> &'a [usize] {
        &self.graph.nodes[self.topology.sources[index][0].node].shape
    }
}

/// What an output of adaptive pooling covers.
fn window(size: usize, outputs: usize, output: usize) -> std::ops::Range<usize> {
    let (start, end) = (output * size, (output + 1) * size);
    start / outputs..end.div_ceil(outputs)
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
