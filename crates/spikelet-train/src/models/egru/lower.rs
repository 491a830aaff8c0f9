//! A network of EGRU layers to the event graph.

use super::model::{Egru, Linear};
use crate::lower::tensor;
use spikelet_graph::{GraphBuilder, Layout, Membrane, Neuron, Op, Param, Reset, Tensor};
use spikelet_kernels::egru::{TRACE_DECAY, TRACE_GAIN};

/// Adds the network behind `input`; returns the linear read-out.
pub(super) fn lower(model: &Egru, graph: &mut GraphBuilder, input: &str) -> String {
    let mut last = match (&model.front, &model.convolutions) {
        (None, _) => input.to_owned(),
        (Some((front, _)), None) => front.lower(graph, input),
        (Some((front, _)), Some(convolutions)) => {
            let (counts, copies) = front.lower_counts(graph, input);
            convolutions.lower(graph, &counts, copies)
        }
    };
    let sparse = model.convolutions.is_none();
    for (index, layer) in model.layers.iter().enumerate() {
        let name = format!("layers.{index}");
        // Only the first layer may read something sparse: traces fade.
        layer.lower(graph, &name, &last, sparse && index == 0, None);
        last = trace(graph, &name, layer.units());
    }
    linear(&model.fc, graph, "fc", &last, Layout::ByOutput);
    "fc".to_owned()
}

/// The trace of a layer's events: a leaky integrator of what an event adds.
fn trace(graph: &mut GraphBuilder, layer: &str, units: usize) -> String {
    let (gain, name) = (format!("{layer}.gain"), format!("{layer}.trace"));
    let factor = Tensor::f32(&[units], vec![TRACE_GAIN; units]).expect("a value for every unit");
    let factor = graph.tensor(&gain, factor);
    graph.node(&gain, Op::Scale { factor, shift: None });
    graph.edge(layer, &gain, 0);
    let neuron = Neuron {
        membrane: Membrane::Li { beta: Param::Shared(TRACE_DECAY) },
        threshold: Param::Shared(1.0),
        fires_at_threshold: false,
        reset: Reset::None,
        reset_delayed: false,
    };
    graph.neuron(&name, &[&gain], neuron);
    name
}

fn linear(matrix: &Linear, graph: &mut GraphBuilder, name: &str, from: &str, layout: Layout) {
    graph.linear(name, from, &tensor(&matrix.weight), Some(tensor(&matrix.bias)), layout);
}
