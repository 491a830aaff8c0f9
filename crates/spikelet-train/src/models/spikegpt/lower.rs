//! SpikeGPT to the event graph: the recurrent form, one token a step.

use super::{
    functions::{LIF, LIF_PARAMETERS},
    model::SpikeGpt,
    module::{Block, ChannelMix, LayerNorm, Matrix, TimeMix},
};
use crate::{lower::tensor, params};
use burn::module::Param;
use burn::tensor::Tensor;
use spikelet_graph::{Function, GraphBuilder, Layout, Membrane, Neuron, Op, Reset};

/// Adds the network behind the token numbers of `input`; returns the head.
pub(super) fn lower(model: &SpikeGpt, graph: &mut GraphBuilder, input: &str) -> String {
    let features = features(model, graph, input);
    let mut lowering = Lowering { graph, x: String::new(), spiking: model.spiking };
    lowering.linear("head", &features, &model.head, Layout::ByOutput, 1.0);
    "head".to_owned()
}

/// Everything in front of the head; returns the last normalisation.
pub(super) fn features(model: &SpikeGpt, graph: &mut GraphBuilder, input: &str) -> String {
    let width = model.width();
    graph.embedding("emb", input, table(model));
    let mut lowering = Lowering { graph, x: "emb".to_owned(), spiking: model.spiking };
    for (layer, block) in model.blocks.iter().enumerate() {
        lowering.block(layer, block, model.semantics.output_factor(layer));
        if model.semantics.halves(layer) {
            let name = format!("{layer}.halved");
            let factor = vector(vec![0.5; width]);
            let factor = lowering.graph.tensor(&format!("{name}.factor"), factor);
            lowering.graph.node(&name, Op::Scale { factor, shift: None });
            lowering.graph.edge(&lowering.x, &name, 0);
            lowering.x = name;
        }
    }
    let last = std::mem::take(&mut lowering.x);
    lowering.norm("ln_out", &last, &model.ln_out);
    "ln_out".to_owned()
}

/// The embedding; where it becomes spikes, these.
fn table(model: &SpikeGpt) -> spikelet_graph::Tensor {
    let mut table = params::values(model.emb.weight.val());
    if model.spiking && model.semantics.binary_embedding {
        table.iter_mut().for_each(|e| *e = if *e >= 0.0 { 1.0 } else { 0.0 });
    }
    spikelet_graph::Tensor::f32(&[model.vocabulary(), model.width()], table)
        .expect("the shape of its values")
}

fn vector(values: Vec<f32>) -> spikelet_graph::Tensor {
    spikelet_graph::Tensor::f32(&[values.len()], values).expect("the shape of its values")
}

/// Shares `[1, 1, channels]` as `[channels]`.
fn share(param: &Param<Tensor<3>>) -> spikelet_graph::Tensor {
    vector(params::values(param.val()))
}

/// A graph, and the node that holds the residual stream.
struct Lowering<'a> {
    graph: &'a mut GraphBuilder,
    x: String,
    spiking: bool,
}

