//! Quantisation, pruning and folding: bounds, shapes, and outputs that must not change.

use crate::common::{Numbers, SMALL, convolutional, gated, lif, reference::Reference, small};
use proptest::prelude::*;
use spikelet_graph::{
    Function, Graph, GraphBuilder, Layout, Op, Param, Readout, Signal, Tensor, Values,
    compress::{Bits, CompressError, Scope, prune, quantize, remove_neurons},
};

/// Real inputs for a graph with one input.
fn inputs(graph: &Graph, steps: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut numbers = Numbers(seed);
    let input = graph.nodes.iter().find(|node| matches!(node.op, Op::Input { .. })).unwrap();
    (0..steps).map(|_| (0..input.len()).map(|_| numbers.real()).collect()).collect()
}

/// The output of a graph after every step.
fn outputs(graph: &Graph, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let output = graph.nodes.iter().position(|node| matches!(node.op, Op::Output)).unwrap();
    Reference::new(graph).run(inputs).into_iter().map(|step| step[output].clone()).collect()
}

/// Sets an element of a float tensor.
fn set(graph: &mut Graph, tensor: &str, at: usize, value: f32) {
    let Values::F32(values) = &mut graph.tensors.get_mut(tensor).unwrap().values else {
        panic!("floats")
    };
    values[at] = value;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn quantisation_stays_within_half_a_scale(
        rows in 1_usize..9,
        columns in 1_usize..9,
        values in proptest::collection::vec(proptest::num::f32::NORMAL | proptest::num::f32::ZERO | proptest::num::f32::SUBNORMAL, 64),
        four: bool,
        by_input: bool,
    ) {
        let layout = if by_input { Layout::ByInput } else { Layout::ByOutput };
        let mut graph = GraphBuilder::new("q");
        graph.input("x", Signal::Binary, &[columns]);
        let weight = Tensor::f32(&[rows, columns], values[..rows * columns].to_vec()).unwrap();
        graph.linear("w", "x", &weight, None, layout);
        graph.output("y", "w");
        let graph = graph.finish().unwrap();
        let bits = if four { Bits::Four } else { Bits::Eight };
        let (small, report) = quantize(&graph, bits, &[]).unwrap();
        let stored = &small.tensors["w.weight"];
        let packed = stored.shape[0] * stored.shape[1].div_ceil(2);
        prop_assert_eq!(stored.bytes(), if four { packed } else { rows * columns });
        prop_assert_eq!(report.len(), 1);
        let scales = small.tensors["w.weight.scale"].to_f32();
        let before = graph.tensors["w.weight"].to_f32();
        for (at, (w, q)) in before.iter().zip(stored.to_f32()).enumerate() {
            let output = if by_input { at % rows } else { at / columns };
            let scale = f64::from(scales[output]);
            let error = (f64::from(*w) - f64::from(q) * scale).abs();
            prop_assert!(error <= scale / 2.0 * (1.0 + 1e-5), "{} as {} x {}", w, q, scale);
            let limit = if four { 7.0 } else { 127.0 };
            prop_assert!(q.abs() <= limit);
        }
        prop_assert_eq!(Graph::from_bytes(&small.to_bytes().unwrap()).unwrap(), small);
    }
}

#[test]
fn quantisation_covers_every_weight_and_keeps_what_it_is_told() {
    for graph in [small(1), convolutional(1), gated(1)] {
        for bits in [Bits::Four, Bits::Eight] {
            let (small, report) = quantize(&graph, bits, &[]).unwrap();
            assert!(!report.is_empty());
            for weight in small.nodes.iter().flat_map(|node| node.op.weights()) {
                let tensor = &small.tensors[&weight.tensor];
                assert_eq!(weight.scale.is_some(), tensor.shape.len() > 1, "{}", weight.tensor);
            }
            assert!(small.counts().unwrap().bytes < graph.counts().unwrap().bytes);
            // A second pass finds nothing left to do.
            let (again, report) = quantize(&small, bits, &[]).unwrap();
            assert_eq!((again, report.len()), (small, 0));
        }
    }
    let graph = small(1);
    let (kept, _) = quantize(&graph, Bits::Eight, &["out"]).unwrap();
    assert_eq!(kept.tensors["out.weight"], graph.tensors["out.weight"]);
    assert!(matches!(quantize(&graph, Bits::Eight, &["nobody"]), Err(CompressError::Graph(_))));
}

