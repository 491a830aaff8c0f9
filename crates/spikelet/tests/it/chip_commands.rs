//! `map` and `simulate` on the real binary.

use crate::support::model::Folder;
use crate::support::{Run, spikelet};
use serde_json::Value;
#[cfg(feature = "nir")]
use spikelet_graph::{
    Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Readout, Reset, Signal, Tensor,
    Weight, nir,
};
use std::fs;

fn json(run: &Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("one JSON document")
}

#[test]
fn a_model_is_mapped_and_simulated() {
    let folder = Folder::new();
    let (model, data) = (folder.name("model.safetensors"), folder.name("data.csv"));
    let (mapping, svg) = (folder.name("mapping.json"), folder.name("heat.svg"));
    let mapped = json(&spikelet(["map", &model, "--cores", "3", "--output", &mapping, "--json"]));
    assert!(mapped["cores_used"].as_u64() <= Some(3));
    assert!(mapped["constants"].as_array().expect("constants").len() > 50);
    let written: Value = serde_json::from_slice(&fs::read(&mapping).expect("written")).unwrap();
    assert_eq!(written, mapped["mapping"]);

    let simulate = ["simulate", &model, "--chip", "spinnaker2", "--mapping", &mapping, "--json"];
    let with_input = [&simulate[..], &["--input", &data, "--svg", &svg, "--clock", "low"]].concat();
    let first = json(&spikelet(&with_input));
    assert_eq!(first["steps"].as_u64(), Some(crate::support::model::WINDOW as u64));
    assert!(first["latency"].as_f64() > Some(0.0) && first["power"].as_f64() > Some(0.0));
    let parts = first["energy"].as_object().expect("parts").values();
    let sum: f64 = parts.map(|part| part.as_f64().expect("joules")).sum();
    assert!((sum - first["energy_total"].as_f64().expect("joules")).abs() < 1e-12);
    assert!(fs::read_to_string(&svg).expect("written").starts_with("<svg"));
    assert_eq!(json(&spikelet(&with_input)), first, "a second run");

    // The first window, as `run` decides it.
    let run = spikelet(["run", &model, "--input", &data, "--json"]);
    let decision: Value = serde_json::from_str(run.stdout.lines().next().expect("one")).unwrap();
    assert_eq!(decision["scores"], first["output"]);

    let text = spikelet(["simulate", &model]).stdout;
    assert!(text.contains("latency") && text.contains("NoC") && text.contains("made up"), "{text}");
    let text = spikelet(["map", &model]).stdout;
    assert!(text.contains("bytes a core") && text.contains("routing entries"), "{text}");
}

/// A layer, an EGRU, a layer of neurons behind it: what is left without the EGRU are two pieces.
#[cfg(feature = "nir")]
fn around_an_egru() -> Graph {
    let mut graph = GraphBuilder::new("around");
    let mut matrix = |name: &str, shape: &[usize]| {
        let len = shape.iter().product();
        let values = (0..len).map(|at: usize| (at % 7) as f32 / 8.0 - 0.3).collect();
        graph.tensor(name, Tensor::f32(shape, values).expect("a matrix"))
    };
    let weight = |tensor: String| Weight { tensor, scale: None, layout: Layout::ByInput };
    let op = Op::Egru {
        weight_input: weight(matrix("x", &[3, 12])),
        weight_hidden: weight(matrix("h", &[4, 12])),
        bias_input: matrix("bx", &[12]),
        bias_hidden: matrix("bh", &[12]),
        threshold: matrix("threshold", &[4]),
        zoneout: 0.0,
        restart: None,
    };
    graph.input("in", Signal::Dense, &[2]);
    let first = Tensor::f32(&[3, 2], vec![0.5; 6]).expect("six values");
    graph.linear("first", "in", &first, None, Layout::ByInput);
    graph.node("events", op);
    graph.edge("first", "events", 0);
    graph.edge(("events", 1), "events", 1);
    let last = Tensor::f32(&[5, 4], vec![0.25; 20]).expect("twenty values");
    graph.linear("last", "events", &last, None, Layout::ByInput);
    let neuron = Neuron {
        membrane: Membrane::If,
        threshold: Param::Shared(1.0),
        fires_at_threshold: false,
        reset: Reset::Subtract,
        reset_delayed: false,
    };
    graph.neuron("spikes", &["last"], neuron);
    graph.readout("count", "spikes", Readout::Sum);
    graph.output("out", "count");
    // Another reader of the first layer, which stays.
    let beside = Tensor::f32(&[2, 3], vec![0.125; 6]).expect("six values");
    graph.linear("beside", "first", &beside, None, Layout::ByInput);
    graph.output("side", "beside");
    graph.finish().expect("a graph")
}

