//! Graphs that cannot run, and what is said about them.

use crate::common::{convolutional, gated, lif, small};
use spikelet_graph::{
    Edge, Graph, GraphBuilder, GraphError, Layout, Membrane, Node, Op, Param, Phase, Readout,
    Signal, Tensor, Values, validate::MAX_DELAY,
};

fn error(graph: &Graph) -> GraphError {
    graph.validate().expect_err("the graph must be rejected")
}

/// The error after a change to the small L2MU.
fn after(change: impl FnOnce(&mut Graph)) -> GraphError {
    let mut graph = small(1);
    change(&mut graph);
    error(&graph)
}

fn node<'a>(graph: &'a mut Graph, name: &str) -> &'a mut Node {
    graph.nodes.iter_mut().find(|node| node.name == name).unwrap()
}

fn edge<'a>(graph: &'a mut Graph, from: &str, to: &str) -> &'a mut Edge {
    graph.edges.iter_mut().find(|edge| edge.from == from && edge.to == to).unwrap()
}

#[test]
fn order_follows_the_undelayed_edges() {
    let graph = small(1);
    let order = graph.order().unwrap();
    let at = |name: &str| order.iter().position(|&i| graph.nodes[i].name == name).unwrap();
    for edge in graph.edges.iter().filter(|edge| edge.delay == 0) {
        assert!(at(&edge.from) < at(&edge.to), "{} before {}", edge.from, edge.to);
    }
    assert!(at("m") < at("w_m") && at("e_h") < at("h"));
}

#[test]
fn a_cycle_without_delay_names_its_nodes() {
    let problem = after(|graph| edge(graph, "m", "memory").delay = 0);
    assert_eq!(problem, GraphError::Cycle { nodes: vec!["m".into(), "memory".into(), "m".into()] });
    assert!(problem.to_string().contains("m -> memory -> m"), "{problem}");
}

#[test]
fn names_and_edges() {
    assert!(matches!(
        after(|graph| node(graph, "u").name = "h".into()),
        GraphError::DuplicateNode { .. }
    ));
    assert!(matches!(after(|graph| node(graph, "u").name.clear()), GraphError::Name { .. }));
    assert!(matches!(
        after(|graph| edge(graph, "u", "memory").from = "nobody".into()),
        GraphError::EdgeEnd { missing, .. } if missing == "nobody"
    ));
    assert!(matches!(
        after(|graph| graph.edges.push(graph.edges[0].clone())),
        GraphError::DuplicateEdge { .. }
    ));
    assert!(matches!(
        after(|graph| edge(graph, "h", "w_h").delay = MAX_DELAY + 1),
        GraphError::Delay { .. }
    ));
    for port in [1, usize::MAX] {
        assert!(matches!(
            after(|graph| edge(graph, "h", "out").port = port),
            GraphError::NoPort { ports: 1, .. }
        ));
    }
    assert!(matches!(
        after(|graph| graph.edges.retain(|edge| edge.to != "out")),
        GraphError::OpenPort { port: 0, .. }
    ));
    assert!(matches!(
        after(|graph| graph.edges.retain(|edge| !(edge.to == "memory" && edge.port == 0))),
        GraphError::OpenPort { port: 0, .. }
    ));
    assert!(matches!(
        after(|graph| graph.nodes.retain(|node| node.name != "y")),
        GraphError::EdgeEnd { .. } | GraphError::Missing { .. }
    ));
    assert!(matches!(
        after(|graph| edge(graph, "e_x", "u").from = "w_x".into()),
        GraphError::Sum { .. }
    ));
}

