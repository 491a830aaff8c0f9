//! Convolutional networks on image frames through the real binary: the preset of Fashion-MNIST,
//! on a few images made here.

use crate::support::images;
use crate::support::{Run, command, spikelet};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;

const PRESET: &str = "quick/fashion-mnist";

/// A folder with images, and runs of the preset on them.
struct Work(TempDir);

impl Work {
    /// 12 images of each class to learn from, of which a sixth chooses the epoch, and 3 to test.
    fn new() -> Work {
        let folder = tempfile::tempdir().expect("a folder");
        images::write(&folder.path().join("images"), 12, 3);
        Work(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The command that trains the preset by a rule.
    fn train(&self, rule: &str, epochs: usize, run: &str) -> Vec<String> {
        let epochs = format!("train.epochs={epochs}");
        let (images, run) = (self.name("images"), self.name(run));
        ["train", PRESET, "--rule", rule, "--data", &images, "--out", &run, "--set", &epochs]
            .into_iter()
            .chain([
                "--set",
                "train.batch_size=25",
                "--set",
                "data.split.validation=0.17",
                "--json",
            ])
            .map(str::to_owned)
            .collect()
    }

    /// Runs a command on a model and the images; gives its JSON.
    fn on_images(&self, arguments: &[&str]) -> Value {
        done(&spikelet(arguments.iter().copied().chain(["--data", &self.name("images"), "--json"])))
    }
}

/// The JSON of a command that succeeded.
fn done(run: &Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", run.stdout))
}

/// Lines of a run's metrics without their times.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let untimed = |line| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        line["seconds"] = Value::Null;
        line
    };
    text.lines().map(untimed).collect()
}

/// Every rule learns the images, and another process measures the same on the graph.
#[test]
fn every_rule_trains_the_preset() {
    let work = Work::new();
    for rule in ["bptt", "bptt-checkpoint=2", "sltt", "sltt-k=2", "sltt-k=1"] {
        let result = done(&spikelet(work.train(rule, 3, rule)));
        assert_eq!(
            (&result["model"], &result["part"], &result["sequences"], &result["epochs"]),
            (&"convnet".into(), &"test".into(), &30.into(), &3.into()),
            "{rule}"
        );
        let accuracy = result["accuracy"].as_f64().expect("a number");
        assert!(accuracy >= 0.5, "{rule}: {accuracy} of 10 classes");
        let losses: Vec<f64> =
            metrics(&work.path(rule)).iter().filter_map(|line| line["loss"].as_f64()).collect();
        assert!(losses[2] < losses[0], "{rule}: {losses:?}");
        let eval = work.on_images(&["eval", &work.name(rule)]);
        // The graph adds up in another order: a spike next to its threshold may tip over.
        let measured = eval["accuracy"].as_f64().expect("a number");
        assert!((measured - accuracy).abs() <= 1.0 / 30.0 + 1e-9, "{rule}: {measured}");
        let config = fs::read_to_string(work.path(rule).join("config.toml")).expect("text");
        assert!(config.contains(&format!("rule = \"{rule}\"")), "{config}");
    }
}

/// BPTT in segments takes the steps that BPTT takes.
#[test]
fn checkpointed_bptt_trains_as_bptt() {
    let work = Work::new();
    for rule in ["bptt", "bptt-checkpoint=1"] {
        done(&spikelet(work.train(rule, 1, rule)));
    }
    let [whole, segments] = ["bptt", "bptt-checkpoint=1"].map(|run| metrics(&work.path(run)));
    let loss = |metrics: &[Value]| metrics[0]["loss"].as_f64().expect("a number");
    let (whole, segments) = (loss(&whole), loss(&segments));
    assert!((whole - segments).abs() < 1e-2 * whole, "{whole} and {segments}");
}

/// Killed and interrupted at any moment, a run ends with the same bits.
#[test]
fn a_run_that_was_cut_off_ends_with_the_same_bits() {
    let work = Work::new();
    done(&spikelet(work.train("sltt-k=2", 8, "whole")));
    let resume = ["train", "--resume", &work.name("cut"), "--data", &work.name("images"), "--json"];
    let (mut kills, mut interrupts, mut wait) = (0, 0, 150);
    while kills + interrupts < 8 {
        let begun = work.path("cut/checkpoint.safetensors").exists();
        if !begun {
            let _ = fs::remove_dir_all(work.path("cut"));
        }
        let mut run = match begun {
            true => command(resume),
            false => command(work.train("sltt-k=2", 8, "cut")),
        };
        let mut child =
            run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("spikelet starts");
        std::thread::sleep(Duration::from_millis(wait));
        wait += 40;
        if child.try_wait().expect("its state").is_some() {
            break;
        }
        if kills > interrupts {
            let pid = child.id().to_string();
            std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
            let code = child.wait().expect("it ends").code();
            if code == Some(0) {
                break; // It came to its end before the signal.
            }
            assert_eq!(code, Some(2), "an interrupted run");
            interrupts += 1;
        } else {
            child.kill().expect("SIGKILL");
            child.wait().expect("it is gone");
            kills += 1;
        }
    }
    assert!(kills > 0 && interrupts > 0, "{kills} kills, {interrupts} interrupts");
    done(&spikelet(resume));
    let model = |run: &str| fs::read(work.path(run).join("model.safetensors")).expect("a model");
    assert!(model("whole") == model("cut"), "the models differ");
    assert_eq!(metrics(&work.path("whole")), metrics(&work.path("cut")));
}

