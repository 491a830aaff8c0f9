//! What `profile --energy paper`, `inspect --spike-driven` and `compress --fuse` make of a spiking
//! image network, on the real binary.

use crate::support::{Run, spikelet};
use serde_json::Value;
use spikelet_data::{Sequences, sequences_file};
use spikelet_graph::{
    Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Phase, Readout, Reset, Signal, Task,
    Tensor,
};
use std::path::PathBuf;
use tempfile::TempDir;

/// Side of an image, its pixels, channels of the network, steps and samples.
const SIDE: usize = 6;
const PIXELS: usize = SIDE * SIDE;
const CHANNELS: usize = 8;
const STEPS: usize = 3;
const SAMPLES: usize = 4;

fn lif(threshold: f32) -> Neuron {
    Neuron {
        membrane: Membrane::Lif { beta: Param::Shared(0.5), input_decay: true },
        threshold: Param::Shared(threshold),
        fires_at_threshold: true,
        reset: Reset::Zero,
        reset_delayed: false,
    }
}

fn wave(shape: &[usize], k: f32) -> Tensor {
    let values = (0..shape.iter().product()).map(|i: usize| (i as f32 * k).sin()).collect();
    Tensor::f32(shape, values).expect("as many values")
}

/// A RepConv behind neurons of which many fire, one behind neurons of which few do; their neurons'
/// rates decide about two classes.
fn graph() -> Graph {
    let c = CHANNELS;
    let mut graph = GraphBuilder::new("two RepConvs");
    let conv = |graph: &mut GraphBuilder, name: &str, from: &str, shape: [usize; 4], padding| {
        let groups =
            if shape[1] == 1 && shape[0] == c && shape[2] == 3 && padding == 0 { c } else { 1 };
        let bias = (groups == 1).then(|| wave(&shape[..1], 0.71));
        let weight = wave(&shape, 0.37);
        graph.conv2d(name, from, &weight, bias, Layout::ByInput, [1, 1], [padding; 2], groups);
    };
    graph.input("x", Signal::Dense, &[SIDE, SIDE, 1]);
    conv(&mut graph, "stem", "x", [c, 1, 3, 3], 1);
    graph.neuron("busy", &["stem"], lif(-0.2));
    graph.neuron("quiet", &["stem"], lif(1.4));
    for source in ["busy", "quiet"] {
        let part = |part: &str| format!("{source}.{part}");
        conv(&mut graph, &part("0"), source, [c, c, 1, 1], 0);
        graph.border(&part("border"), &part("0"), wave(&[c], 0.71));
        conv(&mut graph, &part("1"), &part("border"), [c, 1, 3, 3], 0);
        conv(&mut graph, &part("2"), &part("1"), [c, c, 1, 1], 0);
    }
    graph.neuron("last", &["busy.2", "quiet.2"], lif(0.3));
    graph.node("pool", Op::AdaptivePool2d { size: [1, 1] });
    graph.edge("last", "pool", 0);
    graph.readout("mean", "pool", Readout::Mean);
    graph.phase(Phase::Sequence);
    graph.node("flat", Op::Flatten);
    graph.edge("mean", "flat", 0);
    graph.linear("classes", "flat", &wave(&[2, c], 0.53), None, Layout::ByOutput);
    graph.output("y", "classes");
    let classes = vec!["left".to_owned(), "right".to_owned()];
    graph.task(Task { classes, window: STEPS, ..Task::default() });
    graph.finish().expect("a valid graph")
}

/// Images, each shown for all steps, or other ones in every step.
fn images(still: bool) -> Sequences {
    let classes = graph().task.classes;
    let channel_names = (0..PIXELS).map(|pixel| format!("p{pixel}")).collect();
    let values = |sample: usize, step: usize| {
        let phase = if still { sample } else { sample * STEPS + step };
        (0..PIXELS).map(move |pixel| 1.5 * ((pixel * 7 + phase * 5) as f32 * 0.61).sin())
    };
    let x = (0..SAMPLES).flat_map(|n| (0..STEPS).flat_map(move |t| values(n, t))).collect();
    let y = (0..SAMPLES as u32).map(|n| n % 2).collect();
    let group = (0..SAMPLES as u32).collect();
    let (n, time) = (SAMPLES, STEPS);
    Sequences { x, n, time, channels: PIXELS, y, group, classes, channel_names, step_ms: 0.0 }
}

