//! Image classifiers on the real binary: official checkpoints of Meta-SpikeFormer, pictures, and for how many steps
//! they are shown.

use crate::support::{
    Run, command,
    model::Folder,
    torch::{self, Named},
};
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use spikelet_data::{
    checkpoint::Checkpoint,
    image_file, npy,
    picture::Picture,
    source::{DataConfig, SplitConfig},
};
use spikelet_graph::{Graph, GraphBuilder, Signal, Task};
use spikelet_runtime::Executor;
use spikelet_train::{
    init::Init,
    lower,
    model::{SequenceModel, read_out},
    models::metaspikeformer::{self, MetaSpikeformerConfig},
    params,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// ImageNet's, as the official evaluation takes them.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Runs the binary; what it decodes is kept in `work`.
fn spikelet(work: &Path, arguments: &[&str]) -> Run {
    let output = command(arguments).env("XDG_CACHE_HOME", work).current_dir(work).output();
    let output = output.expect("spikelet starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().expect("it ends by itself");
    Run { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn done(work: &Path, arguments: &[&str]) -> Value {
    let run = spikelet(work, &[arguments, &["--json"]].concat());
    assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", run.stdout))
}

fn refused(work: &Path, arguments: &[&str], says: &str) {
    let run = spikelet(work, arguments);
    assert!(run.code == 2 && run.stderr.contains(says), "{arguments:?}: {}", run.stderr);
}

fn close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() < 1e-4, "{what}[{i}]: {f} is not {e}");
    }
}

/// The case of the official code: ten classes, images of 64 x 64.
fn golden() -> Checkpoint {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let root = std::env::var_os("SPIKELET_GOLDEN").map_or(default, PathBuf::from);
    let path = root.join("metaspikeformer/msf_tiny_64.safetensors");
    Checkpoint::open(&path).unwrap_or_else(|e| panic!("{e}"))
}

fn tensor(golden: &Checkpoint, name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = golden.tensor(name).unwrap_or_else(|e| panic!("{e}"));
    (tensor.shape, tensor.data)
}

/// Its weights in the layout of the official checkpoints, with a second head whose scores are one higher: the mean of
/// both is half a unit above the golden scores.
fn official(golden: &Checkpoint, path: &Path) {
    let (mut tensors, mut counters) = (Vec::<Named>::new(), Vec::new());
    for name in golden.names().filter_map(|name| name.strip_prefix("weights.")) {
        if name.ends_with("num_batches_tracked") {
            counters.push(name.to_owned());
            continue;
        }
        let (shape, values) = tensor(golden, &format!("weights.{name}"));
        if let Some(end) = name.strip_prefix("head.") {
            let more = if end == "bias" { 1.0 } else { 0.0 };
            let second = values.iter().map(|value| value + more).collect();
            tensors.push((format!("head_kd.{end}"), shape.clone(), second));
        }
        tensors.push((name.to_owned(), shape, values));
    }
    assert_eq!((tensors.len() + counters.len(), counters.len()), (827, 133));
    torch::save(path, &tensors, &counters);
}

#[test]
fn official_checkpoints_give_the_official_scores() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path();
    let golden = golden();
    official(&golden, &work.join("official.pth"));
    refused(work, &["convert", "official.pth"], "--steps");
    refused(work, &["convert", "official.pth", "--steps", "4", "--size", "8"], "--size");
    let convert =
        ["convert", "official.pth", "--steps", "4", "--size", "64", "--out", "small.graph"];
    let report = done(work, &convert);
    assert_eq!((&report["arch"], &report["root"]), (&"metaspikeformer".into(), &"model.".into()));
    assert_eq!(report["unexpected"].as_array().map(Vec::len), Some(0), "{report}");
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.contains("[8, 16, 48, 56], 10 classes, two heads"), "{note}");
    let (shape, image) = tensor(&golden, "input");
    assert_eq!(shape, [2, 3, 64, 64]);
    for (steps, option) in [(4, &[][..]), (1, &["--steps", "1"])] {
        let (_, expected) = tensor(&golden, &format!("T{steps}.logits"));
        for (image, expected) in image.chunks_exact(3 * 64 * 64).zip(expected.chunks_exact(10)) {
            // What `run` normalises to the input of the official code, channels last.
            let raw: Vec<f32> = (0..64 * 64 * 3)
                .map(|at| image[at % 3 * 64 * 64 + at / 3] * STD[at % 3] + MEAN[at % 3])
                .collect();
            npy::save_f32(&work.join("x.npy"), &[steps, raw.len()], &raw.repeat(steps)).unwrap();
            let run = [&["run", "small.graph", "--input", "x.npy"], option].concat();
            let decision = done(work, &run);
            let scores: Vec<f32> = serde_json::from_value(decision["scores"].clone()).unwrap();
            let expected: Vec<f32> = expected.iter().map(|score| score + 0.5).collect();
            close(&format!("T = {steps}"), &scores, &expected);
        }
    }
    // Without a size, that of the official evaluation.
    done(work, &["convert", "official.pth", "--steps", "1", "--out", "large.graph"]);
    let graph = Graph::load(work.join("large.graph")).unwrap();
    assert_eq!(graph.node("input").unwrap().shape, [224, 224, 3]);
    assert_eq!(graph.task.dataset.as_deref(), Some("imagenet"));
    let data: DataConfig = serde_json::from_str(&graph.task.notes["data"]).unwrap();
    assert_eq!((data.frames.size, data.frames.resize), (224, 256));
    assert_eq!((graph.task.mean, graph.task.std), (MEAN.to_vec(), STD.to_vec()));
}

