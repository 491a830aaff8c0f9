//! Convolutional networks to the event graph. Running statistics, gains and the constants of
//! normaliser-free networks become scales of single layers, which then fold into the convolutions
//! before them ([`Graph::fold_scales`](spikelet_graph::Graph::fold_scales)).

use super::{
    functions::folded,
    model::{Convnet, NEURON},
    network::{Op, ParamId},
};
use crate::{lower::tensor, params};
use spikelet_graph::{
    GraphBuilder, Layout, Membrane, Neuron, Op as Node, Param, Pooling, Reset, Tensor,
};
use spikelet_kernels::neuron::Model;

/// A layer in the graph: what it gives is `factor` times what the node gives.
#[derive(Clone)]
struct Lowered {
    node: String,
    factor: f32,
}

impl Lowered {
    fn new(node: &str) -> Lowered {
        Lowered { node: node.to_owned(), factor: 1.0 }
    }
}

/// Adds the network behind `input`; returns the node that gives the classes.
pub(super) fn lower(model: &Convnet, graph: &mut GraphBuilder, input: &str) -> String {
    let mut done: Vec<Lowered> = vec![Lowered::new(input)];
    for layer in model.layers().iter().skip(1) {
        let from: Vec<Lowered> = layer.inputs.iter().map(|&id| done[id].clone()).collect();
        let lowering = Lowering { model, graph, name: &layer.name, channels: layer.shape[2] };
        done.push(lowering.layer(&layer.op, &from, layer.shape));
    }
    done.pop().map_or_else(|| input.to_owned(), |last| last.node)
}

struct Lowering<'a> {
    model: &'a Convnet,
    graph: &'a mut GraphBuilder,
    name: &'a str,
    channels: usize,
}

impl Lowering<'_> {
    fn layer(mut self, op: &Op, from: &[Lowered], shape: [usize; 3]) -> Lowered {
        let Lowered { node, factor } = from[0].clone();
        match *op {
            Op::Input => {}
            Op::Conv { weight, bias, gain, stride, padding } => {
                let kernel = self.model.kernel(weight, gain).mul_scalar(factor);
                let kernel = kernel.permute([3, 2, 0, 1]);
                let kernel = graph_tensor(&kernel.dims(), params::values(kernel));
                let bias = bias.map(|bias| tensor(&self.model.vectors[bias].param));
                let (stride, padding) = ([stride; 2], [padding; 2]);
                let layout = Layout::ByInput;
                self.graph.conv2d(self.name, &node, &kernel, bias, layout, stride, padding, 1);
            }
            Op::BatchNorm { weight, bias, mean, variance } => {
                let [weight, bias, mean, variance] =
                    [weight, bias, mean, variance].map(|id| self.values(id));
                let [scale, shift] = folded(&weight, &bias, &mean, &variance);
                let scale = scale.iter().map(|s| s * factor).collect();
                self.scale(&node, scale, Some(shift));
            }
            Op::Lif => {
                let spec = NEURON;
                debug_assert_eq!(spec.model, Model::Lif { input_decay: false });
                let beta = Param::Shared(self.model.settings.beta);
                let neuron = Neuron {
                    membrane: Membrane::Lif { beta, input_decay: false },
                    // Potentials of an input scaled by a factor reach 1 where those of the input
                    // itself reach its inverse.
                    threshold: Param::Shared(1.0 / factor),
                    fires_at_threshold: spec.fires_at_threshold,
                    reset: Reset::Subtract,
                    reset_delayed: spec.reset_delayed,
                };
                self.graph.neuron(self.name, &[&node], neuron);
            }
            Op::Scale(constant) => return Lowered { node, factor: factor * constant },
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
            Op::Add => {
                self.graph.node(self.name, Node::Add);
                for (k, part) in from.iter().enumerate() {
                    let node = match part.factor == 1.0 {
                        true => part.node.clone(),
                        false => {
                            let name = format!("{}.{k}", self.name);
                            let factor =
                                graph_tensor(&[self.channels], vec![part.factor; self.channels]);
                            add_scale(self.graph, &name, &part.node, factor, None);
                            name
                        }
                    };
                    self.graph.edge(&node, self.name, 0);
                }
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

    /// A node through which a factor passes.
    fn passing(self, op: Node, from: &[Lowered], factor: f32) -> Lowered {
        self.graph.node(self.name, op);
        self.graph.edge(&from[0].node, self.name, 0);
        Lowered { node: self.name.to_owned(), factor }
    }

    fn scale(&mut self, from: &str, factor: Vec<f32>, shift: Option<Vec<f32>>) {
        let factor = graph_tensor(&[factor.len()], factor);
        let shift = shift.map(|shift| graph_tensor(&[shift.len()], shift));
        add_scale(self.graph, self.name, from, factor, shift);
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
