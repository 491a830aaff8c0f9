//! `train`, `sweep`, `tune` and `convert` on the real binary.

use serde_json::Value;
use spikelet_data::tokenizer::Tokenizer;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

fn spikelet(folder: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_spikelet"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary runs")
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = spikelet(folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}

fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = spikelet(folder, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_run_leaves_everything_about_it() {
    let dir = tempfile::tempdir().unwrap();
    let train = ["train", "quick/synthetic", "--set", "train.epochs=3", "--out", "run", "--json"];
    let result: Value = serde_json::from_str(&succeeds(dir.path(), &train)).unwrap();
    assert_eq!(result["epochs"], 3);
    for file in ["config.toml", "metrics.jsonl", "model.safetensors", "report.html", "result.json"]
    {
        assert!(dir.path().join("run").join(file).is_file(), "{file}");
    }
    // Another process measures the same.
    let eval: Value =
        serde_json::from_str(&succeeds(dir.path(), &["eval", "run", "--json"])).unwrap();
    assert_eq!(eval["accuracy"], result["accuracy"]);
    assert!(fails(dir.path(), &train).contains("--resume"));
}

#[test]
fn mistakes_in_a_configuration_name_the_key_and_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let error = fails(dir.path(), &["train", "quick/synthetic", "--set", "train.epoch=3"]);
    assert!(error.contains("did you mean `epochs`"), "{error}");
    let error = fails(dir.path(), &["train", "quick/synthetik"]);
    assert!(error.contains("did you mean `quick/synthetic`"), "{error}");
    let error = fails(dir.path(), &["train", "quick/synthetic", "--rule", "sltt-k=0"]);
    assert!(error.contains("sltt-k=0"), "{error}");
    assert!(!dir.path().join("runs").exists(), "a run was begun");
}

#[test]
fn killed_twenty_times_a_run_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let set = ["--set", "train.epochs=200", "--set", "train.batch_size=8", "--quiet"];
    succeeds(dir.path(), &[&["train", "quick/synthetic", "--out", "whole"], &set[..]].concat());
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut kills = 0;
    let mut begun = false;
    while kills < 20 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spikelet"));
        command.current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        match begun {
            false => command.args(["train", "quick/synthetic", "--out", "killed"]).args(set),
            true => command.args(["train", "--resume", "killed", "--quiet"]),
        };
        let mut child = command.spawn().expect("the binary runs");
        // xorshift: another moment every time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(20 + random % 120));
        let ended = child.try_wait().expect("its state");
        assert!(ended.is_none(), "the run ended before kill {}: make it longer", kills + 1);
        child.kill().expect("SIGKILL");
        child.wait().expect("it is gone");
        kills += 1;
        begun = dir.path().join("killed/checkpoint.safetensors").exists();
        if !begun {
            let _ = fs::remove_dir_all(dir.path().join("killed"));
        }
    }
    match begun {
        true => succeeds(dir.path(), &["train", "--resume", "killed", "--quiet"]),
        false => panic!("no kill came after the first epoch"),
    };
    for file in ["model.safetensors", "config.toml"] {
        let read = |run: &str| fs::read(dir.path().join(run).join(file)).unwrap();
        assert!(read("whole") == read("killed"), "{file} differs");
    }
    // Times differ; everything else in the metrics is the same, each epoch once.
    let metrics = |run: &str| -> Vec<Value> {
        let text = fs::read_to_string(dir.path().join(run).join("metrics.jsonl")).unwrap();
        let without_time = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line["seconds"] = Value::Null;
            line
        };
        text.lines().map(without_time).collect()
    };
    assert_eq!(metrics("whole"), metrics("killed"));
}