/// A picture of a class, of another size and shape than networks take.
fn picture(class: usize, number: usize) -> Picture {
    let (width, height) = (90 + number, 70);
    let rgb = (0..width * height * 3).map(|at| {
        let (column, row) = (at / 3 % width, at / 3 / width);
        (column * (class + 1) + row * (3 + number) + at % 3 * 40) as u8
    });
    Picture { width, height, rgb: rgb.collect() }
}

/// Folders of classes with pictures in them.
fn pictures(folder: &Path, classes: usize, each: usize) {
    for class in 0..classes {
        let folder = folder.join(format!("n{class:08}"));
        fs::create_dir_all(&folder).unwrap();
        for number in 0..each {
            picture(class, number).save(&folder.join(format!("{number}.png"))).unwrap();
        }
    }
}

/// A picture as the official evaluation looks at it.
fn looked_at(path: &Path, scaled: usize, side: usize) -> Vec<f32> {
    let pixels = image_file::load(path, scaled, side).unwrap();
    let value = |(at, value): (usize, u8)| (f32::from(value) / 255.0 - MEAN[at % 3]) / STD[at % 3];
    pixels.into_iter().enumerate().map(value).collect()
}

#[test]
fn a_converted_network_looks_at_pictures_and_folders_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path();
    official(&golden(), &work.join("official.pth"));
    done(work, &["convert", "official.pth", "--steps", "2", "--size", "64", "--out", "msf.graph"]);
    pictures(&work.join("imagenet/train"), 10, 5);
    pictures(&work.join("imagenet/val"), 10, 1);
    let eval = |arguments: &[&str]| {
        done(work, &[&["eval", "msf.graph", "--data"][..], arguments].concat())
    };
    // Both parts, and the validation images alone.
    let whole = eval(&["imagenet"]);
    let alone = eval(&["imagenet/val", "--logits", "scores.npy"]);
    assert_eq!((&whole["sequences"], &alone["sequences"]), (&10.into(), &10.into()));
    assert_eq!((&whole["correct"], &whole["top5"]), (&alone["correct"], &alone["top5"]));
    assert!(whole["top5"].is_f64());
    let scores = npy::load(&work.join("scores.npy")).unwrap();
    assert_eq!(scores.shape, [10, 10]);
    let executor = Executor::new(&Graph::load(work.join("msf.graph")).unwrap()).unwrap();
    for (class, scores) in scores.to_f32().chunks_exact(10).enumerate() {
        let path = format!("imagenet/val/n{class:08}/0.png");
        // 64 of 73 is the share that 224 of 256 is.
        let x = looked_at(&work.join(&path), 73, 64);
        let mut expected = Vec::new();
        executor.run_to_end(&mut [executor.state()], &x.repeat(2), &mut expected).unwrap();
        close("eval", scores, &expected);
        let found = done(work, &["run", "msf.graph", "--input", &path]);
        let best = found["classes"].as_array().unwrap();
        assert_eq!(best.len(), 5);
        let mut order: Vec<usize> = (0..10).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        for (guess, index) in best.iter().zip(order) {
            assert_eq!(guess["class"], format!("class {}", guess["index"]));
            assert!((guess["score"].as_f64().unwrap() as f32 - scores[index]).abs() < 1e-4);
        }
    }
    pictures(&work.join("two"), 2, 1);
    refused(work, &["eval", "msf.graph", "--data", "two"], "10 values, the data has 2 classes");
    let of_sequences = Folder::new();
    let (model, input) = (of_sequences.name("model.safetensors"), "two/n00000000/0.png");
    refused(work, &["run", &model, "--input", input], "no pictures");
    let data = of_sequences.name("data.csv");
    refused(work, &["eval", &model, "--data", &data, "--steps", "3"], "no still images");
}

