//! Detectors against an independent PyTorch program (`benches/peers/detection_golden.py`): pyramid,
//! proposals and heads over two steps, in training form and as a graph; NMS and RoIAlign, with its
//! gradient, against torchvision.

use burn::tensor::{Device, Tensor, TensorData};
use spikelet_data::checkpoint::Checkpoint;
use spikelet_graph::{
    Op, Task,
    detection::{Keep, mask_of, nms},
};
use spikelet_kernels::roi_align::{Region, RoiAlign};
use spikelet_runtime::Executor;
use spikelet_train::{
    detection::detect,
    init::Init,
    models::{
        metaspikeformer::MetaSpikeformerConfig,
        spike_detector::{Detector, DetectorConfig, Head, Strides, TwoStage, from_official, lower},
    },
    ops::roi_align::roi_align,
    params::{self, Tensors},
};
use std::path::Path;

/// Sums of spikes are exact; the rest is rounding of products of the backbone and of RoIAlign.
const TOLERANCE: f32 = 2e-5;

fn golden() -> Checkpoint {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../../tests/golden-extra/detection.safetensors");
    Checkpoint::open(&path).unwrap_or_else(|e| panic!("{e}"))
}

fn tensor(golden: &Checkpoint, name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = golden.tensor(name).unwrap_or_else(|e| panic!("{e}"));
    (tensor.shape, tensor.data)
}

/// `[.., channels, h, w]` as `[.., h, w, channels]`.
fn channels_last((shape, values): (Vec<usize>, Vec<f32>)) -> Vec<f32> {
    let &[.., channels, h, w] = shape.as_slice() else { panic!("an image: {shape:?}") };
    let pixels = h * w;
    let mut turned = vec![0.0; values.len()];
    for (at, value) in values.into_iter().enumerate() {
        let (image, rest) = (at / (channels * pixels), at % (channels * pixels));
        turned[image * channels * pixels + rest % pixels * channels + rest / pixels] = value;
    }
    turned
}

fn close(what: &str, found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len(), "{what}: number of values");
    let spread = wanted.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    assert!(spread > 0.0, "{what}: nothing to compare");
    for (i, (f, g)) in found.iter().zip(wanted).enumerate() {
        let bound = TOLERANCE * spread.max(1.0);
        assert!((f - g).abs() <= bound, "{what}[{i}]: {f} is not {g} within {bound}");
    }
}

fn config(head: Head) -> DetectorConfig {
    let backbone =
        MetaSpikeformerConfig { heads: 2, steps: 2, ..MetaSpikeformerConfig::new([4, 8, 8, 16]) };
    DetectorConfig {
        backbone,
        units: Default::default(),
        channels: 16,
        levels: (0..5).collect(),
        strides: Strides::True,
        norm: false,
        scales: vec![8.0],
        ratios: vec![0.5, 1.0, 2.0],
        head,
    }
}

fn two_stage() -> TwoStage {
    TwoStage { hidden: 32, mask_convs: 2, finest: 8.0, ..TwoStage::default() }
}

/// The detector of the golden file.
fn detector(golden: &Checkpoint) -> Detector {
    let mut official = Tensors::new();
    for name in golden.names().filter_map(|name| name.strip_prefix("weight.")) {
        official.insert(name.to_owned(), tensor(golden, &format!("weight.{name}")));
    }
    let config = config(Head::TwoStage(two_stage()));
    let mut init = Init::new(0, &Device::flex());
    let fresh = Detector::new(&config, [32, 32, 3], 3, &mut init).unwrap();
    from_official(fresh, &official).unwrap()
}

fn regions(golden: &Checkpoint, name: &str) -> Vec<Region> {
    let (_, rois) = tensor(golden, name);
    let region = |r: &[f32]| Region { image: r[0] as usize, rect: [r[1], r[2], r[3], r[4]] };
    rois.chunks_exact(5).map(region).collect()
}

