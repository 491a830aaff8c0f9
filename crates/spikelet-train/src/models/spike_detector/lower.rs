//! Detectors to the event graph: one file with up to three parts that are not connected, the first
//! stage and the heads of regions ([`spikelet_graph::detection`]).

use super::model::Detector;
use crate::lower::finish;
use spikelet_graph::{Graph, GraphBuilder, GraphError, Readout, Signal, Task};

/// The graph of a detector; `task` says what else it is for.
///
/// # Errors
/// Networks that form no graph: attention between rectifiers cannot be run by events.
pub fn lower(detector: &Detector, name: &str, task: Task) -> Result<Graph, GraphError> {
    let mut graph = GraphBuilder::new(name);
    graph.input("image", Signal::Dense, &detector.input);
    let network = &detector.network;
    let nodes = network.features.lower_outputs(&mut graph, "image");
    let mean = |graph: &mut GraphBuilder, output: &str, node: &str| {
        let readout = format!("{output}.mean");
        graph.readout(&readout, node, Readout::Mean);
        graph.output(output, &readout);
    };
    for (at, node) in nodes.iter().take(2 * detector.levels()).enumerate() {
        let kind = if at % 2 == 0 { "scores" } else { "deltas" };
        mean(&mut graph, &format!("{kind}.{}", at / 2), node);
    }
    for (level, node) in nodes.iter().skip(2 * detector.levels()).enumerate() {
        graph.output(&format!("features.{level}"), node);
    }
    let heads = [
        (&network.box_head, "box_region", &["classes", "boxes"][..]),
        (&network.mask_head, "mask_region", &["masks"][..]),
    ];
    for (head, input, outputs) in heads {
        let Some(head) = head else { continue };
        graph.input(input, Signal::Dense, &head.layers()[0].shape);
        let nodes = head.lower_outputs(&mut graph, input);
        for (output, node) in outputs.iter().zip(&nodes) {
            mean(&mut graph, output, node);
        }
    }
    let detection = Some(detector.detection.clone());
    graph.task(Task { window: detector.steps, detection, ..task });
    finish(graph)
}
