//! Convolutional networks to the event graph. Running statistics, gains and the constants of
//! normaliser-free networks become scales of single layers, which then fold into the convolutions
//! before them ([`Graph::fold_scales`](spikelet_graph::Graph::fold_scales)).

use super::{
    functions::folded,
    model::Convnet,
    module::Settings,
    network::{Op, ParamId, Shape, Threshold},
};
use crate::{lower::tensor, params};
use spikelet_graph::{
    Function, GraphBuilder, Layout, Membrane, Neuron, Op as Node, Param, Phase, Pooling, Readout,
    Reset, Tensor,
};
use spikelet_kernels::neuron::{self, Model};

/// A layer in the graph: what it gives is `factor` times what the node gives.
#[derive(Clone)]
struct Lowered {
    node: String,
    factor: f32,
    /// Pixels that lie side by side in the channels of a position ([`Op::Deconv`]).
    pixels: usize,
}

impl Lowered {
    fn new(node: &str) -> Lowered {
        Lowered { node: node.to_owned(), factor: 1.0, pixels: 1 }
    }
}

/// Adds the network behind `input`; returns the nodes that give its outputs.
pub(super) fn lower(model: &Convnet, graph: &mut GraphBuilder, input: &str) -> Vec<String> {
    let mut done: Vec<Lowered> = vec![Lowered::new(input)];
    // Which layers run once for all steps, or give to those that do.
    let mut once = vec![false];
    for layer in model.layers().iter().skip(1) {
        let from: Vec<Lowered> = layer.inputs.iter().map(|&id| done[id].clone()).collect();
        let inputs: Vec<Shape> = layer.inputs.iter().map(|&id| model.layers()[id].shape).collect();
        let after_mean = layer.inputs.iter().any(|&id| once[id]);
        graph.phase(if after_mean { Phase::Sequence } else { Phase::Step });
        once.push(after_mean || layer.op == Op::TimeMean);
        let (name, channels) = (&layer.name, layer.shape[2]);
        let lowering = Lowering { model, graph, name, channels, inputs: &inputs, after_mean };
        done.push(lowering.layer(&layer.op, &from, layer.shape));
    }
    model.network.outputs.iter().map(|&id| done[id].node.clone()).collect()
}

struct Lowering<'a> {
    model: &'a Convnet,
    graph: &'a mut GraphBuilder,
    name: &'a str,
    channels: usize,
    /// Shapes of what the layer reads.
    inputs: &'a [Shape],
    /// Whether the layer runs once for all steps.
    after_mean: bool,
}