#[test]
fn a_sweep_goes_on_where_it_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = "name = \"s\"\n[set.train]\nepochs = 1\n[grid]\n\"train.seed\" = [1, 2]\n\
                 [[variant]]\nname = \"quick\"\nfrom = \"quick/synthetic\"\n";
    fs::write(dir.path().join("s.toml"), sweep).unwrap();
    succeeds(dir.path(), &["sweep", "s.toml", "--quiet"]);
    let results = dir.path().join("docs/results/s.jsonl");
    let text = fs::read_to_string(&results).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(fails(dir.path(), &["sweep", "s.toml"]).contains("--resume"));
    // Cut the file in the middle of its second line, as a kill would.
    let first = text.lines().next().unwrap();
    fs::write(&results, &text[..first.len() + 20]).unwrap();
    succeeds(dir.path(), &["sweep", "s.toml", "--resume", "--quiet"]);
    let again: Vec<Value> = fs::read_to_string(&results)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(again.len(), 2);
    assert_eq!(again[1]["train.seed"], 2);
}

#[test]
fn an_interrupted_sweep_says_how_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = "name = \"s\"\n[set.train]\nepochs = 100000\n\
                 [[variant]]\nname = \"quick\"\nfrom = \"quick/synthetic\"\n";
    fs::write(dir.path().join("s.toml"), sweep).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_spikelet"));
    command.args(["sweep", "s.toml"]).current_dir(dir.path()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    // The first epoch has been trained: Ctrl-C is listened to.
    let folder = dir.path().join("runs/s");
    let begun = || {
        let mut runs = fs::read_dir(&folder).into_iter().flatten().flatten();
        runs.any(|run| run.path().join("metrics.jsonl").exists())
    };
    while !begun() && child.try_wait().expect("its state").is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    let output = child.wait_with_output().expect("it ends");
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("spikelet sweep s.toml --resume"), "{error}");
}

#[test]
fn a_sweep_measures_smaller_forms_of_the_best_trial() {
    let dir = tempfile::tempdir().unwrap();
    let trials = "{\"val_accuracy\": 0.5, \"drawn\": {\"train.optimizer.lr\": 0.03}}\n\
                  {\"val_accuracy\": 0.7, \"drawn\": {\"train.optimizer.lr\": 0.02}}\n";
    fs::write(dir.path().join("tune-quick.jsonl"), trials).unwrap();
    let sweep = "name = \"s\"\n[set.train]\nepochs = 1\n\
                 [[variant]]\nname = \"quick\"\nfrom = \"quick/synthetic\"\ntuned = \"tune-quick\"\n\
                 [[compress]]\nname = \"int8\"\nbits = 8\n\
                 [[compress]]\nname = \"pruned_int4\"\nbits = 4\nset = { train = { prune = 0.5 } }\n";
    fs::write(dir.path().join("s.toml"), sweep).unwrap();
    succeeds(dir.path(), &["sweep", "s.toml", "--quiet"]);
    let text = fs::read_to_string(dir.path().join("docs/results/s.jsonl")).unwrap();
    let line: Value = serde_json::from_str(text.trim()).unwrap();
    assert!(line["accuracy_int8"].is_f64() && line["accuracy_pruned_int4"].is_f64(), "{line}");
    assert!(line["bytes_pruned_int4"].as_u64() < line["bytes_int8"].as_u64(), "{line}");
    let runs = dir.path().join("runs/s");
    let hash = line["hash"].as_str().unwrap();
    let read = |run: String| fs::read_to_string(runs.join(run).join("config.toml")).unwrap();
    assert!(read(hash.to_owned()).contains("lr = 0.02"), "the best trial's settings");
    assert!(read(format!("{hash}-pruned_int4")).contains("prune = 0.5"));
    fs::write(dir.path().join("s.toml"), sweep.replace("tune-quick", "tune-none")).unwrap();
    assert!(fails(dir.path(), &["sweep", "s.toml"]).contains("tune-none"));
    fs::write(dir.path().join("s.toml"), sweep.replace("bits = 4", "bits = 5")).unwrap();
    assert!(fails(dir.path(), &["sweep", "s.toml"]).contains("bits must be 8 or 4"));
}

