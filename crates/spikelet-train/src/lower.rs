//! Lowering: a trained model as an event graph.

use crate::{model::SequenceModel, params, prepare::Prepared};
use burn::module::Param;
use burn::tensor::Tensor;
use spikelet_graph::{Graph, GraphBuilder, GraphError, Signal, Task, task::EVENTS};
use std::collections::BTreeMap;

/// The graph of a trained model with its task record: input, the model's nodes, read-out, output.
///
/// # Errors
/// If the model's nodes do not form a valid graph, for instance because a weight is not finite.
pub fn lower<M: SequenceModel>(
    model: &M,
    name: &str,
    data: &Prepared,
) -> Result<Graph, GraphError> {
    let samples = &data.samples;
    let mut graph = GraphBuilder::new(name);
    let signal = match data.normalization {
        Some(_) => Signal::Dense,
        None if samples.is_binary() => Signal::Binary,
        None => model.input_signal(),
    };
    graph.input("input", signal, &model.input_shape(samples.values()));
    let output = model.lower(&mut graph, "input");
    graph.readout("readout", &output, model.readout());
    graph.output("output", "readout");
    let (mean, std) = match &data.normalization {
        Some(n) => (n.mean.clone(), n.std.clone()),
        None => (vec![], vec![]),
    };
    let mut notes = BTreeMap::from([("split".to_owned(), data.split_name.clone())]);
    let events = data.events.as_ref().and_then(|events| serde_json::to_string(events).ok());
    notes.extend(events.map(|events| (EVENTS.to_owned(), events)));
    graph.task(Task {
        dataset: Some(data.dataset.clone()),
        classes: samples.classes().to_vec(),
        channels: samples.channel_names().to_vec(),
        window: samples.time(),
        step_ms: (samples.step_ms() > 0.0).then(|| samples.step_ms()),
        mean,
        std,
        tokenizer: (samples.vocabulary().and_then(|v| v.tokenizer())).map(|t| t.json().to_owned()),
        notes,
        detection: None,
    });
    finish(graph)
}

/// The graph with what can be folded folded: a model says plainly what it computes.
///
/// # Errors
/// Nodes that do not form a valid graph.
pub fn finish(graph: GraphBuilder) -> Result<Graph, GraphError> {
    let mut graph = graph.finish()?;
    graph.fold_scales()?;
    Ok(graph)
}

/// A parameter as a tensor of the graph, same shape and order.
pub fn tensor<const D: usize>(param: &Param<Tensor<D>>) -> spikelet_graph::Tensor {
    let value = param.val();
    let shape = value.dims();
    spikelet_graph::Tensor::f32(&shape, params::values(value)).expect("the shape of its values")
}
