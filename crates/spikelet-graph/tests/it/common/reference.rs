//! A slow, obvious interpreter of graphs: what a pass must not change.

use spikelet_graph::{
    Function, Graph, Layout, Membrane, Neuron, Node, Op, Pooling, Readout, Reset, Topology, Weight,
};
use std::collections::VecDeque;

/// One stream of a graph.
pub struct Reference<'a> {
    graph: &'a Graph,
    topology: Topology,
    /// The outputs of every node, newest first.
    history: Vec<VecDeque<Vec<f32>>>,
    /// Potentials, or the cell state, or sums.
    state: Vec<Vec<f32>>,
    steps: usize,
}

impl<'a> Reference<'a> {
    pub fn new(graph: &'a Graph) -> Self {
        let topology = graph.validate().unwrap();
        let history = graph.nodes.iter().map(|_| VecDeque::new()).collect();
        let state = graph.nodes.iter().map(|node| vec![0.0; node.len()]).collect();
        Reference { graph, topology, history, state, steps: 0 }
    }

    /// The outputs of all nodes after each of some time steps.
    pub fn run(&mut self, inputs: &[Vec<f32>]) -> Vec<Vec<Vec<f32>>> {
        inputs.iter().map(|input| self.step(input)).collect()
    }

    fn step(&mut self, input: &[f32]) -> Vec<Vec<f32>> {
        self.steps += 1;
        let mut outputs: Vec<Vec<f32>> = self.graph.nodes.iter().map(|_| Vec::new()).collect();
        for index in self.topology.order.clone() {
            let node = &self.graph.nodes[index];
            let mut ports: Vec<Vec<f32>> = Vec::new();
            for link in &self.topology.sources[index] {
                let zeros = vec![0.0; self.graph.nodes[link.node].len()];
                let value = match link.delay {
                    0 => &outputs[link.node],
                    delay => self.history[link.node].get(delay - 1).unwrap_or(&zeros),
                };
                match ports.get_mut(link.port) {
                    Some(sum) => sum.iter_mut().zip(value).for_each(|(sum, x)| *sum += x),
                    None => ports.push(value.clone()),
                }
            }
            let shape = self.topology.sources[index]
                .first()
                .map_or(&[][..], |link| &self.graph.nodes[link.node].shape);
            outputs[index] = match &node.op {
                Op::Input { .. } => input.to_vec(),
                Op::Neuron(neuron) => self.neuron(index, neuron, &ports[0]),
                Op::Lstm { .. } => self.lstm(index, &ports[0]),
                Op::Readout { readout: Readout::Last } => ports[0].clone(),
                Op::Readout { readout } => {
                    let sums = &mut self.state[index];
                    sums.iter_mut().zip(&ports[0]).for_each(|(sum, x)| *sum += x);
                    let count = if *readout == Readout::Mean { self.steps as f32 } else { 1.0 };
                    sums.iter().map(|sum| sum / count).collect()
                }
                _ => stateless(self.graph, node, shape, &ports),
            };
        }
        for (history, output) in self.history.iter_mut().zip(&outputs) {
            history.push_front(output.clone());
        }
        outputs
    }

    fn neuron(&mut self, index: usize, neuron: &Neuron, currents: &[f32]) -> Vec<f32> {
        let name = &self.graph.nodes[index].name;
        let Membrane::Lif { beta, input_decay: false } = &neuron.membrane else {
            panic!("the reference knows LIF only")
        };
        assert!(neuron.reset == Reset::Subtract && neuron.reset_delayed);
        let beta = self.graph.param(name, beta).unwrap();
        let threshold = self.graph.param(name, &neuron.threshold).unwrap();
        let potentials = self.state[index].iter_mut().zip(currents).enumerate();
        let spike = |(i, (v, current)): (usize, (&mut f32, &f32))| {
            let (beta, threshold) = (beta[i % beta.len()], threshold[i % threshold.len()]);
            let reset = if *v > threshold { threshold } else { 0.0 };
            *v = beta * *v + current - reset;
            if *v > threshold { 1.0 } else { 0.0 }
        };
        potentials.map(spike).collect()
    }

