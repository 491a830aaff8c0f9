//! `map` and `simulate` on the real binary.

use crate::support::model::Folder;
use crate::support::{Run, spikelet};
use serde_json::Value;
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

#[cfg(feature = "nir")]
#[test]
fn nir_for_py_spinnaker2_says_what_is_not_read() {
    let folder = Folder::new();
    let (model, nir) = (folder.name("model.safetensors"), folder.name("model.nir"));
    let run = spikelet(["map", &model, "--nir", &nir, "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("one JSON document");
    let unreadable = report["nir"]["unreadable"].as_array().expect("a list");
    assert_eq!(run.code, i32::from(!unreadable.is_empty()), "{}", run.stdout);
    assert_eq!(report["nir"]["out"].is_string(), fs::exists(&nir).expect("a folder"));
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
