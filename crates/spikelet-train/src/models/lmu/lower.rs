//! The classical LMU to the event graph.

use super::model::Lmu;
use crate::lower::tensor;
use spikelet_graph::{Function, GraphBuilder, Layout, Op, Tensor};

/// Adds the network behind `input`; returns the linear read-out.
pub(super) fn lower(model: &Lmu, graph: &mut GraphBuilder, input: &str) -> String {
    let dense = Layout::ByOutput;
    graph.linear("e_x", input, &tensor(&model.e_x), None, dense);
    graph.linear("e_h", ("h", 1), &tensor(&model.e_h), None, dense);
    graph.linear("e_m", ("legendre", 1), &tensor(&model.e_m), None, dense);
    let (a, b) = &*model.legendre;
    let order = b.len();
    let memories = model.e_x.val().dims()[0];
    let a = Tensor::f32(&[order, order], a.clone()).expect("the shape of its values");
    let b = Tensor::f32(&[order], b.clone()).expect("the shape of its values");
    graph.legendre("legendre", "e_x", ("legendre", 1), memories, a, b);
    graph.edge("e_h", "legendre", 0);
    graph.edge("e_m", "legendre", 0);
    graph.linear("w_x", input, &tensor(&model.w_x), None, dense);
    graph.linear("w_h", ("h", 1), &tensor(&model.w_h), None, dense);
    graph.linear("w_m", "legendre", &tensor(&model.w_m), None, dense);
    graph.node("h", Op::Activation { function: Function::Tanh });
    for source in ["w_x", "w_h", "w_m"] {
        graph.edge(source, "h", 0);
    }
    graph.linear("w_o", "h", &tensor(&model.w_o), Some(tensor(&model.b_o)), dense);
    "w_o".to_owned()
}