/// A trained network through every command that takes a model.
#[test]
fn a_trained_network_goes_through_every_command() {
    let work = Work::new();
    done(&spikelet(work.train("sltt", 3, "run")));
    let (run, small, nir, back) = (
        work.name("run"),
        work.name("small.safetensors"),
        work.name("run.nir"),
        work.name("back.safetensors"),
    );
    let eval = work.on_images(&["eval", &run, "--split", "all"]);
    assert_eq!(eval["sequences"], 150);

    let shown = done(&spikelet(["inspect", &run, "--json"]));
    assert!(shown.to_string().contains("layer3.2"), "{shown}");
    let run_text = spikelet(["inspect", &run]);
    assert!(run_text.stdout.contains("window: 4 steps"), "{}", run_text.stdout);

    let profile = work.on_images(&["profile", &run, "--limit", "5"]);
    assert_eq!((&profile["sequences"], &profile["steps"]), (&5.into(), &20.into()));
    let layers = profile["layers"].as_array().expect("layers");
    let rates = layers.iter().filter_map(|layer| layer["firing_rate"].as_f64());
    assert!(rates.clone().count() == 3 && rates.clone().all(|rate| rate > 0.0 && rate < 1.0));

    // One scale for every output channel, and nearly the same answers.
    let compressed =
        work.on_images(&["compress", &run, "--bits", "8", "--split", "test", "--out", &small]);
    let bytes = |when: &str| compressed[when]["bytes"].as_f64().expect("bytes");
    assert!(bytes("after") < 0.3 * bytes("before"), "{compressed}");
    let accuracy =
        |model: &str| work.on_images(&["eval", model])["accuracy"].as_f64().expect("an accuracy");
    assert_eq!(compressed["after"]["accuracy"].as_f64(), Some(accuracy(&small)));
    assert!((accuracy(&run) - accuracy(&small)).abs() <= 0.1);
    let graph = spikelet_graph::Graph::load(&small).expect("a graph");
    assert_eq!(graph.tensors["layer2.0.weight"].data_type(), "i8");
    assert_eq!(graph.tensors["layer2.0.weight.scale"].shape, [64]);

    // Resets become resets to zero, which the report says; all else is kept.
    let report = done(&spikelet(["convert", &run, "--to", "nir", "--out", &nir, "--json"]));
    assert_eq!(report["fidelity"], "lossy", "{report}");
    assert_eq!(done(&spikelet(["inspect", &nir, "--json"]))["runs"], true);
    done(&spikelet(["convert", &nir, "--out", &back, "--json"]));
    assert!(accuracy(&back) >= 0.3, "{}", accuracy(&back));
}

/// `run` on raw pixels, a row a step, says what `eval` counts.
#[test]
fn raw_pixels_get_a_decision_for_every_window() {
    let work = Work::new();
    done(&spikelet(work.train("sltt", 3, "run")));
    let data = spikelet_data::idx::load(&work.path("images"), spikelet_data::idx::Part::Test);
    let data = data.expect("the test part");
    let rows: String = data.pixels.chunks_exact(images::SIDE * images::SIDE).fold(
        String::new(),
        |mut text, image| {
            let values: Vec<String> =
                image.iter().map(|&byte| (f32::from(byte) / 255.0).to_string()).collect();
            // A still image is shown for all steps of the window.
            (0..4).for_each(|_| text += &format!("[{}]\n", values.join(",")));
            text
        },
    );
    fs::write(work.path("pixels.jsonl"), rows).expect("written");
    let run = spikelet(["run", &work.name("run"), "--input", &work.name("pixels.jsonl"), "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let decisions: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let right = decisions
        .iter()
        .zip(&data.labels)
        .filter(|(decision, label)| decision["class"] == label.to_string())
        .count();
    let eval = work.on_images(&["eval", &work.name("run")]);
    assert_eq!((decisions.len() as u64, Some(right as u64)), (30, eval["correct"].as_u64()));
}
