//! `eval`, `run`, `profile`, `compress` and `inspect` on the real binary.

use crate::support::model::{Folder, WINDOW, csv};
use crate::support::{Run, command, spikelet};
use serde_json::Value;
use std::{fs, io::Write, process::Stdio};

fn json(run: &Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("one JSON document")
}

fn lines(run: &Run) -> Vec<Value> {
    assert_eq!(run.code, 0, "{}", run.stderr);
    run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON a line")).collect()
}

#[test]
fn eval_gives_accuracy_and_confusion() {
    let folder = Folder::new();
    let (model, data) = (folder.name("model.safetensors"), folder.name("data.csv"));
    let report = json(&spikelet(["eval", &model, "--data", &data, "--json"]));
    assert_eq!(report["sequences"], 10);
    assert_eq!(report["accuracy"], 1.0);
    assert_eq!(report["confusion"], serde_json::json!([[5, 0], [0, 5]]));
    assert_eq!(report["classes"][1]["name"], "right");
    let run = spikelet(["eval", &model, "--data", &data]);
    assert!(run.stdout.contains("10 of 10 right"), "{}", run.stdout);
}

#[test]
fn eval_refuses_wrong_data() {
    let folder = Folder::new();
    let model = folder.name("model.safetensors");
    for (name, content, wanted) in [
        ("class.csv", csv().replace("right", "rihgt"), "did you mean `right`"),
        ("column.csv", csv().replace("b,label", "c,label"), "`b`"),
        ("nan.csv", csv().replacen("13", "NaN", 1), "nan.csv:2"),
        ("short.csv", "b,label,a\n1,left,2\n".to_owned(), "short.csv"),
        ("empty.csv", String::new(), "empty"),
    ] {
        fs::write(folder.path(name), content).expect("written");
        let run = spikelet(["eval", &model, "--data", &folder.name(name)]);
        assert_eq!(run.code, 2, "{name}: {}", run.stderr);
        assert!(run.stderr.contains(wanted), "{name}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{name}");
    }
}

#[test]
fn a_data_path_that_does_not_exist_is_an_error() {
    let folder = Folder::new();
    let (model, nowhere) = (folder.name("model.safetensors"), folder.name("nowhere"));
    for command in ["eval", "profile"] {
        let run = spikelet([command, &model, "--data", &nowhere]);
        assert_eq!(run.code, 2, "{command}");
        assert!(run.stderr.contains("nowhere"), "{command}: {}", run.stderr);
    }
}

#[test]
fn run_decides_once_a_window() {
    let folder = Folder::new();
    let (model, data) = (folder.name("model.safetensors"), folder.name("data.csv"));
    let decisions = lines(&spikelet(["run", &model, "--input", &data, "--json"]));
    let classes: Vec<&str> = decisions.iter().filter_map(|d| d["class"].as_str()).collect();
    assert_eq!(classes, ["left", "right"].repeat(5));
    assert_eq!(decisions[3]["step"], 4 * WINDOW);
    assert_eq!(decisions[3]["window"], 3);
}