#[test]
fn shapes() {
    let problem = after(|graph| node(graph, "h").shape = vec![7]);
    assert!(matches!(problem, GraphError::Field { node, field: "weight", .. } if node == "e_h"));
    assert!(matches!(
        after(|graph| node(graph, "out").shape = vec![3]),
        GraphError::Shape { declared, inferred, .. } if declared == [3] && inferred == [2]
    ));
    for shape in [vec![], vec![0], vec![1; 9], vec![usize::MAX, 2]] {
        assert!(matches!(
            after(|graph| node(graph, "y").shape = shape.clone()),
            GraphError::Size { .. }
        ));
    }
    let mut huge = GraphBuilder::new("huge");
    huge.input("x", Signal::Dense, &[1 << 40]);
    huge.output("y", "x");
    assert!(matches!(huge.finish(), Err(GraphError::TooLarge { .. })));
    let mut slow = GraphBuilder::new("delay");
    slow.input("x", Signal::Dense, &[1 << 20]);
    slow.readout("r", "x", Readout::Sum);
    slow.edge(("x", 4000), "r", 0);
    slow.output("y", "r");
    assert!(matches!(slow.finish(), Err(GraphError::TooLarge { .. })));
}

#[test]
fn tensors() {
    assert!(matches!(
        after(|graph| drop(graph.tensors.remove("w_h.weight"))),
        GraphError::NoTensor { .. }
    ));
    assert!(matches!(
        after(|graph| drop(graph.tensors.insert("x".into(), Tensor::zeros(&[1]).unwrap()))),
        GraphError::UnusedTensor { tensor } if tensor == "x"
    ));
    for value in [f32::NAN, f32::INFINITY] {
        let problem = after(|graph| {
            let Values::F32(values) = &mut graph.tensors.get_mut("e_x.weight").unwrap().values
            else {
                panic!("float weights");
            };
            values[3] = value;
        });
        assert!(matches!(problem, GraphError::NotFinite { index: 3, .. }));
    }
    let half_infinity = Tensor::new(&[2], Values::F16(vec![0x3c00, 0x7c00].into())).unwrap();
    assert!(matches!(
        after(|graph| drop(graph.tensors.insert("out.bias".into(), half_infinity))),
        GraphError::NotFinite { index: 1, .. }
    ));
    let half = Tensor::new(&[2], Values::F16(vec![0x3c00, 0].into())).unwrap();
    assert!(matches!(
        after(|graph| drop(graph.tensors.insert("out.bias".into(), half))),
        GraphError::DataType { found: "f16", .. }
    ));
    assert!(matches!(
        after(|graph| drop(graph.tensors.insert("out.bias".into(), Tensor::zeros(&[3]).unwrap()))),
        GraphError::TensorShape { .. }
    ));
    let mut short = Tensor::zeros(&[2]).unwrap();
    short.shape = vec![3];
    assert!(matches!(
        after(|graph| drop(graph.tensors.insert("out.bias".into(), short))),
        GraphError::TensorValues { found: 2, .. }
    ));
    assert!(Tensor::f32(&[2, 2], vec![0.0; 3]).is_err());
    assert!(Tensor::zeros(&[usize::MAX, 3]).is_err());
}

#[test]
fn integer_weights_need_positive_scales() {
    let quantize = |graph: &mut Graph, scales: Vec<f32>| {
        let weight = Tensor::new(&[6, 2], Values::I8(vec![1; 12].into())).unwrap();
        graph.tensors.insert("out.weight".into(), weight);
        let scales = Tensor::f32(&[scales.len()], scales).unwrap();
        graph.tensors.insert("out.scale".into(), scales);
        let Op::Linear { weight, .. } = &mut node(graph, "out").op else { panic!("linear") };
        weight.scale = Some("out.scale".into());
    };
    let mut graph = small(1);
    quantize(&mut graph, vec![0.5, 0.25]);
    graph.validate().unwrap();
    let Op::Linear { weight, .. } = &graph.node("out").unwrap().op else { panic!("linear") };
    let values = graph.weight("out", weight).unwrap();
    assert_eq!(values[..4], [0.5, 0.25, 0.5, 0.25]);
    assert!(matches!(after(|graph| quantize(graph, vec![0.5, 0.0])), GraphError::Parameter { .. }));
    assert!(matches!(after(|graph| quantize(graph, vec![0.5])), GraphError::TensorShape { .. }));
    let unscaled = Tensor::new(&[6, 2], Values::I8(vec![1; 12].into())).unwrap();
    assert!(matches!(
        after(|graph| drop(graph.tensors.insert("out.weight".into(), unscaled))),
        GraphError::DataType { .. }
    ));
}