#[test]
fn tune_draws_the_same_trials_after_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let base = succeeds_config(dir.path());
    let tune = format!(
        "{base}\n[tune]\ntrials = 3\nstop_from_epoch = 1\n[tune.ranges]\n\
         \"train.optimizer.lr\" = {{ min = 0.001, max = 0.1, log = true }}\n"
    );
    fs::write(dir.path().join("mine.toml"), tune).unwrap();
    succeeds(dir.path(), &["tune", "mine.toml", "--trials", "2", "--results", "a", "--quiet"]);
    succeeds(dir.path(), &["tune", "mine.toml", "--resume", "--results", "a", "--quiet"]);
    let whole = ["tune", "mine.toml", "--results", "b", "--runs", "other", "--quiet"];
    succeeds(dir.path(), &whole);
    let drawn = |folder: &str| -> Vec<Value> {
        let text = fs::read_to_string(dir.path().join(folder).join("tune-mine.jsonl")).unwrap();
        let drawn = |line| serde_json::from_str::<Value>(line).unwrap()["drawn"].clone();
        text.lines().map(drawn).collect()
    };
    assert_eq!(drawn("a").len(), 3);
    assert_eq!(drawn("a"), drawn("b"));
}

/// The resolved configuration of a short run.
/// What a trial reached before pruning had its aim is not a figure of the network asked for.
#[test]
fn tune_judges_by_epochs_that_count() {
    let dir = tempfile::tempdir().unwrap();
    let tune = format!(
        "{}\n[train.prune_gradually]\nto = 1.0\nfrom_epoch = 9.0\nuntil_epoch = 10.0\n\
         [tune]\ntrials = 1\nstop_from_epoch = 1\n[tune.ranges]\n\
         \"train.optimizer.lr\" = {{ choices = [0.01] }}\n",
        succeeds_config(dir.path()).replace("epochs = 2", "epochs = 10")
    );
    fs::write(dir.path().join("mine.toml"), tune).unwrap();
    succeeds(dir.path(), &["tune", "mine.toml", "--results", "a", "--quiet"]);
    let text = fs::read_to_string(dir.path().join("a/tune-mine.jsonl")).unwrap();
    let line: Value = serde_json::from_str(text.trim()).unwrap();
    let curve: Vec<f64> = serde_json::from_value(line["curve"].clone()).unwrap();
    assert!(curve[8] > 0.5 && curve[9] < 0.5, "a network without weights guesses: {curve:?}");
    assert_eq!(line["val_accuracy"], curve[9]);
}

fn succeeds_config(folder: &Path) -> String {
    let train = ["train", "quick/synthetic", "--set", "train.epochs=2", "--out", "base", "--quiet"];
    succeeds(folder, &train);
    fs::read_to_string(folder.join("base/config.toml")).unwrap()
}

#[test]
fn convert_writes_a_graph_that_inspect_reads() {
    let dir = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden/l2mu_braille/l2mu_braille7_best.safetensors");
    let golden = golden.to_str().unwrap();
    succeeds(dir.path(), &["convert", golden, "--out", "braille.safetensors"]);
    let text = succeeds(dir.path(), &["inspect", "braille.safetensors"]);
    assert!(text.contains("legendre"), "{text}");
    let error = fails(dir.path(), &["convert", golden, "--arch", "l2mo"]);
    assert!(error.contains("l2mu"), "{error}");
}