#[test]
fn pyramid_proposals_and_heads_agree_with_pytorch() {
    let golden = golden();
    let detector = detector(&golden);
    let image = channels_last(tensor(&golden, "image"));
    let images = image.len() / (32 * 32 * 3);
    let x = Tensor::from_data(TensorData::new(image, [images, 32 * 32 * 3]), &Device::flex());
    let (first, _) = detector.first_stage(x, None);
    for (level, features) in first.features.iter().enumerate() {
        let wanted = channels_last(tensor(&golden, &format!("level.{level}")));
        close(&format!("level {level}"), &params::values(features.clone()), &wanted);
    }
    // Anchors of a position are channels of a map in one, rows of a table in the other.
    let mut from = 0;
    for (level, size) in detector.sizes().into_iter().enumerate() {
        let anchors = size[0] * size[1] * 3;
        for (name, values) in [("scores", &first.scores), ("deltas", &first.deltas)] {
            let wanted = channels_last(tensor(&golden, &format!("{name}.{level}")));
            let found = values.clone().narrow(1, from, anchors);
            close(&format!("{name} {level}"), &params::values(found), &wanted);
        }
        from += anchors;
    }
    let regions = regions(&golden, "rois");
    let (classes, boxes, _) = detector.boxes(&first.features, &regions, None);
    close("classes", &params::values(classes), &tensor(&golden, "classes").1);
    close("boxes", &params::values(boxes), &tensor(&golden, "boxes").1);
    let (masks, _) = detector.masks(&first.features, &regions, None);
    let len = masks.dims()[1..].iter().product();
    let wanted = tensor(&golden, "masks").1;
    let masks = params::values(masks);
    let per_class =
        masks.chunks_exact(len).flat_map(|mask| (0..3).map(move |class| mask_of(mask, 3, class)));
    close("masks", &per_class.flatten().collect::<Vec<f32>>(), &wanted);
}

/// The official code declares other strides than its levels have: anchors and regions follow, the network does not.
#[test]
fn strides_are_true_or_the_official_ones() {
    let made = |strides| {
        let config = DetectorConfig { strides, ..config(Head::TwoStage(two_stage())) };
        Detector::new(&config, [32, 32, 3], 3, &mut Init::new(0, &Device::flex())).unwrap()
    };
    let [exact, official] = [Strides::True, Strides::Official].map(made);
    assert_eq!(exact.detection.anchors.strides, [4, 8, 16, 16, 32]);
    assert_eq!(official.detection.anchors.strides, [4, 8, 16, 32, 64]);
    let regions = |detector: &Detector| detector.detection.regions.clone().unwrap().strides;
    assert_eq!((regions(&exact), regions(&official)), (vec![4, 8, 16, 16], vec![4, 8, 16, 32]));
    assert_eq!(exact.sizes(), official.sizes());
    // On the fourth level anchors are twice as wide, on the third the same.
    let width = |detector: &Detector, level: usize| {
        let [left, _, right, _] = detector.detection.anchors.of_level(level, [1, 1])[0];
        right - left
    };
    assert!((width(&official, 3) - 2.0 * width(&exact, 3)).abs() < 1e-3);
    assert_eq!(width(&official, 2), width(&exact, 2));
    let parsed: DetectorConfig = toml::from_str(
        "strides = \"official\"\nbackbone = { widths = [8, 8, 8, 8] }\nhead = { kind = \"single-stage\" }",
    )
    .unwrap();
    assert_eq!(parsed.strides(), [4, 8, 16, 32, 64]);
}

#[test]
fn the_graph_agrees_with_pytorch() {
    let golden = golden();
    let detector = detector(&golden);
    let task = Task { classes: ["a", "b", "c"].map(str::to_owned).to_vec(), ..Task::default() };
    let graph = lower(&detector, "detector", task).unwrap();
    let part = graph.part("image").unwrap();
    let executor = Executor::new(&part).unwrap();
    let image = channels_last(tensor(&golden, "image"));
    for (index, image) in image.chunks_exact(32 * 32 * 3).enumerate() {
        let mut out = Vec::new();
        executor.run(&mut [executor.state()], &image.repeat(2), &mut out).unwrap();
        let len = executor.output_len();
        let mut from = 0;
        for node in part.nodes.iter().filter(|node| matches!(node.op, Op::Output)) {
            let steps: Vec<&[f32]> =
                out.chunks_exact(len).map(|step| &step[from..from + node.len()]).collect();
            from += node.len();
            let (kind, level) = node.name.split_once('.').unwrap();
            let name = if kind == "features" { "level" } else { kind };
            let wanted = channels_last(tensor(&golden, &format!("{name}.{level}")));
            let images = 2;
            let of = |step: usize| {
                let image = if kind == "features" { step * images + index } else { index };
                &wanted[image * node.len()..][..node.len()]
            };
            close(&node.name, steps[1], of(1));
            if kind == "features" {
                close(&node.name, steps[0], of(0));
            }
        }
    }
}