#[test]
fn run_streams_from_standard_input() {
    let folder = Folder::new();
    let model = folder.name("model.safetensors");
    let mut child = command(["run", &model, "--input", "-", "--stream", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spikelet starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(csv().as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("spikelet ends");
    let run = Run {
        code: output.status.code().expect("a code"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    };
    let decisions = lines(&run);
    assert_eq!(decisions.len(), 10 * WINDOW);
    assert_eq!(decisions[WINDOW - 1]["class"], "left");
    assert_eq!(decisions[2 * WINDOW - 1]["class"], "right");
}

#[test]
fn run_reads_every_format_alike() {
    let folder = Folder::new();
    let model = folder.name("model.safetensors");
    // Channels by name, or in the order of the model where there are no names.
    let rows: Vec<[u32; 2]> = (0..10 * WINDOW)
        .map(|t| if (t / WINDOW).is_multiple_of(2) { [13, 9] } else { [9, 13] })
        .collect();
    let jsonl: String = rows.iter().map(|[a, b]| format!("{{\"b\": {b}, \"a\": {a}}}\n")).collect();
    fs::write(folder.path("data.jsonl"), jsonl).expect("written");
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 2), }}", rows.len());
    let header = format!("{header:<117}\n");
    let mut npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    npy.extend(header.as_bytes());
    rows.iter().flatten().for_each(|value| npy.extend((*value as f32).to_le_bytes()));
    fs::write(folder.path("data.npy"), npy).expect("written");
    let wanted = spikelet(["run", &model, "--input", &folder.name("data.csv"), "--json"]).stdout;
    for name in ["data.jsonl", "data.npy"] {
        let run = spikelet(["run", &model, "--input", &folder.name(name), "--json"]);
        assert_eq!(run.code, 0, "{name}: {}", run.stderr);
        assert_eq!(run.stdout, wanted, "{name}");
    }
}

#[test]
fn run_writes_a_whole_file_or_none() {
    let folder = Folder::new();
    let (model, data) = (folder.name("model.safetensors"), folder.name("data.csv"));
    let out = folder.name("out.csv");
    let run = spikelet(["run", &model, "--input", &data, "--output", &out]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let text = fs::read_to_string(&out).expect("written");
    assert!(text.starts_with("window,step,class,left,right\n0,5,left,"), "{text}");
    assert_eq!(text.lines().count(), 11);
    fs::write(folder.path("broken.csv"), csv() + "oops\n").expect("written");
    let out = folder.path("none.csv");
    let broken = folder.name("broken.csv");
    let run = spikelet(["run", &model, "--input", &broken, "--output", &folder.name("none.csv")]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("broken.csv:52"), "{}", run.stderr);
    assert!(!out.exists());
    let left: Vec<_> = fs::read_dir(out.parent().expect("a folder"))
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| name.ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn profile_counts_and_says_that_energy_is_modelled() {
    let folder = Folder::new();
    let (model, data) = (folder.name("model.safetensors"), folder.name("data.csv"));
    let report = json(&spikelet(["profile", &model, "--data", &data, "--json", "--measure"]));
    assert_eq!(report["steps"], 10 * WINDOW);
    // Two layers of four weights.
    assert_eq!(report["neurobench"]["dense"], 8.0 * WINDOW as f64);
    assert_eq!(report["total"]["state_updates"], 4 * 10 * WINDOW);
    assert!(report["measured"]["microseconds_per_step"].as_f64() > Some(0.0));
    let run = spikelet(["profile", &model, "--data", &data]);
    assert!(run.stdout.contains("modelled, not measured"), "{}", run.stdout);
    assert!(run.stdout.contains("NeuroBench*"), "{}", run.stdout);
}

#[test]
fn compress_writes_a_smaller_graph_that_still_works() {
    let folder = Folder::new();
    let (model, data) = (folder.name("model.safetensors"), folder.name("data.csv"));
    let out = folder.name("small.safetensors");
    let report = json(&spikelet([
        "compress", &model, "--bits", "8", "--prune", "0.5", "--data", &data, "--out", &out,
        "--json",
    ]));
    assert!(report["after"]["bytes"].as_u64() < report["before"]["bytes"].as_u64());
    assert_eq!(report["after"]["connection_sparsity"], 0.5);
    assert_eq!(report["after"]["accuracy"], 1.0);
    let report = json(&spikelet(["eval", &out, "--data", &data, "--json"]));
    assert_eq!(report["accuracy"], 1.0);
    for arguments in [&[][..], &["--prune", "1.5"], &["--bits", "8", "--keep", "nobody"]] {
        let run = spikelet([&["compress", model.as_str()][..], arguments].concat());
        assert_eq!(run.code, 2, "{arguments:?}");
    }
}

#[test]
fn inspect_tells_what_a_file_is() {
    let folder = Folder::new();
    let model = folder.name("model.safetensors");
    let report = json(&spikelet(["inspect", &model, "--json"]));
    assert_eq!(report["kind"], "graph");
    assert_eq!(report["task"]["classes"][0], "left");
    assert_eq!(report["counts"]["connections"], 8);
    let run = spikelet(["inspect", &model]);
    assert!(run.stdout.contains("hidden") && run.stdout.contains("lif"), "{}", run.stdout);
    let run = spikelet(["inspect", &model, "--dot"]);
    assert!(run.stdout.starts_with("digraph"), "{}", run.stdout);
    let report = json(&spikelet(["inspect", &folder.name("data.csv"), "--json"]));
    assert_eq!(report["kind"], "data");
    assert_eq!(report["rows"], 10 * WINDOW);
    assert_eq!(report["columns"][0]["high"], 13.0);
    assert_eq!(report["columns"][1]["words"]["left"], 5 * WINDOW);
}

#[test]
fn files_that_are_nothing_are_errors() {
    let folder = Folder::new();
    let whole = fs::read(folder.path("model.safetensors")).expect("read");
    fs::write(folder.path("cut.safetensors"), &whole[..whole.len() / 2]).expect("written");
    fs::write(folder.path("zeros.bin"), [0; 100]).expect("written");
    fs::write(folder.path("empty"), []).expect("written");
    let huge = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 99999999999999), }";
    let huge = [huge, format!("{header:<117}\n").into_bytes(), vec![0; 64]].concat();
    fs::write(folder.path("huge.npy"), huge).expect("written");
    for name in ["cut.safetensors", "zeros.bin", "empty", "huge.npy", "not there"] {
        for command in ["inspect", "eval"] {
            let run = spikelet([command, &folder.name(name)]);
            assert_eq!(run.code, 2, "{command} {name}: {} {}", run.stdout, run.stderr);
            let named = name.split('.').next().expect("a name");
            assert!(run.stderr.contains(named), "{command} {name}: {}", run.stderr);
        }
    }
}