#[test]
fn a_shared_tensor_is_quantised_once() {
    let mut graph = small(1);
    for node in &mut graph.nodes {
        if let ("w_x", Op::Linear { weight, .. }) = (node.name.as_str(), &mut node.op) {
            weight.tensor = "shared".into();
        }
    }
    let tensor = graph.tensors.remove("w_x.weight").unwrap();
    graph.tensors.insert("shared".into(), tensor);
    let mut twin = graph.node("w_x").unwrap().clone();
    twin.name = "twin".into();
    graph.nodes.push(twin);
    let mut edge = graph.edges.iter().find(|edge| edge.to == "w_x").unwrap().clone();
    edge.to = "twin".into();
    graph.edges.push(edge);
    let (small, report) = quantize(&graph, Bits::Eight, &[]).unwrap();
    assert_eq!(report.iter().filter(|entry| entry.tensor == "shared").count(), 1);
    small.validate().unwrap();
    // One of two users is kept: so is the tensor.
    let (small, _) = quantize(&graph, Bits::Eight, &["twin"]).unwrap();
    assert_eq!(small.tensors["shared"].data_type(), "f32");
}

#[test]
fn pruning_reaches_the_fraction_with_the_smallest_weights() {
    for graph in [small(2), convolutional(2), gated(2)] {
        for scope in [Scope::Global, Scope::Layer] {
            for fraction in [0.0, 0.3, 0.5, 1.0] {
                let (pruned, report) = prune(&graph, fraction, scope, &[]).unwrap();
                pruned.validate().unwrap();
                let weights: usize = report.iter().map(|entry| entry.weights).sum();
                let zeros: usize = report.iter().map(|entry| entry.zeros).sum();
                let exact = |n: usize| (fraction * n as f64 + 1e-9).floor() as usize;
                match scope {
                    Scope::Global => assert_eq!(zeros, exact(weights)),
                    Scope::Layer => {
                        report
                            .iter()
                            .for_each(|entry| assert_eq!(entry.zeros, exact(entry.weights)));
                    }
                }
                let mut largest_gone = 0.0_f32;
                let mut smallest_left = f32::INFINITY;
                for entry in &report {
                    if scope == Scope::Layer {
                        (largest_gone, smallest_left) = (0.0, f32::INFINITY);
                    }
                    let before = graph.tensors[&entry.tensor].to_f32();
                    for (before, after) in before.iter().zip(pruned.tensors[&entry.tensor].to_f32())
                    {
                        if after == 0.0 {
                            largest_gone = largest_gone.max(before.abs());
                        } else {
                            assert_eq!(*before, after);
                            smallest_left = smallest_left.min(before.abs());
                        }
                    }
                    assert!(scope == Scope::Global || largest_gone <= smallest_left);
                }
                assert!(largest_gone <= smallest_left);
            }
        }
    }
    let graph = small(2);
    let (pruned, report) = prune(&graph, 1.0, Scope::Global, &["e_x"]).unwrap();
    for name in ["e_x.weight", "memory.a", "memory.b", "out.bias"] {
        assert_eq!(pruned.tensors[name], graph.tensors[name], "{name}");
    }
    assert!(report.iter().all(|entry| entry.zeros == entry.weights));
    for fraction in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(
            prune(&graph, fraction, Scope::Global, &[]),
            Err(CompressError::Fraction { .. })
        ));
        assert!(matches!(
            remove_neurons(&graph, fraction, &[]),
            Err(CompressError::Fraction { .. })
        ));
    }
}

#[test]
fn integer_weights_can_be_pruned_too() {
    let (graph, _) = quantize(&small(2), Bits::Four, &[]).unwrap();
    let (pruned, report) = prune(&graph, 0.6, Scope::Layer, &[]).unwrap();
    pruned.validate().unwrap();
    for entry in report {
        assert!(entry.zeros >= (0.6 * entry.weights as f64) as usize, "{entry:?}");
        assert_eq!(pruned.tensors[&entry.tensor].data_type(), "i4");
    }
}

