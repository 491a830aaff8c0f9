//! From files as they are published to a trained network, through the real binary.

use crate::support::{formats, images};
use serde_json::Value;
use spikelet_data::npy;
use spikelet_graph::Graph;
use std::{fs, path::Path, process::Command};
use tempfile::TempDir;

/// What a run of the binary gave.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn spikelet(work: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spikelet"));
    // What is decoded is kept in the cache folder.
    command.args(arguments).current_dir(work).env("XDG_CACHE_HOME", work);
    let output = command.output().expect("spikelet starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn done(work: &Path, arguments: &[&str]) -> Value {
    let run = spikelet(work, arguments);
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", run.stdout))
}

/// What a run on a data set must say of it.
struct Expected {
    input: [u64; 3],
    classes: usize,
    /// All samples, and those of the test part.
    samples: [u64; 2],
    steps: u64,
}

/// Trains a small network for an epoch, evaluates it in another process and looks at its graph.
fn trains(work: &Path, dataset: &str, data: &str, expected: &Expected) {
    let config = format!(
        "[data]\ndataset = \"{dataset}\"\nnormalize = true\n{data}\n\
         [model]\nkind = \"convnet\"\nnetwork = \"4C3-A2-FC\"\nsteps = 2\n\
         [train]\nepochs = 1\nbatch_size = 8\nrule = \"sltt\"\n"
    );
    fs::write(work.join("mine.toml"), config).expect("written");
    let at = match dataset.starts_with('.') {
        true => vec![],
        false => vec!["--data", dataset],
    };
    let run = |arguments: &[&str]| done(work, &[arguments, &at, &["--json"]].concat());
    let result = run(&["train", "mine.toml", "--out", "run"]);
    let [all, test] = expected.samples;
    assert_eq!((&result["dataset"], &result["sequences"]), (&dataset.into(), &test.into()));
    let eval = run(&["eval", "run", "--split", "all"]);
    assert_eq!(eval["sequences"], all, "{dataset}");
    assert_eq!(eval["classes"].as_array().map(Vec::len), Some(expected.classes), "{dataset}");
    let shown = done(work, &["inspect", "run", "--json"]);
    let nodes = shown["graph"]["nodes"].as_array().or(shown["nodes"].as_array());
    let input = nodes.expect("nodes").iter().find(|node| node["name"] == "input");
    assert_eq!(input.expect("an input")["shape"], Value::from(expected.input.to_vec()));
    let task = shown.to_string();
    assert!(task.contains(&format!("\"window\":{}", expected.steps)), "{dataset}: {task}");
    fs::remove_dir_all(work.join("run")).expect("removed");
}

#[test]
fn cifar_in_its_binary_version() {
    let work = tempfile::tempdir().expect("a folder");
    for (name, classes, samples) in [("cifar-10", 10, [60, 10]), ("cifar-100", 100, [400, 100])] {
        formats::cifar(&work.path().join(name), classes);
        let data = "split = { kind = \"official\", validation = 0.2 }\n\
                    frames.augment = { crop = 4, flip = true, cutout = 16 }";
        let data = data.replace("0.2", if classes == 10 { "0.2" } else { "0.34" });
        trains(
            work.path(),
            name,
            &data,
            &Expected { input: [32, 32, 3], classes, samples, steps: 2 },
        );
    }
}

#[test]
fn folders_of_images() {
    let work = tempfile::tempdir().expect("a folder");
    formats::image_folders(&work.path().join("imagenet"));
    let data = "split = { kind = \"official\", validation = 0.34 }\nframes.size = 12";
    let expected = Expected { input: [12, 12, 3], classes: 2, samples: [16, 4], steps: 2 };
    trains(work.path(), "imagenet", data, &expected);
    // A user's own folder is one, too.
    trains(work.path(), "./imagenet", data, &expected);
}

#[test]
fn recordings_of_event_cameras_in_their_formats() {
    let work = tempfile::tempdir().expect("a folder");
    let at = |name: &str| work.path().join(name);
    formats::nmnist(&at("n-mnist"));
    formats::cifar10_dvs(&at("cifar10-dvs"));
    formats::dvs_gesture(&at("dvs128-gesture"));
    formats::evt2_folders(&at("evt2"));
    formats::event_stream_folders(&at("es"));
    let random = "split = { kind = \"random\", validation = 0.25, test = 0.25 }";
    let official = "split = { kind = \"official\", validation = 0.25 }";
    let events = |more: &str| format!("frames.events = {{ steps = 4, {more} }}");
    for (name, data, input, classes, samples) in [
        ("n-mnist", [official, &events("slice = \"time\"")], [34, 34, 2], 3, [33, 9]),
        ("cifar10-dvs", [random, &events("size = 48, denoise_ms = 10")], [48, 48, 2], 2, [16, 4]),
        ("dvs128-gesture", [official, &events("slice = \"voxel\"")], [128, 128, 2], 11, [18, 3]),
        ("./evt2", [random, &events("polarity = \"mean\"")], [24, 32, 1], 2, [12, 4]),
        ("./es", [random, &events("size = 12, pool = \"max\"")], [12, 12, 2], 2, [12, 4]),
    ] {
        trains(
            work.path(),
            name,
            &data.join("\n"),
            &Expected { input, classes, samples, steps: 4 },
        );
    }
}

