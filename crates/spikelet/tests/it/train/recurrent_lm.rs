//! Recurrent language models in training: windows that go on from each other, gradients through
//! states, what is added to the loss, pruning while training, averages, resuming to the same bits.

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::Value;
use spikelet_data::npy;
use spikelet_graph::{Graph, Op};
use spikelet_runtime::Executor;
use spikelet_train::{
    config::Config,
    gradients,
    init::Init,
    loss::{Loss, LossConfig},
    model::{SequenceModel, State},
    models::{
        egru_lm::{EgruLm, EgruLmConfig},
        rnn_lm::{GruLm, LstmTiedLm, RnnLmConfig},
    },
    params,
    prepare::Prepared,
    rule::{LearningRule, Outcome},
    session,
    trainer::{End, EpochReport, Observer, Silent, metrics_path},
};
use std::path::Path;

const VOCABULARY: usize = 11;

fn egru(more: &str, device: &Device) -> EgruLm {
    // Weights of which units fire.
    let text = format!(
        "layers = 2\nembedding = 7\nhidden = 12\ndropout = {{ output = 0.0, axes = \"intended\" }}\n{more}\n\
         [cell]\nthreshold_mean = 0.02\ninit_gain = 8.0\n"
    );
    let config: EgruLmConfig = toml::from_str(&text).expect("a configuration");
    let model = EgruLm::new(&config, VOCABULARY, 6, &mut Init::new(4, device));
    params::name_ids(model.expect("a network"))
}

fn rnn(cell: &str, more: &str) -> RnnLmConfig {
    let text = format!(
        "cell = \"{cell}\"\nlayers = 2\nembedding = 7\nhidden = 12\n\
         dropout = {{ output = 0.0, axes = \"intended\" }}\n{more}"
    );
    toml::from_str(&text).expect("a configuration")
}

fn lstm(more: &str, device: &Device) -> LstmTiedLm {
    let model = LstmTiedLm::new(&rnn("lstm", more), VOCABULARY, 6, &mut Init::new(4, device));
    params::name_ids(model.expect("a network"))
}

fn gru(more: &str, device: &Device) -> GruLm {
    let model = GruLm::new(&rnn("gru", more), VOCABULARY, 6, &mut Init::new(4, device));
    params::name_ids(model.expect("a network"))
}

fn tokens(time: usize, batch: usize, device: &Device) -> Tensor<3> {
    let values = (0..time * batch).map(|i| (i * i % VOCABULARY) as f32).collect();
    Tensor::from_data(TensorData::new::<f32, _>(values, [time, batch, 1]), device)
}

fn targets(n: usize, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = (0..n).map(|i| (i * 3 % VOCABULARY) as i32).collect();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

fn learn<M: SequenceModel>(model: &M, rule: &LearningRule, carried: Option<State>) -> Outcome {
    let device = Device::flex().autodiff();
    let (x, targets) = (tokens(12, 3, &device), targets(36, &device));
    let loss = Loss::new(LossConfig::default());
    rule.window_gradients(model, x, targets, &loss, 1, carried)
}

fn same<M: SequenceModel>(model: &M, what: &str, found: &Outcome, expected: &Outcome) {
    assert!((found.loss - expected.loss).abs() < 1e-5, "{what}");
    let [found, expected] = [found, expected].map(|o| gradients::collect(model, &o.gradients));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (name, expected) in &expected {
        for (f, e) in found[name].iter().zip(expected) {
            assert!((f - e).abs() < 2e-5, "{what} {name}: {f} is not {e}");
        }
    }
}

/// Gradients through states are those of the whole window; SLTT is BPTT cut at every step.
fn rules_agree<M: SequenceModel>(model: &M) {
    let whole = learn(model, &LearningRule::Bptt, None);
    same(model, "segments", &learn(model, &LearningRule::BpttCheckpoint(5), None), &whole);
    let steps = learn(model, &LearningRule::BpttTruncated(1), None);
    same(model, "steps", &learn(model, &LearningRule::Sltt, None), &steps);
    // From a state that a window left.
    let state = model.valid().carried(plain(whole.state));
    let whole = learn(model, &LearningRule::Bptt, Some(state.clone()));
    let fresh = learn(model, &LearningRule::Bptt, None);
    assert!((whole.loss - fresh.loss).abs() > 1e-6, "what is carried matters");
    let segments = learn(model, &LearningRule::BpttCheckpoint(5), Some(state.clone()));
    same(model, "segments behind a window", &segments, &whole);
    let steps = learn(model, &LearningRule::BpttTruncated(1), Some(state.clone()));
    let online = learn(model, &LearningRule::Sltt, Some(state));
    same(model, "steps behind a window", &online, &steps);
}

fn plain(state: State) -> State {
    let inner = |t: Tensor<2>| if t.device().is_autodiff() { t.inner() } else { t };
    state.into_iter().map(inner).collect()
}

#[test]
fn rules_agree_with_each_other() {
    let device = Device::flex().autodiff();
    rules_agree(&egru("", &device));
    rules_agree(&egru("carry = \"full\"", &device));
    rules_agree(&lstm("", &device));
    rules_agree(&gru("", &device));
}

/// Window after window gives what the whole text gives where everything is carried; where only
/// events are, it does not.
#[test]
fn windows_go_on_from_each_other() {
    fn logits<M: SequenceModel>(model: &M) -> [Vec<f32>; 2] {
        let device = Device::flex();
        let x = tokens(12, 2, &device);
        let whole = params::values(model.sequence(x.clone()));
        let mut state = model.initial_state(2, &device);
        let mut parts = Vec::new();
        for (start, length) in [(0, 5), (5, 4), (9, 3)] {
            let (out, next) = model.resume(x.clone().narrow(0, start, length), state);
            parts.extend(params::values(out));
            state = model.carried(next);
        }
        [whole, parts]
    }
    let device = Device::flex();
    let far = |[whole, parts]: [Vec<f32>; 2]| {
        whole.iter().zip(&parts).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max)
    };
    assert!(far(logits(&egru("carry = \"full\"", &device))) < 1e-5);
    assert!(far(logits(&egru("carry = \"events\"", &device))) > 1e-3);
    assert!(far(logits(&lstm("", &device))) < 1e-5);
    assert!(far(logits(&gru("", &device))) < 1e-5);
}