impl Lowering<'_> {
    fn block(&mut self, layer: usize, block: &Block, factor: f32) {
        let name = |part: &str| format!("{layer}.{part}");
        if let Some(ln0) = &block.ln0 {
            let ln0_name = name("ln0");
            let x = std::mem::replace(&mut self.x, ln0_name.clone());
            self.norm(&ln0_name, &x, ln0);
        }
        let x = self.x.clone();
        self.norm(&name("ln1"), &x, &block.ln1);
        let (first, current) = match (&block.att, &block.ffnPre) {
            (Some(att), _) => (name("att"), self.time_mix(&name("att"), &name("ln1"), att, factor)),
            (None, Some(ffn)) => {
                (name("ffnPre"), self.channel_mix(&name("ffnPre"), &name("ln1"), ffn, factor))
            }
            (None, None) => unreachable!("a block has a first mix"),
        };
        self.add_spikes(&first, &current);
        let x = self.x.clone();
        self.norm(&name("ln2"), &x, &block.ln2);
        let current = self.channel_mix(&name("ffn"), &name("ln2"), &block.ffn, factor);
        self.add_spikes(&name("ffn"), &current);
    }

    fn norm(&mut self, name: &str, from: &str, norm: &LayerNorm) {
        self.graph.layer_norm(name, from, tensor(&norm.weight), tensor(&norm.bias));
    }

    /// A matrix times a factor.
    fn linear(&mut self, name: &str, from: &str, matrix: &Matrix, layout: Layout, factor: f32) {
        let weight = matrix.weight.val().mul_scalar(factor);
        let shape = weight.dims();
        let weight = spikelet_graph::Tensor::f32(&shape, params::values(weight))
            .expect("the shape of its values");
        self.graph.linear(name, from, &weight, None, layout);
    }

    /// A matrix behind a token shift, both named after what they give.
    fn shifted(&mut self, name: &str, from: &str, mix: &Param<Tensor<3>>, matrix: &Matrix) {
        let shift = format!("{name}.shift");
        self.graph.token_shift(&shift, from, share(mix));
        self.linear(name, &shift, matrix, Layout::ByOutput, 1.0);
    }

    fn time_mix(&mut self, name: &str, from: &str, mix: &TimeMix, factor: f32) -> String {
        let part = |part: &str| format!("{name}.{part}");
        let [key, value, receptance] = ["key", "value", "receptance"].map(part);
        self.shifted(&key, from, &mix.time_mix_k, &mix.key);
        self.shifted(&value, from, &mix.time_mix_v, &mix.value);
        self.shifted(&receptance, from, &mix.time_mix_r, &mix.receptance);
        let decay = params::values(mix.time_decay.val().exp().neg());
        let [wkv, gate, gated, output] = ["wkv", "gate", "gated", "output"].map(part);
        self.graph.wkv(&wkv, [&key, &value], vector(decay), tensor(&mix.time_first));
        self.graph.activation(&gate, &receptance, Function::Sigmoid);
        self.graph.multiply(&gated, [&gate, &wkv]);
        self.linear(&output, &gated, &mix.output, Layout::ByOutput, factor);
        output
    }

    fn channel_mix(&mut self, name: &str, from: &str, mix: &ChannelMix, factor: f32) -> String {
        let part = |part: &str| format!("{name}.{part}");
        let [key, receptance] = ["key", "receptance"].map(part);
        self.shifted(&key, from, &mix.time_mix_k, &mix.key);
        self.shifted(&receptance, from, &mix.time_mix_r, &mix.receptance);
        let [squared, value, gate, gated] = ["squared", "value", "gate", "gated"].map(part);
        self.graph.activation(&squared, &key, Function::ReluSquared);
        // The one matrix that sees zeros: only the rows of what is active are read.
        self.linear(&value, &squared, &mix.value, Layout::ByInput, factor);
        self.graph.activation(&gate, &receptance, Function::Sigmoid);
        self.graph.multiply(&gated, [&gate, &value]);
        gated
    }

    /// Neurons behind a mix, and the residual stream with their spikes; without neurons, with the
    /// current itself.
    fn add_spikes(&mut self, name: &str, current: &str) {
        let mut spikes = current.to_owned();
        if self.spiking {
            spikes = format!("{name}.lif");
            let [beta, threshold] = LIF_PARAMETERS.map(spikelet_graph::Param::Shared);
            let neuron = Neuron {
                membrane: Membrane::Lif { beta, input_decay: true },
                threshold,
                fires_at_threshold: LIF.spec.fires_at_threshold,
                reset: Reset::Zero,
                reset_delayed: LIF.spec.reset_delayed,
            };
            self.graph.neuron(&spikes, &[current], neuron);
        }
        let sum = format!("{name}.x");
        self.graph.node(&sum, Op::Add);
        self.graph.edge(&self.x, &sum, 0);
        self.graph.edge(&spikes, &sum, 0);
        self.x = sum;
    }
}
