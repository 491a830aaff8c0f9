//! The event-based GRU in a graph: shapes, signals, counts, files, compression, and what is refused.

use crate::common::Numbers;
use spikelet_graph::{
    Graph, GraphBuilder, GraphError, Layout, Op, Signal, Weight,
    compress::{Scope, prune, remove_neurons},
};

const INPUTS: usize = 5;
const UNITS: usize = 4;

/// Two layers, the second one fed by the events of the first.
fn build(change: impl FnOnce(&mut GraphBuilder)) -> Result<Graph, GraphError> {
    let mut numbers = Numbers(7);
    let mut graph = GraphBuilder::new("egru");
    graph.input("x", Signal::Dense, &[INPUTS]);
    for (name, from, inputs, layout) in
        [("first", "x", INPUTS, Layout::ByOutput), ("second", "first", UNITS, Layout::ByInput)]
    {
        let shape = match layout {
            Layout::ByInput => [inputs, 3 * UNITS],
            Layout::ByOutput => [3 * UNITS, inputs],
        };
        let mut add = |end: &str, shape: &[usize]| {
            graph.tensor(&format!("{name}.{end}"), numbers.tensor(shape))
        };
        let op = Op::Egru {
            weight_input: Weight { tensor: add("kernel", &shape), scale: None, layout },
            weight_hidden: Weight {
                tensor: add("recurrent", &[UNITS, 3 * UNITS]),
                scale: None,
                layout: Layout::ByInput,
            },
            bias_input: add("bias", &[3 * UNITS]),
            bias_hidden: add("recurrent_bias", &[3 * UNITS]),
            threshold: add("threshold", &[UNITS]),
            zoneout: 0.25,
            restart: Some(70),
        };
        graph.node(name, op);
        graph.edge(from, name, 0);
        graph.edge((name, 1), name, 1);
    }
    graph.output("y", "second");
    change(&mut graph);
    graph.finish()
}

fn graph() -> Graph {
    build(|_| {}).expect("a valid graph")
}

/// The graph with one field of its first layer changed.
fn with(change: impl FnOnce(&mut f32, &mut Option<usize>)) -> Result<(), GraphError> {
    let mut graph = graph();
    let node = graph.nodes.iter_mut().find(|node| node.name == "first").expect("a layer");
    if let Op::Egru { zoneout, restart, .. } = &mut node.op {
        change(zoneout, restart);
    }
    graph.validate().map(|_| ())
}

#[test]
fn layers_give_graded_events() {
    let graph = graph();
    let signals = graph.signals(&graph.validate().expect("a valid graph"));
    for (node, signal) in graph.nodes.iter().zip(signals).filter(|(node, _)| node.name != "x") {
        assert_eq!(node.shape, [UNITS], "{}", node.name);
        assert_eq!(signal, Signal::Graded, "{}", node.name);
    }
}

#[test]
fn files_keep_layers() {
    let graph = graph();
    let bytes = graph.to_bytes().expect("bytes");
    assert_eq!(Graph::from_bytes(&bytes).expect("a graph"), graph);
}

#[test]
fn counts_are_those_of_three_gates() {
    let counts = graph().counts().expect("counts");
    let second = counts.nodes.iter().find(|node| node.name == "second").expect("a layer");
    let units = UNITS as u64;
    assert_eq!(second.dense, 2 * 3 * units * units);
    assert_eq!(second.parameters, 2 * 3 * units * units + 2 * 3 * units + units);
    assert_eq!(second.connections, 2 * 3 * units * units + 2 * 3 * units);
    assert_eq!((second.gate_multiplies, second.elementwise), (3 * units, 5 * units));
    assert_eq!(second.state_updates, units);
}

#[test]
fn matrices_are_pruned_and_layers_stay_whole() {
    let graph = graph();
    let (pruned, report) = prune(&graph, 0.5, Scope::Layer, &[]).expect("a graph");
    assert_eq!(report.len(), 4, "two matrices a layer");
    for entry in &report {
        assert_eq!(entry.zeros, entry.weights / 2, "{}", entry.tensor);
    }
    assert_eq!(pruned.tensors["first.threshold"], graph.tensors["first.threshold"]);
    let (same, removed) = remove_neurons(&graph, 0.5, &[]).expect("a graph");
    assert!(removed.is_empty());
    assert_eq!(same, graph);
}

#[test]
fn what_cannot_run_is_refused() {
    for value in [-0.1, 1.5, f32::NAN] {
        let error = with(|zoneout, _| *zoneout = value).expect_err("out of range");
        let refused = matches!(error, GraphError::Parameter { parameter: "zoneout", .. });
        assert!(refused, "{error}");
    }
    let error = with(|_, restart| *restart = Some(0)).expect_err("no window");
    assert!(error.to_string().contains("every 0 steps"), "{error}");
    for (tensor, shape) in [
        ("first.threshold", vec![UNITS + 1]),
        ("first.bias", vec![3]),
        ("second.recurrent_bias", vec![2 * UNITS]),
    ] {
        let mut graph = graph();
        graph.tensors.insert(tensor.into(), Numbers(1).tensor(&shape));
        let error = graph.validate().expect_err("another length");
        let refused = matches!(&error, GraphError::TensorShape { tensor: t, .. } if t == tensor);
        assert!(refused, "{error}");
    }
    let mut uneven = graph();
    uneven.tensors.insert("first.recurrent".into(), Numbers(1).tensor(&[UNITS, UNITS]));
    assert!(uneven.validate().is_err(), "one gate");
    let mut open = graph();
    open.edges.retain(|edge| edge.port == 0);
    let error = open.validate().expect_err("no events");
    assert!(matches!(error, GraphError::OpenPort { port: 1, .. }), "{error}");
    // What comes back must be as wide as the layer.
    let mut wide = graph();
    wide.edges.retain(|edge| edge.to != "first" || edge.port == 0);
    let edge = wide.edges.iter().find(|edge| edge.port == 0 && edge.to == "first");
    let edge = edge.expect("an edge").clone();
    wide.edges.push(spikelet_graph::Edge { port: 1, ..edge });
    let error = wide.validate().expect_err("five values for four units");
    assert!(error.to_string().contains("port 1"), "{error}");
}
