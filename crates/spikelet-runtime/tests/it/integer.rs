//! Integer-only graphs against the float executor, on numbers both represent exactly.

use crate::support::graphs::{convolutional, event_based, input, integers, matrix, recurrent};
use spikelet_graph::{
    Function, Graph, GraphBuilder, Layout, Signal,
    compress::{Bits, integer_only, quantize},
};
use spikelet_runtime::{Error, Executor};
use std::collections::BTreeMap;

#[test]
fn integers_agree_with_floats() {
    for (graph, tolerance) in [(recurrent(), 0.0), (convolutional(), 0.02), (event_based(), 0.02)] {
        let [floats, integers] = integers(&graph);
        let [floats, integers] = [&floats, &integers].map(|graph| Executor::new(graph).unwrap());
        // The bits of the potentials last for a few halvings.
        let x = input(floats.input_len(), 6);
        let [mut a, mut b] = [floats.state(), integers.state()];
        let mut most: f32 = 0.0;
        for x in x.chunks(floats.input_len()) {
            let want = floats.step(&mut a, x).unwrap();
            let found = integers.step(&mut b, x).unwrap();
            for (found, want) in found.iter().zip(want) {
                assert!((found - want).abs() <= tolerance, "{}: {found} {want}", graph.name);
                most = most.max(want.abs());
            }
        }
        assert!(most > 0.0, "{}: nothing came out", graph.name);
    }
}

#[test]
fn files_keep_graphs_integer_only() {
    let [_, graph] = integers(&recurrent());
    let read = Graph::from_bytes(&graph.to_bytes().unwrap()).unwrap();
    assert_eq!(read, graph);
    let mut wrong = graph.clone();
    wrong.integer = Some(BTreeMap::new());
    assert!(wrong.validate().unwrap_err().to_string().contains("missing"));
    wrong.integer = Some(BTreeMap::from([("x".to_owned(), 99)]));
    assert!(wrong.validate().unwrap_err().to_string().contains("15"));
    wrong.integer = Some(BTreeMap::from([("x".to_owned(), 3), ("s".to_owned(), 3)]));
    assert!(wrong.validate().unwrap_err().to_string().contains("`s`"));
}

#[test]
fn states_survive_and_readings_that_are_none_count_as_zero() {
    let [_, graph] = integers(&recurrent());
    let executor = Executor::new(&graph).unwrap();
    let x = input(3, 40);
    let (mut whole, mut cut) = (executor.state(), executor.state());
    for (t, x) in x.chunks(3).enumerate() {
        if t == 17 {
            cut = executor.restore(&cut.to_bytes()).unwrap();
        }
        let want = executor.step(&mut whole, x).unwrap();
        assert_eq!(executor.step(&mut cut, x).unwrap(), want);
    }
    let [mut bad, mut zero] = [executor.state(), executor.state()];
    for t in 0..20 {
        let reading = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][t % 3];
        let found = executor.step(&mut bad, &[1.0, reading, 1e30]).unwrap().to_vec();
        assert_eq!(executor.step(&mut zero, &[1.0, 0.0, 1e9]).unwrap(), found);
    }
    let (potential, fraction) = executor.integer_potential(&bad, "s").unwrap();
    assert!(potential.len() == 8 && fraction > 4);
}

#[test]
fn what_has_no_integer_form_is_refused_by_name() {
    let floats = recurrent();
    let error = integer_only(&floats, &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("`o`") || error.contains("`w`"), "{error}");
    let mut g = GraphBuilder::new("square");
    g.input("x", Signal::Dense, &[3]);
    g.linear("w", "x", &matrix(&[3, 3], 1), None, Layout::ByInput);
    g.activation("square", "w", Function::ReluSquared);
    g.output("y", "square");
    let (graph, _) = quantize(&g.finish().unwrap(), Bits::Four, &[]).unwrap();
    let error = integer_only(&graph, &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("`square`"), "{error}");
    let [_, graph] = integers(&recurrent());
    let executor = Executor::new(&graph).unwrap();
    let mut states = [executor.state()];
    let run = executor.run_observed(&mut states, &[0.0; 3], &mut Vec::new(), |_| {});
    assert!(matches!(run, Err(Error::IntegerOnly { .. })));
}

#[test]
fn what_event_based_grus_cannot_be_is_refused_by_name() {
    let [floats, _] = integers(&event_based());
    let problem = |change: &dyn Fn(&mut Graph)| {
        let mut graph = floats.clone();
        change(&mut graph);
        integer_only(&graph, &BTreeMap::new()).unwrap_err().to_string()
    };
    let negative = problem(&|graph| {
        let values = vec![-0.1; 20];
        graph.tensors.insert("e1.t".into(), spikelet_graph::Tensor::f32(&[20], values).unwrap());
    });
    assert!(negative.contains("`e1`") && negative.contains("threshold"), "{negative}");
    let large = problem(&|graph| {
        let values = vec![1e5; 60];
        graph.tensors.insert("e0.b".into(), spikelet_graph::Tensor::f32(&[60], values).unwrap());
    });
    assert!(large.contains("`e0`") && large.contains("tables"), "{large}");
    let error = spikelet_graph::export::export(&event_based(), spikelet_graph::export::Target::C99);
    assert!(error.unwrap_err().to_string().contains("--integer-only"));
}

/// The states of event-based GRUs are saved with their events, whatever a damaged copy holds.
#[test]
fn states_of_event_based_grus_survive() {
    let [_, graph] = integers(&event_based());
    let executor = Executor::new(&graph).unwrap();
    let (mut whole, mut cut) = (executor.state(), executor.state());
    for (t, x) in input(3, 40).chunks(3).enumerate() {
        if t == 17 {
            cut = executor.restore(&cut.to_bytes()).unwrap();
        }
        let want = executor.step(&mut whole, x).unwrap();
        assert_eq!(executor.step(&mut cut, x).unwrap(), want);
    }
    let (h, fraction) = executor.integer_potential(&whole, "e1").unwrap();
    assert!(h.len() == 20 && fraction == 24 && h.iter().all(|h| h.abs() <= 1 << 24));
    let mut bytes = whole.to_bytes();
    bytes[24..].fill(0x7f);
    let mut damaged = executor.restore(&bytes).unwrap();
    executor.step(&mut damaged, &[0.0; 3]).unwrap();
}

#[test]
fn tables_follow_the_functions() {
    for (function, exact) in [
        (Function::Tanh, f32::tanh as fn(f32) -> f32),
        (Function::Sigmoid, |x: f32| 1.0 / (1.0 + (-x).exp())),
    ] {
        let mut g = GraphBuilder::new("table");
        g.input("x", Signal::Dense, &[1]);
        g.activation("f", "x", function);
        g.output("y", "f");
        let graph = integer_only(&g.finish().unwrap(), &BTreeMap::new()).unwrap();
        let executor = Executor::new(&graph).unwrap();
        let mut state = executor.state();
        for k in -1200..1200 {
            let x = k as f32 / 128.0;
            let y = executor.step(&mut state, &[x]).unwrap()[0];
            assert!((y - exact(x)).abs() < 4e-4, "{function:?} of {x}: {y}");
        }
    }
}
