//! GRU to the event graph.

use super::model::Gru;
use crate::lower::tensor;
use spikelet_graph::{GraphBuilder, Layout};

/// Adds the network behind `input`; returns the linear read-out.
pub(super) fn lower(model: &Gru, graph: &mut GraphBuilder, input: &str) -> String {
    let dense = Layout::ByOutput;
    let weights = [&tensor(&model.weight_ih), &tensor(&model.weight_hh)];
    let biases = [tensor(&model.bias_ih), tensor(&model.bias_hh)];
    graph.gru("gru", input, weights, biases, dense);
    graph.linear("w_o", "gru", &tensor(&model.w_o), Some(tensor(&model.b_o)), dense);
    "w_o".to_owned()
}