/// What runs from a file finds what the training form finds.
#[test]
fn the_runtime_detects_what_training_does() {
    let golden = golden();
    let mut detector = detector(&golden);
    detector.detection.keep = Keep { most: 40, ..detector.detection.keep };
    let regions = detector.detection.regions.as_mut().unwrap();
    regions.keep = Keep { score: 0.2, ..regions.keep };
    let pixels: Vec<u8> = (0..32 * 32 * 3).map(|i| (i * 7919 % 251) as u8).collect();
    let view = spikelet_data::view::View::whole(32, 32, [32, 32]);
    let seen = spikelet_data::scenes_source::Seen {
        pixels: pixels.clone(),
        view,
        size: [32, 32],
        objects: Vec::new(),
    };
    let trained = detect(&detector, &[seen], &[0.5], &[0.2]).remove(0);
    let task = Task { classes: ["a", "b", "c"].map(str::to_owned).to_vec(), ..Task::default() };
    let graph = lower(&detector, "detector", task).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    graph.save(&path).unwrap();
    let graph = spikelet_graph::Graph::load(&path).unwrap();
    let runtime = spikelet_runtime::Detector::new(&graph).unwrap();
    let image: Vec<f32> = pixels.iter().map(|v| (f32::from(*v) / 255.0 - 0.5) / 0.2).collect();
    let found = runtime.detect(&image).unwrap();
    assert!(!found.is_empty() && found.len() == trained.len(), "{} objects", found.len());
    for (a, b) in found.iter().zip(&trained) {
        assert_eq!(a.found.class, b.found.class);
        assert!((a.found.score - b.found.score).abs() < 1e-4);
        assert!(a.found.rect.iter().zip(b.found.rect).all(|(a, b)| (a - b).abs() < 1e-2));
        close("mask", a.mask.as_ref().unwrap(), b.mask.as_ref().unwrap());
    }
    assert!(runtime.detect(&image[1..]).is_err(), "an image of another size");
}

#[test]
fn suppression_agrees_with_torchvision() {
    let golden = golden();
    let (_, boxes) = tensor(&golden, "nms.boxes");
    let boxes: Vec<[f32; 4]> = boxes.chunks_exact(4).map(|b| b.try_into().unwrap()).collect();
    let (_, scores) = tensor(&golden, "nms.scores");
    let kinds: Vec<usize> =
        tensor(&golden, "nms.kinds").1.into_iter().map(|kind| kind as usize).collect();
    for overlap in ["0.3", "0.5", "0.7"] {
        let limit = overlap.parse().unwrap();
        for (name, kinds) in [("kept", &vec![0; boxes.len()]), ("kept_by_kind", &kinds)] {
            let (_, wanted) = tensor(&golden, &format!("nms.{name}.{overlap}"));
            let wanted: Vec<usize> = wanted.into_iter().map(|place| place as usize).collect();
            assert_eq!(nms(&boxes, &scores, kinds, limit), wanted, "{name} {overlap}");
        }
    }
}

#[test]
fn regions_and_their_gradient_agree_with_torchvision() {
    let golden = golden();
    let (shape, _) = tensor(&golden, "roi.features");
    let &[images, channels, rows, columns] = shape.as_slice() else { panic!("{shape:?}") };
    let values = channels_last(tensor(&golden, "roi.features"));
    let regions = regions(&golden, "roi.rois");
    let align = RoiAlign { features: [rows, columns, channels], stride: 4.0, side: 7 };
    let aligned = channels_last(tensor(&golden, "roi.aligned"));
    close("aligned", &align.forward(&values, &regions), &aligned);

    let device = Device::flex().autodiff();
    let features: Tensor<4> =
        Tensor::from_data(TensorData::new(values, [images, rows, columns, channels]), &device)
            .require_grad();
    let weights = channels_last(tensor(&golden, "roi.weights"));
    let weights =
        Tensor::from_data(TensorData::new(weights, [regions.len(), 7, 7, channels]), &device);
    let out = roi_align(features.clone(), regions, 4.0, 7);
    let gradients = (out * weights).sum().backward();
    let gradient = params::values(features.grad(&gradients).unwrap());
    close("gradient", &gradient, &channels_last(tensor(&golden, "roi.gradient")));
}
