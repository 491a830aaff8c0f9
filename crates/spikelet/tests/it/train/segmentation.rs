//! The segmenting network against an independent one in PyTorch (`benches/peers/segmentation_golden.py`): scores in
//! training form and in the runtime, loss and gradients of a training step.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use spikelet_graph::{GraphBuilder, Op, Phase, Signal};
use spikelet_runtime::Executor;
use spikelet_train::{
    gradients,
    init::Init,
    loss::{Loss, LossConfig},
    lower,
    model::SequenceModel,
    models::{
        convnet::{Convnet, from_official},
        metaspikeformer::{MetaSpikeformerConfig, SegmentationConfig, segmentation, with_backbone},
    },
    params::{self, Tensors},
    rule::LearningRule,
};
use std::{collections::BTreeMap, path::Path};

/// Scores are of order 1; neurons fire alike on both sides.
const SCORES: f32 = 2e-5;
/// Of the largest gradient of a parameter.
const GRADIENTS: f32 = 2e-3;

struct Golden {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    config: Value,
}

impl Golden {
    fn read() -> Golden {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden-extra/segmentation.safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = &header.metadata().as_ref().unwrap()["config"];
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let four = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).unwrap();
            let values = view.data().chunks_exact(4).map(|bytes| match view.dtype() {
                Dtype::I32 => i32::from_le_bytes(four(bytes)) as f32,
                _ => f32::from_le_bytes(four(bytes)),
            });
            (name, (view.shape().to_vec(), values.collect()))
        });
        Golden { tensors: tensors.collect(), config: serde_json::from_str(config).unwrap() }
    }

    fn part(&self, prefix: &str) -> Tensors {
        let named = self.tensors.iter().filter_map(|(name, tensor)| {
            Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
        });
        named.collect()
    }

    fn sizes(&self, name: &str) -> Vec<usize> {
        let list = self.config[name].as_array().unwrap();
        list.iter().map(|size| size.as_u64().unwrap() as usize).collect()
    }

    fn number(&self, name: &str) -> usize {
        self.config[name].as_u64().unwrap() as usize
    }

    fn model(&self, device: &Device) -> Convnet {
        let widths = self.sizes("widths").try_into().unwrap();
        let (heads, steps) = (self.number("heads"), self.number("steps"));
        let backbone = MetaSpikeformerConfig { heads, steps, ..MetaSpikeformerConfig::new(widths) };
        let width = self.number("width");
        let config =
            SegmentationConfig { backbone, width, head: width, dropout: 0.0, shares: vec![] };
        let [h, w] = self.sizes("size")[..] else { panic!("a height and a width") };
        let classes = self.number("classes");
        let model = segmentation(&config, [h, w, 3], classes, &mut Init::new(0, device)).unwrap();
        from_official(model, &self.part("weights.")).unwrap()
    }

    /// `[steps, batch, values]`, channels last.
    fn images(&self, device: &Device) -> Tensor<3> {
        let (shape, values) = channels_last(&self.tensors["images"]);
        let x = TensorData::new(values, [1, shape[0], shape[1..].iter().product()]);
        Tensor::<3>::from_data(x, device).repeat_dim(0, self.number("steps"))
    }
}

/// `[n, c, h, w]` as `[n, h, w, c]`.
fn channels_last((shape, values): &(Vec<usize>, Vec<f32>)) -> (Vec<usize>, Vec<f32>) {
    let &[n, c, h, w] = &shape[..] else { panic!("images, not {shape:?}") };
    let at = |i: usize| {
        let (pixel, channel) = (i / c, i % c);
        let (image, pixel) = (pixel / (h * w), pixel % (h * w));
        values[(image * c + channel) * h * w + pixel]
    };
    (vec![n, h, w, c], (0..values.len()).map(at).collect())
}

fn close(what: &str, found: &[f32], expected: &[f32], bound: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= bound, "{what}: off by {worst}, more than {bound}");
}