/// A folder with the model, still images and changing ones.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Folder(tempfile::tempdir().expect("a folder"));
        graph().save(folder.path("model")).expect("saved");
        for (name, still) in [("still", true), ("changing", false)] {
            sequences_file::save(&folder.path(name), &images(still)).expect("saved");
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.safetensors"))
    }

    /// Runs a command over the model.
    fn run(&self, command: &str, arguments: &[&str]) -> Run {
        let model = self.path("model").display().to_string();
        let given = arguments.iter().map(|argument| match *argument {
            "still" | "changing" | "out" => self.path(argument).display().to_string(),
            other => other.to_owned(),
        });
        spikelet([command.to_owned(), model].into_iter().chain(given))
    }

    fn json(&self, command: &str, arguments: &[&str]) -> Value {
        let run = self.run(command, &[arguments, &["--json"]].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        serde_json::from_str(&run.stdout).expect("one JSON document")
    }
}

fn layer<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    let layers = report["paper_energy"]["layers"].as_array().expect("layers");
    layers.iter().find(|layer| layer["name"] == name)
}

/// Picojoules of a layer of which all is known, and which runs so many steps.
fn is_modelled(report: &Value, name: &str, products: f64, steps: f64, picojoules: f64) {
    let layer = layer(report, name).unwrap_or_else(|| panic!("{name} is not in the table"));
    let rate = layer["rate"].as_f64().unwrap_or(1.0);
    assert_eq!(layer["products"], products, "{name}");
    assert_eq!(layer["steps"], steps, "{name}");
    let found = layer["picojoules"].as_f64().expect("a number");
    let expected = picojoules * products * steps * rate;
    assert!((found - expected).abs() <= 1e-9 * expected, "{name}: {found} {expected}");
}

#[test]
fn the_energy_table_follows_the_choices() {
    let folder = Folder::new();
    let paper = ["--data", "still", "--energy", "paper"];
    let report = folder.json("profile", &paper);
    let (pixels, steps, c) = (PIXELS as f64, STEPS as f64, CHANNELS as f64);
    is_modelled(&report, "stem", pixels * 9.0 * c, steps, 4.6);
    is_modelled(&report, "busy.2", pixels * 9.0 * c * c, steps, 0.9);
    // Behind the mean over time: once.
    is_modelled(&report, "classes", 2.0 * c, 1.0, 4.6);
    assert!(layer(&report, "busy.0").is_none());
    let parts = folder.json("profile", &[&paper[..], &["--rep-conv", "parts"]].concat());
    is_modelled(&parts, "busy.0", pixels * c * c, steps, 0.9);
    is_modelled(&parts, "busy.1", pixels * 9.0 * c, steps, 4.6);
    is_modelled(&parts, "busy.2", pixels * c * c, steps, 4.6);
    let once = folder.json("profile", &[&paper[..], &["--first-conv", "once"]].concat());
    is_modelled(&once, "stem", pixels * 9.0 * c, 1.0, 4.6);
    let [all, single] = [&report, &once]
        .map(|report| report["paper_energy"]["millijoules_per_sample"].as_f64().expect("a sum"));
    let saved = 4.6e-9 * pixels * 9.0 * c * (steps - 1.0);
    assert!((all - single - saved).abs() < 1e-6 * all, "{all} {single} {saved}");
    let text = folder.run("profile", &paper).stdout;
    assert!(text.contains("first convolution in every step"), "{text}");
    assert!(text.contains("RepConv as one 3 x 3 convolution of spikes"), "{text}");
}

#[test]
fn what_changes_over_time_cannot_count_once() {
    let folder = Folder::new();
    let once = ["--data", "changing", "--energy", "paper", "--first-conv", "once"];
    let run = folder.run("profile", &once);
    assert_eq!(run.code, 2, "{}", run.stdout);
    assert!(run.stderr.contains("--first-conv once"), "{}", run.stderr);
    assert_eq!(folder.run("profile", &once[..4]).code, 0);
}

