//! A recurrent language model to the event graph, one token a step.

use super::{config::Carry, layer::LmLayer, model::RecurrentLm};
use crate::lower::tensor;
use spikelet_graph::{GraphBuilder, Layout, Op, Weight};

/// Adds the network behind the token numbers of `input`; returns the decoder.
pub(super) fn lower<L: LmLayer>(
    model: &RecurrentLm<L>,
    graph: &mut GraphBuilder,
    input: &str,
) -> String {
    graph.embedding("embeddings", input, tensor(&model.embeddings.weight));
    let restart = (model.carry == Carry::Events).then_some(model.window);
    let mut last = "embeddings".to_owned();
    for (index, layer) in model.rnns.iter().enumerate() {
        let name = format!("rnns.{index}");
        // The first layer reads a row of the table, all others what a layer gives.
        layer.lower(graph, &name, &last, L::SPARSE && index > 0, restart);
        last = name;
    }
    if let Some(projection) = &model.decoder.projection {
        let (weight, bias) = (tensor(&projection.weight), tensor(&projection.bias));
        let layout = if L::SPARSE { Layout::ByInput } else { Layout::ByOutput };
        graph.linear("projection", &last, &weight, Some(bias), layout);
        last = "projection".to_owned();
    }
    // The table itself: a row for every token is a row for every output.
    let tensor_name = "embeddings.weight".to_owned();
    let weight = Weight { tensor: tensor_name, scale: None, layout: Layout::ByOutput };
    let bias = graph.tensor("decoder.bias", tensor(&model.decoder.decoder.bias));
    graph.node("decoder", Op::Linear { weight, bias: Some(bias) });
    graph.edge(last.as_str(), "decoder", 0);
    "decoder".to_owned()
}
