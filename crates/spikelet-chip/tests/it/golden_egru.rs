//! The forward cases of the golden folder `egru` on the simulated chip: the events that arrive are
//! those of the papers' code, and to the bit those of the runtime.

use safetensors::SafeTensors;
use serde_json::Value;
use spikelet_chip::{Chip, Clock, Wishes, map, simulate};
use spikelet_graph::{
    Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Pooling, Readout, Reset, Signal,
    Tensor, Weight,
};
use spikelet_runtime::{Executor, Output};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

fn folder() -> PathBuf {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    std::env::var_os("SPIKELET_GOLDEN").map_or_else(here, PathBuf::from).join("egru")
}

/// The tensors of a file: shape and values.
type Golden = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn golden(name: &str) -> Golden {
    let bytes = std::fs::read(folder().join(name)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let four = view.data().as_chunks::<4>().0.iter();
        let eight = view.data().as_chunks::<8>().0.iter();
        let values: Vec<f32> = match view.dtype() {
            safetensors::Dtype::F32 => four.map(|b| f32::from_le_bytes(*b)).collect(),
            safetensors::Dtype::I32 => four.map(|b| i32::from_le_bytes(*b) as f32).collect(),
            safetensors::Dtype::F64 => eight.map(|b| f64::from_le_bytes(*b) as f32).collect(),
            safetensors::Dtype::I64 => eight.map(|b| i64::from_le_bytes(*b) as f32).collect(),
            _ => view.data().iter().map(|b| f32::from(*b)).collect(),
        };
        (name, (view.shape().to_vec(), values))
    };
    file.tensors().into_iter().map(read).collect()
}

fn tensor(golden: &Golden, name: &str) -> Tensor {
    let (shape, values) = &golden[name];
    Tensor::f32(shape, values.clone()).unwrap()
}

fn size(case: &Value, name: &str) -> usize {
    case["config"][name].as_u64().unwrap_or_else(|| panic!("no size `{name}`")) as usize
}

/// The layer whose weights begin with `prefix`.
fn egru(
    graph: &mut GraphBuilder,
    golden: &Golden,
    prefix: &str,
    [name, from]: [&str; 2],
    zoneout: f32,
    restart: Option<usize>,
) {
    let mut add = |end: &str| {
        let mut tensor = tensor(golden, &format!("{prefix}{end}"));
        if let ("thr", spikelet_graph::Values::F32(values)) = (end, &mut tensor.values) {
            values.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
        }
        graph.tensor(&format!("{name}.{end}"), tensor)
    };
    let weight = |tensor| Weight { tensor, scale: None, layout: Layout::ByInput };
    let op = Op::Egru {
        weight_input: weight(add("kernel")),
        weight_hidden: weight(add("recurrent_kernel")),
        bias_input: add("bias"),
        bias_hidden: add("recurrent_bias"),
        threshold: add("thr"),
        zoneout,
        restart,
    };
    graph.node(name, op);
    graph.edge(from, name, 0);
    graph.edge((name, 1), name, 1);
}

/// What a case runs: the graph, its input `[time, stream, values]`, the number of streams, and for
/// layers the golden events, `[time, stream, units]`.
struct Forward {
    graph: Graph,
    x: Vec<f32>,
    streams: usize,
    events: Vec<(String, Vec<f32>)>,
}

/// A single layer, its first events fed through an edge of their own.
fn cell(case: &Value, golden: &Golden) -> Forward {
    let (inputs, units) = (size(case, "input"), size(case, "hidden"));
    let (time, streams) = (size(case, "T"), size(case, "B"));
    let mut graph = GraphBuilder::new("cell");
    graph.input("y0", Signal::Graded, &[units]);
    graph.input("x", Signal::Dense, &[inputs]);
    let zoneout = case["config"]["zoneout"].as_f64().unwrap() as f32;
    egru(&mut graph, golden, "weights.", ["cell", "x"], zoneout, None);
    graph.edge("y0", "cell", 1);
    graph.output("y", "cell");
    let (x, y0) = (&golden["input.x"].1, &golden["input.y0"].1);
    let mut all = Vec::new();
    for (row, x) in x.chunks(inputs).enumerate().take(time * streams) {
        match row < streams {
            true => all.extend_from_slice(&y0[row * units..(row + 1) * units]),
            false => all.extend(vec![0.0; units]),
        }
        all.extend_from_slice(x);
    }
    let events = vec![("cell".to_owned(), golden["out.o"].1.clone())];
    Forward { graph: graph.finish().unwrap(), x: all, streams, events }
}

