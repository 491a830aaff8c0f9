//! `spikelet data` on the real binary.

use crate::support::{command, spikelet};

#[test]
fn list_names_every_data_set() {
    let run = spikelet(["data", "list", "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let list: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    let names: Vec<&str> =
        list.as_array().expect("an array").iter().filter_map(|set| set["name"].as_str()).collect();
    assert!(names.contains(&"wisdm-watch") && names.contains(&"braille"), "{names:?}");
}

#[test]
fn info_tells_the_licence_and_where_to_get_it() {
    let run = spikelet(["data", "info", "braille"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("licence") && run.stdout.contains("L2MU-Braille"));
}

#[test]
fn an_unknown_name_is_an_error_with_the_nearest_name() {
    let run = spikelet(["data", "info", "brail"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("did you mean `braille`?"), "{}", run.stderr);
}

#[test]
fn a_data_set_that_is_not_here_is_exit_code_1() {
    let empty = tempfile::tempdir().expect("a folder");
    // One deeper: data is also looked for beside the folder that a command runs in.
    let inner = empty.path().join("inner");
    std::fs::create_dir(&inner).expect("a folder");
    let output = command(["data", "check", "braille", "--json"])
        .current_dir(&inner)
        .env_remove("SPIKELET_DATA")
        .env("XDG_CACHE_HOME", empty.path())
        .output()
        .expect("spikelet starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(error["error"]["kind"], "not_found");
}

#[test]
fn a_damaged_copy_is_exit_code_1() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("braille7.safetensors"), [255; 100]).expect("written");
    let folder = folder.path().display().to_string();
    let run = spikelet(["data", "check", "braille", "--data", &folder]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let problem = run.stdout.lines().find(|line| line.starts_with("PROBLEM"));
    assert!(problem.expect("a problem").contains("braille7.safetensors"), "{}", run.stdout);
}

#[test]
fn check_reads_a_whole_data_set() {
    let Some(folder) = spikelet_data::find::for_test("braille") else { return };
    let folder = folder.display().to_string();
    let run = spikelet(["data", "check", "braille", "--data", &folder, "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let checked: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(checked["counts"][0], serde_json::json!(["samples", 1158]));
}

#[test]
fn import_keeps_labelled_csv_as_sequences() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows: String =
        (0..40).map(|t| format!("{t},{},{}\n", t % 5, ["no", "yes"][t / 20])).collect();
    let (csv, out) = (folder.path().join("mine.csv"), folder.path().join("mine.safetensors"));
    std::fs::write(&csv, format!("t,force,label\n{rows}")).expect("written");
    let (csv, path) = (csv.display().to_string(), out.display().to_string());
    let run = spikelet(["data", "import", &csv, "--time", "t", "--window", "10", "--out", &path]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let sequences = spikelet_data::sequences_file::load(&out).expect("a file of sequences");
    assert_eq!((sequences.n, sequences.time, sequences.channels), (4, 10, 1));
    assert_eq!(sequences.classes, ["no", "yes"]);
    let run = spikelet(["data", "import", &csv, "--label", "lable", "--out", &path]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("lable"), "{}", run.stderr);
}

#[test]
fn import_packs_raw_text_without_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = folder.path().join("raw/watch");
    for sensor in ["accel", "gyro"] {
        std::fs::create_dir_all(raw.join(sensor)).expect("made");
        let lines: String = (0..100u64)
            .map(|t| format!("1600,F,{},{}.5,-0.25,9.81;\n", 1000 + t * 50_000_000, t % 7))
            .collect();
        let name = format!("{sensor}/data_1600_{sensor}_watch.txt");
        std::fs::write(raw.join(name), lines).expect("written");
    }
    let (raw, out) = (folder.path().display().to_string(), folder.path().join("packed"));
    let run = spikelet([
        "data",
        "import",
        "wisdm-watch",
        "--data",
        &raw,
        "--out",
        &out.display().to_string(),
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let [accel, gyro] = spikelet_data::wisdm::recordings(&out, 1600).expect("packed");
    assert_eq!(accel.tracks[&'F'].xyz.len(), 100);
    assert_eq!(accel, gyro);
    assert_eq!([accel, gyro], spikelet_data::wisdm::recordings(folder.path(), 1600).expect("raw"));
}