/// A network of spikes and attention takes the two polarities of a sensor over time as they come: every step sees
/// another frame.
#[test]
fn metaspikeformer_on_events_over_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let work = folder.path();
    formats::nmnist(&work.join("n-mnist"));
    let config = "[data]\ndataset = \"n-mnist\"\nsplit = { kind = \"official\", validation = 0.25 }\n\
                  frames.events = { steps = 4, slice = \"time\" }\n\
                  [model]\nkind = \"metaspikeformer\"\nwidths = [8, 16, 16, 16]\nheads = 2\n\
                  attention_gain = 4.0\n\
                  [train]\nepochs = 40\nbatch_size = 6\noptimizer = { kind = \"adam_w\", lr = 5e-3 }\n";
    fs::write(work.join("events.toml"), config).expect("written");
    let run =
        |arguments: &[&str]| done(work, &[arguments, &["--data", "n-mnist", "--json"]].concat());
    let result = run(&["train", "events.toml", "--out", "run"]);
    // Three classes: a third by chance.
    let accuracy = result["accuracy"].as_f64().expect("an accuracy");
    assert!(result["sequences"] == 9 && accuracy > 0.6, "{accuracy}");
    let eval = run(&["eval", "run"]);
    assert!((eval["accuracy"].as_f64().expect("an accuracy") - accuracy).abs() < 1e-6);
    let profile = run(&["profile", "run", "--limit", "2"]);
    assert_eq!((&profile["sequences"], &profile["steps"]), (&2.into(), &8.into()));
    let graph = Graph::load(work.join("run/model.safetensors")).expect("a graph");
    assert_eq!(graph.node("input").expect("an input").shape, [34, 34, 2]);
    // A recording itself becomes the frames that were made of it: the first of the second class of three each.
    run(&["eval", "run", "--logits", "scores.npy"]);
    let expected = npy::load(&work.join("scores.npy")).expect("scores").to_f32();
    let recording = ["run", "run", "--input", "n-mnist/Test/1/00000.bin", "--json"];
    let scores = done(work, &recording)["scores"].clone();
    let scores: Vec<f32> = serde_json::from_value(scores).expect("scores");
    assert!(scores.iter().zip(&expected[9..12]).all(|(a, b)| (a - b).abs() < 1e-4), "{scores:?}");
    let shorter = spikelet(work, &["eval", "run", "--data", "n-mnist", "--steps", "2"]);
    assert!(shorter.code == Some(2) && shorter.stderr.contains("--steps"), "{}", shorter.stderr);
}

/// The file that h5py wrote has three recordings of two speakers.
#[test]
fn spoken_words_as_spikes() {
    let work = tempfile::tempdir().expect("a folder");
    let three =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../spikelet-data/tests/fixtures/shd_three.h5");
    let three = fs::read(three).expect("the fixture");
    for part in ["train", "valid", "test"] {
        formats::put(&work.path().join(format!("ssc/ssc_{part}.h5")), &three);
        formats::put(&work.path().join(format!("shd/shd_{part}.h5")), &three);
    }
    let data = "split = { kind = \"official\" }\nframes.events = { steps = 5, size = 70 }";
    let expected = Expected { input: [1, 70, 1], classes: 20, samples: [9, 3], steps: 5 };
    trains(work.path(), "ssc", data, &expected);
    trains(work.path(), "shd", data, &expected);
}

/// Wrong files end a command with an error that names file and place, and nothing is left behind.
#[test]
fn hostile_recordings_are_errors_that_name_the_file() {
    let work = tempfile::tempdir().expect("a folder");
    formats::nmnist(&work.path().join("n-mnist"));
    let bad = work.path().join("n-mnist/Train/1/00003.bin");
    let good = fs::read(&bad).expect("a recording");
    let data = "[data]\ndataset = \"n-mnist\"\nsplit = { kind = \"official\" }\n\
                [model]\nkind = \"convnet\"\nnetwork = \"4C3-A2-FC\"\n[train]\nepochs = 1\n";
    fs::write(work.path().join("mine.toml"), data).expect("written");
    for (bytes, problem) in [
        (&good[..good.len() - 2], "ends within an event"),
        (&[good[..5].to_vec(), vec![34, 0, 0x7f, 0, 0]].concat(), "column 34"),
        (&[vec![1, 1, 0x7f, 0, 0], good.clone()].concat(), "time runs backwards"),
    ] {
        fs::write(&bad, bytes).expect("written");
        let train = ["train", "mine.toml", "--data", "n-mnist", "--out", "run", "--json"];
        let run = spikelet(work.path(), &train);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{problem}");
        let error: Value = serde_json::from_str(run.stderr.lines().last().expect("an error"))
            .unwrap_or_else(|e| panic!("{e}: {}", run.stderr));
        let message = error["error"]["message"].as_str().expect("a message");
        assert!(message.contains("00003.bin: at byte") && message.contains(problem), "{message}");
        assert!(!work.path().join("run").exists());
        let kept = fs::read_dir(work.path().join("spikelet/frames"));
        assert_eq!(kept.map(Iterator::count).unwrap_or(0), 0, "{problem}: a half-written cache");
    }
}

