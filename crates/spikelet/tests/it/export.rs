//! `compress --integer-only` and `export` on the real binary; the published Braille network as C.

use crate::native;
use crate::support::model::{Folder, graph};
use crate::support::{Run, spikelet};
use serde_json::Value;
use spikelet_data::{braille, checkpoint::Checkpoint, find};
use spikelet_graph::{
    Graph,
    compress::{Bits, integer_only, quantize},
    export::Target,
};
use spikelet_runtime::Executor;
use std::{collections::BTreeMap, fs, path::Path};

fn json(run: &Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("one JSON document")
}

#[test]
fn compress_makes_integer_only_graphs_and_says_what_they_cost() {
    let folder = Folder::new();
    let (model, data) = (folder.name("model.safetensors"), folder.name("data.csv"));
    let out = folder.name("integer.safetensors");
    let arguments =
        ["compress", &model, "--integer-only", "--data", &data, "--out", &out, "--json"];
    let report = json(&spikelet(arguments));
    assert_eq!(report["before"]["accuracy"], 1.0);
    assert_eq!(report["after"]["accuracy"], 1.0);
    // Readings stay within 1.5 deviations: 15 bits hold twice that with 13 fraction bits.
    assert_eq!(report["integer"]["x"], 13);
    let integers = Graph::load(Path::new(&out)).expect("a graph");
    assert!(integers.integer.is_some());
    let report = json(&spikelet(["eval", &out, "--data", &data, "--json"]));
    assert_eq!(report["accuracy"], 1.0);
    let run = spikelet(["profile", &out, "--data", &data]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("integer-only"), "{}", run.stderr);
}

#[test]
fn export_writes_a_whole_folder_or_none() {
    let folder = Folder::new();
    let model = folder.name("model.safetensors");
    for (target, file) in [("c99", "network.c"), ("rust-no-std", "src/lib.rs")] {
        let out = folder.name(target);
        let run = ["export", &model, "--target", target, "--out", &out, "--json"];
        let report = json(&spikelet(run));
        assert!(report["memory"]["state"].as_u64().is_some_and(|bytes| bytes > 0));
        let readme = fs::read_to_string(Path::new(&out).join("README.md")).expect("a readme");
        assert!(readme.contains("left or right") && readme.contains("a, b"), "{readme}");
        assert!(Path::new(&out).join(file).exists());
        let again = spikelet(run);
        assert_eq!(again.code, 2);
        assert!(again.stderr.contains("exists already"), "{}", again.stderr);
    }
    let mut square = graph();
    for node in &mut square.nodes {
        if node.name == "hidden" {
            node.op = spikelet_graph::Op::Activation { function: spikelet_graph::Function::Tanh };
        }
    }
    let path = folder.path("tanh.safetensors");
    square.save(&path).expect("saved");
    let (path, out) = (path.display().to_string(), folder.name("tanh"));
    let run = spikelet(["export", &path, "--target", "c99", "--out", &out]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("hidden") && !Path::new(&out).exists(), "{}", run.stderr);
}

#[test]
fn boards_with_linux_get_the_model_and_how_to_build_its_program() {
    let folder = Folder::new();
    let model = folder.name("model.safetensors");
    for (target, triple) in [
        ("linux-aarch64", "aarch64-unknown-linux-gnu"),
        ("linux-armv7", "armv7-unknown-linux-gnueabihf"),
    ] {
        let out = folder.name(target);
        let report =
            json(&spikelet(["export", &model, "--target", target, "--out", &out, "--json"]));
        assert!(report["weights"].as_u64().is_some_and(|bytes| bytes > 0), "{report}");
        let out = Path::new(&out);
        let copy = Graph::load(out.join("model.safetensors")).expect("a graph");
        assert_eq!(copy, Graph::load(Path::new(&model)).expect("a graph"));
        let build = fs::read_to_string(out.join("build")).expect("a script");
        assert!(build.contains(triple) && !build.contains("TRIPLE"), "{build}");
        let readme = fs::read_to_string(out.join("README.md")).expect("a readme");
        assert!(readme.contains("left or right") && readme.contains("a, b"), "{readme}");
        // Without sources it says what to do.
        let built = std::process::Command::new(out.join("build"))
            .env("SPIKELET_SOURCE", folder.name("nothing"))
            .output()
            .expect("the script runs");
        assert!(!built.status.success());
        assert!(String::from_utf8_lossy(&built.stderr).contains("set SPIKELET_SOURCE"));
    }
    let out = folder.name("small");
    let limits = ["--out", &out, "--budget", "ram=1K"];
    let run = spikelet(["export", &model, "--target", "linux-aarch64"].into_iter().chain(limits));
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("--budget"), "{}", run.stderr);
}