#[test]
fn dropped_connections_and_what_is_added_to_the_loss_change_gradients() {
    let device = Device::flex().autodiff();
    let of = |more: &str| {
        let model = gru(more, &device);
        let out = learn(&model, &LearningRule::Bptt, None);
        (out.loss, gradients::collect(&model, &out.gradients)["rnns.1.weight_hh"].clone())
    };
    let (loss, plain) = of("");
    let (dropped, _) = of("dropconnect = 0.5");
    assert_ne!(loss, dropped);
    for more in ["regularise = { activation = 1.0 }", "regularise = { temporal = 1.0 }"] {
        let (with, gradient) = of(more);
        assert_eq!(with, loss, "the loss of the text is the same");
        assert_ne!(gradient, plain, "{more}");
    }
    let of = |more: &str| {
        let model = egru(more, &device);
        let out = learn(&model, &LearningRule::Bptt, None);
        gradients::collect(&model, &out.gradients)["rnns.0.thr"].iter().sum::<f32>()
    };
    let active = of(
        "regularise = { activity = { weight = 10.0, activity = 0.0, margin = 0.0, gradient = \"intended\" } }",
    );
    assert!(active < of("") - 0.1, "thresholds are pulled up where too much is said: {active}");
}

const LINES: &str = "in the beginning was the word\nand the word was with him\nthe light shines in the darkness\n\
                     and the darkness has not seen it\nthere came a man who was sent\nhe came to be a witness\n";

/// A language model of words in carried windows on a text of one's own.
fn config(folder: &Path, model: &str, train: &str) -> Config {
    let path = folder.join("own.txt");
    std::fs::write(&path, LINES.repeat(40)).expect("a file");
    let text = format!(
        "[data]\ndataset = {:?}\nwindow = 12\nsplit = {{ kind = \"contiguous\", validation = 0.1, test = 0.1 }}\n\
         [data.text]\nunit = \"words\"\nwindows = \"carried-varied\"\n[model]\nlayers = 2\nembedding = 8\n\
         hidden = 12\n{model}\n[train]\nepochs = 3\nbatch_size = 4\nclip_norm = 0.5\n\
         optimizer = {{ kind = \"adam_w\", lr = 0.01 }}\n{train}\n",
        path.display().to_string()
    );
    toml::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

const EGRU: &str = "kind = \"egru-lm\"\ncell = { threshold_mean = 0.02, dropconnect = 0.2 }\n\
                    dropout = { words = 0.1, embedding = 0.1, forward = 0.1, output = 0.1, axes = \"intended\" }";
const PRUNED: &str = "prune_gradually = { to = 0.6, from_epoch = 0.5, until_epoch = 2.0, every = 5, keep = [\"emb\"] }";

/// Stops after a number of batches, as Ctrl-C would.
struct StopAfter(usize);

impl Observer for StopAfter {
    fn batch(&mut self, _: usize, _: usize, _: usize, _: f32) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }

    fn epoch(&mut self, _: &EpochReport) {}
}