/// Text from a file of the user's own, learned by character and measured again through the runtime.
#[test]
fn a_language_model_learns_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let text = "the cat sat on the mat; the caf\u{e9} was shut. ".repeat(120);
    fs::write(dir.path().join("own.txt"), &text).unwrap();
    let sizes = "data.dataset=own.txt data.window=32 model.layers=2 model.width=32 train.epochs=20 \
                 train.sample=30";
    let mut train = vec!["train", "quick/tinyshakespeare", "--out", "run", "--json"];
    sizes.split_whitespace().for_each(|set| train.extend(["--set", set]));
    let output = spikelet(dir.path(), &train);
    let (result, messages) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let result: Value = serde_json::from_str(&result.unwrap()).unwrap();
    // What it writes behind a first character is shown after every epoch: in the end, words of the text.
    let messages = messages.unwrap();
    let samples: Vec<&str> =
        messages.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert_eq!(samples.len(), 20, "{messages}");
    assert!(samples.iter().all(|sample| sample.chars().count() == 1 + 30), "{samples:?}");
    assert!(samples[19].contains("the ") && !samples[0].contains("the cat sat"), "{samples:?}");
    let bits = result["language"]["bits_per_token"].as_f64().unwrap();
    assert!(bits < 2.0, "{bits} bits per character; a uniform guess takes over 4");
    let per_byte = result["language"]["bits_per_byte"].as_f64().unwrap();
    // The last twentieth of the text in windows of 32; the first character is not predicted.
    let characters: Vec<char> = text.chars().collect();
    let part = &characters[characters.len() - (0.05 * characters.len() as f64).round() as usize..];
    let predicted = &part[1..1 + (part.len() - 1) / 32 * 32];
    let bytes = predicted.iter().map(|c| c.len_utf8()).sum::<usize>() as f64;
    assert!((per_byte - bits * predicted.len() as f64 / bytes).abs() < 1e-9);
    let eval: Value =
        serde_json::from_str(&succeeds(dir.path(), &["eval", "run", "--json"])).unwrap();
    let again = eval["language"]["bits_per_token"].as_f64().unwrap();
    assert!((again - bits).abs() < 1e-4, "{again} {bits}");
    assert!(succeeds(dir.path(), &["eval", "run"]).contains("bits per character"));
    assert!(dir.path().join("run/report.html").is_file());

    // Fine-tuning keeps the vocabulary, also where the other text has fewer characters.
    fs::write(dir.path().join("tuned.txt"), "the cat sat. ".repeat(120)).unwrap();
    let mut tune = vec!["train", "run/config.toml", "--init", "run", "--out", "tuned", "--json"];
    tune.extend(["--set", "data.dataset=tuned.txt", "--set", "train.epochs=1"]);
    let tuned: Value = serde_json::from_str(&succeeds(dir.path(), &tune)).unwrap();
    assert!(tuned["language"]["bits_per_token"].as_f64().unwrap() < 2.0, "{tuned}");
    assert_eq!(tuned["parameters"], result["parameters"]);
    // A text with characters the model has never seen, and models that do not read text.
    fs::write(dir.path().join("other.txt"), "\u{4e00}".repeat(2000)).unwrap();
    let error = fails(dir.path(), &["eval", "run", "--data", "other.txt"]);
    assert!(error.contains("at byte 0") && error.contains("not in the vocabulary"), "{error}");
    let mut lstm = vec!["train", "baseline/lstm-wisdm", "--out", "lstm"];
    let set = "data.dataset=own.txt";
    let split = "data.split={kind=\"contiguous\"}";
    lstm.extend(["--set", set, "--set", split, "--set", "data.normalize=false"]);
    let output = spikelet(dir.path(), &lstm);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("models that read tokens"), "{error}");
}

/// Documents and a tokenizer of the user's own; the tokenizer travels with the model.
#[test]
fn a_tokenizer_is_trained_and_travels_with_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let line = "{\"text\": \"the cat sat on the mat; the caf\\u00e9 was shut\"}\n";
    fs::write(dir.path().join("own.jsonl"), line.repeat(150)).unwrap();
    let tokenizer = ["data", "tokenizer", "own.jsonl", "--size", "270", "--out", "tok.json"];
    let made: Value =
        serde_json::from_str(&succeeds(dir.path(), &[&tokenizer[..], &["--json"]].concat()))
            .unwrap();
    assert!(made["bytes_per_token"].as_f64().unwrap() > 1.2, "{made}");
    let sets = "data.dataset=own.jsonl data.text.unit=tokens data.text.tokenizer=tok.json \
                data.window=24 model.layers=1 model.width=24 train.epochs=8 train.sample=20";
    let mut train = vec!["train", "spikegpt/tinyshakespeare", "--out", "run", "--json"];
    sets.split_whitespace().for_each(|set| train.extend(["--set", set]));
    let result: Value = serde_json::from_str(&succeeds(dir.path(), &train)).unwrap();
    let bits = result["language"]["bits_per_byte"].as_f64().unwrap();
    assert!(bits < 3.0, "{bits} bits a byte");
    fs::remove_file(dir.path().join("tok.json")).unwrap();
    let eval = ["eval", "run", "--data", "own.jsonl", "--json"];
    let eval: Value = serde_json::from_str(&succeeds(dir.path(), &eval)).unwrap();
    assert!(eval["language"]["bits_per_token"].as_f64().unwrap() > 0.0);
    let embed = ["embed", "run", "--text", "the cat", "--text", "shut", "--json"];
    let lines = succeeds(dir.path(), &embed);
    let vectors: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(vectors.len(), 2);
    assert_eq!(vectors[0]["embedding"].as_array().unwrap().len(), 24);
    assert_ne!(vectors[0]["embedding"], vectors[1]["embedding"]);
    let mut missing = train.clone();
    missing[3] = "again";
    let error = fails(dir.path(), &missing);
    assert!(error.contains("tok.json"), "{error}");
}

