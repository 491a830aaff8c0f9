//! Exported code, built natively with everything a compiler can check, against the runtime: the same
//! scores after every step, to the bit.

use crate::support::graphs::{
    SPIKES, Spiking, VALUES, convolutional, event_based, input, integers, matrix, neurons,
    recurrent,
};
use crate::support::native::{self, Built, built};
use spikelet_graph::{
    Graph, GraphBuilder, Layout, Pooling, Signal,
    compress::{Bits, quantize},
    export::{Target, export, memory},
};
use spikelet_runtime::Executor;

/// Runs a graph in the runtime and natively; both must agree after every step.
fn compare(name: &str, graph: &Graph, x: &[f32]) {
    let executor = Executor::new(graph).unwrap();
    let mut state = executor.state();
    let mut most = 0.0_f32;
    let want: Vec<Vec<f32>> = x
        .chunks(executor.input_len())
        .map(|x| executor.step(&mut state, x).unwrap().to_vec())
        .collect();
    want.iter().flatten().for_each(|score| most = most.max(score.abs()));
    assert!(most > 0.0, "{name}: nothing came out");
    for target in [Target::C99, Target::RustNoStd] {
        let Some(Built { program, unit }) = built(name, graph, target) else { continue };
        let found = native::run(&program, x, unit);
        assert_eq!(found.len(), want.len(), "{name}, {target:?}: steps");
        for (step, (found, want)) in found.iter().zip(&want).enumerate() {
            assert_eq!(found, want, "{name}, {target:?}, step {step}");
        }
    }
}

#[test]
fn integers_give_the_bits_of_the_runtime() {
    let mut graphs = vec![recurrent(), convolutional(), event_based(), neurons(&SPIKES)];
    graphs.extend(VALUES.iter().map(|readout| neurons(&[*readout])));
    for (index, graph) in graphs.iter().enumerate() {
        let [_, integers] = integers(graph);
        let name = format!("{}-int8-{index}", graph.name);
        let len = Executor::new(&integers).unwrap().input_len();
        let mut x = input(len, 50);
        // The range of the input ends here.
        x[len] = 1e9;
        x[len + 1] = -1e9;
        compare(&name, &integers, &x);
    }
}

#[test]
fn floats_give_the_bits_of_the_runtime() {
    for graph in [recurrent(), convolutional(), neurons(&[SPIKES.as_slice(), &VALUES].concat())] {
        let len = Executor::new(&graph).unwrap().input_len();
        // Thirds are no multiples of anything: every sum rounds.
        let x: Vec<f32> = input(len, 50).iter().map(|x| x / 3.0).collect();
        compare(&format!("{}-float", graph.name), &graph, &x);
    }
    let mut spikes = GraphBuilder::new("spikes");
    spikes.input("x", Signal::Binary, &[5]);
    spikes.linear("w", "x", &matrix(&[6, 5], 1), None, Layout::ByInput);
    spikes.output("y", "w");
    let (graph, _) = quantize(&spikes.finish().unwrap(), Bits::Four, &[]).unwrap();
    let x: Vec<f32> = (0..50).map(|k| f32::from(u8::from(k % 3 == 0))).collect();
    compare("spikes-int4", &graph, &x);
}

#[test]
fn pruned_weights_are_stored_sparse() {
    let [_, mut graph] = integers(&recurrent());
    let before = memory(&graph).unwrap();
    let (pruned, _) =
        spikelet_graph::compress::prune(&graph, 0.9, spikelet_graph::compress::Scope::Layer, &[])
            .unwrap();
    graph = pruned;
    let after = memory(&graph).unwrap();
    assert!(after.constants < before.constants, "{after:?} {before:?}");
    assert_eq!((after.state, before.state), (after.state, after.state));
    compare("recurrent-pruned", &graph, &input(3, 50));
}