#[test]
fn neurons_are_removed_with_their_rows_columns_and_memories() {
    let graph = small(4);
    let (smaller, report) = remove_neurons(&graph, 0.5, &[]).unwrap();
    let group =
        |name: &str| report.iter().find(|group| group.nodes.contains(&name.into())).unwrap();
    assert_eq!((group("h").units, group("h").removed.len()), (SMALL.hidden, 3));
    assert_eq!((group("u").units, group("u").removed.len()), (SMALL.memories, 2));
    assert!(group("u").nodes.contains(&"m".into()) && group("u").nodes.contains(&"e_h".into()));
    assert_eq!(report.len(), 2, "the output population stays");
    let shape = |name: &str| smaller.tensors[name].shape.clone();
    assert_eq!(shape("e_h.weight"), [3, 2]);
    assert_eq!(shape("e_m.weight"), [2 * SMALL.order, 2]);
    assert_eq!(shape("w_m.weight"), [2 * SMALL.order, 3]);
    assert_eq!(shape("w_h.weight"), [3, 3]);
    assert_eq!(shape("out.weight"), [3, 2]);
    assert_eq!(smaller.node("m").unwrap().shape, [2 * SMALL.order]);
    let kept = remove_neurons(&graph, 0.5, &["w_x"]).unwrap();
    assert_eq!(kept.0.node("h").unwrap().shape, [SMALL.hidden]);
    // One unit always stays.
    let (least, _) = remove_neurons(&graph, 1.0, &[]).unwrap();
    assert_eq!(least.node("h").unwrap().shape, [1]);
    assert_eq!(outputs(&least, &inputs(&least, 5, 1)).len(), 5);
}

/// An L2MU with a threshold per hidden neuron, in which two hidden neurons (one without inputs,
/// one without outputs) and one memory are dead.
fn with_dead_neurons() -> Graph {
    let mut graph = small(12);
    let thresholds = Tensor::f32(&[6], vec![0.3, 0.4, 0.5, 0.6, 0.2, 0.1]).unwrap();
    graph.tensors.insert("h.threshold".into(), thresholds);
    for node in &mut graph.nodes {
        if let ("h", Op::Neuron(neuron)) = (node.name.as_str(), &mut node.op) {
            neuron.threshold = Param::Tensor("h.threshold".into());
        }
    }
    let (hidden, memories) = (SMALL.hidden, SMALL.memories);
    let state = memories * SMALL.order;
    // Everything lies by input: element (i, o) of a tensor with n outputs is at i n + o.
    for (tensor, inputs) in [("w_x", SMALL.inputs), ("w_h", hidden), ("w_m", state)] {
        (0..inputs).for_each(|i| set(&mut graph, &format!("{tensor}.weight"), i * hidden + 1, 0.0));
    }
    for (tensor, outputs) in [("e_h", memories), ("w_h", hidden), ("out", SMALL.outputs)] {
        (0..outputs)
            .for_each(|o| set(&mut graph, &format!("{tensor}.weight"), 4 * outputs + o, 0.0));
    }
    for (tensor, outputs) in [("e_m", memories), ("w_m", hidden)] {
        for i in 2 * SMALL.order..3 * SMALL.order {
            (0..outputs)
                .for_each(|o| set(&mut graph, &format!("{tensor}.weight"), i * outputs + o, 0.0));
        }
    }
    graph
}

#[test]
fn removing_dead_neurons_changes_nothing() {
    let graph = with_dead_neurons();
    // A third of 6 hidden neurons is 2, of 4 memories 1.
    let (smaller, report) = remove_neurons(&graph, 1.0 / 3.0, &[]).unwrap();
    let removed: Vec<&[usize]> = report.iter().map(|group| group.removed.as_slice()).collect();
    assert!(removed.contains(&&[1, 4][..]) && removed.contains(&&[2][..]), "{removed:?}");
    assert_eq!(smaller.tensors["h.threshold"].to_f32(), [0.3, 0.5, 0.6, 0.1]);
    let inputs = inputs(&graph, 200, 8);
    let outputs_before = outputs(&graph, &inputs);
    let counts = outputs_before.last().unwrap();
    assert!(counts.iter().all(|count| *count > 5.0), "the outputs spike: {counts:?}");
    assert_eq!(outputs(&smaller, &inputs), outputs_before);
    // The same after quantisation: scales go with their rows.
    let (integer, _) = quantize(&graph, Bits::Eight, &[]).unwrap();
    let (smaller, _) = remove_neurons(&integer, 1.0 / 3.0, &[]).unwrap();
    assert_eq!(outputs(&smaller, &inputs), outputs(&integer, &inputs));
}

