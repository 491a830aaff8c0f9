//! Official checkpoints to event graphs, and what the graphs then compute.

use spikelet::convert::{ConvertError, Report, convert};
use spikelet_data::{
    braille,
    checkpoint::Checkpoint,
    find,
    idx::{self, Part},
    wisdm,
};
use spikelet_graph::{Graph, Op, Signal};
use spikelet_runtime::Executor;
use std::path::{Path, PathBuf};

pub(crate) fn golden(system: &str) -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    std::env::var_os("SPIKELET_GOLDEN").map_or(default, PathBuf::from).join(system)
}

pub(crate) fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path).unwrap_or_else(|error| panic!("{error}"))
}

fn converted(checkpoint: &Checkpoint, arch: Option<&str>) -> (Graph, Report) {
    convert(checkpoint, arch).unwrap_or_else(|error| panic!("{error}"))
}

/// The result after the last step for samples of `[time, input]` each.
fn results(graph: &Graph, samples: &[&[f32]]) -> Vec<Vec<f32>> {
    let executor = Executor::new(graph).unwrap();
    let run = |sample: &&[f32]| {
        let (mut state, mut out) = (executor.state(), Vec::new());
        executor.run_to_end(std::slice::from_mut(&mut state), sample, &mut out).unwrap();
        out
    };
    samples.iter().map(run).collect()
}

/// Index of the largest value, the first of several.
fn class(result: &[f32]) -> u32 {
    let first_largest = |best: usize, i| if result[i] > result[best] { i } else { best };
    (0..result.len()).fold(0, first_largest) as u32
}

fn correct(results: &[Vec<f32>], labels: impl Iterator<Item = u32>) -> usize {
    results.iter().zip(labels).filter(|(result, label)| class(result) == *label).count()
}

/// A safetensors file of the given tensors and metadata.
pub(crate) fn safetensors(
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    metadata: &[(&str, &str)],
) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).into()));
    header.insert("__metadata__".into(), serde_json::Value::Object(metadata.collect()));
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let offsets = [start, data.len()];
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": offsets});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// The parameters of a golden file as a state dict with its hyper-parameters beside it.
fn state_dict_of(file: &Checkpoint) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let names = file.names().filter_map(|name| Some((name, name.strip_prefix("param.")?)));
    names
        .map(|(full, name)| {
            let tensor = file.tensor(full).unwrap();
            (name.to_owned(), tensor.shape, tensor.data)
        })
        .collect()
}

/// Name, shape and values.
pub(crate) type Named = (String, Vec<usize>, Vec<f32>);

fn har(file: &str) -> (Checkpoint, Vec<Named>, String) {
    let golden = open(&golden("l2mu").join(file));
    let config = golden.value().get("config").and_then(|c| c.as_str()).unwrap().to_owned();
    let tensors = state_dict_of(&golden);
    (golden, tensors, config)
}

#[test]
fn converted_l2mu_spikes_as_the_official_code() {
    let text = std::fs::read_to_string(golden("l2mu").join("README.json")).unwrap();
    let readme: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases = readme["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let file = case["file"].as_str().unwrap();
        let (golden, tensors, config) = har(file);
        let bytes = safetensors(&tensors, &[("config", &config)]);
        let checkpoint = Checkpoint::from_bytes(file, bytes).unwrap();
        let (graph, report) = converted(&checkpoint, None);
        assert_eq!(report.arch, "l2mu", "{file}");
        assert_eq!(report.unexpected, [""; 0], "{file}");

        let (x, spikes) = (golden.tensor("input").unwrap(), golden.tensor("output").unwrap());
        let [time, batch, classes] = spikes.shape[..] else { panic!("{:?}", spikes.shape) };
        let executor = Executor::new(&graph).unwrap();
        let mut states: Vec<_> = (0..batch).map(|_| executor.state()).collect();
        let mut counts = Vec::new();
        executor.run(&mut states, &x.data, &mut counts).unwrap();
        // The read-out counts; its differences are the spikes.
        let row = batch * classes;
        for t in 0..time {
            for i in 0..row {
                let before = if t > 0 { counts[(t - 1) * row + i] } else { 0.0 };
                let spike = counts[t * row + i] - before;
                assert_eq!(spike, spikes.data[t * row + i], "{file}: step {t}, value {i}");
            }
        }
    }
}

