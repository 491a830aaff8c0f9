//! Training as a whole: learning, resuming to the same bits, rules, constraints, the way to a
//! graph and back.

use spikelet_data::source::SplitConfig;
use spikelet_graph::{Graph, Op};
use spikelet_runtime::Executor;
use spikelet_train::{
    config::Config,
    models::ModelConfig,
    optimizer::Optimizer,
    prepare::Prepared,
    session::{Initial, Outcome, run},
    trainer::{End, EpochReport, Observer, Silent, metrics_path},
};
use std::path::Path;

const QUICK: &str = include_str!("../../../../../presets/quick/synthetic.toml");

/// The quick preset with some of its lines replaced.
fn config(changes: &[(&str, &str)]) -> Config {
    let mut text = QUICK.to_owned();
    for (old, new) in changes {
        assert!(text.contains(old), "the preset has no line `{old}`");
        text = text.replace(old, new);
    }
    toml::from_str(&text).unwrap_or_else(|e| panic!("{e}"))
}

fn prepared(config: &Config) -> Prepared {
    Prepared::new(&config.data, None, config.model.steps(), None).unwrap_or_else(|e| panic!("{e}"))
}

fn train(config: &Config, folder: &Path, observer: &mut dyn Observer) -> Outcome {
    run(config, &prepared(config), None, folder, observer).unwrap_or_else(|e| panic!("{e}"))
}

fn trained(config: &Config) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    train(config, folder.path(), &mut Silent)
}

/// Stops after a number of batches, as Ctrl-C would.
struct StopAfter(usize);

impl Observer for StopAfter {
    fn batch(&mut self, _: usize, _: usize, _: usize, _: f32) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }

    fn epoch(&mut self, _: &EpochReport) {}
}

fn bytes(graph: &Graph) -> Vec<u8> {
    graph.to_bytes().unwrap()
}

#[test]
fn l2mu_learns_and_repeats_bit_for_bit() {
    let config = config(&[]);
    let one = trained(&config);
    let accuracy = one.result.as_ref().unwrap().accuracy;
    assert!(accuracy > 0.95, "accuracy {accuracy}");
    assert_eq!(bytes(&one.graph), bytes(&trained(&config).graph));
}

#[test]
fn interrupted_anywhere_and_resumed_gives_the_same_bits() {
    let config = config(&[("epochs = 20", "epochs = 3"), ("\"adam\"", "\"adam_w\"")]);
    resumes_to_the_same_bits(&config, &[1, 4, 9]);
}

/// Random windows, drop-out and batches in parts go on where they stopped, over several epochs;
/// with BPTT, and with SLTT over tokens.
#[test]
fn interrupted_text_is_resumed_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.txt");
    std::fs::write(&path, "to be, or not to be: that is the question. ".repeat(20)).unwrap();
    let preset = include_str!("../../../../../presets/spikegpt/tinyshakespeare.toml");
    let changes = [
        ("\"tinyshakespeare\"", format!("{:?}", path.display().to_string())),
        ("window = 64", "window = 16".to_owned()),
        ("width = 128", "width = 12".to_owned()),
        ("epochs = 1", "epochs = 3\naccumulate = 3".to_owned()),
        ("validation = 0.05", "validation = 0.1".to_owned()),
    ];
    let mut text = preset.to_owned();
    for (old, new) in &changes {
        assert!(text.contains(old), "the preset has no `{old}`");
        text = text.replacen(old, new, 1);
    }
    for rule in ["bptt", "sltt"] {
        let text = text.replace("[train]\n", &format!("[train]\nrule = \"{rule}\"\n"));
        let config: Config = toml::from_str(&text).unwrap_or_else(|e| panic!("{e}"));
        resumes_to_the_same_bits(&config, &[1, 4]);
    }
}

/// Parts of a batch, the last one smaller, have together the gradients of the batch.
#[test]
fn a_batch_in_parts_learns_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.txt");
    std::fs::write(&path, "to be, or not to be: that is the question. ".repeat(20)).unwrap();
    let preset = include_str!("../../../../../presets/spikegpt/tinyshakespeare.toml");
    let weights = |accumulate, lr| {
        let mut config: Config = toml::from_str(preset).unwrap();
        let ModelConfig::Spikegpt(model) = &mut config.model else { panic!("a SpikeGPT") };
        (model.width, model.dropout) = (12, 0.0);
        config.data.dataset = path.display().to_string();
        config.data.window = 16;
        config.data.split = SplitConfig::Contiguous { validation: 0.1, test: 0.05 };
        config.train.accumulate = accumulate;
        config.train.optimizer = Optimizer::Sgd { lr, momentum: 0.0, weight_decay: 0.0 };
        let graph = trained(&config).graph;
        let tensor = |name: &str| {
            let node = name.strip_suffix(".weight").expect("a weight");
            graph.tensor(node, name).unwrap().to_f32()
        };
        ["head.weight", "0.att.value.weight", "1.ffn.value.weight"].map(tensor).concat()
    };
    let largest =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let whole = weights(1, 0.5);
    let difference = largest(&whole, &weights(3, 0.5));
    assert!(difference < 1e-6, "{difference}");
    // Half of the way is far from the whole of it.
    let learned = largest(&whole, &weights(1, 0.25));
    assert!(learned > 1e-3, "{learned}");
}