/// Digits before a camera that moves, written as N-MNIST is, read by the loader of N-MNIST.
#[test]
fn synthetic_saccades_are_read_back_and_say_what_they_are() {
    let work = tempfile::tempdir().expect("a folder");
    images::write(&work.path().join("mnist"), 4, 1);
    let synth = ["data", "synth", "saccades", "--train", "40", "--test", "10", "--data", "mnist"];
    let made = done(work.path(), &[&synth[..], &["--out", "synthetic", "--json"]].concat());
    assert_eq!((&made["dataset"], &made["samples"]), (&"synthetic-saccades".into(), &50.into()));
    let text = spikelet(work.path(), &[&synth[..], &["--out", "again"]].concat());
    assert!(text.stdout.contains("synthetic"), "{}", text.stdout);
    // The same options, the same bytes.
    let recording = |folder: &str| fs::read(work.path().join(folder).join("Train/3/00004.bin"));
    assert!(recording("synthetic").expect("a recording") == recording("again").expect("another"));

    let data = "split = { kind = \"official\", validation = 0.25 }\nframes.events.steps = 4";
    says_synthetic(&work, "synthetic-saccades", "n-mnist", data);
}

/// Moving shapes, written as the DVS128 Gesture set is, read by its loader.
#[test]
fn synthetic_gestures_are_read_back_and_say_what_they_are() {
    let work = tempfile::tempdir().expect("a folder");
    let synth =
        ["data", "synth", "gestures", "--persons", "5", "--lights", "1", "--duration", "60"];
    let made = done(work.path(), &[&synth[..], &["--out", "synthetic", "--json"]].concat());
    assert_eq!((&made["dataset"], &made["samples"]), (&"synthetic-gestures".into(), &55.into()));
    let failed = spikelet(work.path(), &[&synth[..], &["--out", "synthetic"]].concat());
    assert!(failed.code == Some(2) && failed.stderr.contains("exists already"), "{failed:?}");

    let data = "split = { kind = \"official\", validation = 0.25 }\n\
                frames.events = { steps = 4, size = 32 }";
    says_synthetic(&work, "synthetic-gestures", "dvs128-gesture", data);
    let decision = spikelet(work.path(), &["inspect", "run"]);
    assert!(decision.stdout.contains("synthetic hand clapping"), "{}", decision.stdout);
}

/// Checks and trains on the folder `synthetic`; every result names it, and it is refused under
/// the name of the real set.
fn says_synthetic(work: &TempDir, name: &str, real: &str, data: &str) {
    let work = work.path();
    let checked = done(work, &["data", "check", name, "--data", "synthetic", "--json"]);
    assert_eq!(checked["problems"], Value::Array(vec![]));
    let config = |name: &str| {
        let config = format!(
            "[data]\ndataset = \"{name}\"\n{data}\n[model]\nkind = \"convnet\"\n\
             network = \"4C3-A2-FC\"\n[train]\nepochs = 1\nbatch_size = 16\nrule = \"sltt\"\n"
        );
        fs::write(work.join("mine.toml"), config).expect("written");
    };
    let at = ["--data", "synthetic"];
    config(real);
    let refused = spikelet(work, &[&["train", "mine.toml", "--out", "run"][..], &at].concat());
    assert!(refused.code == Some(2) && refused.stderr.contains("synthetic data"), "{refused:?}");
    config(name);
    for json in [&[][..], &["--json"]] {
        let run = if json.is_empty() { "run" } else { "json" };
        for command in [
            &["train", "mine.toml", "--out", run][..],
            &["eval", run],
            &["profile", run, "--limit", "3"],
            &["profile", run, "--gradients"],
            &["compress", run, "--bits", "8", "--split", "test"],
        ] {
            let done = spikelet(work, &[command, &at, json].concat());
            assert_eq!(done.code, Some(0), "{command:?}: {}", done.stderr);
            assert!(done.stdout.contains("synthetic-"), "{command:?}: {}", done.stdout);
        }
    }
    let shown = spikelet(work, &["inspect", "run"]);
    assert!(shown.stdout.contains("synthetic-"), "{}", shown.stdout);
    for file in ["result.json", "report.html", "config.toml"] {
        let text = fs::read_to_string(work.join("run").join(file)).expect("text");
        assert!(text.contains("synthetic-"), "{file}");
    }
}