/// Tokens as Megatron's tools write them: bytes that are no text, and those of a tokenizer.
#[test]
fn tokens_of_megatron_files_are_learned_and_measured() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, tokens: &[u32]| {
        let count = i32::try_from(tokens.len()).unwrap();
        let index = [b"MMIDIDX\0\0".as_slice(), &1_u64.to_le_bytes(), &[8]].concat();
        let sizes = [&1_u64.to_le_bytes()[..], &2_u64.to_le_bytes(), &count.to_le_bytes()].concat();
        let places = [0_i64, 0, 1].map(i64::to_le_bytes).concat();
        let bin: Vec<u8> = tokens.iter().flat_map(|t| (*t as u16).to_le_bytes()).collect();
        fs::write(dir.path().join(format!("{name}.idx")), [index, sizes, places].concat()).unwrap();
        fs::write(dir.path().join(format!("{name}.bin")), bin).unwrap();
    };
    let run = |sets: &str, out: &str| -> [Value; 2] {
        let small = "data.window=32 model.layers=1 model.width=16 train.epochs=1";
        let mut train = vec!["train", "quick/tinyshakespeare", "--out", out, "--json"];
        small.split(' ').chain(sets.split(' ')).for_each(|set| train.extend(["--set", set]));
        let result: Value = serde_json::from_str(&succeeds(dir.path(), &train)).unwrap();
        let eval: Value =
            serde_json::from_str(&succeeds(dir.path(), &["eval", out, "--json"])).unwrap();
        [result, eval].map(|report| report["language"].clone())
    };
    let bytes: Vec<u32> = (0..4000_u32).map(|i| i.wrapping_mul(0x9e37_79b9) >> 24).collect();
    write("bytes", &bytes);
    for language in run("data.dataset=bytes.idx data.text.unit=bytes", "bytes") {
        let bits = language["bits_per_token"].as_f64().unwrap();
        assert!((7.0..10.0).contains(&bits), "{language}");
        assert_eq!(language["bits_per_byte"], language["bits_per_token"]);
    }
    // Two bytes a token in the first half, one in the second, where the test part is.
    let tokenizer = Tokenizer::train("ababab", 257).unwrap();
    fs::write(dir.path().join("tok.json"), tokenizer.json()).unwrap();
    let [two, one] = ["ab", "a"].map(|text| tokenizer.encode(text, "t").unwrap()[0]);
    write("tokens", &[[two; 2000], [one; 2000]].concat());
    let sets = "data.dataset=tokens.idx data.text.unit=tokens data.text.tokenizer=tok.json";
    for language in run(sets, "tokens") {
        assert_eq!(language["bits_per_byte"], language["bits_per_token"]);
    }
    // A token that the tokenizer does not have.
    write("tokens", &[257; 4000]);
    let mut train = vec!["train", "quick/tinyshakespeare", "--out", "again"];
    sets.split(' ').for_each(|set| train.extend(["--set", set]));
    let error = fails(dir.path(), &train);
    assert!(error.contains("tokens.bin") && error.contains("token 257"), "{error}");
}