#[test]
fn neuron_parameters() {
    let problem = after(|graph| node(graph, "u").op = Op::Neuron(lif(1.5, 1.0)));
    assert_eq!(problem.to_string(), "node `u`: beta is 1.5, outside 0..=1");
    assert!(matches!(
        after(|graph| node(graph, "u").op = Op::Neuron(lif(f32::NAN, 1.0))),
        GraphError::Parameter { parameter: "beta", .. }
    ));
    assert!(matches!(
        after(|graph| node(graph, "u").op = Op::Neuron(lif(0.5, f32::INFINITY))),
        GraphError::Parameter { parameter: "threshold", .. }
    ));
    let per_neuron = |len: usize| {
        move |graph: &mut Graph| {
            graph.tensors.insert("u.beta".into(), Tensor::zeros(&[len]).unwrap());
            let mut neuron = lif(0.5, 1.0);
            neuron.membrane =
                Membrane::Lif { beta: Param::Tensor("u.beta".into()), input_decay: false };
            node(graph, "u").op = Op::Neuron(neuron);
        }
    };
    let mut graph = small(1);
    per_neuron(4)(&mut graph);
    graph.validate().unwrap();
    assert!(matches!(after(per_neuron(5)), GraphError::TensorShape { .. }));
}

#[test]
fn operations() {
    let field = |graph: Graph| match error(&graph) {
        GraphError::Field { field, .. } => field,
        other => panic!("{other}"),
    };
    for (stride, expected) in [([0, 1], "stride"), ([1, 0], "stride")] {
        let mut graph = convolutional(1);
        if let Op::Conv2d { stride: s, .. } = &mut node(&mut graph, "conv").op {
            *s = stride;
        }
        assert_eq!(field(graph), expected);
    }
    for groups in [0, 3, usize::MAX] {
        let mut graph = convolutional(1);
        if let Op::Conv2d { groups: g, .. } = &mut node(&mut graph, "conv").op {
            *g = groups;
        }
        assert_eq!(field(graph), "groups");
    }
    for (kernel, padding) in [
        ([7, 7], [0, 0]),
        ([2, 2], [2, 2]),
        ([usize::MAX; 2], [usize::MAX / 2; 2]),
        ([0, 1], [0, 0]),
    ] {
        let mut graph = convolutional(1);
        if let Op::Pool2d { kernel: k, padding: p, .. } = &mut node(&mut graph, "pool").op {
            (*k, *p) = (kernel, padding);
        }
        let found = field(graph);
        assert!(["padding", "stride"].contains(&found), "{found}");
    }
    for (start, length) in [(0, 0), (3, 3), (usize::MAX, 2)] {
        let mut graph = GraphBuilder::new("slice");
        graph.input("x", Signal::Dense, &[5]);
        graph.node("s", Op::Slice { start, length });
        graph.edge("x", "s", 0);
        graph.output("y", "s");
        assert!(matches!(graph.finish(), Err(GraphError::Field { field: "start", .. })));
    }
    let mut graph = small(1);
    if let Op::Legendre { a, .. } = &mut node(&mut graph, "memory").op {
        a.layout = Layout::ByInput;
    }
    assert_eq!(field(graph), "a");
    let mut graph = small(1);
    if let Op::Legendre { memories, .. } = &mut node(&mut graph, "memory").op {
        *memories = usize::MAX;
    }
    assert_eq!(field(graph), "memories");
    let mut graph = gated(1);
    graph.tensors.insert("lstm.weight_hidden".into(), Tensor::zeros(&[16, 5]).unwrap());
    assert_eq!(field(graph), "weight_hidden");
}