impl Lowering<'_> {
    fn layer(mut self, op: &Op, from: &[Lowered], shape: [usize; 3]) -> Lowered {
        let Lowered { node, factor, pixels } = from[0].clone();
        match *op {
            Op::Input => {}
            Op::Conv { weight, bias, gain, stride, padding, groups } => {
                let kernel = self.model.kernel(weight, gain).mul_scalar(factor);
                // The same for every pixel of a position.
                let kernel = kernel.permute([3, 2, 0, 1]).repeat_dim(0, pixels);
                let groups = groups * pixels;
                let kernel = graph_tensor(&kernel.dims(), params::values(kernel));
                let bias = bias.map(|bias| self.repeated(bias, pixels));
                let (stride, padding) = ([stride; 2], [padding; 2]);
                let layout = Layout::ByInput;
                self.graph.conv2d(self.name, &node, &kernel, bias, layout, stride, padding, groups);
            }
            Op::BatchNorm { weight, bias, mean, variance } => {
                let [weight, bias, mean, variance] =
                    [weight, bias, mean, variance].map(|id| self.values(id));
                let [scale, shift] = folded(&weight, &bias, &mean, &variance);
                let scale = scale.iter().map(|s| s * factor).collect();
                self.scale(&node, scale, Some(shift));
            }
            Op::Border { weight, bias, mean, variance } => {
                let [weight, bias, mean, variance] =
                    [weight, bias, mean, variance].map(|id| self.values(id));
                let [_, shift] = folded(&weight, &bias, &mean, &variance);
                let value = shift.iter().map(|shift| shift / factor).collect();
                self.graph.border(self.name, &node, graph_tensor(&[self.channels], value));
                return Lowered { factor, ..Lowered::new(self.name) };
            }
            Op::Lif(threshold) => {
                let threshold = match threshold {
                    Threshold::Fixed(value) => value,
                    Threshold::Learned(id) => self.values(id)[0],
                };
                let neuron = self.neuron(threshold / factor);
                self.graph.neuron(self.name, &[&node], neuron);
                return Lowered { pixels, ..Lowered::new(self.name) };
            }
            Op::Relu => {
                self.graph.activation(self.name, &node, Function::Relu);
                return Lowered { factor, pixels, ..Lowered::new(self.name) };
            }
            Op::Deconv { weight, bias } => {
                let kernel = self.model.kernel(weight, None).mul_scalar(factor);
                let kernel = kernel.permute([3, 2, 0, 1]);
                let kernel = graph_tensor(&kernel.dims(), params::values(kernel));
                let bias = Some(self.repeated(bias, 4));
                let layout = Layout::ByInput;
                self.graph.conv2d(self.name, &node, &kernel, bias, layout, [1; 2], [0; 2], 1);
                return Lowered { pixels: 4, ..Lowered::new(self.name) };
            }
            Op::Scale(constant) => return Lowered { node, factor: factor * constant, pixels },
            Op::Gain { gain, alpha } => {
                let scale = self.values(gain)[0] * alpha * factor;
                self.scale(&node, vec![scale; self.channels], None);
            }
            Op::Dropout(_) => return from[0].clone(),
            Op::AveragePool { kernel, stride, padding } => {
                let [kernel, stride, padding] = [kernel, stride, padding].map(|size| [size; 2]);
                let pooling = Pooling::Average;
                let op = Node::Pool2d { pooling, kernel, stride, padding };
                return self.passing(op, from, factor);
            }
            Op::AdaptivePool => {
                let op = Node::AdaptivePool2d { size: [shape[0], shape[1]] };
                return self.passing(op, from, factor);
            }
            Op::Interpolate => {
                let op = Node::Interpolate2d { size: [shape[0], shape[1]] };
                return self.passing(op, from, factor);
            }
            Op::TimeMean => {
                let op = Node::Readout { readout: Readout::Mean };
                return self.passing(op, from, factor);
            }
            Op::SumPool => {
                let kernel = [self.inputs[0][0], self.inputs[0][1]];
                let op =
                    Node::Pool2d { pooling: Pooling::Sum, kernel, stride: [1; 2], padding: [0; 2] };
                return self.passing(op, from, factor);
            }
            Op::Add => self.sum(from, 1.0),
            Op::Heads => self.sum(from, 1.0 / from.len() as f32),
            Op::Multiply => return self.product(from, shape),
            Op::Attention { heads, scale } => {
                let qkv = [0, 1, 2].map(|port: usize| from[port].node.as_str());
                let factor: f32 = from.iter().map(|part| part.factor).product();
                self.graph.attention(self.name, qkv, heads, scale * factor);
            }
            Op::Linear { weight, bias } => {
                let flat = format!("{}.flatten", self.name);
                self.graph.node(&flat, Node::Flatten);
                self.graph.edge(&node, &flat, 0);
                let weight = self.model.matrices[weight].param.val().mul_scalar(factor);
                let weight = graph_tensor(&weight.dims(), params::values(weight));
                let bias = Some(tensor(&self.model.vectors[bias].param));
                self.graph.linear(self.name, &flat, &weight, bias, Layout::ByInput);
            }
        }
        Lowered::new(self.name)
    }

    /// A population that fires at `threshold`.
    fn neuron(&self, threshold: f32) -> Neuron {
        let Settings { dynamics, beta, .. } = self.model.settings;
        let spec = dynamics.spec;
        let Model::Lif { input_decay } = spec.model else {
            unreachable!("networks of layers have LIF neurons")
        };
        // Neurons that see one step only start from rest: nothing of the potential is left then.
        let (beta, input_decay, threshold) = match (self.after_mean, input_decay) {
            (false, _) => (beta, input_decay, threshold),
            (true, true) => (0.0, false, threshold / (1.0 - beta)),
            (true, false) => (0.0, false, threshold),
        };
        Neuron {
            membrane: Membrane::Lif { beta: Param::Shared(beta), input_decay },
            threshold: Param::Shared(threshold),
            fires_at_threshold: spec.fires_at_threshold,
            reset: match spec.reset {
                neuron::Reset::None => Reset::None,
                neuron::Reset::Subtract => Reset::Subtract,
                neuron::Reset::Zero => Reset::Zero,
            },
            reset_delayed: spec.reset_delayed,
        }
    }

    /// The sum of layers, times `weight`.
    fn sum(&mut self, from: &[Lowered], weight: f32) {
        self.graph.node(self.name, Node::Add);
        for (k, part) in from.iter().enumerate() {
            let factor = part.factor * weight;
            let node = match factor == 1.0 {
                true => part.node.clone(),
                false => {
                    let name = format!("{}.{k}", self.name);
                    let factor = graph_tensor(&[self.channels], vec![factor; self.channels]);
                    add_scale(self.graph, &name, &part.node, factor, None);
                    name
                }
            };
            self.graph.edge(&node, self.name, 0);
        }
    }

    /// The product of two layers, of which one may have a single position.
    fn product(self, from: &[Lowered], [h, w, _]: [usize; 3]) -> Lowered {
        let repeated = format!("{}.repeated", self.name);
        let second = match self.inputs[1][..2] == [1, 1] && [h, w] != [1, 1] {
            true => {
                self.graph.node(&repeated, Node::AdaptivePool2d { size: [h, w] });
                self.graph.edge(&from[1].node, &repeated, 0);
                &repeated
            }
            false => &from[1].node,
        };
        self.graph.multiply(self.name, [&from[0].node, second]);
        Lowered { factor: from[0].factor * from[1].factor, ..Lowered::new(self.name) }
    }

    /// A node through which a factor passes.
    fn passing(self, op: Node, from: &[Lowered], factor: f32) -> Lowered {
        self.graph.node(self.name, op);
        self.graph.edge(&from[0].node, self.name, 0);
        Lowered { factor, ..Lowered::new(self.name) }
    }

    fn scale(&mut self, from: &str, factor: Vec<f32>, shift: Option<Vec<f32>>) {
        let factor = graph_tensor(&[factor.len()], factor);
        let shift = shift.map(|shift| graph_tensor(&[shift.len()], shift));
        add_scale(self.graph, self.name, from, factor, shift);
    }

    /// A vector, so many times.
    fn repeated(&self, id: ParamId, times: usize) -> Tensor {
        let values = self.values(id).repeat(times);
        graph_tensor(&[values.len()], values)
    }

    fn values(&self, id: ParamId) -> Vec<f32> {
        params::values(self.model.vector(id))
    }
}

fn add_scale(
    graph: &mut GraphBuilder,
    name: &str,
    from: &str,
    factor: Tensor,
    shift: Option<Tensor>,
) {
    let factor = graph.tensor(&format!("{name}.factor"), factor);
    let shift = shift.map(|shift| graph.tensor(&format!("{name}.shift"), shift));
    graph.node(name, Node::Scale { factor, shift });
    graph.edge(from, name, 0);
}

fn graph_tensor(shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::f32(shape, values).expect("the shape of its values")
}
