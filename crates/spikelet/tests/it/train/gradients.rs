//! `profile --gradients` on the real binary: what SLTT leaves out, and what that saves.

use crate::support::images;
use crate::support::spikelet;
use serde_json::Value;
use std::path::Path;

fn report(arguments: &[&str]) -> Value {
    let run = spikelet(arguments.iter().copied().chain(["--gradients", "--json"]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", run.stdout))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn images(folder: &Path) -> String {
    images::write(folder, 6, 1);
    folder.display().to_string()
}

/// The cosines of the published network's neurons fall as they remember longer.
#[test]
fn the_longer_neurons_remember_the_more_sltt_leaves_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = images(folder.path());
    let report = report(&["profile", "quick/fashion-mnist", "--data", &data]);
    assert_eq!((&report["samples"], &report["steps"]), (&16.into(), &4.into()));
    let settings = report["settings"].as_array().expect("settings");
    assert_eq!(settings.len(), 12);
    for of_surrogate in settings.chunks(4) {
        let surrogate = of_surrogate[0]["surrogate"].as_str().expect("a name");
        let cosines: Vec<f64> = of_surrogate.iter().map(|s| number(&s["cosine"])).collect();
        assert!(cosines.is_sorted_by(|a, b| a > b), "{surrogate}: {cosines:?}");
        assert!(cosines[0] > 0.995 && cosines[3] > 0.9, "{surrogate}: {cosines:?}");
        // Biases before a normalisation have no gradient.
        for setting in of_surrogate {
            assert_eq!(setting["parameters"].as_array().map(Vec::len), Some(11), "{setting}");
        }
    }
}

/// The triangle of the preset is closed for some neurons, but for fewer than are silent.
#[test]
fn silent_neurons_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = images(folder.path());
    let report = report(&["profile", "quick/fashion-mnist", "--data", &data]);
    let layers = report["sparsity"].as_array().expect("layers");
    assert_eq!(layers.len(), 3, "{report}");
    for layer in layers {
        let [silent, closed] = ["activity", "backward"].map(|key| number(&layer[key]));
        assert!(0.0 < closed && closed <= silent && silent <= 1.0, "{layer}");
    }
    // Behind it, an untrained network whose normalisation has seen no data hardly fires.
    assert!(number(&layers[0]["backward"]) < number(&layers[0]["activity"]), "{report}");
    assert!(number(&layers[0]["activity"]) < 1.0, "{report}");
}

/// Synapses and neurons of `32C3-P2-64C3-P2-64C3-FC` at 28 x 28, counted by hand.
#[test]
fn multiplications_are_those_of_the_layers() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = images(folder.path());
    let report = report(&["profile", "quick/fashion-mnist", "--data", &data]);
    // Taps of a 3 x 3 window along an axis of n positions that lie inside.
    let taps = |n: u64| 3 * n - 2;
    let conv = |side: u64, from: u64, to: u64| taps(side) * taps(side) * from * to;
    let neurons = 28 * 28 * 32 + 14 * 14 * 64 + 7 * 7 * 64;
    // Only the first reads data, only the last reads spikes: the others read means of spikes.
    let spatial =
        conv(28, 1, 32) + 2 * conv(14, 32, 64) + 2 * conv(7, 64, 64) + 7 * 7 * 64 * 10 + neurons;
    let found = &report["multiplications"];
    assert_eq!(found["spatial_per_step"], spatial);
    assert_eq!(found["temporal_per_step"], 2 * neurons);
    let rules: Vec<(&str, u64)> = found["rules"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|rule| (rule["rule"].as_str().unwrap_or(""), rule["per_sample"].as_u64().unwrap_or(0)))
        .collect();
    let expected = [
        ("bptt", 4 * spatial + 3 * 2 * neurons),
        ("sltt", 4 * spatial),
        ("sltt-k=2", 2 * spatial),
        ("sltt-k=1", spatial),
    ];
    assert_eq!(rules, expected);
}

/// Any model, fresh or trained.
#[test]
fn other_models_and_runs_have_gradients_too() {
    let fresh = report(&["profile", "quick/synthetic"]);
    let settings = fresh["settings"].as_array().expect("settings");
    assert_eq!((settings.len(), &settings[0]["tau"]), (1, &Value::Null));
    assert!((0.0..1.0).contains(&number(&settings[0]["cosine"])), "{fresh}");

    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run").display().to_string();
    let trained =
        spikelet(["train", "quick/synthetic", "--set", "train.epochs=2", "--out", &run, "--quiet"]);
    assert_eq!(trained.code, 0, "{}", trained.stderr);
    let trained = report(&["profile", &run]);
    assert_ne!(trained["settings"], fresh["settings"]);
    assert_eq!(trained["multiplications"], fresh["multiplications"]);
    let text = spikelet(["profile", &run, "--gradients"]);
    assert!(text.stdout.contains("all together") && text.stdout.contains("sltt-k=1"), "{text:?}");
}