#[test]
fn removing_dead_units_of_a_cell_changes_nothing() {
    let mut numbers = Numbers(12);
    for layout in [Layout::ByInput, Layout::ByOutput] {
        let mut graph = GraphBuilder::new("lstm");
        graph.input("x", Signal::Dense, &[3]);
        let (w, r) = (numbers.tensor(&[16, 3]), numbers.tensor(&[16, 4]));
        graph.lstm("a", "x", &w, &r, numbers.tensor(&[16]), layout);
        let factor = graph.tensor("factor", numbers.tensor(&[4]));
        graph.node("scaled", Op::Scale { factor, shift: None });
        graph.edge("a", "scaled", 0);
        graph.node("relu", Op::Activation { function: Function::Relu });
        graph.edge("scaled", "relu", 0);
        let (w, r) = (numbers.tensor(&[12, 4]), numbers.tensor(&[12, 3]));
        graph.lstm("b", "relu", &w, &r, numbers.tensor(&[12]), layout);
        graph.linear("out", "b", &numbers.tensor(&[2, 3]), None, layout);
        graph.readout("r", "out", Readout::Last);
        graph.output("y", "r");
        let mut graph = graph.finish().unwrap();
        // Unit 2 of `a` reads and hears nothing: its state stays zero.
        for gate in 0..4 {
            let row = gate * 4 + 2;
            set(&mut graph, "a.bias", row, 0.0);
            for (tensor, inputs) in [("a.weight_input", 3), ("a.weight_hidden", 4)] {
                for input in 0..inputs {
                    let at = match layout {
                        Layout::ByInput => input * 16 + row,
                        Layout::ByOutput => row * inputs + input,
                    };
                    set(&mut graph, tensor, at, 0.0);
                }
            }
        }
        // Nothing reads unit 0 of `b` but itself.
        for output in 0..2 {
            let at = if layout == Layout::ByInput { output } else { output * 3 };
            set(&mut graph, "out.weight", at, 0.0);
        }
        for row in 0..12 {
            let at = if layout == Layout::ByInput { row } else { row * 3 };
            set(&mut graph, "b.weight_hidden", at, 0.0);
        }
        let (smaller, report) = remove_neurons(&graph, 0.34, &[]).unwrap();
        let removed: Vec<&[usize]> = report.iter().map(|group| group.removed.as_slice()).collect();
        assert_eq!(removed, [&[2][..], &[0][..]]);
        assert_eq!(smaller.node("relu").unwrap().shape, [3]);
        let inputs = inputs(&graph, 20, 4);
        for (a, b) in outputs(&graph, &inputs).iter().zip(outputs(&smaller, &inputs)) {
            // Dropping zeros from a sum may change its rounding, nothing else.
            a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{a} {b}"));
        }
    }
}

#[test]
fn folding_a_scale_keeps_the_outputs() {
    let graph = convolutional(7);
    let mut folded = graph.clone();
    assert_eq!(folded.fold_scales().unwrap(), ["norm"]);
    assert!(folded.node("norm").is_err() && !folded.tensors.contains_key("norm.factor"));
    assert!(folded.edges.iter().any(|edge| edge.from == "conv" && edge.to == "spikes"));
    let inputs = inputs(&graph, 6, 2);
    let conv = |graph: &Graph, name: &str| {
        let index = graph.nodes.iter().position(|node| node.name == name).unwrap();
        Reference::new(graph).run(&inputs)[0][index].clone()
    };
    for (a, b) in conv(&graph, "norm").iter().zip(conv(&folded, "conv")) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    // A layer that someone else reads keeps its scale.
    let mut shared = graph.clone();
    let mut edge = shared.edges.iter().find(|edge| edge.to == "norm").unwrap().clone();
    (edge.to, edge.delay) = ("spikes".into(), 1);
    shared.edges.push(edge);
    let before = shared.clone();
    assert!(shared.fold_scales().unwrap().is_empty());
    assert_eq!(shared, before);
}

#[test]
fn folding_gives_a_layer_without_bias_the_shift() {
    for layout in [Layout::ByInput, Layout::ByOutput] {
        let mut numbers = Numbers(3);
        let mut graph = GraphBuilder::new("fold");
        graph.input("x", Signal::Dense, &[3]);
        graph.linear("w", "x", &numbers.tensor(&[2, 3]), None, layout);
        let factor = graph.tensor("f", numbers.tensor(&[2]));
        let shift = Some(graph.tensor("s", numbers.tensor(&[2])));
        graph.node("n", Op::Scale { factor, shift });
        graph.edge("w", "n", 0);
        graph.neuron("spikes", &["n"], lif(0.5, 10.0));
        graph.output("y", "n");
        let mut graph = graph.finish().unwrap();
        let inputs = inputs(&graph, 4, 1);
        let before = outputs(&graph, &inputs);
        assert_eq!(graph.fold_scales().unwrap(), ["n"]);
        assert!(graph.tensors.contains_key("w.bias"));
        for (a, b) in before.iter().zip(outputs(&graph, &inputs)) {
            a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{a} {b}"));
        }
    }
}
