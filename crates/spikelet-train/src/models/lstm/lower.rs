//! LSTM to the event graph.

use super::model::Lstm;
use crate::lower::tensor;
use spikelet_graph::{GraphBuilder, Layout};

/// Adds the network behind `input`; returns the linear read-out.
pub(super) fn lower(model: &Lstm, graph: &mut GraphBuilder, input: &str) -> String {
    let dense = Layout::ByOutput;
    let weights = [tensor(&model.weight_ih), tensor(&model.weight_hh)];
    graph.lstm("lstm", input, &weights[0], &weights[1], tensor(&model.bias), dense);
    graph.linear("w_o", "lstm", &tensor(&model.w_o), Some(tensor(&model.b_o)), dense);
    "w_o".to_owned()
}
