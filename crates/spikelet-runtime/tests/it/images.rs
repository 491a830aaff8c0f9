//! Operations of image networks: borders, attention between spikes, fused convolutions, layers that
//! need not run again, and large convolutions of dense values.

use crate::support::reference::Reference;
use spikelet_graph::{
    Counters, Graph, GraphBuilder, Layout, Membrane, Neuron, NodeCounters, Op, Param, Readout,
    Reset, Signal, Tensor,
};
use spikelet_runtime::{Executor, Profiler};

fn wave(n: usize, k: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * k).sin()).collect()
}

fn tensor(shape: &[usize], k: f32) -> Tensor {
    Tensor::f32(shape, wave(shape.iter().product(), k)).unwrap()
}

fn lif(threshold: f32) -> Neuron {
    Neuron {
        membrane: Membrane::Lif { beta: Param::Shared(0.5), input_decay: true },
        threshold: Param::Shared(threshold),
        fires_at_threshold: true,
        reset: Reset::Zero,
        reset_delayed: false,
    }
}

struct Conv<'a> {
    name: &'a str,
    from: &'a str,
    /// `[out, in / groups, k, k]`.
    shape: [usize; 4],
    padding: usize,
    groups: usize,
}

fn conv(graph: &mut GraphBuilder, conv: &Conv, bias: bool) {
    let Conv { name, from, shape, padding, groups } = *conv;
    let bias = bias.then(|| tensor(&shape[..1], 0.71));
    let weight = tensor(&shape, 0.37);
    graph.conv2d(name, from, &weight, bias, Layout::ByInput, [1, 1], [padding; 2], groups);
}

/// An image through a large convolution, attention and the parts of a RepConv.
fn network(size: usize) -> Graph {
    let c = 16;
    let mut graph = GraphBuilder::new("images");
    graph.input("x", Signal::Dense, &[size, size, 3]);
    let stem = Conv { name: "stem", from: "x", shape: [c, 3, 7, 7], padding: 3, groups: 1 };
    conv(&mut graph, &stem, true);
    for (name, threshold) in [("s", 0.4), ("q", 0.1), ("k", 0.2), ("v", 0.3)] {
        graph.neuron(name, &["stem"], lif(threshold));
    }
    graph.attention("attention", ["q", "k", "v"], 4, 0.125);
    graph.neuron("attended", &["attention"], lif(0.5));
    for (at, from) in [("a", "s"), ("b", "attended")] {
        let name = |part: &str| format!("{at}.{part}");
        let point = [c, c, 1, 1];
        conv(
            &mut graph,
            &Conv { name: &name("0"), from, shape: point, padding: 0, groups: 1 },
            true,
        );
        graph.border(&name("border"), &name("0"), tensor(&[c], 0.71));
        let depthwise = [c, 1, 3, 3];
        let border = name("border");
        let taps =
            Conv { name: &name("1"), from: &border, shape: depthwise, padding: 0, groups: c };
        conv(&mut graph, &taps, false);
        let from = name("1");
        conv(
            &mut graph,
            &Conv { name: &name("2"), from: &from, shape: point, padding: 0, groups: 1 },
            true,
        );
    }
    graph.neuron("last", &["a.2", "b.2", "stem"], lif(1.0));
    graph.readout("mean", "last", Readout::Mean);
    graph.output("y", "mean");
    graph.finish().unwrap()
}

fn run(graph: &Graph, x: &[f32]) -> Vec<f32> {
    let executor = Executor::new(graph).unwrap();
    let mut out = Vec::new();
    executor.run(&mut [executor.state()], x, &mut out).unwrap();
    out
}

/// Spikes near a threshold may differ between sums of another order: few do.
fn mostly_same(found: &[f32], expected: &[f32]) -> bool {
    let differ = found.iter().zip(expected).filter(|(f, e)| (*f - *e).abs() > 1e-4).count();
    found.len() == expected.len() && differ * 500 <= found.len()
}

#[test]
fn image_networks_agree_with_the_reference_and_fused() {
    let (size, steps) = (19, 4);
    let graph = network(size);
    // The same image twice, then others: the layers before the first neurons run when it changes.
    let image = |k: f32| wave(size * size * 3, k);
    let x = [image(0.91), image(0.91), image(0.53), image(0.91)].concat();
    let mut reference = Reference::new(&graph);
    let mut expected = Vec::new();
    for x in x.chunks(size * size * 3) {
        reference.step(x);
        let outputs = reference.history.last().expect("a step");
        expected.extend(outputs.last().expect("the output").iter().map(|y| *y as f32));
    }
    assert_eq!(expected.len(), steps * size * size * 16);
    assert!(expected.iter().any(|y| *y > 0.0) && expected.contains(&0.0));
    let found = run(&graph, &x);
    assert!(mostly_same(&found, &expected), "runtime");
    let mut fused = graph.clone();
    assert_eq!(fused.fuse_convolutions(|name| name == "a.2").unwrap(), ["a.2"]);
    assert_eq!(fused.fuse_convolutions(|_| true).unwrap(), ["b.2"]);
    assert_eq!(fused.nodes.len(), graph.nodes.len() - 6);
    assert!(mostly_same(&run(&fused, &x), &expected), "fused");
}