    fn lstm(&mut self, index: usize, input: &[f32]) -> Vec<f32> {
        let node = &self.graph.nodes[index];
        let Op::Lstm { weight_input, weight_hidden, bias } = &node.op else { panic!("an LSTM") };
        let hidden = self.history[index].front().cloned().unwrap_or(vec![0.0; node.len()]);
        let from_input = matrix(self.graph, node, weight_input, input, 4 * node.len());
        let from_hidden = matrix(self.graph, node, weight_hidden, &hidden, 4 * node.len());
        let bias = self.graph.tensors[bias].to_f32();
        let gate = |g: usize, i: usize| {
            let at = g * node.len() + i;
            from_input[at] + from_hidden[at] + bias[at]
        };
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let cells = self.state[index].iter_mut().enumerate();
        let unit = |(i, cell): (usize, &mut f32)| {
            *cell = sigmoid(gate(1, i)) * *cell + sigmoid(gate(0, i)) * gate(2, i).tanh();
            sigmoid(gate(3, i)) * cell.tanh()
        };
        cells.map(unit).collect()
    }
}

fn stateless(graph: &Graph, node: &Node, shape: &[usize], ports: &[Vec<f32>]) -> Vec<f32> {
    let input = &ports[0];
    match &node.op {
        Op::Linear { weight, bias } => {
            let mut output = matrix(graph, node, weight, input, node.len());
            if let Some(bias) = bias {
                let bias = graph.tensors[bias].to_f32();
                output.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
            output
        }
        Op::Legendre { memories, order, a, b } => {
            let (a, b) = (graph.weight("", a).unwrap(), graph.weight("", b).unwrap());
            let row = |k: usize, i: usize| -> f32 {
                let products = (0..*order).map(|j| a[i * order + j] * ports[1][k * order + j]);
                products.sum::<f32>() + b[i] * input[k]
            };
            (0..memories * order).map(|at| row(at / order, at % order)).collect()
        }
        Op::Conv2d { weight, bias, stride, padding, .. } => {
            assert_eq!(weight.layout, Layout::ByInput);
            let tensor = &graph.tensors[&weight.tensor];
            let [kh, kw, channels, outputs] = tensor.shape[..] else { panic!("four axes") };
            let values = graph.weight("", weight).unwrap();
            let bias = bias.as_ref().map(|bias| graph.tensors[bias].to_f32());
            let mut result = vec![0.0; node.len()];
            for (at, y) in result.iter_mut().enumerate() {
                let (o, x) = (at % outputs, at / outputs);
                let (row, column) = (x / node.shape[1], x % node.shape[1]);
                *y = bias.as_ref().map_or(0.0, |bias| bias[o]);
                for tap in 0..kh * kw * channels {
                    let (c, k) = (tap % channels, tap / channels);
                    let i = (row * stride[0] + k / kw).wrapping_sub(padding[0]);
                    let j = (column * stride[1] + k % kw).wrapping_sub(padding[1]);
                    if i < shape[0] && j < shape[1] {
                        *y += values[tap * outputs + o] * input[(i * shape[1] + j) * channels + c];
                    }
                }
            }
            result
        }
        Op::Pool2d { pooling: Pooling::Average, kernel, .. } => {
            let [height, width, channels] = node.shape[..] else { panic!("an image") };
            let mean = |at: usize| -> f32 {
                let (c, x) = (at % channels, at / channels);
                let (row, column) = (x / width, x % width);
                let taps = (0..kernel[0] * kernel[1]).map(|k| {
                    let (i, j) =
                        (row * kernel[0] + k / kernel[1], column * kernel[1] + k % kernel[1]);
                    input[(i * shape[1] + j) * channels + c]
                });
                taps.sum::<f32>() / (kernel[0] * kernel[1]) as f32
            };
            (0..height * width * channels).map(mean).collect()
        }
        Op::Scale { factor, shift } => {
            let factor = graph.tensors[factor].to_f32();
            let shift = shift.as_ref().map(|shift| graph.tensors[shift].to_f32());
            let channels = factor.len();
            let scaled = |(at, x): (usize, &f32)| {
                x * factor[at % channels] + shift.as_ref().map_or(0.0, |s| s[at % channels])
            };
            input.iter().enumerate().map(scaled).collect()
        }
        Op::Activation { function: Function::Relu } => input.iter().map(|x| x.max(0.0)).collect(),
        Op::Flatten | Op::Output => input.clone(),
        other => panic!("the reference does not know {}", other.name()),
    }
}

fn matrix(graph: &Graph, node: &Node, weight: &Weight, input: &[f32], outputs: usize) -> Vec<f32> {
    let values = graph.weight(&node.name, weight).unwrap();
    let at = |o: usize, i: usize| match weight.layout {
        Layout::ByInput => values[i * outputs + o],
        Layout::ByOutput => values[o * input.len() + i],
    };
    (0..outputs).map(|o| (0..input.len()).map(|i| at(o, i) * input[i]).sum()).collect()
}
