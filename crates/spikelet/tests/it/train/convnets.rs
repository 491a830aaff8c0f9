//! Convolutional networks: sizes as published, forms that agree, rules that agree, graphs that
//! survive quantisation.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::{Dtype, tensor::TensorView};
use spikelet::convert;
use spikelet_data::checkpoint::Checkpoint;
use spikelet_graph::{
    GraphBuilder, Op, Readout, Signal,
    compress::{Bits, quantize},
};
use spikelet_runtime::Executor;
use spikelet_train::{
    init::Init,
    loss::{Loss, LossConfig},
    lower,
    model::{SequenceModel, steps_from},
    models::convnet::{Convnet, ConvnetConfig},
    optimizer::clip_norm,
    params,
    rule::LearningRule,
};
use std::path::{Path, PathBuf};

fn model(config: &ConvnetConfig, shape: [usize; 3], classes: usize, device: &Device) -> Convnet {
    let mut init = Init::new(3, device);
    let model = Convnet::new(config, shape, classes, &mut init).unwrap_or_else(|e| panic!("{e}"));
    params::name_ids(model)
}

fn network(text: &str) -> ConvnetConfig {
    ConvnetConfig::new(text.parse().unwrap_or_else(|e| panic!("{e}")))
}

/// `[time, batch, values]`, different in every place.
fn input(time: usize, batch: usize, values: usize, device: &Device) -> Tensor<3> {
    let x = (0..time * batch * values).map(|i| (i as f32 * 0.7).sin() * 1.5 + 0.5).collect();
    Tensor::from_data(TensorData::new::<f32, _>(x, [time, batch, values]), device)
}

fn labels(device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(vec![0_i32, 2, 1], [3]), device)
}

fn close(what: &str, found: &[f32], expected: &[f32], bound: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= bound * largest.max(1.0), "{what}: {f} is not {e}");
    }
}

#[test]
fn sizes_are_the_published_ones() {
    let device = Device::flex();
    for (text, shape, classes, parameters) in [
        ("resnet18", [32, 32, 3], 10, 11_176_906),
        ("vgg11", [48, 48, 2], 10, 9_476_298),
        ("nf-resnet34", [224, 224, 3], 1000, 21_797_688),
        ("nf-resnet50", [224, 224, 3], 1000, 25_557_048),
        ("nf-resnet101", [224, 224, 3], 1000, 44_549_193),
    ] {
        let found = model(&network(text), shape, classes, &device).num_params();
        assert_eq!(found, parameters, "{text}");
    }
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let mut init = Init::new(0, &Device::flex());
    assert!(Convnet::new(&network("resnet18"), [16, 16, 3], 10, &mut init).is_err());
    assert!(Convnet::new(&network("8C3-P4-FC"), [3, 3, 1], 10, &mut init).is_err());
}

/// Drop-out and statistics per step are the same layer by layer and step by step.
#[test]
fn layers_over_time_agree_with_steps() {
    let device = Device::flex();
    for text in ["6C3-P2-8C3-A3-FC", "nf-resnet34"] {
        let config = ConvnetConfig { dropout: 0.3, ..network(text) };
        let model = model(&config, [12, 12, 2], 3, &device);
        let x = input(4, 3, 288, &device);
        let (out, state) = model.training_sequence(x.clone(), 5);
        let (expected, last) = steps_from(&model, x, model.training_state(3, &device, 5));
        close(text, &params::values(out), &params::values(expected), 1e-5);
        for (found, expected) in state.into_iter().zip(last) {
            close(text, &params::values(found), &params::values(expected), 1e-4);
        }
    }
}

/// Running again in segments gives the gradients of BPTT, whatever loss and read-out.
#[test]
fn checkpointed_bptt_is_bptt() {
    let device = Device::flex().autodiff();
    let config = ConvnetConfig { dropout: 0.2, ..network("6C3-P2-8C3-FC") };
    let model = model(&config, [8, 8, 2], 3, &device);
    let x = input(5, 3, 128, &device);
    for per_step in [false, true] {
        let loss = Loss::new(LossConfig { per_step, mse: 0.1, ..LossConfig::default() });
        let run = |rule: LearningRule| {
            let out = rule.gradients(&model, x.clone(), labels(&device), &loss, 7);
            (out.loss, clip_norm(&model, out.gradients, 1e9).1)
        };
        let whole = run(LearningRule::Bptt);
        for steps in [1, 2, 5, 9] {
            let (value, norm) = run(LearningRule::BpttCheckpoint(steps));
            close("loss", &[value], &[whole.0], 1e-5);
            close("gradient", &[norm], &[whole.1], 1e-4);
        }
    }
}