/// Sentences by byte in SST-2's form: a classifier learns them, also from a language model's start.
#[test]
fn sentences_are_classified() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("data/nlu/sst-2");
    fs::create_dir_all(&folder).unwrap();
    let rows = |from: usize, to: usize| {
        let row = |i: usize| match i % 2 {
            0 => format!("number {i} is bad\t0\n"),
            _ => format!("number {i} is a great one\t1\n"),
        };
        (from..to).fold("sentence\tlabel\n".to_owned(), |all, i| all + &row(i))
    };
    fs::write(folder.join("train.tsv"), rows(0, 300)).unwrap();
    fs::write(folder.join("dev.tsv"), rows(300, 360)).unwrap();
    fs::write(dir.path().join("own.txt"), rows(0, 300)).unwrap();
    let run = |sets: &str, preset: &str, out: &str| -> Value {
        let mut train = vec!["train", preset, "--out", out, "--json"];
        sets.split_whitespace().for_each(|set| train.extend(["--set", set]));
        serde_json::from_str(&succeeds(dir.path(), &train)).unwrap()
    };
    let small = "model.layers=1 model.width=16 data.text.unit=bytes";
    run(&format!("{small} data.dataset=own.txt train.epochs=1"), "spikegpt/tinyshakespeare", "lm");
    // Presets name a tokenizer; bytes need none.
    let own = dir.path().join("sst.toml");
    fs::write(&own, "[data]\ndataset = \"nlu/sst-2\"\nwindow = 40\nsplit = { kind = \"official\" }\n\
        text = { unit = \"bytes\" }\n[model]\nkind = \"spikegpt\"\nlayers = 1\nwidth = 16\n[train]\nepochs = 6\n\
        batch_size = 16\noptimizer = { kind = \"adam_w\", lr = 5e-3 }\n").unwrap();
    for (out, sets) in [("fresh", "model.pooling=learned"), ("tuned", "train.init=lm")] {
        let result = run(sets, "sst.toml", out);
        let accuracy = result["accuracy"].as_f64().unwrap();
        assert!(accuracy > 0.9, "{out}: {accuracy}");
        let eval: Value =
            serde_json::from_str(&succeeds(dir.path(), &["eval", out, "--json"])).unwrap();
        assert!((eval["accuracy"].as_f64().unwrap() - accuracy).abs() < 0.02, "{eval}");
    }
    // Steps of sentences that end at different times: no padding is counted.
    let profile = succeeds(dir.path(), &["profile", "tuned", "--limit", "2", "--json"]);
    let profile: Value = serde_json::from_str(&profile).unwrap();
    let steps = "number 300 is bad".len() + "number 301 is a great one".len();
    assert_eq!((&profile["sequences"], &profile["steps"]), (&2.into(), &steps.into()));
    let embed = succeeds(dir.path(), &["embed", "tuned", "--input", "own.txt"]);
    assert_eq!(embed.lines().count(), 301, "a line a sentence");
    // A document may have several lines, and is one sentence all the same.
    let documents = "{\"text\": \"one\\ntwo\"}\n{\"text\": \"three\"}\n";
    fs::write(dir.path().join("own.jsonl"), documents).unwrap();
    let vectors = |more: &[&str]| -> Vec<Value> {
        let lines = succeeds(dir.path(), &[&["embed", "tuned", "--json"], more].concat());
        lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).collect()
    };
    let read = vectors(&["--input", "own.jsonl"]);
    let given = vectors(&["--text", "one\ntwo", "--text", "three"]);
    assert_eq!(read, given);
    // The preset brings its tokenizer along.
    run("model.layers=1 model.width=16 train.epochs=1", "spikegpt/sst-2", "preset");
    let bag = "model={kind=\"bag-of-words\"}";
    let result: Value = serde_json::from_str(&succeeds(
        dir.path(),
        &["train", "sst.toml", "--set", bag, "--out", "bag", "--json"],
    ))
    .unwrap();
    assert!(result["accuracy"].as_f64().unwrap() > 0.9, "{result}");
}