#[test]
fn what_cannot_be_exported_is_refused_by_name() {
    let mut g = GraphBuilder::new("square");
    g.input("x", Signal::Dense, &[3]);
    g.activation("square", "x", spikelet_graph::Function::Tanh);
    g.output("y", "square");
    let error = export(&g.finish().unwrap(), Target::C99).unwrap_err().to_string();
    assert!(error.contains("`square`"), "{error}");
}

/// More events than a half of a word counts, and rows that do not fill whole words.
#[test]
fn long_lists_of_events_add_up() {
    let mut g = GraphBuilder::new("wide");
    g.input("x", Signal::Binary, &[600]);
    for (name, outputs) in [("w", 19), ("v", 8)] {
        g.linear(name, "x", &matrix(&[outputs, 600], outputs), None, Layout::ByOutput);
        g.readout(&format!("{name} sum"), name, spikelet_graph::Readout::Sum);
        g.output(&format!("{name} y"), &format!("{name} sum"));
    }
    let [_, graph] = integers(&g.finish().unwrap());
    let x: Vec<f32> = (0..600 * 12).map(|k| f32::from(u8::from(k % 600 <= k / 11))).collect();
    compare("wide", &graph, &x);
}

/// Convolutions of events: strides, padding, edges that no window covers, outputs that fill no word,
/// more rows than a half of a word counts, and pooling that counts events or cannot.
#[test]
fn convolutions_of_events_give_the_bits_of_the_runtime() {
    let average = Some((Pooling::Average, [2, 2], [2, 2]));
    let plain = Spiking {
        map: [5, 6, 3],
        pool: None,
        kernel: [3, 2],
        stride: [1, 1],
        padding: [1, 0],
        outputs: 6,
    };
    let events = ["conv_i8("].as_slice();
    let pooled = ["pool_events(", "conv_i8("].as_slice();
    let values = ["pool(", "conv_values("].as_slice();
    let few = ["pool(", "conv_window("].as_slice();
    let cases = [
        ("strided", Spiking { stride: [2, 3], padding: [2, 1], outputs: 16, ..plain }, events),
        (
            "many",
            Spiking { map: [5, 5, 40], kernel: [5, 5], padding: [2, 2], outputs: 37, ..plain },
            events,
        ),
        ("average", Spiking { map: [7, 9, 4], pool: average, outputs: 64, ..plain }, pooled),
        (
            "sum",
            Spiking { pool: Some((Pooling::Sum, [2, 3], [2, 3])), outputs: 19, ..plain },
            pooled,
        ),
        (
            "ninth",
            Spiking { map: [6, 6, 8], pool: Some((Pooling::Average, [3, 3], [3, 3])), ..plain },
            few,
        ),
        (
            "overlap",
            Spiking { map: [6, 6, 12], pool: Some((Pooling::Sum, [2, 2], [1, 1])), ..plain },
            values,
        ),
        (
            "largest",
            Spiking { map: [6, 6, 12], pool: Some((Pooling::Max, [2, 2], [2, 2])), ..plain },
            &["pool("],
        ),
    ];
    for (name, case, helpers) in cases {
        let [_, graph] = integers(&case.graph());
        let source = &export(&graph, Target::C99).unwrap();
        let step = source.iter().find(|file| file.name == "network.c").unwrap();
        let step = step.content.split_once("void network_step").unwrap().1;
        for helper in helpers {
            assert!(step.contains(helper), "{name}: no {helper}");
        }
        let [height, width, _] = case.map;
        compare(&format!("spiking-{name}"), &graph, &input(height * width * 2, 12));
    }
}

/// Readings that are none, and a state that is saved, damaged and restored.
#[test]
fn bad_readings_and_power_loss_are_defined() {
    for (graph, name) in [
        (recurrent(), "recurrent-bad-float"),
        (integers(&recurrent())[1].clone(), "recurrent-bad-int8"),
        (integers(&event_based())[1].clone(), "event-based-bad-int8"),
    ] {
        for target in [Target::C99, Target::RustNoStd] {
            native::check_power_loss(name, &graph, target);
        }
    }
}