/// Normalising over time is another network while it learns, and the same one afterwards.
#[test]
fn statistics_can_be_those_of_all_steps() {
    let device = Device::flex();
    let config = ConvnetConfig { norm_over_time: true, ..network("6C3-FC") };
    let merged = model(&config, [8, 8, 2], 3, &device);
    let single = model(&network("6C3-FC"), [8, 8, 2], 3, &device);
    let x = input(4, 3, 128, &device);
    let run = |model: &Convnet| params::values(model.training_sequence(x.clone(), 0).0);
    assert_ne!(run(&merged), run(&single));
    let (_, state) = merged.training_sequence(x.clone(), 0);
    let before = params::collect(&merged)["layer1.1.running_mean"].clone();
    let after = params::collect(&merged.learned(state))["layer1.1.running_mean"].clone();
    assert_ne!(before, after);
}

/// Weights of 8 bits classify as the floats do.
#[test]
fn lowered_networks_survive_quantisation() {
    let device = Device::flex();
    for (text, shape) in
        [("8C3-P2-8C3-A3-FC", [12, 12, 2]), ("resnet18", [32, 32, 3]), ("nf-resnet34", [32, 32, 3])]
    {
        let mut model = model(&network(text), shape, 3, &device);
        let values = shape.iter().product();
        let x = input(1, 1, values, &device);
        // Statistics of a batch, so that neurons fire.
        for _ in 0..5 {
            let (_, state) = model.training_sequence(input(2, 2, values, &device), 0);
            model = model.learned(state);
        }
        let mut graph = GraphBuilder::new(text);
        graph.input("input", Signal::Dense, &shape);
        let last = model.lower(&mut graph, "input");
        graph.readout("readout", &last, Readout::Last);
        graph.output("output", "readout");
        let graph = lower::finish(graph).unwrap_or_else(|e| panic!("{e}"));
        let scales = graph.nodes.iter().filter(|node| matches!(node.op, Op::Scale { .. })).count();
        let expected = if text == "resnet18" { 8 } else { 0 };
        assert_eq!(scales, expected, "{text}: scales left");
        let (small, _) = quantize(&graph, Bits::Eight, &[]).unwrap_or_else(|e| panic!("{e}"));
        let run = |graph| {
            let executor = Executor::new(graph).unwrap_or_else(|e| panic!("{e}"));
            let mut out = Vec::new();
            let x = params::values(x.clone());
            executor.run(&mut [executor.state()], &x, &mut out).unwrap_or_else(|e| panic!("{e}"));
            out
        };
        let (float, integer) = (run(&graph), run(&small));
        close(text, &float, &params::values(model.sequence(x.clone())), 1e-3);
        // A rounded weight may move a spike, and in a deep network that moves more.
        if text.ends_with("FC") {
            close(text, &integer, &float, 0.2);
        }
        assert!(integer.iter().all(|y| y.is_finite()), "{text}");
    }
}

/// A tensor by name: shape and values.
type Named = (String, Vec<usize>, Vec<f32>);

/// A golden case of official weights, as a state dictionary of its own.
fn official(case: &str) -> (Checkpoint, Vec<Named>) {
    let root = std::env::var_os("SPIKELET_GOLDEN").map(PathBuf::from);
    let root =
        root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"));
    let golden = Checkpoint::open(&root.join(format!("sltt/{case}.safetensors")))
        .unwrap_or_else(|e| panic!("{e}"));
    let names = golden.names().filter_map(|name| name.strip_prefix("weights."));
    let dictionary = names.map(|name| {
        let tensor = golden.tensor(&format!("weights.{name}")).unwrap_or_else(|e| panic!("{e}"));
        (name.to_owned(), tensor.shape, tensor.data)
    });
    let dictionary = dictionary.collect();
    (golden, dictionary)
}

fn checkpoint(dictionary: &[Named]) -> Checkpoint {
    let bytes: Vec<Vec<u8>> = dictionary
        .iter()
        .map(|(.., values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = dictionary.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("sizes fit");
        (format!("module.{name}"), view)
    });
    let file = safetensors::serialize(views, None).expect("a file");
    Checkpoint::from_bytes("official.safetensors", file).unwrap_or_else(|e| panic!("{e}"))
}

