//! `spikelet generate` on the real binary, with small untrained networks.

use serde_json::Value;
use spikelet_data::tokenizer::Tokenizer;
use spikelet_graph::{Graph, GraphBuilder, Layout, Readout, Signal, Task, Tensor};
use spikelet_train::models::spikegpt::{SpikeGptConfig, untrained_graph};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn spikelet<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spikelet")).args(arguments).output().expect("the binary runs")
}

/// A model of these tokens.
fn model(folder: &Path, names: Vec<String>) -> PathBuf {
    let task = Task { classes: names, ..Task::default() };
    let count = task.classes.len();
    // A prompt of a megabyte goes through the larger vocabulary.
    let config = if count < 256 { SpikeGptConfig::new(2, 64) } else { SpikeGptConfig::new(1, 16) };
    let graph = untrained_graph(&config, count, 3, task).expect("a graph");
    let path = folder.join(format!("{count}.safetensors"));
    graph.save(&path).expect("saved");
    path
}

fn characters(folder: &Path) -> PathBuf {
    model(folder, "\n abcdefghij".chars().map(String::from).collect())
}

fn bytes(folder: &Path) -> PathBuf {
    model(folder, (0..=u8::MAX).map(|byte| format!("{byte:#04x}")).collect())
}

/// Standard output of a command that succeeds.
fn text(model: &Path, arguments: &[&str]) -> String {
    let model = model.to_str().expect("a path");
    let output = spikelet([&["generate", model], arguments].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn report(model: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&text(model, &[arguments, &["--json"]].concat())).expect("JSON")
}

/// Standard error of a command that is refused.
fn refusal(arguments: &[&OsStr]) -> String {
    let output = spikelet(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    errors
}

#[test]
fn the_same_seed_gives_the_same_text_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let model = characters(folder.path());
    let common = ["--prompt", "abc de", "--tokens", "40", "--seed", "5"];
    let with = |more: &[&'static str]| [&common[..], more].concat();
    let one = text(&model, &common);
    let single = report(&model, &common);
    assert_eq!(single["texts"][0]["tokens"], 40);
    assert_eq!(single["prompt_tokens"], 6);
    let several = report(&model, &with(&["--count", "3"]));
    assert_eq!(several["texts"][0]["text"], single["texts"][0]["text"]);
    assert_ne!(several["texts"][0]["text"], several["texts"][1]["text"]);
    let streamed = text(&model, &with(&["--stream"]));
    assert_eq!(streamed.trim_end(), one.trim_end());
    let threaded = report(&model, &with(&["--threads", "1"]));
    assert_eq!(threaded["texts"], single["texts"]);
    let other = report(&model, &with(&["--order", "usual"]));
    assert_ne!(other["texts"][0]["text"], single["texts"][0]["text"]);
    // Pieces, then the document.
    let lines = text(&model, &with(&["--stream", "--count", "2", "--json"]));
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let (document, pieces) = lines.split_last().expect("a document");
    let joined: String = pieces
        .iter()
        .filter(|piece| piece["stream"] == 1)
        .map(|piece| piece["text"].as_str().expect("text"))
        .collect();
    assert_eq!(document["texts"][1]["text"], joined);
}

#[test]
fn a_saved_prompt_goes_on_as_if_it_had_been_read() {
    let folder = tempfile::tempdir().unwrap();
    let model = characters(folder.path());
    let prompt: String = (0..200).map(|i| char::from(b'a' + (i * i % 10) as u8)).collect();
    let state = folder.path().join("prompt.state");
    let state = state.to_str().unwrap();
    let (first, rest) = prompt.split_at(130);
    report(&model, &["--prompt", first, "--tokens", "0", "--save-state", state]);
    let loaded = report(&model, &["--load-state", state, "--prompt", rest]);
    let whole = report(&model, &["--prompt", &prompt]);
    assert_eq!(loaded["texts"], whole["texts"]);
    assert_eq!(loaded["prompt_tokens"], 200);
    let other = bytes(folder.path());
    let arguments = ["generate", other.to_str().unwrap(), "--load-state", state].map(OsStr::new);
    assert!(refusal(&arguments).contains("does not fit"));
    fs::write(state, b"SPKPRMT1 and nothing more").unwrap();
    let arguments = ["generate", model.to_str().unwrap(), "--load-state", state].map(OsStr::new);
    assert!(refusal(&arguments).contains("prompt.state"));
}

#[test]
fn generation_ends_before_a_stop_text() {
    let folder = tempfile::tempdir().unwrap();
    let model = characters(folder.path());
    let free = report(&model, &["--prompt", "a", "--tokens", "60"]);
    let free = free["texts"][0]["text"].as_str().unwrap();
    let stop = &free[20..23];
    let ended = report(&model, &["--prompt", "a", "--tokens", "60", "--stop", stop]);
    assert_eq!(ended["texts"][0]["stopped"], true);
    assert_eq!(ended["texts"][0]["text"], free[..free.find(stop).unwrap()]);
}

#[test]
fn texts_come_and_go_without_changing_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let model = characters(folder.path());
    let prompts = ["abc", "j", "de fg", "hi\n"];
    let common = ["--tokens", "50", "--seed", "3", "--count", "2"];
    let alone = |prompt: &str, more: &[&str]| {
        report(&model, &[&["--prompt", prompt][..], &common, more].concat())["texts"].clone()
    };
    // A text that ends early makes room for the next.
    let free = alone(prompts[0], &[]);
    let stop = &free[0]["text"].as_str().unwrap()[9..11];
    let expected: Vec<Value> = (0..)
        .zip(prompts)
        .flat_map(|(number, prompt)| {
            let mut texts = alone(prompt, &["--stop", stop]).as_array().unwrap().clone();
            texts.iter_mut().for_each(|text| text["prompt"] = Value::from(number));
            texts
        })
        .collect();
    let lengths: Vec<&Value> = expected.iter().map(|text| &text["tokens"]).collect();
    assert!(lengths.iter().any(|n| *n != lengths[0]), "{lengths:?}");
    let all: Vec<&str> = prompts.into_iter().flat_map(|prompt| ["--prompt", prompt]).collect();
    for places in ["1", "3", "16"] {
        let more = ["--stop", stop, "--side-by-side", places];
        let together = report(&model, &[&all[..], &common, &more].concat());
        assert_eq!(together["texts"].as_array().unwrap(), &expected, "{places} side by side");
    }
    let arguments = ["generate", model.to_str().unwrap(), "--save-state", "x"];
    let arguments: Vec<&OsStr> = arguments.into_iter().chain(all).map(OsStr::new).collect();
    assert!(refusal(&arguments).contains("--save-state keeps one prompt"));
}

#[test]
fn the_end_mark_of_a_tokenizer_ends_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::train("a b c a b", 256).unwrap();
    let mut json: Value = serde_json::from_str(tokenizer.json()).unwrap();
    json["added_tokens"] = serde_json::json!([{
        "id": 256, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true,
    }]);
    let classes = Tokenizer::from_json(&json.to_string(), "t").unwrap().names();
    let task = Task { classes, tokenizer: Some(json.to_string()), ..Task::default() };
    let graph = untrained_graph(&SpikeGptConfig::new(1, 16), 257, 3, task).unwrap();
    let path = folder.path().join("tokens.safetensors");
    graph.save(&path).unwrap();
    // All tokens are about equally likely.
    let flat = ["--order", "usual", "--temperature", "100", "--top-p", "1"];
    let flat = [&["--prompt", "a b", "--tokens", "9000"], &flat[..]].concat();
    let text = &report(&path, &flat)["texts"][0];
    assert_eq!(text["ended"], true);
    assert!(text["tokens"].as_u64().unwrap() < 9000);
    assert!(!text["text"].as_str().unwrap().contains("endoftext"));
    // In the official order it is never drawn.
    let official = ["--prompt", "a b", "--tokens", "9000", "--temperature", "100", "--top-p", "1"];
    let text = &report(&path, &official)["texts"][0];
    assert_eq!((text["ended"].as_bool(), text["tokens"].as_u64()), (Some(false), Some(9000)));
}

