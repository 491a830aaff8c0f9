//! NIR files: what the shared graphs compute, and the commands on them.

use crate::support::model::Folder;
use crate::support::spikelet;
use serde_json::Value;
use spikelet::convert;
use spikelet_data::{braille, checkpoint::Checkpoint, find};
use spikelet_graph::{
    Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Pooling, Reset, Signal, Tensor,
    nir::{self, NirGraph},
};
use spikelet_runtime::{Executor, Output};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

/// The event graph of a shared NIR file; `None`, with a printed reason, without it.
fn shared(name: &str, dt: Option<f64>) -> Option<nir::Import> {
    let file = find::for_test("nir")?.join(name);
    let import = nir::load(&file).and_then(|nir| nir.to_graph(name, dt));
    Some(import.unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Index of the largest value, the first of several.
fn class(result: &[f32]) -> u32 {
    let first_largest = |best: usize, i| if result[i] > result[best] { i } else { best };
    (0..result.len()).fold(0, first_largest) as u32
}

/// The result after the last step of one sample, `[time, input]`.
fn last(executor: &Executor, x: &[f32]) -> Vec<f32> {
    let (mut state, mut out) = (executor.state(), Vec::new());
    executor.run_to_end(std::slice::from_mut(&mut state), x, &mut out).unwrap();
    out
}

/// Right answers over all Braille samples, of how many.
fn braille_score(graph: &Graph) -> Option<[usize; 2]> {
    let data = braille::load(&find::for_test("braille")?).unwrap();
    let sequences = &data.sequences;
    let size = sequences.time * sequences.channels;
    let executor = Executor::new(graph).unwrap();
    let samples = sequences.x.chunks_exact(size).zip(&sequences.y);
    let right = samples.filter(|(x, y)| class(&last(&executor, x)) == **y).count();
    Some([right, sequences.y.len()])
}

#[test]
fn the_braille_graph_reads_96_percent() {
    let Some(import) = shared("braille_noDelay_bias_zero.nir", None) else { return };
    let Some([right, all]) = braille_score(&import.graph) else { return };
    println!("{right} of {all}; {:?}", import.notes);
    // A simulator in numpy got 96 to 97 %.
    assert!((960..=970).contains(&(right * 1000 / all)), "{right} of {all}");
}

/// What the graph is not: resets a step late cost some 16 of 100 samples.
#[test]
fn delayed_resets_are_another_network() {
    let Some(mut import) = shared("braille_noDelay_bias_zero.nir", None) else { return };
    for node in &mut import.graph.nodes {
        if let Op::Neuron(neuron) = &mut node.op {
            neuron.reset_delayed = true;
        }
    }
    let Some([right, all]) = braille_score(&import.graph) else { return };
    println!("{right} of {all}");
    assert!(right * 100 / all < 85, "{right} of {all}");
}

/// The made-up input of `benches/peers/nir_peer.py`, turned from channels first to channels last.
fn made_up(shape: &[usize], steps: usize) -> Vec<f32> {
    let (positions, channels) = match *shape {
        [height, width, channels] => (height * width, channels),
        ref other => (other.iter().product(), 1),
    };
    let at = move |t: usize, p: usize, c: usize| {
        f32::from((7919 * (c * positions + p) + 104_729 * t) % 97 < 40)
    };
    let step = move |t| (0..positions * channels).map(move |i| at(t, i / channels, i % channels));
    (0..steps).flat_map(step).collect()
}

/// Spikes of every population over 40 steps, and the result after the last.
fn simulated(graph: &Graph) -> (BTreeMap<String, usize>, Vec<f32>) {
    let executor = Executor::new(graph).unwrap();
    let input = graph.nodes.iter().find(|node| matches!(node.op, Op::Input { .. })).unwrap();
    let (x, mut out) = (made_up(&input.shape, 40), Vec::new());
    let mut spikes = BTreeMap::new();
    let count = |seen: &spikelet_runtime::Observation| {
        if let (Op::Neuron(_), Output::Spikes(events)) = (&graph.nodes[seen.node].op, seen.output) {
            *spikes.entry(seen.name.to_owned()).or_insert(0) += events.len();
        }
    };
    executor.run_observed(&mut [executor.state()], &x, &mut out, count).unwrap();
    (spikes, out.split_off(out.len() - executor.output_len()))
}

/// Spikes as `nir_peer.py simulate FILE 40` counts them.
#[test]
fn the_shared_graphs_spike_as_in_numpy() {
    for (name, spikes, output) in [
        ("lif_norse.nir", &[("1", 5)][..], &[5.0][..]),
        (
            "cnn_sinabs.nir",
            &[("1", 13611), ("3", 23013), ("6", 5187), ("10", 628), ("12", 23)],
            &[0.0, 5.0, 5.0, 0.0, 6.0, 1.0, 0.0, 6.0, 0.0, 0.0],
        ),
        (
            "braille_noDelay_bias_zero.nir",
            &[("lif1.lif", 3), ("lif2", 87)],
            &[20.0, 5.0, 11.0, 5.0, 13.0, 19.0, 14.0],
        ),
    ] {
        let Some(import) = shared(name, None) else { return };
        let (found, result) = simulated(&import.graph);
        let wanted: BTreeMap<_, _> = spikes.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect();
        assert_eq!((found, &result[..]), (wanted, output), "{name}");
    }
}

/// The published network with the resets that NIR knows, so that nothing else is lost.
fn l2mu_with_nirs_resets() -> Graph {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let golden = std::env::var_os("SPIKELET_GOLDEN").map_or(default, PathBuf::from);
    let file = golden.join("l2mu_braille/l2mu_braille7_best.safetensors");
    let (mut graph, _) = convert::convert(&Checkpoint::open(&file).unwrap(), None).unwrap();
    for node in &mut graph.nodes {
        if let Op::Neuron(neuron) = &mut node.op {
            (neuron.reset, neuron.reset_delayed) = (Reset::Zero, false);
        }
    }
    graph
}

/// Through the bytes of a file.
fn there_and_back(graph: &Graph) -> Graph {
    let nir = NirGraph::of_graph(graph, nir::STEP).unwrap().nir.unwrap();
    let read = nir::read(nir.to_bytes().unwrap()).unwrap();
    read.to_graph(&graph.name, None).unwrap().graph
}

#[test]
fn l2mu_keeps_its_memory_and_its_loops() {
    let graph = l2mu_with_nirs_resets();
    let back = there_and_back(&graph);
    assert_eq!(back.task.classes, graph.task.classes);
    let Some(folder) = find::for_test("braille") else { return };
    let data = braille::load(&folder).unwrap();
    let size = data.sequences.time * data.sequences.channels;
    let [before, after] = [&graph, &back].map(|graph| Executor::new(graph).unwrap());
    let mut same = 0;
    for x in data.sequences.x.chunks_exact(size).take(100) {
        same += usize::from(last(&before, x) == last(&after, x));
    }
    // Time constants are rounded: a potential next to its threshold may tip over.
    println!("{same} of 100 samples give the same spike counts");
    assert!(same >= 95, "{same} of 100 samples give the same spike counts");
}

fn json(run: &crate::support::Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

#[test]
fn the_commands_read_write_and_report() {
    let folder = Folder::new();
    let (model, file, back) = (
        folder.name("model.safetensors"),
        folder.name("model.nir"),
        folder.name("back.safetensors"),
    );
    let run = spikelet(["convert", &model, "--to", "nir", "--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let report = json(&run);
    assert_eq!((report["out"].as_str(), &report["fidelity"]), (Some(&*file), &"lossy".into()));
    let spikes = report["nodes"].as_array().unwrap().iter().find(|n| n["node"] == "spikes");
    assert_eq!(spikes.unwrap()["nir"], serde_json::json!([["spikes", "LIF"]]));
    assert!(spikes.unwrap()["notes"].to_string().contains("subtracts the threshold"));
    assert!(report["lost"].to_string().contains("normalisation"));
    let run = spikelet(["convert", &model, "--to", "nir", "--out", &folder.name("other.nir")]);
    assert!(run.stdout.contains("NIR has no read-out"), "{}", run.stdout);

    let run = spikelet(["inspect", &file]);
    assert!(run.code == 0 && run.stdout.contains("runs here"), "{run:?}");
    let shown = json(&spikelet(["inspect", &file, "--json"]));
    assert_eq!((&shown["kind"], &shown["runs"]), (&"nir".into(), &true.into()));
    let run = spikelet(["inspect", &file, "--dot"]);
    assert!(run.code == 0 && run.stdout.starts_with("digraph"), "{run:?}");

    let run = spikelet(["convert", &file, "--out", &back, "--json"]);
    let report = json(&run);
    assert_eq!((&report["arch"], &report["dt"]), (&"nir".into(), &1e-4.into()));
    // The task record came along: the data fits.
    let run = spikelet(["eval", &back, "--data", &folder.name("data.csv"), "--json"]);
    assert_eq!(json(&run)["sequences"], 10);
}

#[test]
fn what_cannot_be_expressed_is_exit_code_1() {
    let folder = Folder::new();
    let mut graph = GraphBuilder::new("gated");
    graph.input("x", Signal::Dense, &[2]);
    let [matrix, bias] = [&[6, 2][..], &[6]].map(|shape| Tensor::zeros(shape).unwrap());
    graph.gru("g", "x", [&matrix, &matrix], [bias.clone(), bias], Layout::ByInput);
    graph.output("y", "g");
    graph.finish().unwrap().save(folder.path("gru.safetensors")).unwrap();
    let run = spikelet(["convert", &folder.name("gru.safetensors"), "--to", "nir", "--json"]);
    assert_eq!(run.code, 1, "{run:?}");
    let report = json(&run);
    assert_eq!((&report["out"], &report["fidelity"]), (&Value::Null, &"inexpressible".into()));
    assert!(!folder.path("gru.nir").exists());
}

#[test]
fn mistakes_are_exit_code_2() {
    let folder = Folder::new();
    let (model, file) = (folder.name("model.safetensors"), folder.name("model.nir"));
    assert_eq!(spikelet(["convert", &model, "--to", "nir"]).code, 0);
    let shd = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spikelet-data/tests/fixtures");
    let shd = shd.join("shd_three.h5").display().to_string();
    for (arguments, wanted) in [
        (&["convert", &file, "--dt", "-1"][..], "positive"),
        (&["convert", &file, "--dt", "1"], "`hidden`, field `tau`"),
        (&["convert", &file, "--out", &file], "would replace"),
        (&["convert", &model, "--dt", "0.001"], "setting of NIR files"),
        (&["convert", &model, "--to", "onnx"], "onnx"),
        (&["convert", &model, "--arch", "nir"], "signature"),
        (&["convert", &shd], "path not found: node"),
        (&["inspect", &shd], "NIR's layout"),
    ] {
        let run = spikelet(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(run.stderr.contains(wanted), "{arguments:?}: {}", run.stderr);
    }
}

/// A Python that has the PyPI package `nir`; `None` after printing why not. `.ci/run` makes one.
fn python_with_nir() -> Option<PathBuf> {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/nir-python/bin/python");
    let given = std::env::var_os("SPIKELET_NIR_PYTHON").map(PathBuf::from);
    let found = given.into_iter().chain([made, "python3".into()]).find(|python| {
        let imported = Command::new(python).args(["-c", "import nir"]).output();
        imported.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        println!("skipped: no Python with the package nir (see benches/peers/README.md)");
    }
    found
}

fn peer(python: &Path, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/peers/nir_peer.py");
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Different values in every place.
fn wave(shape: &[usize]) -> Tensor {
    let len: usize = shape.iter().product();
    Tensor::f32(shape, (0..len).map(|i| (i as f32 * 0.7).sin()).collect()).unwrap()
}

/// Strides, a shortcut around a convolution, and spikes, as the convolutional networks have them.
fn residual_network() -> Graph {
    let mut graph = GraphBuilder::new("residual");
    let lif = |graph: &mut GraphBuilder, name: &str, from: &[&str]| {
        let neuron = Neuron {
            membrane: Membrane::Lif { beta: Param::Shared(0.5), input_decay: false },
            threshold: Param::Shared(0.6),
            fires_at_threshold: false,
            reset: Reset::Zero,
            reset_delayed: false,
        };
        graph.neuron(name, from, neuron);
    };
    let conv = |graph: &mut GraphBuilder, name: &str, from: &str, kernel: [usize; 4], stride| {
        let (bias, padding) = (wave(&kernel[..1]), [kernel[2] / 2; 2]);
        let (kernel, stride) = (wave(&kernel), [stride; 2]);
        graph.conv2d(name, from, &kernel, Some(bias), Layout::ByInput, stride, padding, 1);
    };
    graph.input("x", Signal::Graded, &[8, 6, 2]);
    conv(&mut graph, "stem", "x", [4, 2, 3, 3], 1);
    lif(&mut graph, "first", &["stem"]);
    conv(&mut graph, "long", "first", [6, 4, 3, 3], 2);
    conv(&mut graph, "short", "first", [6, 4, 1, 1], 2);
    lif(&mut graph, "second", &["long", "short"]);
    let (pooling, kernel) = (Pooling::Sum, [2, 3]);
    graph.node("pool", Op::Pool2d { pooling, kernel, stride: kernel, padding: [0, 0] });
    graph.edge("second", "pool", 0);
    graph.node("flat", Op::Flatten);
    graph.edge("pool", "flat", 0);
    graph.linear("classes", "flat", &wave(&[3, 12]), Some(wave(&[3])), Layout::ByInput);
    lif(&mut graph, "votes", &["classes"]);
    graph.output("output", "votes");
    graph.finish().unwrap()
}

/// The package checks types as it reads; what it writes is compressed and gives the same graph.
#[test]
fn the_python_package_reads_and_writes_the_same() {
    let Some(python) = python_with_nir() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let names = ["lif_norse.nir", "cnn_sinabs.nir", "braille_noDelay_bias_zero.nir"];
    let shared: Option<Vec<_>> = names.iter().map(|name| Some(shared(name, None)?.graph)).collect();
    let ours = vec![l2mu_with_nirs_resets(), residual_network()];
    let graphs = [shared.unwrap_or_default(), ours].concat();
    for graph in graphs {
        let nir = NirGraph::of_graph(&graph, nir::STEP).unwrap().nir.unwrap();
        let (ours, theirs) = (at("ours.nir"), at("theirs.nir"));
        std::fs::write(&ours, nir.to_bytes().unwrap()).unwrap();
        let [ours, theirs] = [&ours, &theirs].map(|path| path.to_str().unwrap());
        peer(&python, &["rewrite", ours, theirs]);
        let read = nir::load(Path::new(theirs)).unwrap();
        assert_eq!(read, nir, "{}", graph.name);
        if graph.nodes.iter().any(|node| matches!(node.op, Op::Legendre { .. })) {
            // Its crossing loops are more than the simulator orders.
            continue;
        }
        let simulation: Value =
            serde_json::from_str(&peer(&python, &["simulate", theirs, "40"])).unwrap();
        let back = read.to_graph(&graph.name, None).unwrap().graph;
        let (spikes, output) = simulated(&back);
        assert!(spikes.values().all(|n| *n > 0), "{}: {spikes:?}", graph.name);
        assert_eq!(simulation["spikes"], serde_json::json!(spikes), "{}", graph.name);
        assert_eq!(simulation["outputs"]["output"], serde_json::json!(output), "{}", graph.name);
    }
}

/// Everything that NIR can express gives the same values, whatever the order of axes.
#[test]
fn layers_give_the_same_values() {
    let neuron = |membrane: Membrane, reset: Reset| {
        let threshold = Param::Shared(0.4);
        let (fires_at_threshold, reset_delayed) = (false, false);
        Neuron { membrane, threshold, fires_at_threshold, reset, reset_delayed }
    };
    let mut graph = GraphBuilder::new("layers");
    graph.input("x", Signal::Graded, &[6, 4, 3]);
    let by_input = Layout::ByInput;
    let kernel = wave(&[5, 3, 3, 3]);
    graph.conv2d("conv", "x", &kernel, Some(wave(&[5])), by_input, [1, 1], [1, 1], 1);
    let channel = |graph: &mut GraphBuilder, name: &str, from: &str, channels: usize, shift| {
        let factor = graph.tensor(&format!("{name}.factor"), wave(&[channels]));
        let shifts = Tensor::f32(&[channels], vec![0.25; channels]).unwrap();
        let shift = if shift { Some(graph.tensor(&format!("{name}.shift"), shifts)) } else { None };
        graph.node(name, Op::Scale { factor, shift });
        graph.edge(from, name, 0);
    };
    channel(&mut graph, "norm", "conv", 5, true);
    graph.linear("mix", "conv", &wave(&[5, 5]), None, Layout::ByOutput);
    graph.node("residual", Op::Add);
    graph.edge("norm", "residual", 0);
    graph.edge(("mix", 2), "residual", 0);
    let lif = Membrane::Lif { beta: Param::Shared(0.7), input_decay: true };
    graph.neuron("lif", &["residual"], neuron(lif, Reset::Zero));
    graph.node("pool", Op::AdaptivePool2d { size: [3, 2] });
    graph.edge("lif", "pool", 0);
    graph.node("flat", Op::Flatten);
    graph.edge("pool", "flat", 0);
    channel(&mut graph, "shifted", "flat", 30, true);
    channel(&mut graph, "scaled", "shifted", 30, false);
    let [alpha, beta] = ["alpha", "beta"].map(|name| {
        let decays = (0..30).map(|i| 0.3 + 0.02 * i as f32).collect();
        Param::Tensor(graph.tensor(&format!("cuba.{name}"), Tensor::f32(&[30], decays).unwrap()))
    });
    graph.neuron("cuba", &["scaled"], neuron(Membrane::CubaLif { alpha, beta }, Reset::Zero));
    graph.linear("out", "cuba", &wave(&[4, 30]), None, by_input);
    let step = Membrane::Lif { beta: Param::Shared(0.0), input_decay: false };
    graph.neuron("step", &["out"], neuron(step, Reset::None));
    let li = Membrane::Li { beta: Param::Shared(0.9) };
    graph.neuron("li", &["out", "step"], neuron(li, Reset::None));
    let sum = Membrane::Li { beta: Param::Shared(1.0) };
    graph.neuron("sum", &["li"], neuron(sum, Reset::None));
    graph.output("y", "sum");
    let graph = graph.finish().unwrap();
    let back = there_and_back(&graph);
    let x = made_up(&[6, 4, 3], 20);
    let [before, after] = [&graph, &back].map(|graph| {
        let (executor, mut out) = (Executor::new(graph).unwrap(), Vec::new());
        executor.run(&mut [executor.state()], &x, &mut out).unwrap();
        out
    });
    assert!(before.iter().any(|y| *y != 0.0));
    for (before, after) in before.iter().zip(&after) {
        assert!((before - after).abs() <= 1e-3 * before.abs().max(1.0), "{before} {after}");
    }
}