#[test]
fn concatenation_joins_ports_in_order() {
    let mut builder = GraphBuilder::new("concat");
    builder.input("a", Signal::Binary, &[2, 3]);
    builder.input("b", Signal::Graded, &[2, 4]);
    builder.node("c", Op::Concat);
    builder.edge("b", "c", 1);
    builder.edge("a", "c", 0);
    builder.output("y", "c");
    let graph = builder.clone().finish().unwrap();
    assert_eq!(graph.node("c").unwrap().shape, [2, 7]);
    let signals = graph.signals(&graph.topology().unwrap());
    assert_eq!(signals[2], Signal::Graded);
    let mut gap = graph.clone();
    edge(&mut gap, "b", "c").port = usize::MAX;
    assert!(matches!(error(&gap), GraphError::OpenPort { port: 1, .. }));
}

#[test]
fn signals_follow_the_operations() {
    let graph = small(1);
    let signals = graph.signals(&graph.topology().unwrap());
    for (node, signal) in graph.nodes.iter().zip(&signals) {
        let expected = match node.name.as_str() {
            "x" | "u" | "m" | "h" | "spikes" => Signal::Binary,
            _ => Signal::Dense,
        };
        assert_eq!(*signal, expected, "{}", node.name);
    }
    let graph = convolutional(1);
    let signals = graph.signals(&graph.topology().unwrap());
    let of = |name: &str| signals[graph.nodes.iter().position(|n| n.name == name).unwrap()];
    assert_eq!(
        (of("spikes"), of("pool"), of("flat")),
        (Signal::Binary, Signal::Graded, Signal::Graded)
    );
    // A loop that could keep spikes but is fed a dense value settles on dense.
    let node = |name: &str, op, shape| Node { name: name.into(), op, shape, phase: Phase::Step };
    let edge =
        |from: &str, to: &str, port, delay| Edge { from: from.into(), to: to.into(), port, delay };
    let graph = Graph {
        nodes: vec![
            node("y", Op::Output, vec![2]),
            node("s", Op::Slice { start: 0, length: 2 }, vec![2]),
            node("c", Op::Concat, vec![4]),
            node("x", Op::Input { signal: Signal::Dense }, vec![2]),
        ],
        edges: vec![
            edge("x", "c", 0, 0),
            edge("s", "c", 1, 1),
            edge("c", "s", 0, 0),
            edge("s", "y", 0, 0),
        ],
        ..Graph::default()
    };
    let topology = graph.validate().unwrap();
    assert_eq!(graph.signals(&topology), [Signal::Dense; 4]);
}

#[test]
fn phases() {
    let mut graph = small(1);
    node(&mut graph, "y").phase = Phase::Sequence;
    graph.validate().unwrap();
    let mut graph = small(1);
    node(&mut graph, "count").phase = Phase::Sequence;
    assert!(matches!(error(&graph), GraphError::Phase { .. }));
}

#[test]
fn task_record() {
    let wrong = |change: fn(&mut spikelet_graph::Task)| match after(|graph| change(&mut graph.task))
    {
        GraphError::Task { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(wrong(|task| task.classes = vec!["a".into()]), "classes");
    assert_eq!(wrong(|task| task.mean = vec![0.0]), "std");
    assert_eq!(wrong(|task| (task.mean, task.std) = (vec![0.0], vec![1.0])), "mean");
    assert_eq!(wrong(|task| (task.mean, task.std) = (vec![0.0; 5], vec![0.0; 5])), "std");
    assert_eq!(wrong(|task| task.window = usize::MAX), "window");
    assert_eq!(wrong(|task| task.step_ms = Some(f32::NAN)), "step_ms");
}