/// Every token of `chain` is followed by the next one, the last by the first.
fn chained(chain: &[u32], tokens: usize, task: Task) -> Graph {
    let links = chain.len();
    let (mut table, mut head) = (vec![0.0; tokens * links], vec![0.0; tokens * links]);
    for (link, &token) in chain.iter().enumerate() {
        table[token as usize * links + link] = 1.0;
        head[chain[(link + 1) % links] as usize * links + link] = 1.0;
    }
    let matrix = |values| Tensor::f32(&[tokens, links], values).expect("a matrix");
    let mut graph = GraphBuilder::new("chain");
    graph.input("input", Signal::Dense, &[1]);
    graph.embedding("emb", "input", matrix(table));
    graph.linear("head", "emb", &matrix(head), None, Layout::ByOutput);
    graph.readout("readout", "head", Readout::Last);
    graph.output("output", "readout");
    graph.task(task);
    graph.finish().expect("a graph")
}

#[test]
fn characters_of_several_tokens_come_whole() {
    let folder = tempfile::tempdir().unwrap();
    let json = include_str!("../../../../../data/tokenizers/wikitext2-4k.json");
    let tokenizer = Tokenizer::from_json(json, "t").unwrap();
    // All its tokens are different, so that each has one that follows.
    let written = "\u{65e5} \u{1f600}\u{753}";
    let chain = tokenizer.encode(written, "t").unwrap();
    assert!(chain.len() > 5, "{chain:?}: several tokens a character");
    let (classes, tokenizer) = (tokenizer.names(), Some(json.to_owned()));
    let graph = chained(&chain, classes.len(), Task { classes, tokenizer, ..Task::default() });
    let path = folder.path().join("chain.safetensors");
    graph.save(&path).unwrap();
    let tokens = (2 * chain.len()).to_string();
    let greedy = ["--prompt", written, "--temperature", "0", "--tokens", &tokens];
    assert_eq!(report(&path, &greedy)["texts"][0]["text"], written.repeat(2));
    let streamed = text(&path, &[&greedy[..], &["--stream"]].concat());
    assert_eq!(streamed.trim_end_matches('\n'), written.repeat(2));
    // Half a character at the end is none.
    let cut = (chain.len() - 1).to_string();
    let cut = report(&path, &["--prompt", written, "--temperature", "0", "--tokens", &cut]);
    assert_eq!(cut["texts"][0]["text"], "\u{65e5} \u{1f600}\u{fffd}");
}