fn resumes_to_the_same_bits(config: &Config, stops: &[usize]) {
    let whole = trained(config);
    for &stop in stops {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = 0;
        let resumed = loop {
            let outcome = train(config, folder.path(), &mut StopAfter(stop));
            if outcome.end != End::Interrupted {
                break outcome;
            }
            parts += 1;
        };
        assert!(parts > 0, "the run was never interrupted");
        assert_eq!(bytes(&resumed.graph), bytes(&whole.graph), "stopped after {stop} batches");
        let metrics = std::fs::read_to_string(metrics_path(folder.path())).unwrap();
        assert_eq!(metrics.lines().count(), config.train.epochs);
    }
}

#[test]
fn every_rule_and_model_learns() {
    let models = [
        "kind = \"lmu\"\nmemories = 4\norder = 3\ntheta = 10\nhidden = 16\n",
        "kind = \"lstm\"\nhidden = 16\n",
        "kind = \"gru\"\nhidden = 16\nreadout = \"mean\"\n",
    ];
    let (head, tail) = QUICK.split_once("[model]\n").unwrap();
    let (l2mu, tail) = tail.split_once("[train]\n").unwrap();
    let models = models.into_iter().chain([l2mu]);
    for model in models {
        for rule in ["bptt", "sltt", "sltt-k=5"] {
            let text = format!("{head}[model]\n{model}\n[train]\nrule = \"{rule}\"\n{tail}");
            let text = text.replace("epochs = 20", "epochs = 4");
            let config: Config = toml::from_str(&text).unwrap_or_else(|e| panic!("{e}"));
            let folder = tempfile::tempdir().unwrap();
            let outcome = train(&config, folder.path(), &mut Silent);
            let metrics = std::fs::read_to_string(metrics_path(folder.path())).unwrap();
            let losses: Vec<f64> = metrics
                .lines()
                .map(|line| serde_json::from_str::<EpochReport>(line).unwrap().loss)
                .collect();
            assert!(losses.last() < losses.first(), "{rule}: losses {losses:?} of\n{model}");
            agrees_with_the_runtime(&outcome, &prepared(&config));
        }
    }
}

/// The lowered graph predicts what the trained model predicted.
fn agrees_with_the_runtime(outcome: &Outcome, data: &Prepared) {
    let result = outcome.result.as_ref().unwrap();
    let executor = Executor::new(&outcome.graph).unwrap();
    let classes = data.samples.classes();
    let mut different = 0;
    for (&i, &predicted) in data.split.test.iter().zip(&result.predicted) {
        let mut out = Vec::new();
        let mut states = [executor.state()];
        executor.run_to_end(&mut states, &data.samples.sample(i), &mut out).unwrap();
        assert_eq!(out.len(), classes.len());
        different += (spikelet_train::evaluate::argmax(&out) != predicted) as usize;
    }
    // Sums in another order may turn a near tie.
    assert!(different * 100 <= data.split.test.len(), "{different} predictions differ");
}

#[test]
fn a_graph_goes_back_into_training() {
    let config = config(&[]);
    let first = trained(&config);
    let folder = tempfile::tempdir().unwrap();
    let mut none = config.clone();
    none.train.epochs = 0;
    let initial = Initial::Graph(Box::new(first.graph.clone()));
    let again = run(&none, &prepared(&config), Some(&initial), folder.path(), &mut Silent);
    let again = again.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again.graph.tensors, first.graph.tensors);
    assert_eq!(again.result.unwrap().accuracy, first.result.unwrap().accuracy);
}

#[test]
fn pruned_weights_stay_zero_and_rounded_ones_on_their_grid() {
    let mut config = config(&[("epochs = 20", "epochs = 3")]);
    config.train.prune = 0.5;
    config.train.quantize_bits = 4;
    let outcome = trained(&config);
    for node in &outcome.graph.nodes {
        let Op::Linear { weight, .. } = &node.op else { continue };
        // The input populations have one weight a neuron: their rows round to themselves.
        if node.name == "channels" {
            continue;
        }
        let tensor = outcome.graph.tensor(&node.name, &weight.tensor).unwrap();
        let zeros = tensor.zero_count() as f64 / tensor.len() as f64;
        assert!(zeros >= 0.49, "{}: {zeros} zeros", node.name);
        let values = tensor.to_f32();
        // Stored by input: a column is one output with at most 15 levels.
        let outputs = tensor.shape[1];
        for o in 0..outputs {
            let mut levels: Vec<u32> =
                values.iter().skip(o).step_by(outputs).map(|w| w.to_bits()).collect();
            levels.sort_unstable();
            levels.dedup();
            assert!(levels.len() <= 16, "{} output {o}: {} levels", node.name, levels.len());
        }
    }
}

#[test]
fn a_loss_that_is_not_a_number_is_an_error_that_names_the_fix() {
    let config = config(&[("lr = 0.01", "lr = 1e38")]);
    let folder = tempfile::tempdir().unwrap();
    let error = run(&config, &prepared(&config), None, folder.path(), &mut Silent);
    let error = error.expect_err("training cannot go well").to_string();
    assert!(error.contains("train.optimizer.lr"), "{error}");
}
