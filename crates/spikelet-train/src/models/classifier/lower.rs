//! The classifier to the event graph.

use super::{body::Body, model::Classifier};
use crate::lower::tensor;
use spikelet_graph::{GraphBuilder, Layout, Tensor};

/// Adds the network behind the token numbers of `input`; returns the logits of a step.
///
/// Learned weights are a WKV whose exponents do not decay and that gives the present token no
/// bonus: the mean of all values so far, weighted by the powers of their keys.
pub(super) fn lower<B: Body>(
    model: &Classifier<B>,
    graph: &mut GraphBuilder,
    input: &str,
) -> String {
    let features = model.body.lower_features(graph, input);
    let (features, dense) = (features.as_str(), Layout::ByOutput);
    graph.linear("classes", features, &tensor(&model.head), Some(tensor(&model.bias)), dense);
    let Some(scores) = &model.scores else { return "classes".to_owned() };
    graph.linear("scores", features, &tensor(scores), None, dense);
    let zeros = || {
        let [classes] = model.bias.dims();
        Tensor::f32(&[classes], vec![0.0; classes]).expect("the shape of its values")
    };
    graph.wkv("pooled", ["scores", "classes"], zeros(), zeros());
    "pooled".to_owned()
}