#[test]
fn scores_in_training_form_and_in_the_runtime() {
    let golden = Golden::read();
    let model = golden.model(&Device::flex());
    let (_, expected) = channels_last(&golden.tensors["scores"]);
    let x = golden.images(&Device::flex());
    let scores = params::values(model.sequence(x.clone()));
    close("training form", &scores, &expected, SCORES);

    let mut graph = GraphBuilder::new("segmentation");
    graph.input("input", Signal::Dense, &model.input_shape(0));
    let last = model.lower(&mut graph, "input");
    graph.readout("readout", &last, model.readout());
    graph.output("output", "readout");
    let graph = lower::finish(graph).unwrap();
    let once = graph.nodes.iter().filter(|node| node.phase == Phase::Sequence);
    let neurons = once.filter(|node| matches!(node.op, Op::Neuron(_))).count();
    assert_eq!(neurons, 8 + 7 + 1, "neurons of neck and head run once");

    let batch = golden.tensors["images"].0[0];
    let x = params::values(x);
    for together in [1, 2] {
        let executor = Executor::new(&graph).unwrap().with_steps_together(together);
        let mut states: Vec<_> = (0..batch).map(|_| executor.state()).collect();
        // Twice: neurons of neck and head must have forgotten the first time.
        for _ in 0..2 {
            states = states.into_iter().map(|_| executor.state()).collect();
            let mut out = Vec::new();
            executor.run_to_end(&mut states, &x, &mut out).unwrap();
            close("runtime", &out, &expected, SCORES);
        }
        let mut every = Vec::new();
        let mut states: Vec<_> = (0..batch).map(|_| executor.state()).collect();
        executor.run(&mut states, &x, &mut every).unwrap();
        close("after the last step", &every[every.len() / 2..], &expected, SCORES);
    }
}

#[test]
fn a_training_step() {
    let golden = Golden::read();
    let device = Device::flex().autodiff();
    let model = params::name_ids(golden.model(&device));
    let (shape, targets) = &golden.tensors["targets"];
    // 255 is no class.
    let targets: Vec<i32> =
        targets.iter().map(|&y| if y == 255.0 { -1 } else { y as i32 }).collect();
    let targets = TensorData::new(targets, [shape.iter().product::<usize>()]);
    let targets = Tensor::<1, Int>::from_data(targets, &device);
    let loss = Loss::new(LossConfig::default());
    let x = golden.images(&device);
    let outcome = LearningRule::Bptt.gradients(&model, x, targets, &loss, 0);
    close("loss", &[outcome.loss], &golden.tensors["loss"].1, 1e-5);
    let found = gradients::collect(&model, &outcome.gradients);
    let expected = golden.part("gradients.");
    assert_eq!(found.len(), expected.len());
    let largest = |values: &[f32]| values.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    let overall = expected.values().map(|(_, values)| largest(values)).fold(0.0, f32::max);
    for (name, (shape, values)) in &expected {
        let (_, values) = model.from_official_order(name, shape, values);
        // Those before a normalisation are nothing but rounding.
        let bound = (GRADIENTS * largest(&values)).max(1e-5 * overall);
        close(&format!("gradient of {name}"), &found[name], &values, bound);
    }
}

#[test]
fn a_backbone_from_a_classifier() {
    let golden = Golden::read();
    let model = golden.model(&Device::flex());
    let mut classifier = Tensors::new();
    for (name, (shape, values)) in params::collect(&model) {
        if let Some(name) = name.strip_prefix("backbone.") {
            classifier.insert(name.to_owned(), (shape, vec![0.5; values.len()]));
        }
    }
    classifier.insert("head.weight".to_owned(), (vec![1, 2], vec![0.0; 2]));
    let before = model.num_params();
    let changed = with_backbone(model, &classifier).unwrap();
    assert_eq!(changed.num_params(), before);
    let tensors = params::collect(&changed);
    assert!(tensors["backbone.downsample2.encode_conv.bias"].1.iter().all(|v| *v == 0.5));
    assert!(tensors["neck.lateral_convs.0.1.0.conv.bias"].1.iter().any(|v| *v != 0.5));
    classifier.insert("block9.weight".to_owned(), (vec![1], vec![0.0]));
    assert!(with_backbone(changed, &classifier).is_err());
}

#[test]
fn scores_start_from_the_shares_of_the_classes() {
    let biases = |shares: &[f32]| {
        let config = SegmentationConfig {
            backbone: MetaSpikeformerConfig {
                heads: 2,
                ..MetaSpikeformerConfig::new([4, 8, 8, 16])
            },
            width: 4,
            head: 4,
            dropout: 0.0,
            shares: shares.to_vec(),
        };
        let made = segmentation(&config, [32, 32, 3], 2, &mut Init::new(0, &Device::flex()));
        made.map(|model| params::collect(&model)["decode_head.conv_seg.bias"].1.clone())
    };
    assert_eq!(biases(&[]).unwrap(), [0.0, 0.0]);
    assert_eq!(biases(&[0.75, 0.25]).unwrap(), [0.75_f32.ln(), 0.25_f32.ln()]);
    for (shares, said) in [
        (&[0.5][..], "one of each class"),
        (&[0.5, 0.0], "above 0"),
        (&[0.5, f32::NAN], "above 0"),
        (&[0.5, 1.5], "up to 1"),
    ] {
        let error = biases(shares).unwrap_err().to_string();
        assert!(error.contains("shares") && error.contains(said), "{shares:?}: {error}");
    }
}
