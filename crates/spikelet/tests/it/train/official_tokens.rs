//! Checkpoints of language models with a file that says what their tokens are: used as any other model.

use crate::convert::{golden, open, safetensors, weights_of};
use serde_json::Value;
use spikelet_data::{vocabulary::Vocabulary, words};
use spikelet_graph::Graph;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn spikelet(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spikelet"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary runs")
}

fn succeeds(folder: &Path, arguments: &[&str]) -> Value {
    let output = spikelet(folder, &[arguments, &["--json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = spikelet(folder, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// The weights of a golden file as an official checkpoint, `official.safetensors`.
fn write_weights(folder: &Path, system: &str, file: &str) {
    let tensors = weights_of(&open(&golden(system).join(file)), "");
    fs::write(folder.join("official.safetensors"), safetensors(&tensors, &[])).unwrap();
}

/// The 64 characters of the golden model, not in their order.
fn characters() -> Vec<char> {
    let mut all: Vec<char> = ('a'..='z').chain('A'..='Z').chain("\n .,\u{e9}".chars()).collect();
    all.extend("\u{65e5}\u{672c}\u{1f600}!?;:".chars());
    (0..64).map(|i| all[(i * 27 + 5) % 64]).collect()
}

/// The characters as the authors write them: JSON of numbers and characters in UTF-16.
fn vocabulary_file(folder: &Path, characters: &[char]) {
    let numbered =
        (0..).zip(characters).map(|(n, c): (usize, _)| (n.to_string(), c.to_string().into()));
    let json = Value::Object(numbered.collect()).to_string();
    let units = std::iter::once(0xfeff).chain(json.encode_utf16());
    fs::write(folder.join("vocab.json"), units.flat_map(u16::to_le_bytes).collect::<Vec<_>>())
        .unwrap();
}

const CONVERT: [&str; 6] =
    ["convert", "official.safetensors", "--out", "model.safetensors", "--tokenizer", "vocab.json"];

#[test]
fn an_official_model_of_characters_is_used_as_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    write_weights(folder, "spikegpt", "small.safetensors");
    let names = characters();
    assert_eq!(Vocabulary::characters(&String::from_iter(&names)).names().len(), 64);
    vocabulary_file(folder, &names);
    succeeds(folder, &CONVERT);

    // The token after those of the file is the one its logits say.
    let golden = open(&golden("spikegpt").join("small.safetensors"));
    let (tokens, logits) =
        (golden.tensor("input.tokens").unwrap(), golden.tensor("parallel.logits").unwrap());
    let time = tokens.shape[1];
    for (row, logits) in tokens.data.chunks(time).zip(logits.data.chunks(time * 64)) {
        let prompt: String = row.iter().map(|token| names[*token as usize]).collect();
        let greedy = ["generate", "model.safetensors", "--temperature", "0", "--tokens", "1"];
        let report = succeeds(folder, &[&greedy[..], &["--prompt", &prompt]].concat());
        let last = &logits[(time - 1) * 64..];
        let best = (0..64).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
        assert_eq!(report["texts"][0]["text"], names[best].to_string());
    }
    let embedding = succeeds(folder, &["embed", "model.safetensors", "--text", "\u{65e5}\u{672c}"]);
    assert_eq!(embedding["embedding"].as_array().unwrap().len(), 64);
    fs::write(folder.join("own.txt"), "the caf\u{e9} is \u{65e5}\u{672c}. ".repeat(200)).unwrap();
    let eval = succeeds(folder, &["eval", "model.safetensors", "--data", "own.txt"]);
    let of = |name: &str| eval["language"][name].as_f64().unwrap();
    assert!(of("bits_per_token") > of("bits_per_byte") && of("bits_per_byte") > 1.0, "{eval}");

    assert!(fails(folder, &["eval", "model.safetensors"]).contains("--data"));
    vocabulary_file(folder, &names[..63]);
    let error = fails(folder, &CONVERT);
    assert!(error.contains("vocab.json has 63 tokens, the model has 64"), "{error}");
    fs::write(folder.join("vocab.json"), [0xff_u8, 0xfe, 0]).unwrap();
    assert!(fails(folder, &CONVERT).contains("vocab.json"));
    succeeds(folder, &CONVERT[..4]);
    let error = fails(folder, &["eval", "model.safetensors", "--data", "own.txt"]);
    assert!(error.contains("--tokenizer"), "{error}");
    let error = fails(folder, &["generate", "model.safetensors", "--prompt", "a"]);
    assert!(error.contains("--tokenizer"), "{error}");
}

/// Training goes on from the graph or from the checkpoint itself; characters keep their numbers.
#[test]
fn training_goes_on_with_the_characters_of_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    write_weights(folder, "spikegpt", "small.safetensors");
    let names: Vec<String> = characters().iter().map(char::to_string).collect();
    vocabulary_file(folder, &characters());
    succeeds(folder, &CONVERT);
    // As many characters as the model has, in another order.
    let text: String = Vocabulary::characters(&names.concat()).names().concat();
    fs::write(folder.join("own.txt"), text.repeat(30)).unwrap();
    // The rate is so small that weights stay what they are.
    let sets = "data.dataset=own.txt data.window=16 model.layers=2 model.width=64 model.dropout=0 \
                train.epochs=1 train.batch_size=64 train.optimizer.lr=1e-9 train.sample=0";
    let train = |out: &str, init: &str, more: &[&str]| -> Vec<String> {
        let mut all = ["train", "spikegpt/tinyshakespeare", "--out", out, "--init", init].to_vec();
        sets.split_whitespace()
            .chain(more.iter().copied())
            .for_each(|set| all.extend(["--set", set]));
        all.into_iter().map(str::to_owned).collect()
    };
    let run = |arguments: &[String]| {
        succeeds(folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    };
    run(&train("graph", "model.safetensors", &[]));
    run(&train("weights", "official.safetensors", &["data.text.tokenizer=vocab.json"]));
    let converted = Graph::load(folder.join("model.safetensors")).unwrap();
    for out in ["graph", "weights"] {
        let graph = Graph::load(folder.join(out).join("model.safetensors")).unwrap();
        assert_eq!(graph.task.classes, names, "{out}");
        for node in &converted.nodes {
            for name in node.op.tensors() {
                let [a, b] =
                    [&converted, &graph].map(|g| g.tensor(&node.name, name).unwrap().to_f32());
                let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5 * (1.0 + a.abs());
                assert!(a.len() == b.len() && a.iter().zip(&b).all(close), "{out}: {name}");
            }
        }
    }
    // Neither the checkpoint nor a graph without names says which character is which.
    succeeds(folder, &CONVERT[..4]);
    for init in ["official.safetensors", "model.safetensors"] {
        let arguments = train("again", init, &[]);
        let error = fails(folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(error.contains(init) && error.contains("data.text.tokenizer"), "{error}");
    }
}

/// Words, for both kinds of language models.
#[test]
fn tokenizers_name_the_tokens_of_every_language_model() {
    let models = [
        ("spikegpt", "small.safetensors", 64, "spikegpt"),
        ("egru", "lm_small.safetensors", 40, "egru-lm"),
    ];
    for (system, file, tokens, arch) in models {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        write_weights(folder, system, file);
        // Two more stand for the end of a line and for words that are not known.
        let text: String = (0..tokens - 2).map(|i| format!("w{i} ")).collect::<String>() + "\n";
        let tokenizer = words::vocabulary(&text, false, "t").unwrap();
        fs::write(folder.join("vocab.json"), tokenizer.json()).unwrap();
        let converted = succeeds(folder, &CONVERT);
        assert_eq!(converted["arch"], arch);
        let greedy =
            ["generate", "model.safetensors", "--temperature", "0", "--prompt", "w1 w7 w2"];
        let report = succeeds(folder, &[&greedy[..], &["--tokens", "12"]].concat());
        assert_eq!(
            (report["prompt_tokens"].as_u64(), report["texts"][0]["tokens"].as_u64()),
            (Some(3), Some(12))
        );
        let written = report["texts"][0]["text"].as_str().unwrap();
        assert!(
            written.split_whitespace().all(|word| text.contains(word) || word == "<unk>"),
            "{written}"
        );
        fs::write(folder.join("own.txt"), text.repeat(60)).unwrap();
        let eval = succeeds(folder, &["eval", "model.safetensors", "--data", "own.txt"]);
        let bits = eval["language"]["bits_per_token"].as_f64().unwrap();
        assert!((1.0..20.0).contains(&bits), "{arch}: {eval}");
    }
    let dir = tempfile::tempdir().unwrap();
    write_weights(dir.path(), "egru", "dvs_small.safetensors");
    vocabulary_file(dir.path(), &characters());
    assert!(fails(dir.path(), &CONVERT).contains("reads no tokens"));
}