#[test]
fn budgets_are_kept_or_refused_with_numbers() {
    let folder = Folder::new();
    let (model, data) = (folder.name("model.safetensors"), folder.name("data.csv"));
    let export = |out: &str, budget: &str| {
        let out = folder.name(out);
        let rest = ["--target", "c99", "--out", &out, "--budget", budget, "--data", &data];
        spikelet(["export", &model].into_iter().chain(rest).chain(["--json"]))
    };
    let report = json(&export("large", "flash=256K,ram=32K"));
    assert_eq!(report["search"]["bits"], 32);
    assert_eq!(report["search"]["accuracy"], 1.0);
    let (flash, ram) =
        (report["flash"].as_u64().expect("bytes"), report["ram"].as_u64().expect("bytes"));
    assert!(flash < 256 << 10 && ram < 32 << 10);
    let run = export("tiny", "flash=100,ram=32K");
    assert_eq!(run.code, 2);
    let error: Value = serde_json::from_str(&run.stderr).expect("JSON");
    let message = error["error"]["message"].as_str().expect("a message");
    assert!(message.contains("flash 100") && message.contains("smallest form needs"), "{message}");
    assert!(!folder.path("tiny").exists());
    assert_eq!(export("wrong", "rom=5").code, 2);
}

/// The published network needs 468 KB in floats: less flash takes bits, then weights.
#[test]
fn the_search_takes_as_few_bits_as_fit() {
    let folder = Folder::new();
    let floats = published();
    let model = folder.name("braille.safetensors");
    floats.save(Path::new(&model)).expect("saved");
    for (flash, bits, pruned) in [(512, 32, false), (256, 8, false), (96, 8, true)] {
        let (out, budget) =
            (folder.name(&format!("of-{flash}")), format!("flash={flash}K,ram=16K"));
        let rest = ["--target", "c99", "--out", &out, "--budget", &budget, "--json"];
        let report = json(&spikelet(["export", &model].into_iter().chain(rest)));
        assert_eq!(report["search"]["bits"], bits, "{flash}K: {report}");
        assert_eq!(report["search"]["pruned"].as_f64() > Some(0.0), pruned, "{flash}K: {report}");
        assert!(report["flash"].as_u64().is_some_and(|bytes| bytes <= flash << 10), "{report}");
        assert!(report["ram"].as_u64().is_some_and(|bytes| bytes <= 16 << 10), "{report}");
    }
}

/// The checkpoint of its authors as a graph.
fn published() -> Graph {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/l2mu_braille");
    let checkpoint = golden.join("l2mu_braille7_best.safetensors");
    let checkpoint = Checkpoint::open(&checkpoint).unwrap_or_else(|e| panic!("{e}"));
    spikelet::convert::convert(&checkpoint, Some("l2mu")).unwrap_or_else(|e| panic!("{e}")).0
}

/// The published network, 8 bits, integers alone: the decisions of its authors' code on their
/// samples, and in C the scores of the runtime after every step.
#[test]
fn the_published_braille_network_decides_as_in_floats() {
    let Some(folder) = find::for_test("braille") else { return };
    let data = braille::load(&folder).unwrap_or_else(|e| panic!("{e}")).sequences;
    let floats = published();
    let (small, _) = quantize(&floats, Bits::Eight, &[]).expect("weights");
    let integers = integer_only(&small, &BTreeMap::new()).expect("an integer form");
    let index: Vec<usize> = (0..data.n).step_by(data.n / 100).collect();
    let mut x = Vec::new();
    data.batch(&index, &mut x);
    let decisions = |graph: &Graph| -> Vec<usize> {
        let executor = Executor::new(graph).expect("it runs");
        let mut states: Vec<_> = index.iter().map(|_| executor.state()).collect();
        let mut out = Vec::new();
        executor.run_to_end(&mut states, &x, &mut out).expect("it runs");
        let largest =
            |scores: &[f32]| (0..7).rev().max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        out.chunks(7).map(|scores| largest(scores).expect("seven scores")).collect()
    };
    let [a, b] = [decisions(&floats), decisions(&integers)];
    let same = a.iter().zip(&b).filter(|(a, b)| a == b).count();
    assert!(same * 100 >= 97 * a.len(), "{same} of {} decisions are the same", a.len());

    let mut sample = Vec::new();
    data.batch(&index[..1], &mut sample);
    data.batch(&index[50..51], &mut x);
    sample.extend(&x);
    let executor = Executor::new(&integers).expect("it runs");
    let Some(built) = native::built("braille", &integers, Target::C99) else { return };
    let found = native::run(&built.program, &sample, built.unit);
    assert_eq!(found.len(), 2 * data.time);
    let mut state = executor.state();
    for (step, (x, found)) in sample.chunks(12).zip(&found).enumerate() {
        if step == data.time {
            state.reset();
        }
        assert_eq!(executor.step(&mut state, x).expect("it runs"), found, "step {step}");
    }
}