/// Architectures are found by names and shapes; the graph gives the official outputs.
#[test]
fn official_checkpoints_are_converted() {
    for (case, arch) in [
        ("vgg_tiny_T6", "sltt-vgg"),
        ("preact_resnet_tiny_T4", "sltt-resnet"),
        ("nf_resnet_tiny_T4", "sltt-nf-resnet"),
    ] {
        let (golden, dictionary) = official(case);
        let (graph, report) =
            convert::convert(&checkpoint(&dictionary), None).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((report.arch.as_str(), report.root.as_str()), (arch, "module."));
        let counters = report.unexpected.iter().filter(|n| !n.ends_with("num_batches_tracked"));
        assert_eq!(counters.count(), 0, "{case}");
        // Only this one says by its shapes what images it is for.
        if arch == "sltt-resnet" {
            let executor = Executor::new(&graph).unwrap_or_else(|e| panic!("{e}"));
            let image = golden.tensor("input").unwrap_or_else(|e| panic!("{e}"));
            let [batch, channels, h, w] = image.shape[..] else { panic!("images") };
            let expected = golden.tensor("eval_outputs").unwrap_or_else(|e| panic!("{e}"));
            let [time, _, classes] = expected.shape[..] else { panic!("outputs over time") };
            for b in 0..batch {
                let at = |c: usize, p: usize| image.data[(b * channels + c) * h * w + p];
                let one: Vec<f32> =
                    (0..h * w).flat_map(|p| (0..channels).map(move |c| at(c, p))).collect();
                let mut out = Vec::new();
                executor
                    .run_to_end(&mut [executor.state()], &one.repeat(time), &mut out)
                    .unwrap_or_else(|e| panic!("{e}"));
                let mean = |k: usize| -> f32 {
                    let at = |t: usize| expected.data[(t * batch + b) * classes + k];
                    (0..time).map(at).sum::<f32>() / time as f32
                };
                close(case, &out, &(0..classes).map(mean).collect::<Vec<_>>(), 1e-4);
            }
        }
    }
}

/// Shapes in a file do not decide how much memory is taken.
#[test]
fn lying_shapes_are_refused() {
    let (_, dictionary) = official("preact_resnet_tiny_T4");
    for (name, shape) in [
        ("layer1.0.conv1.weight", vec![60_000, 1, 3, 3]),
        ("layer2.0.conv1.weight", vec![60_000, 8, 1, 1]),
        ("linear.weight", vec![10, 1]),
        ("conv1.weight", vec![8, 0, 3, 3]),
    ] {
        let mut lying = dictionary.clone();
        let entry = lying.iter_mut().find(|(n, ..)| n == name).expect("a tensor");
        entry.2 = vec![0.0; shape.iter().product()];
        entry.1 = shape;
        let result = convert::convert(&checkpoint(&lying), Some("sltt-resnet"));
        assert!(result.is_err(), "{name}");
    }
}

/// A file in NIR gives the same network: batch norms folded or diagonal, residuals as sums.
#[cfg(feature = "nir")]
#[test]
fn nir_files_hold_convolutional_networks() {
    use spikelet_graph::{
        Reset,
        nir::{self, Fidelity, NirGraph},
    };
    let device = Device::flex();
    for (text, shape) in [("6C3-P2-8C3-A4-FC", [16, 16, 2]), ("resnet18", [32, 32, 3])] {
        let mut model = model(&network(text), shape, 3, &device);
        let values = shape.iter().product();
        for _ in 0..5 {
            let (_, state) = model.training_sequence(input(2, 2, values, &device), 0);
            model = model.learned(state);
        }
        let mut graph = GraphBuilder::new(text);
        graph.input("input", Signal::Dense, &shape);
        let last = model.lower(&mut graph, "input");
        graph.output("output", &last);
        let mut graph = lower::finish(graph).unwrap_or_else(|e| panic!("{e}"));
        for node in &mut graph.nodes {
            if let Op::Neuron(neuron) = &mut node.op {
                (neuron.reset, neuron.reset_delayed) = (Reset::Zero, false);
            }
        }
        let export = NirGraph::of_graph(&graph, nir::STEP).unwrap_or_else(|e| panic!("{e}"));
        let report = &export.report;
        assert!(report.fidelity <= Fidelity::Approximated, "{text}: {}", report.text());
        let bytes = export.nir.and_then(|nir| nir.to_bytes().ok()).unwrap_or_default();
        let read = nir::read(bytes).unwrap_or_else(|e| panic!("{e}"));
        let back = read.to_graph(text, None).unwrap_or_else(|e| panic!("{e}")).graph;
        let x = params::values(input(3, 1, values, &device));
        let [before, after] = [&graph, &back].map(|graph| {
            let executor = Executor::new(graph).unwrap_or_else(|e| panic!("{e}"));
            let mut out = Vec::new();
            executor.run(&mut [executor.state()], &x, &mut out).unwrap_or_else(|e| panic!("{e}"));
            out
        });
        close(text, &after, &before, 1e-4);
    }
}