/// `[batch, time, ..]` as `[time, batch, ..]`.
fn time_major(golden: &Golden, name: &str) -> Vec<f32> {
    let (shape, values) = &golden[name];
    let row: usize = shape[2..].iter().product();
    let rows = (0..shape[1]).flat_map(|t| (0..shape[0]).map(move |b| (b * shape[1] + t) * row));
    rows.flat_map(|start| values[start..start + row].to_vec()).collect()
}

/// The language model over two windows: states restart, events are carried.
fn language(case: &Value, golden: &Golden) -> Forward {
    let (time, streams) = (size(case, "T"), size(case, "B"));
    let mut graph = GraphBuilder::new("language model");
    graph.input("tokens", Signal::Dense, &[1]);
    graph.embedding("embeddings", "tokens", tensor(golden, "weights.embeddings.weight"));
    let mut from = "embeddings".to_owned();
    let mut events = Vec::new();
    for layer in 0..size(case, "layers") {
        let name = format!("rnns.{layer}");
        let prefix = format!("weights.{name}.");
        egru(&mut graph, golden, &prefix, [&name, &from], 0.0, Some(time));
        let of = |window: &str| time_major(golden, &format!("{window}.events.{layer}"));
        events.push((name.clone(), [of("window1"), of("window2")].concat()));
        from = name;
    }
    let weight = tensor(golden, "weights.decoder.decoder.weight");
    let bias = tensor(golden, "weights.decoder.decoder.bias");
    graph.linear("decoder", &from, &weight, Some(bias), Layout::ByInput);
    graph.output("logits", "decoder");
    let tokens = time_major(golden, "input.tokens");
    let x = tokens[..2 * time * streams].to_vec();
    Forward { graph: graph.finish().unwrap(), x, streams, events }
}

/// The gesture stack on frames of counted events.
fn gestures(case: &Value, golden: &Golden) -> Forward {
    let (time, streams, units) = (size(case, "T"), size(case, "B"), size(case, "units"));
    let pool = size(case, "pool_kernel");
    let side = size(case, "frame_size") * pool;
    let mut x = vec![0.0; time * streams * side * side * 2];
    for event in golden["input.events"].1.chunks_exact(5) {
        let [b, t, p, row, column] = [0, 1, 2, 3, 4].map(|k| event[k] as usize);
        x[(((t * streams + b) * side + row) * side + column) * 2 + p] += 1.0;
    }
    let mut graph = GraphBuilder::new("gestures");
    graph.input("frames", Signal::Graded, &[side, side, 2]);
    let (pooling, kernel) = (Pooling::Max, [pool; 2]);
    graph.node("pool", Op::Pool2d { pooling, kernel, stride: kernel, padding: [0, 0] });
    graph.edge("frames", "pool", 0);
    let flatten = |graph: &mut GraphBuilder, name: &str, from: &str| {
        graph.node(name, Op::Flatten);
        graph.edge(from, name, 0);
    };
    let sum = |graph: &mut GraphBuilder, weights: [f32; 2]| {
        let weight = Tensor::f32(&[1, 2, 1, 1], weights.to_vec()).unwrap();
        graph.conv2d("sum", "pool", &weight, None, Layout::ByOutput, [1, 1], [0, 0], 1);
        flatten(graph, "flat", "sum");
    };
    // Both polarities, one after the other.
    let both = |graph: &mut GraphBuilder, from: &str| {
        graph.node("flat", Op::Concat);
        for (port, name) in ["off", "on"].into_iter().enumerate() {
            graph.node(name, Op::Slice { start: port, length: 1 });
            graph.edge(from, name, 0);
            let flat = format!("{name}.flat");
            flatten(graph, &flat, name);
            graph.edge(flat.as_str(), "flat", port);
        }
    };
    match case["config"]["agg"].as_str() {
        Some("mean") => sum(&mut graph, [0.5, 0.5]),
        Some("diff") => sum(&mut graph, [1.0, -1.0]),
        Some("none") => both(&mut graph, "pool"),
        Some("bool") => {
            let above_one = Neuron {
                membrane: Membrane::Lif { beta: Param::Shared(0.0), input_decay: false },
                threshold: Param::Shared(1.0),
                fires_at_threshold: false,
                reset: Reset::None,
                reset_delayed: false,
            };
            graph.neuron("bool", &["pool"], above_one);
            both(&mut graph, "bool");
        }
        other => panic!("unknown aggregation {other:?}"),
    }
    let mut from = "flat".to_owned();
    let mut events = Vec::new();
    for layer in 0..size(case, "layers") {
        let [name, share, trace] = ["", ".share", ".trace"].map(|end| format!("layer{layer}{end}"));
        let prefix = format!("weights.layers.{layer}.");
        egru(&mut graph, golden, &prefix, [&name, &from], 0.0, None);
        let tenth = Tensor::f32(&[units], vec![0.1; units]).unwrap();
        let factor = graph.tensor(&share, tenth);
        graph.node(&share, Op::Scale { factor, shift: None });
        graph.edge(&name, &share, 0);
        let neuron = Neuron {
            membrane: Membrane::Li { beta: Param::Shared(0.9) },
            threshold: Param::Shared(1.0),
            fires_at_threshold: false,
            reset: Reset::None,
            reset_delayed: false,
        };
        graph.neuron(&trace, &[&share], neuron);
        events.push((name, time_major(golden, &format!("events.{layer}"))));
        from = trace;
    }
    let (weight, bias) = (tensor(golden, "weights.fc.weight"), tensor(golden, "weights.fc.bias"));
    graph.linear("fc", &from, &weight, Some(bias), Layout::ByInput);
    let all = case["config"]["use_all_timesteps"] != false;
    graph.readout("readout", "fc", if all { Readout::Mean } else { Readout::Last });
    graph.output("classes", "readout");
    let mut graph = graph.finish().unwrap();
    graph.task.window = time;
    Forward { graph, x, streams, events }
}