/// Additions and products of non-zero values a sample takes, by a node and what feeds it alone.
fn operations(graph: &Graph, x: &[f32], wanted: impl Fn(&str) -> bool) -> u64 {
    let nodes = counted(graph, x).nodes;
    let of = |node: &NodeCounters| node.effective_acs + node.effective_macs;
    graph.nodes.iter().zip(&nodes).filter(|(node, _)| wanted(&node.name)).map(|(_, n)| of(n)).sum()
}

fn counted(graph: &Graph, x: &[f32]) -> Counters {
    let executor = Executor::new(graph).unwrap();
    let mut profiler = Profiler::new(&executor);
    executor.run_profiled(&mut [executor.state()], x, &mut Vec::new(), &mut profiler).unwrap();
    profiler.counters().clone()
}

#[test]
fn one_convolution_takes_fewer_operations_below_the_rate_that_is_said() {
    let size = 33;
    let x = wave(size * size * 3, 0.91);
    let mut seen = [0, 0];
    for threshold in [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.6, 2.0] {
        let mut graph = network(size);
        let source = graph.nodes.iter().position(|node| node.name == "s").unwrap();
        let Op::Neuron(neuron) = &mut graph.nodes[source].op else { panic!("neurons") };
        neuron.threshold = Param::Shared(threshold);
        let convs = graph.rep_convs().unwrap();
        let conv = convs.iter().find(|conv| conv.name == "a.2").unwrap();
        assert_eq!(conv.source, "s");
        // 16 channels everywhere: 1/8 + 9 / 128.
        assert!((conv.break_even - 25.0 / 128.0).abs() < 1e-12);
        let sparsity = counted(&graph, &x).nodes[source].activation_sparsity().unwrap();
        let rate = 1.0 - sparsity;
        let mut fused = graph.clone();
        fused.fuse_convolutions(|name| name == "a.2").unwrap();
        let [parts, one] = [&graph, &fused].map(|g| operations(g, &x, |n| n.starts_with("a.")));
        // The edges of the image, where taps read padding, move the point a little.
        if (rate - conv.break_even).abs() > 0.02 {
            let less = rate < conv.break_even;
            assert_eq!(one < parts, less, "rate {rate}: {one} as one, {parts} as parts");
            seen[usize::from(less)] += 1;
        }
    }
    assert!(seen.iter().all(|seen| *seen > 1), "{seen:?}");
}

#[test]
fn an_image_that_changes_is_seen() {
    let size = 21;
    let graph = network(size);
    let [a, b] = [0.91, 0.53].map(|k| wave(size * size * 3, k));
    let executor = Executor::new(&graph).unwrap();
    let mut state = executor.state();
    let mut step = |x: &[f32]| executor.step(&mut state, x).unwrap().to_vec();
    let found = [step(&a), step(&a), step(&b), step(&b), step(&a)].concat();
    // In a new state after every step nothing is remembered but what is saved.
    let mut bytes = executor.state().to_bytes();
    let mut expected = Vec::new();
    for x in [&a, &a, &b, &b, &a] {
        let mut state = executor.restore(&bytes).unwrap();
        expected.extend_from_slice(executor.step(&mut state, x).unwrap());
        bytes = state.to_bytes();
    }
    assert_eq!(found, expected);
}

#[test]
fn a_chain_with_another_border_is_not_fused() {
    let mut graph = network(9);
    graph.tensors.insert("a.border.value".to_owned(), tensor(&[16], 0.2));
    assert_eq!(graph.fuse_convolutions(|_| true).unwrap(), ["b.2"]);
}

#[test]
fn attention_takes_three_populations() {
    let make = |qkv: [&str; 3], heads| {
        let mut graph = GraphBuilder::new("attention");
        graph.input("x", Signal::Dense, &[2, 2, 6]);
        for name in ["q", "k", "v"] {
            graph.neuron(name, &["x"], lif(0.5));
        }
        graph.attention("attention", qkv, heads, 0.125);
        graph.output("y", "attention");
        graph.finish()
    };
    for (qkv, heads) in [(["q", "k", "x"], 2), (["q", "q", "v"], 2), (["q", "k", "v"], 4)] {
        assert!(make(qkv, heads).is_err(), "{qkv:?} {heads}");
    }
}