#[test]
fn inspect_lists_what_reads_no_spikes() {
    let folder = Folder::new();
    let report = folder.json("inspect", &["--spike-driven"]);
    let names: Vec<&str> =
        report.as_array().expect("a list").iter().filter_map(|op| op["node"].as_str()).collect();
    assert_eq!(names, ["stem", "busy.1", "busy.2", "quiet.1", "quiet.2", "mean", "classes"]);
    let text = folder.run("inspect", &["--spike-driven"]).stdout;
    assert!(text.contains("7 operations whose input is not spikes"), "{text}");
}

/// What the model gives for the still images.
fn scores(graph: &str, folder: &Folder) -> Vec<f64> {
    let graph = Graph::load(folder.path(graph)).expect("a graph");
    let executor = spikelet_runtime::Executor::new(&graph).expect("runs");
    let mut out = Vec::new();
    let images = images(true);
    for sample in 0..SAMPLES {
        executor
            .run_to_end(&mut [executor.state()], images.sample(sample), &mut out)
            .expect("runs");
    }
    out.into_iter().map(f64::from).collect()
}

#[test]
fn compress_fuses_what_few_spikes_reach() {
    let folder = Folder::new();
    let out = ["--data", "still", "--out", "out"];
    let report = folder.json("compress", &[&["--fuse"], &out[..]].concat());
    let decisions = report["fused"].as_array().expect("decisions");
    let of = |name: &str| decisions.iter().find(|d| d["name"] == name).expect("decided");
    let (busy, quiet) = (of("busy.2"), of("quiet.2"));
    assert_eq!((&busy["fused"], &quiet["fused"]), (&false.into(), &true.into()), "{report}");
    // The rates are those that profile measures.
    let profile = folder.json("profile", &["--data", "still"]);
    for (decision, name) in [(busy, "busy"), (quiet, "quiet")] {
        let layers = profile["layers"].as_array().expect("layers");
        let layer = layers.iter().find(|layer| layer["name"] == name).expect("a layer");
        let [found, expected] = [&decision["rate"], &layer["firing_rate"]].map(Value::as_f64);
        assert!((found.unwrap() - expected.unwrap()).abs() < 1e-9, "{name}: {decision} {layer}");
        assert!(found > Some(0.0), "{name} is silent");
        // 1/8 + 9 / 64.
        assert_eq!(decision["break_even"], 17.0 / 64.0);
    }
    let small = Graph::load(folder.path("out")).expect("a graph");
    let convolutions = |graph: &Graph| {
        graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv2d { .. })).count()
    };
    assert_eq!((convolutions(&graph()), convolutions(&small)), (7, 5));
    let (before, after) = (scores("model", &folder), scores("out", &folder));
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-5), "{before:?} {after:?}");
    assert!(before.iter().any(|score| (score - before[0]).abs() > 1e-3), "{before:?}");
}

#[test]
fn compress_fuses_by_a_rate_that_is_given() {
    let folder = Folder::new();
    for (rate, fused) in [("--fuse=0.2", 2), ("--fuse=0.3", 0)] {
        let report = folder.json("compress", &[rate, "--out", "out"]);
        let decisions = report["fused"].as_array().expect("decisions");
        assert_eq!(decisions.iter().filter(|d| d["fused"] == true).count(), fused, "{rate}");
        let (before, after) = (scores("model", &folder), scores("out", &folder));
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-5;
        assert!(before.iter().zip(&after).all(close), "{rate}: {before:?} {after:?}");
    }
    for (arguments, wanted) in [(&["--fuse=1.5"][..], "0..=1"), (&["--fuse"], "--fuse=0.1")] {
        let run = folder.run("compress", arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stdout);
        assert!(run.stderr.contains(wanted), "{arguments:?}: {}", run.stderr);
    }
    // Nothing is left to fuse in integers.
    assert_eq!(folder.run("compress", &["--bits", "8", "--out", "out"]).code, 0);
    let quantised = folder.path("out").display().to_string();
    let run = spikelet(["compress", &quantised, "--fuse=0.1"]);
    assert_eq!(run.code, 2, "{}", run.stdout);
    assert!(run.stderr.contains("no RepConv"), "{}", run.stderr);
}