#[test]
fn events_on_the_chip_are_those_of_the_golden_files() {
    let text = std::fs::read_to_string(folder().join("README.json")).unwrap();
    let readme: Value = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for case in readme["cases"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let golden = golden(file);
        let forward = match case["kind"].as_str() {
            // Zoneout drawn at random exists in training only.
            Some("cell")
                if case["config"]["training"] == true
                    && case["config"]["zoneout"].as_f64() > Some(0.0) =>
            {
                println!("{file}: training only");
                continue;
            }
            Some("cell") => cell(case, &golden),
            Some("language model") => language(case, &golden),
            Some("dvs stack, no conv front end") => gestures(case, &golden),
            kind => panic!("{file}: unknown kind {kind:?}"),
        };
        for cores in [None, Some(60)] {
            compared += check(file, &forward, cores);
        }
    }
    println!("golden egru on the chip: {compared} events");
    assert!(compared > 1000, "{compared}");
}

/// Simulates every stream; gives the number of events compared.
fn check(file: &str, forward: &Forward, cores: Option<usize>) -> usize {
    let Forward { graph, x, streams, events } = forward;
    let executor = Executor::new(graph).unwrap();
    let mapping = map(graph, &Chip::spinnaker2().unwrap(), Wishes { cores, ..Wishes::default() });
    let mapping = mapping.unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut compared = 0;
    for stream in 0..*streams {
        let rows = x.chunks(executor.input_len()).skip(stream).step_by(*streams);
        let x: Vec<f32> = rows.flatten().copied().collect();
        // What arrives, by node, step and element, and what the runtime computes.
        let mut arrived = BTreeMap::new();
        simulate(&mapping, graph, &x, Clock::High, |delivery| {
            if delivery.value != 0.0 {
                let place = (delivery.node, delivery.step, delivery.element);
                arrived.insert(place, delivery.value.to_bits());
            }
        })
        .unwrap();
        let mut computed = BTreeMap::new();
        executor
            .run_observed(&mut [executor.state()], &x, &mut Vec::new(), |seen| {
                let Output::Dense(values) = seen.output else { return };
                let values = values.iter().enumerate().filter(|(_, value)| **value != 0.0);
                let place = |at| (seen.node, seen.step as usize, at);
                computed.extend(values.map(|(at, value)| (place(at), value.to_bits())));
            })
            .unwrap();
        for (name, golden) in events {
            let node = graph.nodes.iter().position(|node| node.name == *name).unwrap();
            let units = graph.nodes[node].len();
            let of = |all: &BTreeMap<(usize, usize, usize), u32>| -> Vec<_> {
                let own = all.range((node, 0, 0)..(node + 1, 0, 0));
                own.map(|(place, bits)| (*place, *bits)).collect()
            };
            assert_eq!(of(&arrived), of(&computed), "{file}: `{name}`, stream {stream}");
            let rows = golden.chunks(units).skip(stream).step_by(*streams);
            for (step, row) in rows.enumerate() {
                for (element, golden) in row.iter().enumerate() {
                    let event = arrived.contains_key(&(node, step, element));
                    assert_eq!(
                        event,
                        *golden != 0.0,
                        "{file}: `{name}` {element} in step {step} of stream {stream}"
                    );
                    compared += usize::from(event);
                }
            }
        }
    }
    compared
}