#[test]
fn braille_checkpoint_gets_264_of_280() {
    let checkpoint = open(&golden("l2mu_braille").join("l2mu_braille7_best.safetensors"));
    let (graph, report) = converted(&checkpoint, None);
    assert_eq!((report.arch.as_str(), report.root.as_str()), ("l2mu", "model.l2mu_cell."));
    assert_eq!(report.unexpected, [""; 0]);
    assert_eq!(graph.task.dataset.as_deref(), Some("braille"));
    assert_eq!(graph.task.classes, braille::CLASSES);
    let signal = &graph.node("input").unwrap().op;
    assert!(matches!(signal, Op::Input { signal: Signal::Binary }));

    let Some(folder) = find::for_test("braille") else { return };
    let data = braille::load(&folder).unwrap();
    let validation = data.split(9).unwrap().val;
    let sequences = &data.sequences;
    let size = sequences.time * sequences.channels;
    let samples: Vec<_> = validation.iter().map(|&i| &sequences.x[i * size..][..size]).collect();
    let right = correct(&results(&graph, &samples), validation.iter().map(|&i| sequences.y[i]));
    assert_eq!((right, samples.len()), (264, 280));
}

#[test]
fn sinabs_mnist_gets_97_5_percent() {
    let Some(weights) = find::for_test("weights") else { return };
    let (graph, report) = converted(&open(&weights.join("sinabs_mnist_params.pt")), None);
    assert_eq!((report.arch.as_str(), report.used.len()), ("sinabs-mnist", 5));
    assert_eq!(report.unexpected, [""; 0]);
    let Some(folder) = find::for_test("mnist") else { return };
    let test = idx::load(&folder, Part::Test).unwrap();
    let pixels: Vec<f32> = test.pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    let samples: Vec<_> = pixels.chunks_exact(28 * 28).collect();
    let right = correct(&results(&graph, &samples), test.labels.iter().map(|&l| l.into()));
    assert_eq!(right * 1000 / samples.len(), 975, "{right} of {}", samples.len());
}

#[test]
fn neurobench_wisdm_gets_92_7_percent() {
    let Some(weights) = find::for_test("weights") else { return };
    let (graph, report) = converted(&open(&weights.join("neurobench_wisdm_scnn.ckpt")), None);
    assert_eq!(
        (report.arch.as_str(), report.root.as_str()),
        ("neurobench-wisdm-scnn", "state_dict.model.")
    );
    assert_eq!((report.used.len(), report.unexpected.len()), (18, 0));
    let Some(folder) = find::for_test("wisdm-watch") else { return };
    let data = wisdm::load(&folder, &wisdm::WisdmConfig::default()).unwrap();
    assert_eq!((&graph.task.channels, &graph.task.classes), (&data.channel_names, &data.classes));
    let size = data.time * data.channels;
    // A prime step visits 3,000 windows spread over all.
    let picked: Vec<_> = (0..3000).map(|i| i * 7919 % data.n).collect();
    let samples: Vec<_> = picked.iter().map(|&i| &data.x[i * size..][..size]).collect();
    let right = correct(&results(&graph, &samples), picked.iter().map(|&i| data.y[i]));
    println!("{right} of {}", samples.len());
    // 92.7 % on one random choice; the standard deviation over choices is 0.5 %.
    assert!((2730..=2830).contains(&right), "{right} of 3000");
}

#[test]
fn missing_and_unexpected_tensors_are_listed() {
    let (_, mut tensors, config) = har("har_synaptic_stacked.safetensors");
    for name in ["slmu.e_m", "slmu.spk_h.alpha", "slmu.input_encoder.decoder.bias"] {
        tensors.retain(|(other, ..)| other != name);
    }
    tensors.push(("slmu.extra".into(), vec![1], vec![0.0]));
    let checkpoint =
        Checkpoint::from_bytes("x.pt", safetensors(&tensors, &[("config", &config)])).unwrap();
    let error = convert(&checkpoint, None).unwrap_err();
    let ConvertError::Missing { missing, unexpected, .. } = &error else { panic!("{error}") };
    let expected = ["slmu.e_m", "slmu.spk_h.alpha", "slmu.input_encoder.decoder.bias"];
    assert_eq!(missing, &expected);
    assert!(unexpected.contains(&"slmu.extra".to_owned()), "{unexpected:?}");
    assert!(error.to_string().contains("x.pt: not a whole l2mu checkpoint"), "{error}");
}

#[test]
fn an_unexpected_tensor_is_reported() {
    let (_, mut tensors, config) = har("har_leaky_stacked.safetensors");
    tensors.push(("slmu.extra".into(), vec![1], vec![0.0]));
    let checkpoint =
        Checkpoint::from_bytes("x.pt", safetensors(&tensors, &[("config", &config)])).unwrap();
    assert_eq!(converted(&checkpoint, Some("l2mu")).1.unexpected, ["slmu.extra"]);
}

#[test]
fn single_module_needs_its_hyper_parameters() {
    let (_, tensors, _) = har("har_synaptic_single.safetensors");
    let checkpoint = Checkpoint::from_bytes("x.pt", safetensors(&tensors, &[])).unwrap();
    let error = convert(&checkpoint, None).unwrap_err().to_string();
    assert!(error.contains("hyper-parameter beta_spk_x_acc"), "{error}");
    assert!(error.contains("hyper-parameter alpha_spk_z_gyro"), "{error}");
}

