//! L2MU to the event graph: one node a matrix and a population, feedback as edges with delay.

use super::{input::Encoder, model::L2mu};
use crate::{lower::tensor, neuron::Neurons, params};
use burn::module::Param;
use spikelet_graph::{GraphBuilder, Layout, Tensor};

/// Adds the network behind `input`; returns the output population.
pub(super) fn lower(model: &L2mu, graph: &mut GraphBuilder, input: &str) -> String {
    // Plain input may be real values; it has few channels, and a row each serves it as well.
    let events = Layout::ByInput;
    let input = match &model.encoder {
        Some(encoder) => lower_encoder(encoder, graph, input),
        None => input.to_owned(),
    };
    let [u, m, h, out] = [("u", &model.u), ("m", &model.m), ("h", &model.h), ("out", &model.out)]
        .map(|(name, population)| population.lower(name, graph));
    graph.linear("e_x", &input, &tensor(&model.e_x), None, events);
    graph.linear("e_h", ("h", 1), &tensor(&model.e_h), None, events);
    graph.linear("e_m", ("m", 1), &tensor(&model.e_m), None, events);
    graph.neuron("u", &["e_x", "e_h", "e_m"], u);
    let (a, b) = &model.constants.legendre;
    let order = b.len();
    let memories = model.e_x.val().dims()[0];
    let constant = |shape: &[usize], values: &[f32]| {
        Tensor::f32(shape, values.to_vec()).expect("the shape of its values")
    };
    let a = constant(&[order, order], a);
    let b = constant(&[order], b);
    graph.legendre("legendre", "u", ("m", 1), memories, a, b);
    graph.neuron("m", &["legendre"], m);
    graph.linear("w_x", &input, &tensor(&model.w_x), None, events);
    graph.linear("w_h", ("h", 1), &tensor(&model.w_h), None, events);
    graph.linear("w_m", "m", &tensor(&model.w_m), None, events);
    graph.neuron("h", &["w_x", "w_h", "w_m"], h);
    graph.linear("w_o", "h", &tensor(&model.w_o), Some(tensor(&model.b_o)), events);
    graph.neuron("out", &["w_o"], out);
    "out".to_owned()
}

/// The input module. The maps of all channels become one matrix, each row with one weight.
fn lower_encoder(encoder: &Encoder, graph: &mut GraphBuilder, input: &str) -> String {
    let [channels, population] = encoder.weight.val().dims();
    let neurons = channels * population;
    let weight = params::values(encoder.weight.val());
    let mut matrix = vec![0.0; neurons * channels];
    for (j, w) in weight.into_iter().enumerate() {
        matrix[j * channels + j / population] = w;
    }
    let matrix = Tensor::f32(&[neurons, channels], matrix).expect("the shape of its values");
    let bias = Tensor::f32(&[neurons], params::values(encoder.bias.val())).expect("one a neuron");
    graph.linear("channels", input, &matrix, Some(bias), Layout::ByInput);
    let repeated = encoder.repeated();
    let all = Neurons {
        beta: Some(Param::from_tensor(repeated.beta)),
        threshold: Param::from_tensor(repeated.threshold),
        alpha: repeated.second_decay.map(Param::from_tensor),
        ..encoder.neurons.clone()
    };
    let all = all.lower("populations", graph);
    graph.neuron("populations", &["channels"], all);
    let mut last = "populations";
    for (layer, [map, name]) in
        encoder.layers.iter().zip([["to_encoder", "encoder"], ["to_decoder", "decoder"]])
    {
        let bias = Some(tensor(&layer.bias));
        graph.linear(map, last, &tensor(&layer.weight), bias, Layout::ByInput);
        let neurons = layer.neurons.lower(name, graph);
        graph.neuron(name, &[map], neurons);
        last = name;
    }
    last.to_owned()
}