#[test]
fn prompts_of_any_kind_work_or_are_refused_clearly() {
    let folder = tempfile::tempdir().unwrap();
    let (characters, bytes) = (characters(folder.path()), bytes(folder.path()));
    let file = folder.path().join("prompt");
    let file = file.to_str().unwrap();
    // A megabyte of bytes that are no UTF-8.
    fs::write(file, (0..1 << 20).map(|i: u32| (i.wrapping_mul(i) >> 7) as u8).collect::<Vec<_>>())
        .unwrap();
    let long = report(&bytes, &["--prompt-file", file, "--tokens", "3"]);
    assert_eq!(long["prompt_tokens"], 1 << 20);
    let ask = |model: &Path, more: &[&str]| -> String {
        let arguments = [&["generate", model.to_str().unwrap()], more].concat();
        refusal(&arguments.iter().map(OsStr::new).collect::<Vec<_>>())
    };
    assert!(ask(&characters, &["--prompt-file", file]).contains("not UTF-8"));
    assert!(ask(&characters, &["--prompt", "abx"]).contains("'x' is not in the vocabulary"));
    assert!(ask(&characters, &["--prompt", ""]).contains("nothing to go on from"));
    assert!(ask(&characters, &[]).contains("--prompt"));
    assert!(ask(&characters, &["--prompt", "a", "--top-p", "1.5"]).contains("from 0 to 1"));
    assert!(ask(&characters, &["--prompt", "a", "--stream", "--count", "2"]).contains("--json"));
    assert!(ask(&characters, &["--prompt-file", "nowhere"]).contains("nowhere"));
    // A converted checkpoint has no names for its tokens.
    let graph = untrained_graph(&SpikeGptConfig::new(1, 8), 9, 0, Task::default()).unwrap();
    let nameless = folder.path().join("nameless.safetensors");
    graph.save(&nameless).unwrap();
    assert!(ask(&nameless, &["--prompt", "a"]).contains("its task record names 0"));
    // A tokenizer takes text of any length, and no bytes that are none.
    let tokenizer = Tokenizer::train("a b c a b", 256).unwrap();
    let task = Task {
        classes: tokenizer.names(),
        tokenizer: Some(tokenizer.json().to_owned()),
        ..Task::default()
    };
    let graph = untrained_graph(&SpikeGptConfig::new(1, 16), 256, 3, task).unwrap();
    let tokens = folder.path().join("tokens.safetensors");
    graph.save(&tokens).unwrap();
    assert!(ask(&tokens, &["--prompt-file", file]).contains("not UTF-8"));
    fs::write(file, "caf\u{e9} a b ".repeat(1 << 17)).unwrap();
    assert!(report(&tokens, &["--prompt-file", file, "--tokens", "3"])["prompt_tokens"].is_u64());
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let broken = OsStr::from_bytes(b"a\xff\xfeb");
        let run = |model: &Path| {
            spikelet([
                OsStr::new("generate"),
                model.as_os_str(),
                OsStr::new("--prompt"),
                broken,
                OsStr::new("--tokens"),
                OsStr::new("2"),
            ])
        };
        assert!(run(&bytes).status.success());
        let refused = run(&characters);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("not UTF-8"));
    }
}