fn run(config: &Config, folder: &Path, observer: &mut dyn Observer) -> session::Outcome {
    let data = Prepared::new(&config.data, None, 1, None).unwrap_or_else(|e| panic!("{e}"));
    std::fs::create_dir_all(folder).expect("a folder");
    session::run(config, &data, None, folder, observer).unwrap_or_else(|e| panic!("{e}"))
}

fn bytes(graph: &Graph) -> Vec<u8> {
    graph.to_bytes().expect("a file")
}

fn resumes_to_the_same_bits(model: &str, train: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), model, train);
    let whole = run(&config, &folder.path().join("whole"), &mut Silent);
    for stop in [3, 7] {
        let run_folder = folder.path().join(format!("stop-{stop}"));
        let mut parts = 0;
        let resumed = loop {
            let outcome = run(&config, &run_folder, &mut StopAfter(stop));
            if outcome.end != End::Interrupted {
                break outcome;
            }
            parts += 1;
        };
        assert!(parts > 1, "the run was never interrupted");
        assert!(bytes(&resumed.graph) == bytes(&whole.graph), "{train}: stopped after {stop}");
        let lines = |folder: &Path| -> Vec<EpochReport> {
            let text = std::fs::read_to_string(metrics_path(folder)).expect("metrics");
            let line = |line: &str| serde_json::from_str(line).expect("a line");
            text.lines().map(line).map(|e: EpochReport| EpochReport { seconds: 0.0, ..e }).collect()
        };
        assert_eq!(lines(&run_folder), lines(&folder.path().join("whole")));
    }
}

/// EGRU whose activity is pulled down from an epoch on.
fn pulled(from_epoch: f64) -> String {
    format!(
        "{EGRU}\nregularise = {{ activity = {{ weight = 10.0, activity = 0.0, states = 0.0, margin = 0.0, \
         gradient = \"intended\", from_epoch = {from_epoch:?} }} }}"
    )
}

#[test]
fn carried_windows_masks_and_averages_resume_to_the_same_bits() {
    resumes_to_the_same_bits(EGRU, PRUNED);
    resumes_to_the_same_bits(&pulled(1.5), "");
    let lstm = "kind = \"rnn-lm\"\ncell = \"lstm\"\ndropconnect = 0.3\n\
                regularise = { activation = 2.0, temporal = 1.0 }";
    resumes_to_the_same_bits(lstm, "average = { patience = 0 }");
}

/// Up to its beginning a run is that without the pull, to the bit; behind it units fall silent, and only
/// an epoch that saw the pull can be the best.
#[test]
fn the_pull_on_activity_has_a_beginning() {
    let folder = tempfile::tempdir().expect("a folder");
    let epochs = |name: &str, model: &str| -> Vec<EpochReport> {
        let run_folder = folder.path().join(name);
        run(&config(folder.path(), model, ""), &run_folder, &mut Silent);
        let text = std::fs::read_to_string(metrics_path(&run_folder)).expect("metrics");
        let line = |line: &str| serde_json::from_str(line).expect("a line");
        text.lines().map(line).map(|e: EpochReport| EpochReport { seconds: 0.0, ..e }).collect()
    };
    let (plain, whole, late) =
        (epochs("plain", EGRU), epochs("whole", &pulled(0.0)), epochs("late", &pulled(1.5)));
    assert!(
        plain[0].best && !late[0].best,
        "an epoch without the pull is not the network asked for"
    );
    assert_eq!(EpochReport { best: true, ..late[0].clone() }, plain[0]);
    assert_ne!(whole[0].loss, plain[0].loss, "without a beginning it is there at once");
    assert_ne!(late[1].loss, plain[1].loss);
    assert!(late[1].best);
    let spoken = |epoch: &EpochReport| epoch.sparsity.iter().map(|s| 1.0 - s.activity).sum::<f64>();
    let [all, pulled] = [&plain[2], &late[2]].map(spoken);
    assert!(pulled < 0.8 * all, "{pulled} of {all} events");
}