/// One network and its graph, which was saved for one step; classes have names.
#[test]
fn steps_are_chosen_at_run_time() {
    const SIDE: usize = 32;
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path();
    pictures(&work.join("val"), 4, 2);
    let paths: Vec<PathBuf> = (0..4)
        .flat_map(|class| (0..2).map(move |n| format!("val/n{class:08}/{n}.png")))
        .map(|path| work.join(path))
        .collect();
    let x: Vec<f32> = paths.iter().flat_map(|path| looked_at(path, SIDE, SIDE)).collect();
    let x = TensorData::new(x, [1, paths.len(), SIDE * SIDE * 3]);
    let x = Tensor::<3>::from_data(x, &Device::flex());
    let base = MetaSpikeformerConfig::new([4, 6, 8, 10]);
    let config = MetaSpikeformerConfig { heads: 2, attention_gain: 4.0, ..base };
    let mut init = Init::new(3, &Device::flex());
    let model = metaspikeformer::network(&config, [SIDE, SIDE, 3], 4, &mut init).unwrap();
    // Statistics of one batch, so that neurons fire, and means from below to above the last threshold.
    let (_, state) = model.training_sequence(x.clone().repeat_dim(0, 2), 0);
    let model = model.learned(state);
    let mut weights = params::collect(&model);
    let (_, bias) = weights.get_mut("block4.1.mlp.fc2_bn.bias").unwrap();
    bias.iter_mut().zip(0..).for_each(|(bias, channel)| *bias = 0.3 * channel as f32);
    let model = params::load(model, &weights).unwrap();
    let mut graph = GraphBuilder::new("steps");
    graph.input("input", Signal::Dense, &[SIDE, SIDE, 3]);
    let last = model.lower(&mut graph, "input");
    graph.readout("readout", &last, model.readout());
    graph.output("output", "readout");
    let mut data = DataConfig::new("imagenet", SplitConfig::official(0));
    data.frames.size = SIDE;
    let notes = [("data".to_owned(), serde_json::to_string(&data).unwrap())].into();
    let classes: Vec<String> = (0..4).map(|class| format!("n{class:08}")).collect();
    let (mean, std) = (MEAN.to_vec(), STD.to_vec());
    graph.task(Task { window: 1, classes, mean, std, notes, ..Task::default() });
    lower::finish(graph).unwrap().save(work.join("steps.graph")).unwrap();
    let mut all = Vec::new();
    for steps in [1, 8] {
        let out = model.sequence(x.clone().repeat_dim(0, steps));
        let expected = params::values(read_out(model.readout(), out));
        let steps = steps.to_string();
        let on = |command: &str, more: &[&str]| {
            let data = [command, "steps.graph", "--data", "val", "--steps", &steps];
            done(work, &[&data[..], more].concat())
        };
        on("eval", &["--logits", "scores.npy"]);
        let scores = npy::load(&work.join("scores.npy")).unwrap().to_f32();
        close(&format!("T = {steps}"), &scores, &expected);
        let profile = on("profile", &["--limit", "2"]);
        assert_eq!(profile["steps"], 2 * steps.parse::<u64>().unwrap());
        let first = paths[0].display().to_string();
        let found = done(work, &["run", "steps.graph", "--input", &first, "--steps", &steps]);
        for guess in found["classes"].as_array().unwrap() {
            let index = guess["index"].as_u64().unwrap() as usize;
            assert_eq!(guess["class"], format!("n{index:08}"));
            assert!((guess["score"].as_f64().unwrap() as f32 - expected[index]).abs() < 1e-4);
        }
        all.push(expected);
    }
    assert!(all[0].iter().zip(&all[1]).any(|(a, b)| (a - b).abs() > 1e-2), "{all:?}");
    refused(work, &["eval", "steps.graph", "--data", "val", "--steps", "0"], "--steps");
}