#[cfg(feature = "nir")]
#[test]
fn nir_for_py_spinnaker2_holds_the_layers_it_reads() {
    let folder = Folder::new();
    let (model, nir) = (folder.name("around.safetensors"), folder.name("around.nir"));
    around_an_egru().save(&model).expect("saved");
    let run = spikelet(["map", &model, "--nir", &nir, "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("one JSON document");
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert_eq!(report["nir"]["left_out"], serde_json::json!(["events"]));
    let unreadable = report["nir"]["unreadable"].as_array().expect("a list");
    assert_eq!(unreadable.len(), 1);
    assert!(unreadable[0].as_str().expect("text").starts_with("`events`"), "{unreadable:?}");
    let written = nir::load(std::path::Path::new(&nir)).expect("a NIR file");
    let kinds: Vec<(&str, &str)> =
        written.nodes.iter().map(|(name, node)| (name.as_str(), node.kind.as_str())).collect();
    let expected = [
        ("beside", "Linear"),
        ("events", "Input"),
        ("first", "Linear"),
        ("first.out", "Output"),
        ("in", "Input"),
        ("last", "Linear"),
        ("out", "Output"),
        ("side", "Output"),
        ("spikes", "IF"),
    ];
    assert_eq!(kinds, expected);
    let mut edges = written.edges.clone();
    edges.sort();
    let expected = [
        ["beside", "side"],
        ["events", "last"],
        ["first", "beside"],
        ["first", "first.out"],
        ["in", "first"],
        ["last", "spikes"],
        ["spikes", "out"],
    ];
    assert_eq!(edges, expected);
    let text = spikelet(["map", &model, "--nir", &nir]).stdout;
    assert!(text.contains("left out: events"), "{text}");

    // Of a model that it reads as a whole nothing is left out; of an EGRU alone nothing is left.
    let (model, nir) = (folder.name("model.safetensors"), folder.name("model.nir"));
    let whole = json(&spikelet(["map", &model, "--nir", &nir, "--json"]));
    assert_eq!(whole["nir"]["left_out"], serde_json::json!([]));
    let read = nir::load(std::path::Path::new(&nir)).expect("a NIR file");
    let kinds: Vec<&str> = read.nodes.values().map(|node| node.kind.as_str()).collect();
    assert_eq!(kinds, ["LIF", "Linear", "Linear", "LIF", "Input", "Output"]);
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = Folder::new();
    let model = folder.name("model.safetensors");
    let (chip, mapping) = (folder.name("chip.toml"), folder.name("mapping.json"));
    fs::write(&chip, "name = \"mine\"\n[core]\nquads = 3\n").expect("written");
    fs::write(&mapping, "{}").expect("written");
    for (arguments, wanted) in [
        (&["--cores", "0"][..], "0 cores"),
        (&["--cores", "999"], "there are 152"),
        (&["--chips", "50"], "a board has 48"),
        (&["--chip", "nowhere.toml"], "nowhere.toml"),
        (&["--chip", &chip], "core.quads"),
        (&["--mapping", &mapping], "mapping.json"),
        (&["--mapping", &mapping, "--cores", "3"], "--mapping"),
        (&["--clock", "fast"], "fast"),
    ] {
        let run = spikelet([&["simulate", &model][..], arguments].concat());
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(wanted), "{arguments:?}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{arguments:?}");
    }
}
