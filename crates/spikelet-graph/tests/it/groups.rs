//! Scales per group of weights, half precision, and weights used where they lie in a file.

use spikelet_graph::{
    Function, Graph, GraphBuilder, GraphError, Layout, Signal, Tensor, Values,
    compress::{
        Bits, CompressError, halve, integer_only, quantize, quantize_channels, remove_neurons,
    },
    op::GROUP,
};
use std::collections::BTreeMap;

fn matrix(rows: usize, columns: usize) -> Tensor {
    let value = |i: usize| ((i * 7919 + 13) % 997) as f32 / 498.5 - 1.0;
    // Groups of very different sizes.
    let values = (0..rows * columns).map(|i| value(i) / (1 + i / GROUP % 5) as f32).collect();
    Tensor::f32(&[rows, columns], values).unwrap()
}

/// Dense, graded and binary inputs in front of matrices whose rows are whole groups.
fn graph() -> Graph {
    let mut graph = GraphBuilder::new("groups");
    graph.input("x", Signal::Dense, &[2 * GROUP]);
    graph.input("spikes", Signal::Binary, &[GROUP]);
    graph.linear("up", "x", &matrix(3 * GROUP, 2 * GROUP), None, Layout::ByOutput);
    graph.activation("squared", "up", Function::ReluSquared);
    graph.linear("down", "squared", &matrix(GROUP, 3 * GROUP), None, Layout::ByInput);
    graph.linear("events", "spikes", &matrix(GROUP, GROUP), None, Layout::ByInput);
    graph.linear("odd", "down", &matrix(5, GROUP), None, Layout::ByInput);
    graph.output("y", "odd");
    graph.output("z", "events");
    graph.finish().unwrap()
}

fn scales(graph: &Graph, node: &str) -> Vec<usize> {
    graph.tensors[&format!("{node}.weight.scale")].shape.clone()
}

#[test]
fn rows_of_whole_groups_behind_real_values_get_a_scale_per_group() {
    let before = graph();
    for (bits, limit) in [(Bits::Eight, 127.0), (Bits::Four, 7.0)] {
        let (small, _) = quantize(&before, bits, &[]).unwrap();
        assert_eq!(scales(&small, "up"), [3 * GROUP, 2]);
        assert_eq!(scales(&small, "down"), [3 * GROUP, 1]);
        // Sums of integers over events need one scale per output; five columns are no group.
        assert_eq!(scales(&small, "events"), [GROUP]);
        assert_eq!(scales(&small, "odd"), [5]);
        for name in ["up", "down"] {
            let weight = small.node(name).unwrap().op.weights()[0].clone();
            let back = small.weight(name, &weight).unwrap();
            let given = before.tensors[&weight.tensor].to_f32();
            for (group, (back, given)) in back.chunks(GROUP).zip(given.chunks(GROUP)).enumerate() {
                let largest = given.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
                for (b, g) in back.iter().zip(given) {
                    let bound = largest / limit * 0.5001;
                    assert!((b - g).abs() <= bound, "{name}, group {group}: {b} of {g}");
                }
            }
        }
        assert!(matches!(remove_neurons(&small, 0.5, &[]), Err(CompressError::Groups { .. })));
        // Those that need one scale per output are quantised again.
        let (again, _) = quantize_channels(&small, bits, &[]).unwrap();
        assert_eq!(scales(&again, "up"), [3 * GROUP]);
        assert_eq!(scales(&again, "down"), [GROUP]);
        let weight = again.node("up").unwrap().op.weights()[0].clone();
        let back = again.weight("up", &weight).unwrap();
        let given = before.tensors[&weight.tensor].to_f32();
        let furthest = back.iter().zip(&given).map(|(b, g)| (b - g).abs()).fold(0.0, f32::max);
        assert!(furthest <= 1.01 / limit, "{furthest}");
        assert_eq!(Graph::from_bytes(&small.to_bytes().unwrap()).unwrap(), small);
    }
}

#[test]
fn integers_alone_have_one_scale_per_output() {
    let mut graph = GraphBuilder::new("one");
    graph.input("x", Signal::Dense, &[2 * GROUP]);
    graph.linear("up", "x", &matrix(GROUP, 2 * GROUP), None, Layout::ByOutput);
    graph.output("y", "up");
    let graph = graph.finish().unwrap();
    let (grouped, _) = quantize(&graph, Bits::Eight, &[]).unwrap();
    let refused = integer_only(&grouped, &BTreeMap::new()).unwrap_err().to_string();
    assert!(refused.contains("scale per group"), "{refused}");
    let (again, _) = quantize_channels(&grouped, Bits::Eight, &[]).unwrap();
    integer_only(&again, &BTreeMap::new()).unwrap();
}

#[test]
fn scales_of_another_shape_are_refused() {
    let (mut small, _) = quantize(&graph(), Bits::Eight, &[]).unwrap();
    let wrong = Tensor::f32(&[2, 3 * GROUP], vec![1.0; 6 * GROUP]).unwrap();
    small.tensors.insert("up.weight.scale".into(), wrong);
    match small.validate() {
        Err(GraphError::TensorShape { node, expected, .. }) => {
            assert_eq!(node, "up");
            assert!(expected.contains("[192, 2]"), "{expected}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn half_precision_is_the_nearest_and_keeps_what_is_too_large() {
    let mut before = graph();
    let mut large = matrix(5, GROUP).to_f32();
    large[3] = 70_000.0;
    before.tensors.insert("odd.weight".into(), Tensor::f32(&[GROUP, 5], large).unwrap());
    let (small, report) = halve(&before, &["events"]).unwrap();
    let halved: Vec<&str> = report.iter().map(|entry| entry.tensor.as_str()).collect();
    assert_eq!(halved, ["down.weight", "up.weight"]);
    assert_eq!(small.tensors["odd.weight"], before.tensors["odd.weight"]);
    let given = before.tensors["up.weight"].to_f32();
    for (h, w) in small.tensors["up.weight"].to_f32().iter().zip(given) {
        assert!((h - w).abs() <= w.abs() / 2048.0 + 1e-7, "{h} of {w}");
    }
}

#[test]
fn weights_of_a_loaded_file_lie_in_it_until_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (before, _) = quantize(&graph(), Bits::Four, &["up"]).unwrap();
    before.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert!((8 + header).is_multiple_of(64), "the data starts on a cache line");
    let mut loaded = Graph::load(&path).unwrap();
    assert_eq!(loaded, before);
    // A file that is replaced leaves the loaded graph as it was.
    quantize(&graph(), Bits::Eight, &[]).unwrap().0.save(&path).unwrap();
    assert_eq!(loaded, before);
    let copy = loaded.clone();
    let Values::F32(values) = &mut loaded.tensors.get_mut("up.weight").unwrap().values else {
        panic!("floats")
    };
    values[0] += 1.0;
    assert_eq!(copy, before);
    assert_ne!(loaded, before);
}