#[test]
fn weights_are_pruned_while_training_and_stay_zero() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), EGRU, PRUNED);
    let run_folder = folder.path().join("run");
    let outcome = run(&config, &run_folder, &mut Silent);
    let text = std::fs::read_to_string(metrics_path(&run_folder)).expect("metrics");
    let lines: Vec<EpochReport> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    let pruned: Vec<f64> = lines.iter().map(|e| e.pruned.expect("pruned")).collect();
    assert!(pruned[0] > 0.1 && pruned[0] < pruned[1], "{pruned:?}");
    assert!((pruned[1] - 0.6).abs() < 0.01 && pruned[2] == pruned[1], "{pruned:?}");
    assert!(!lines[0].best && outcome.position.best_epoch >= 1, "no epoch before the aim is best");
    assert!((outcome.pruned.expect("pruned") - 0.6).abs() < 0.01);
    for name in ["rnns.0.kernel", "rnns.0.recurrent_kernel", "rnns.1.kernel"] {
        let tensor = outcome.graph.tensor("rnns.0", name).expect("a tensor");
        let zeros = tensor.zero_count() as f64 / tensor.len() as f64;
        assert!((zeros - 0.6).abs() < 0.01, "{name}: {zeros} zeros");
    }
    let table = outcome.graph.tensor("embeddings", "embeddings.weight").expect("a tensor");
    assert_eq!(table.zero_count(), 0, "it is kept whole");
    let sparsity = &lines[2].sparsity;
    assert_eq!(sparsity.len(), 2, "activity of both layers is in the metrics");
    assert!(sparsity.iter().all(|s| (0.0..=1.0).contains(&s.activity)));
}

/// Baselines are pruned like what they stand beside.
#[test]
fn lstm_and_gru_are_pruned_too() {
    let folder = tempfile::tempdir().expect("a folder");
    for cell in ["lstm", "gru"] {
        let model = format!("kind = \"rnn-lm\"\ncell = \"{cell}\"");
        let config = config(folder.path(), &model, PRUNED);
        let outcome = run(&config, &folder.path().join(cell), &mut Silent);
        assert!((outcome.pruned.expect("pruned") - 0.6).abs() < 0.01, "{cell}");
        let matrices = outcome.graph.tensors.iter().filter(|(_, tensor)| tensor.shape.len() == 2);
        for (name, tensor) in matrices {
            let zeros = tensor.zero_count() as f64 / tensor.len() as f64;
            let expected = if name == "embeddings.weight" { 0.0 } else { 0.6 };
            assert!((zeros - expected).abs() < 0.02, "{cell}, {name}: {zeros} zeros");
        }
        let of_layers = outcome.graph.tensors.keys().filter(|name| name.starts_with("rnns.1."));
        assert!(of_layers.count() > 1, "{cell}");
    }
}

fn spikelet(folder: &Path, arguments: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_spikelet"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Looking the first layer's product up gives what working it out gives; only EGRU layers have tables.
fn tables_change_nothing(folder: &Path, egru: bool, plain: &Value) {
    if !egru {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_spikelet"))
            .args(["eval", "run", "--table"])
            .current_dir(folder)
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(2), "a wrong use");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--table"));
        return;
    }
    let found = spikelet(folder, &["eval", "run", "--table", "--json"]);
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let bits = |report: &Value| report["language"]["bits_per_token"].as_f64().expect("bits");
    assert!((bits(&found) - bits(plain)).abs() < 1e-4, "{found} is not {plain}");
    let text = ["generate", "run", "--prompt", "in the", "--tokens", "20", "--temperature", "0"];
    let looked_up = spikelet(folder, &[&text[..], &["--table"]].concat());
    assert_eq!(looked_up, spikelet(folder, &text));
}

/// What `run` says of a text is what a state that never restarts says, whatever the window.
fn run_goes_from_window_to_window(folder: &Path) {
    let graph = Graph::load(folder.join("run/model.safetensors")).expect("a graph");
    let executor = Executor::new(&graph).expect("runs");
    let tokens: Vec<f32> = (0..80).map(|i| (i * i % executor.output_len()) as f32).collect();
    npy::save_f32(&folder.join("tokens.npy"), &[tokens.len(), 1], &tokens).expect("a file");
    let mut expected = Vec::new();
    executor.run(&mut [executor.state()], &tokens, &mut expected).expect("runs");
    for table in [&[][..], &["--table"]] {
        if !table.is_empty() && !graph.nodes.iter().any(|node| matches!(node.op, Op::Egru { .. })) {
            continue;
        }
        let run = ["run", "run", "--input", "tokens.npy", "--stream", "--json"];
        let text = spikelet(folder, &[&run[..], table].concat());
        let scores = text.lines().flat_map(|line| {
            let decision: Value = serde_json::from_str(line).expect("JSON");
            decision["scores"].as_array().expect("scores").clone()
        });
        let scores: Vec<f32> = scores.map(|s| s.as_f64().expect("a number") as f32).collect();
        assert_eq!(scores.len(), expected.len());
        for (at, (found, expected)) in scores.iter().zip(&expected).enumerate() {
            let token = at / executor.output_len();
            assert!((found - expected).abs() < 1e-3, "token {token}: {found} is not {expected}");
        }
    }
}