#[test]
fn contradictions_are_errors() {
    let (_, tensors, config) = har("har_leaky_stacked.safetensors");
    let with = |name: &str, shape: &[usize], value: f32| {
        let mut tensors = tensors.clone();
        let tensor = tensors.iter_mut().find(|(other, ..)| other == name).unwrap();
        (tensor.1, tensor.2) = (shape.to_vec(), vec![value; shape.iter().product()]);
        let bytes = safetensors(&tensors, &[("config", &config)]);
        convert(&Checkpoint::from_bytes("x.pt", bytes).unwrap(), None).unwrap_err().to_string()
    };
    for (name, shape) in [
        ("slmu.A", &[4, 3][..]),
        ("slmu.A", &[4]),
        ("slmu.e_h", &[5, 9]),
        ("slmu.spk_u.beta", &[2]),
        ("slmu.output_transformation.weight", &[0, 10]),
        ("slmu.e_x", &[0, 0]),
        ("slmu.input_encoder.hidden_encoder_list.0.weight", &[0, 1]),
        ("slmu.input_encoder.encoder.weight", &[8, 23]),
    ] {
        let error = with(name, shape, 0.5);
        assert!(error.contains("shape"), "{name} {shape:?}: {error}");
    }
    let error = with("slmu.spk_m.graded_spikes_factor", &[], 0.5);
    assert!(error.contains("only spikes of size 1"), "{error}");
    let error = with("slmu.spk_m.reset_mechanism_val", &[], 7.0);
    assert!(error.contains("known are 0, 1 and 2"), "{error}");
    let error = with("slmu.e_x", &[5, 6], f32::NAN);
    assert!(error.contains("not valid"), "{error}");
}

#[test]
fn architectures_are_named() {
    let nothing = safetensors(&[("lm_head.weight".into(), vec![1], vec![0.0])], &[]);
    let checkpoint = Checkpoint::from_bytes("x.pt", nothing).unwrap();
    let error = convert(&checkpoint, None).unwrap_err().to_string();
    assert!(error.contains("lm_head.weight") && error.contains("--arch"), "{error}");
    let error = convert(&checkpoint, Some("l2mo")).unwrap_err().to_string();
    assert!(error.contains("did you mean `l2mu`"), "{error}");
    for arch in ["l2mu", "sinabs-mnist", "neurobench-wisdm-scnn"] {
        let error = convert(&checkpoint, Some(arch)).unwrap_err();
        assert!(matches!(error, ConvertError::Missing { .. }), "{error}");
    }
}

/// The weights of a golden file, with `prefix` before their names.
#[cfg(feature = "train")]
pub(crate) fn weights_of(golden: &Checkpoint, prefix: &str) -> Vec<Named> {
    let names = golden.names().filter_map(|name| Some((name, name.strip_prefix("weights.")?)));
    names
        .map(|(full, name)| {
            let tensor = golden.tensor(full).unwrap();
            (format!("{prefix}{name}"), tensor.shape, tensor.data)
        })
        .collect()
}

