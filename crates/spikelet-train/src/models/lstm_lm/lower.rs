//! The language model to the event graph.

use super::model::LstmLm;
use crate::{lower::tensor, models::recurrent_lm::LmLayer};
use spikelet_graph::{GraphBuilder, Layout};

/// Adds the network behind the token numbers of `input`; returns the head.
pub(super) fn lower(model: &LstmLm, graph: &mut GraphBuilder, input: &str) -> String {
    let x = features(model, graph, input);
    let bias = Some(tensor(&model.bias));
    graph.linear("head", x.as_str(), &tensor(&model.head), bias, Layout::ByOutput);
    "head".to_owned()
}

/// Everything in front of the head; returns the last layer.
pub(super) fn features(model: &LstmLm, graph: &mut GraphBuilder, input: &str) -> String {
    graph.embedding("emb", input, tensor(&model.emb));
    let mut x = "emb".to_owned();
    for (index, layer) in model.layers.iter().enumerate() {
        let name = format!("lstm.{index}");
        layer.lower(graph, &name, &x, false, None);
        x = name;
    }
    x
}