/// What the trainer measures, the runtime measures on the graph, both in carried windows; a model of
/// words generates words.
#[test]
fn the_runtime_reads_a_text_as_the_trainer_does() {
    for model in [
        EGRU.to_owned(),
        format!("{EGRU}\ncarry = \"full\""),
        "kind = \"rnn-lm\"\ncell = \"gru\"".to_owned(),
    ] {
        let egru = model.contains("egru");
        // A window narrow enough that many units are outside.
        let model = model.replace("dropconnect = 0.2", "dropconnect = 0.2, support = 4.0");
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = config(dir.path(), &model, "");
        config.train.epochs = 15;
        let text = toml::to_string(&config).expect("TOML");
        std::fs::write(dir.path().join("words.toml"), text).expect("a file");
        let json = |arguments: &[&str]| -> Value {
            serde_json::from_str(&spikelet(dir.path(), arguments)).expect("JSON")
        };
        let trained = json(&["train", "words.toml", "--out", "run", "--json"]);
        let found = json(&["eval", "run", "--json"]);
        let figure = |report: &Value, name: &str| report["language"][name].as_f64().expect(name);
        let more = figure(&found, "bits_per_token") - figure(&trained, "bits_per_token");
        assert!(more.abs() < 1e-3, "{model}: {more} bits apart");
        assert_eq!(found["sequences"], trained["sequences"]);
        let layers = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let (active, silent) = (layers(&found["activity"]), layers(&trained["sparsity"]));
        assert_eq!((active.len(), silent.len()), if egru { (2, 2) } else { (0, 0) });
        for (active, silent) in active.iter().zip(&silent) {
            let share = |layer: &Value| layer["activity"].as_f64().expect("a share");
            let more = share(active) + share(silent) - 1.0;
            assert!(more.abs() < 1e-4, "{model}: of all windows, from the states before: {more}");
        }
        tables_change_nothing(dir.path(), egru, &found);
        run_goes_from_window_to_window(dir.path());
        let profile = json(&["profile", "run", "--gradients", "--json"]);
        let layers = layers(&profile["sparsity"]);
        assert_eq!(layers.len(), if egru { 2 } else { 0 });
        let share = |layer: &Value, key: &str| layer[key].as_f64().expect("a share");
        for (index, layer) in layers.iter().enumerate() {
            assert_eq!(layer["layer"], format!("rnns.{index}"));
            let [silent, outside, after] =
                ["activity", "backward", "backward_official"].map(|key| share(layer, key));
            assert!(0.0 < silent && silent < 1.0 && (0.0..1.0).contains(&outside), "{layer}");
            assert_ne!(outside, after, "in front of the reset and after it: {layer}");
        }
        assert!(figure(&trained, "perplexity") < 16.0, "no better than a guess");
        let prompt = ["generate", "run", "--prompt", "in the", "--tokens", "20", "--json"];
        let written = json(&prompt)["texts"][0]["text"].as_str().expect("text").to_owned();
        let known = |word: &str| LINES.split_whitespace().any(|known| known == word);
        assert!(written.split_whitespace().count() > 4, "{written}");
        assert!(written.split_whitespace().all(|word| known(word) || word == "<unk>"), "{written}");
        assert!(spikelet(dir.path(), &["eval", "run"]).contains("bits per word"));
    }
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |model: &str, train: &str| {
        let config = config(folder.path(), model, train);
        let data = Prepared::new(&config.data, None, 1, None).expect("data");
        let error = session::run(&config, &data, None, folder.path(), &mut Silent);
        error.map(drop).expect_err("refused").to_string()
    };
    assert!(refused(EGRU, "accumulate = 2").contains("train.accumulate"));
    assert!(refused(EGRU, &PRUNED.replace("2.0", "4.0")).contains("train.prune_gradually"));
    let text = refused(EGRU, "rule = \"sltt\"\n[model.regularise]\nactivation = 1.0");
    assert!(text.contains("model.regularise"), "{text}");
    assert!(refused(&pulled(1.0), "rule = \"sltt\"").contains("model.regularise"));
    let text = refused(&pulled(3.0), "");
    assert!(text.contains("from_epoch = 3") && text.contains("3 epochs"), "{text}");
    let text = refused(EGRU, "prune = 0.7\nprune_gradually = { to = 0.5, until_epoch = 1.0 }");
    assert!(text.contains("train.prune = 0.7"), "{text}");
}