/// `run` is one stream: states go on behind the window, as far as the layers themselves carry them.
#[cfg(feature = "train")]
fn run_keeps_what_is_carried(graph: &Graph) {
    let dir = tempfile::tempdir().unwrap();
    let [file, input] = ["model.safetensors", "tokens.npy"].map(|name| dir.path().join(name));
    graph.save(&file).unwrap();
    let executor = Executor::new(graph).unwrap();
    let tokens: Vec<f32> = (0..75).map(|i| (i * i % executor.output_len()) as f32).collect();
    spikelet_data::npy::save_f32(&input, &[75, 1], &tokens).unwrap();
    let mut expected = Vec::new();
    executor.run(&mut [executor.state()], &tokens, &mut expected).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_spikelet"))
        .arg("run")
        .arg(&file)
        .arg("--input")
        .arg(&input)
        .args(["--stream", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let expected: Vec<&[f32]> = expected.chunks(executor.output_len()).collect();
    assert_eq!(text.lines().count(), expected.len());
    for (token, (line, expected)) in text.lines().zip(expected).enumerate() {
        let decision: serde_json::Value = serde_json::from_str(line).unwrap();
        let scores = decision["scores"].as_array().unwrap();
        for (found, expected) in scores.iter().zip(expected) {
            let off = (found.as_f64().unwrap() - f64::from(*expected)).abs();
            assert!(off < 1e-5, "token {token}: {off}");
        }
    }
}

/// Layers with the states they start again with; what they compute is compared in `golden`.
#[cfg(feature = "train")]
#[test]
fn egru_checkpoints_become_graphs() {
    for (file, arch, found, layers, restart) in [
        ("lm_small.safetensors", None, "egru-lm", 3, Some(70)),
        ("lm_small.safetensors", Some("egru-lm-stream"), "egru-lm-stream", 3, None),
        ("dvs_small.safetensors", None, "egru-dvs", 2, None),
    ] {
        let golden = open(&golden("egru").join(file));
        let tensors = weights_of(&golden, "");
        let checkpoint = Checkpoint::from_bytes(file, safetensors(&tensors, &[])).unwrap();
        let (graph, report) = converted(&checkpoint, arch);
        assert_eq!(report.arch, found);
        assert_eq!((report.used.len(), report.unexpected.len()), (tensors.len(), 0));
        let restarts: Vec<_> = graph
            .nodes
            .iter()
            .filter_map(|node| match &node.op {
                Op::Egru { restart, .. } => Some(*restart),
                _ => None,
            })
            .collect();
        assert_eq!(restarts, vec![restart; layers], "{file}");
        // A stream has no window.
        assert_eq!(graph.task.window, restart.unwrap_or(0), "{file}");
        if found != "egru-dvs" {
            run_keeps_what_is_carried(&graph);
        }
        // A tensor less, and a decoder that is not the table.
        let error = |tensors: &[Named]| {
            let checkpoint = Checkpoint::from_bytes(file, safetensors(tensors, &[])).unwrap();
            convert(&checkpoint, Some(found)).unwrap_err().to_string()
        };
        let name = if found == "egru-dvs" { "layers.1.thr" } else { "rnns.1.thr" };
        let less: Vec<Named> = tensors.iter().filter(|t| t.0 != name).cloned().collect();
        assert!(error(&less).contains(name), "{file}");
        let mut untied = tensors.clone();
        if let Some(decoder) = untied.iter_mut().find(|t| t.0 == "decoder.decoder.weight") {
            decoder.2[0] += 1.0;
            assert!(error(&untied).contains("embeddings.weight"), "{file}");
        }
    }
}

#[cfg(feature = "train")]
#[test]
fn converted_spikegpt_predicts_as_the_official_code() {
    for (file, arch, logits) in [
        ("small.safetensors", None, "parallel.logits"),
        ("small.safetensors", Some("spikegpt-runner"), "rnn_raw_emb.logits"),
        ("ffnpre.safetensors", None, "parallel.logits"),
        ("deep_rescale.safetensors", None, "parallel.logits"),
        ("deep_rescale.safetensors", Some("spikegpt-runner"), "rnn_raw_emb.logits"),
    ] {
        let golden = open(&golden("spikegpt").join(file));
        let tensors = weights_of(&golden, "module.");
        let checkpoint = Checkpoint::from_bytes(file, safetensors(&tensors, &[])).unwrap();
        let (graph, report) = converted(&checkpoint, arch);
        assert_eq!(report.arch, arch.unwrap_or("spikegpt"));
        assert_eq!((report.used.len(), report.unexpected.len()), (tensors.len(), 0));
        let (tokens, expected) = (golden.tensor("input.tokens"), golden.tensor(logits));
        let (tokens, expected) = (tokens.unwrap(), expected.unwrap());
        let executor = Executor::new(&graph).unwrap();
        let per_stream = expected.data.len() / tokens.shape[0];
        for (x, expected) in
            tokens.data.chunks(tokens.shape[1]).zip(expected.data.chunks(per_stream))
        {
            let mut found = Vec::new();
            executor.run(&mut [executor.state()], x, &mut found).unwrap();
            let difference = found.iter().zip(expected).map(|(f, e)| (f - e).abs());
            assert!(difference.fold(0.0, f32::max) < 1e-4, "{file} {logits}");
        }
        // A tensor less, one more, one of another shape.
        let error = |tensors: &[Named]| {
            let checkpoint = Checkpoint::from_bytes(file, safetensors(tensors, &[])).unwrap();
            convert(&checkpoint, Some("spikegpt")).unwrap_err().to_string()
        };
        let without = |name: &str| -> Vec<Named> {
            tensors.iter().filter(|t| t.0 != name).cloned().collect()
        };
        let name = "module.blocks.1.ffn.value.weight";
        assert!(error(&without(name)).contains("blocks.1.ffn.value.weight"));
        let mut more = tensors.clone();
        more.push(("module.head_q.weight".to_owned(), vec![1], vec![0.0]));
        assert!(error(&more).contains("head_q.weight"));
        let mut other = without(name);
        other.push((name.to_owned(), vec![1], vec![0.0]));
        assert!(error(&other).contains("blocks.1.ffn.value.weight"));
    }
}
