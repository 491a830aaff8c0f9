//! Operations of language models: shapes, signals, counts, files, and what is refused.

use crate::common::Numbers;
use spikelet_graph::{
    Function, Graph, GraphBuilder, GraphError, Layout, Op, Readout, Signal, Tensor,
    compress::{Bits, Scope, prune, quantize, remove_neurons},
};

const TOKENS: usize = 6;
const CHANNELS: usize = 4;

/// A token, its row, and one of every operation behind it.
fn build(change: impl FnOnce(&mut GraphBuilder)) -> Result<Graph, GraphError> {
    let mut numbers = Numbers(3);
    let mut graph = GraphBuilder::new("tokens");
    let mut vector = || numbers.tensor(&[CHANNELS]);
    let vectors = [(); 5].map(|()| vector());
    let [weight, bias, mix, decay, first] = vectors;
    graph.input("token", Signal::Dense, &[1]);
    graph.embedding("emb", "token", numbers.tensor(&[TOKENS, CHANNELS]));
    graph.layer_norm("norm", "emb", weight, bias);
    graph.token_shift("shift", "norm", mix);
    graph.linear("key", "shift", &numbers.tensor(&[CHANNELS; 2]), None, Layout::ByOutput);
    graph.wkv("wkv", ["key", "norm"], decay, first);
    graph.multiply("product", ["wkv", "shift"]);
    graph.activation("squared", "product", Function::ReluSquared);
    graph.readout("last", "squared", Readout::Last);
    graph.output("y", "last");
    change(&mut graph);
    graph.finish()
}

fn graph() -> Graph {
    build(|_| {}).unwrap()
}

#[test]
fn shapes_and_signals_follow_the_operations() {
    let graph = graph();
    let signals = graph.signals(&graph.validate().unwrap());
    for (node, signal) in graph.nodes.iter().zip(signals).filter(|(n, _)| n.name != "token") {
        assert_eq!(node.shape, [CHANNELS], "{}", node.name);
        let graded = ["squared", "last", "y"].contains(&node.name.as_str());
        let expected = if graded { Signal::Graded } else { Signal::Dense };
        assert_eq!(signal, expected, "{}", node.name);
    }
}

#[test]
fn files_keep_the_operations() {
    let graph = graph();
    assert_eq!(Graph::from_bytes(&graph.to_bytes().unwrap()).unwrap(), graph);
}

#[test]
fn counts_leave_tables_out_of_the_connections() {
    let counts = graph().counts().unwrap();
    let of = |name: &str| counts.nodes.iter().find(|node| node.name == name).unwrap();
    let channels = CHANNELS as u64;
    assert_eq!(counts.connections, channels * channels, "those of the matrix alone");
    assert_eq!(counts.dense, channels * channels);
    assert_eq!(of("emb").parameters, (TOKENS * CHANNELS) as u64);
    assert_eq!(of("norm").elementwise, 7 * channels);
    assert_eq!(of("shift").elementwise, 3 * channels);
    assert_eq!((of("wkv").elementwise, of("wkv").state_updates), (18 * channels, channels));
    assert_eq!(of("product").gate_multiplies, channels);
}

#[test]
fn compression_leaves_zeros_and_ones_of_tables_alone() {
    let spikes = (0..TOKENS * CHANNELS).map(|i| (i % 3 % 2) as f32).collect();
    let spikes = Tensor::f32(&[TOKENS, CHANNELS], spikes).unwrap();
    let mut graph = graph();
    graph.tensors.insert("emb.weight".into(), spikes.clone());
    let (pruned, _) = prune(&graph, 0.9, Scope::Global, &[]).unwrap();
    assert_eq!(pruned.tensors["emb.weight"], spikes);
    for bits in [Bits::Eight, Bits::Four] {
        let (quantized, _) = quantize(&graph, bits, &[]).unwrap();
        let node = quantized.node("emb").unwrap();
        let values = quantized.weight("emb", node.op.weights()[0]).unwrap();
        let difference = values.iter().zip(spikes.to_f32()).map(|(q, s)| (q - s).abs());
        assert!(difference.fold(0.0, f32::max) < 1e-6, "{bits:?}");
    }
    let (smaller, removed) = remove_neurons(&graph, 0.5, &[]).unwrap();
    assert!(removed.is_empty(), "every unit meets one that cannot go");
    assert_eq!(smaller, graph);
}

/// The problem of a field that an error names.
fn field(result: Result<Graph, GraphError>) -> (&'static str, String) {
    match result {
        Err(GraphError::Field { field, problem, .. }) => (field, problem),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_run_is_refused() {
    // A table read by events, by a node, or laid out the other way.
    let mut events = graph();
    events.nodes[0].op = Op::Input { signal: Signal::Binary };
    let (at, problem) = field(events.validate().map(|_| events));
    assert!(at == "port" && problem.contains("not declared as binary"), "{problem}");
    let (at, _) = field(build(|graph| {
        graph.embedding("second", "norm", Numbers(1).tensor(&[TOKENS, CHANNELS]));
        graph.output("z", "second");
    }));
    assert_eq!(at, "weight");
    let mut turned = graph();
    if let Op::Embedding { weight } = &mut turned.nodes[1].op {
        weight.layout = Layout::ByOutput;
    }
    let (_, problem) = field(turned.validate().map(|_| turned));
    assert!(problem.contains("by_input"), "{problem}");
    // Vectors of another length.
    for name in ["norm.weight", "norm.bias", "shift.mix", "wkv.decay", "wkv.first"] {
        let mut graph = graph();
        graph.tensors.insert(name.into(), Numbers(1).tensor(&[CHANNELS + 1]));
        let error = graph.validate().unwrap_err();
        assert!(
            matches!(&error, GraphError::TensorShape { tensor, .. } if tensor == name),
            "{error}"
        );
    }
    // Ports that differ, and one that nothing reaches.
    let (_, problem) = field(build(|graph| {
        graph.multiply("uneven", ["key", "token"]);
        graph.output("z", "uneven");
    }));
    assert!(problem.contains("port 1"), "{problem}");
    let open = build(|graph| {
        graph.node("open", Op::Multiply);
        graph.edge("key", "open", 0);
        graph.output("z", "open");
    });
    assert!(matches!(open, Err(GraphError::OpenPort { port: 1, .. })), "{open:?}");
}
