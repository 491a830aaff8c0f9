//! The loss of one batch: targets of both stages, from what the detector itself proposes.

use super::{
    assign::{Assigned, Assigner, sample},
    loss::{absolute, binary_cross_entropy, focal},
    mask_targets::mask_target,
};
use crate::{
    loss::cross_entropy,
    model::{SequenceModel, State},
    models::spike_detector::{Detector, DetectorConfig, FirstStage, Head, Network, TwoStage},
    params,
};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use spikelet_data::{DataError, scenes_source::Seen, split::rng};
use spikelet_graph::detection::{self, Coder, Detection, Rect, pixel_place};
use spikelet_kernels::roi_align::Region;

/// Share of objects among the anchors, and among the regions, that are learned from.
const ANCHOR_OBJECTS: f32 = 0.5;
const REGION_OBJECTS: f32 = 0.25;

/// Scenes to learn from.
pub struct Batch {
    /// `[scene, h * w * 3]`, on an autodiff device.
    pub images: Tensor<2>,
    /// What is in them.
    pub scenes: Vec<Scene>,
}

/// What is to be found in a scene.
pub struct Scene {
    /// As it was drawn.
    seen: Seen,
    /// Its objects that count.
    objects: Vec<Rect>,
    classes: Vec<usize>,
}

/// Parts of a loss by name; those of one stage have that stage only.
pub type Losses = Vec<(&'static str, f32)>;

/// Pixels `[h, w, 3]` of several scenes as images: from 0 to 1, then by mean and deviation.
pub fn normalized(pixels: &[&[u8]], mean: &[f32], std: &[f32], device: &Device) -> Tensor<2> {
    let values = pixels.first().map_or(0, |pixels| pixels.len());
    let mut x = Vec::with_capacity(pixels.len() * values);
    for pixels in pixels {
        let channels = pixels
            .iter()
            .enumerate()
            .map(|(i, v)| (f32::from(*v) / 255.0 - mean[i % mean.len()]) / std[i % std.len()]);
        x.extend(channels);
    }
    Tensor::from_data(TensorData::new(x, [pixels.len(), values]), device)
}

impl Batch {
    /// A batch of scenes as drawn.
    pub fn new(seen: Vec<Seen>, mean: &[f32], std: &[f32], device: &Device) -> Batch {
        let pixels: Vec<&[u8]> = seen.iter().map(|seen| seen.pixels.as_slice()).collect();
        let images = normalized(&pixels, mean, std, device);
        let scene = |seen: Seen| {
            let counted = seen.objects.iter().filter(|(_, object)| object.counts());
            let (objects, classes) =
                counted.map(|(rect, object)| (*rect, object.category as usize)).unzip();
            Scene { seen, objects, classes }
        };
        Batch { images, scenes: seen.into_iter().map(scene).collect() }
    }
}

/// Gradients of a batch, its loss and the parts of it, and the networks with running statistics as
/// they are now.
///
/// # Errors
/// Masks that do not fit their image.
pub fn learn(
    detector: &Detector,
    config: &DetectorConfig,
    batch: &Batch,
    seed: u64,
) -> Result<(GradientsParams, f32, Losses, Network), DataError> {
    let mut random = rng(seed, 0);
    let (first, state) = detector.first_stage(batch.images.clone(), Some(seed));
    let mut network = detector.network.clone();
    network.features = network.features.learned(state);
    let anchors = detector.detection.anchors.of_levels(&detector.sizes());
    let mut parts: Vec<(&'static str, Tensor<1>)> = Vec::new();
    match &config.head {
        Head::SingleStage(_) => single_stage(detector, batch, &first, &anchors, &mut parts),
        Head::TwoStage(two) => {
            let work = Work { detector, batch, first: &first, two };
            work.proposals(&anchors, &mut random, &mut parts);
            let [boxes, masks] = work.regions(seed, &mut random, &mut parts)?;
            network.box_head = with_state(network.box_head, boxes);
            network.mask_head = with_state(network.mask_head, masks);
        }
    }
    let losses: Losses =
        parts.iter().map(|(name, loss)| (*name, loss.clone().into_scalar::<f32>())).collect();
    let total = parts.into_iter().map(|(_, loss)| loss).reduce(|a, b| a + b);
    let total = total.expect("a loss has parts");
    let value = losses.iter().map(|(_, loss)| loss).sum();
    let gradients = GradientsParams::from_grads(total.backward(), &detector.network);
    Ok((gradients, value, losses, network))
}

fn with_state<M: SequenceModel>(head: Option<M>, state: Option<State>) -> Option<M> {
    match (head, state) {
        (Some(head), Some(state)) => Some(head.learned(state)),
        (head, _) => head,
    }
}

/// A tensor of host values.
fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn places(values: Vec<usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.into_iter().map(|v| v as i32).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// Rows of `deltas` `[.., 4]` against what their boxes should learn.
fn box_loss(
    deltas: Tensor<2>,
    rows: Vec<usize>,
    wanted: Vec<[f32; 4]>,
    by: usize,
) -> Option<Tensor<1>> {
    let n = rows.len();
    if n == 0 {
        return None;
    }
    let device = deltas.device();
    let found = deltas.select(0, places(rows, &device));
    let wanted = tensor(wanted.concat(), [n, 4], &device);
    let weights = wanted.ones_like();
    Some(absolute(found, wanted, weights, by.max(1) as f32))
}

fn single_stage(
    detector: &Detector,
    batch: &Batch,
    first: &FirstStage,
    anchors: &[Rect],
    parts: &mut Vec<(&'static str, Tensor<1>)>,
) {
    let classes = detector.classes;
    let device = batch.images.device();
    let len = batch.scenes.len() * anchors.len() * classes;
    let (mut targets, mut weights) = (vec![0.0; len], vec![1.0; len]);
    let (mut rows, mut wanted) = (Vec::new(), Vec::new());
    for (scene, truth) in batch.scenes.iter().enumerate() {
        let assigned = Assigner::SINGLE_STAGE.assign(anchors, &truth.objects);
        for (anchor, assigned) in assigned.iter().enumerate() {
            let row = scene * anchors.len() + anchor;
            match *assigned {
                Assigned::Object(object) => {
                    targets[row * classes + truth.classes[object]] = 1.0;
                    rows.push(row);
                    wanted.push(Coder::PLAIN.encode(anchors[anchor], truth.objects[object]));
                }
                Assigned::Background => {}
                Assigned::Nothing => weights[row * classes..][..classes].fill(0.0),
            }
        }
    }
    let shape = first.scores.dims();
    let by = rows.len().max(1);
    let (targets, weights) = (tensor(targets, shape, &device), tensor(weights, shape, &device));
    parts.push(("classes", focal(first.scores.clone(), targets, weights, by as f32)));
    let deltas = first.deltas.clone().reshape([shape[0] * shape[1], 4]);
    parts.extend(box_loss(deltas, rows, wanted, by).map(|loss| ("boxes", loss)));
}

/// Both stages of a batch.
struct Work<'a> {
    detector: &'a Detector,
    batch: &'a Batch,
    first: &'a FirstStage,
    two: &'a TwoStage,
}

impl Work<'_> {
    /// Losses of the first stage.
    fn proposals(
        &self,
        anchors: &[Rect],
        random: &mut ChaCha8Rng,
        parts: &mut Vec<(&'static str, Tensor<1>)>,
    ) {
        let device = self.batch.images.device();
        let (mut sampled, mut targets) = (Vec::new(), Vec::new());
        let (mut rows, mut wanted) = (Vec::new(), Vec::new());
        for (scene, truth) in self.batch.scenes.iter().enumerate() {
            let assigned = Assigner::PROPOSALS.assign(anchors, &truth.objects);
            let count = self.two.anchors_learned;
            let (objects, background) = sample(&assigned, count, ANCHOR_OBJECTS, random);
            let row = |anchor: usize| scene * anchors.len() + anchor;
            for anchor in objects {
                let Assigned::Object(object) = assigned[anchor] else { continue };
                rows.push(row(anchor));
                wanted.push(Coder::PLAIN.encode(anchors[anchor], truth.objects[object]));
                sampled.push(row(anchor));
                targets.push(1.0);
            }
            targets.resize(targets.len() + background.len(), 0.0);
            sampled.extend(background.into_iter().map(row));
        }
        let count = sampled.len();
        let [scenes, anchors, _] = self.first.scores.dims();
        let scores = self.first.scores.clone().reshape([scenes * anchors]);
        let scores = scores.select(0, places(sampled, &device));
        let targets = tensor(targets, [count], &device);
        let weights = targets.ones_like();
        let loss = binary_cross_entropy(scores, targets, weights, count.max(1) as f32);
        parts.push(("proposals", loss));
        let deltas = self.first.deltas.clone().reshape([scenes * anchors, 4]);
        let loss = box_loss(deltas, rows, wanted, count);
        parts.extend(loss.map(|loss| ("proposal boxes", loss)));
    }

    /// Losses of the second stage, and the states after both heads.
    fn regions(
        &self,
        seed: u64,
        random: &mut ChaCha8Rng,
        parts: &mut Vec<(&'static str, Tensor<1>)>,
    ) -> Result<[Option<State>; 2], DataError> {
        let settings = self.detector.detection.regions.as_ref().expect("two stages");
        let device = self.batch.images.device();
        let (mut regions, mut targets) = (Vec::new(), Vec::new());
        // Place among the regions, scene and object of those that learn an object.
        let mut found: Vec<(usize, usize, usize)> = Vec::new();
        for (scene, mut rects) in self.proposed().into_iter().enumerate() {
            let truth = &self.batch.scenes[scene];
            rects.extend(&truth.objects);
            let assigned = Assigner::REGIONS.assign(&rects, &truth.objects);
            let count = self.two.regions_learned;
            let (objects, background) = sample(&assigned, count, REGION_OBJECTS, random);
            for place in objects.into_iter().chain(background) {
                targets.push(match assigned[place] {
                    Assigned::Object(object) => {
                        found.push((regions.len(), scene, object));
                        truth.classes[object]
                    }
                    _ => self.detector.classes,
                });
                regions.push(Region { image: scene, rect: rects[place] });
            }
        }
        if regions.is_empty() {
            return Ok([None, None]);
        }
        let features = &self.first.features;
        let (logits, deltas, boxes) = self.detector.boxes(features, &regions, Some(seed));
        parts.push(("classes", cross_entropy(logits, places(targets, &device), None)));
        let classes = self.detector.classes;
        let deltas = deltas.reshape([regions.len() * classes, 4]);
        let (rows, wanted): (Vec<_>, Vec<_>) = found
            .iter()
            .map(|&(region, scene, object)| {
                let truth = &self.batch.scenes[scene];
                let wanted = settings.coder.encode(regions[region].rect, truth.objects[object]);
                (region * classes + truth.classes[object], wanted)
            })
            .unzip();
        let loss = box_loss(deltas, rows, wanted, regions.len());
        parts.extend(loss.map(|loss| ("boxes", loss)));
        let masks = match self.detector.network.mask_head {
            Some(_) => self.masks(&regions, &found, seed, parts)?,
            None => None,
        };
        Ok([Some(boxes), masks])
    }

    /// The loss of masks, of the class of each object.
    fn masks(
        &self,
        regions: &[Region],
        found: &[(usize, usize, usize)],
        seed: u64,
        parts: &mut Vec<(&'static str, Tensor<1>)>,
    ) -> Result<Option<State>, DataError> {
        let (mut mine, mut classes, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        let mut side = 0;
        if let Some(settings) = &self.detector.detection.regions {
            side = 2 * settings.mask_side.unwrap_or(0);
        }
        for &(region, scene, object) in found {
            let truth = &self.batch.scenes[scene];
            let mut counted = truth.seen.objects.iter().filter(|(_, object)| object.counts());
            let Some((_, annotated)) = counted.nth(object) else { continue };
            let size = self.batch.scenes[scene].seen.size;
            let Some(mask) = annotated.mask(size[0], size[1]) else { continue };
            let target = mask_target(&mask?, &truth.seen.view, regions[region].rect, side);
            let mut placed = vec![0.0; side * side];
            for (pixel, value) in target.into_iter().enumerate() {
                placed[pixel_place(side, pixel / side, pixel % side)] = value;
            }
            targets.extend(placed);
            mine.push(regions[region]);
            classes.push(truth.classes[object] as i32);
        }
        if mine.is_empty() {
            return Ok(None);
        }
        let (logits, state) = self.detector.masks(&self.first.features, &mine, Some(seed));
        let device = logits.device();
        let (n, pixels) = (mine.len(), side * side);
        let logits = logits.reshape([n, pixels, self.detector.classes]);
        let classes = Tensor::<1, Int>::from_data(TensorData::new(classes, [n]), &device);
        let classes = classes.reshape([n, 1, 1]).repeat_dim(1, pixels);
        let logits = logits.gather(2, classes).reshape([n, pixels]);
        let targets = tensor(targets, [n, pixels], &device);
        let weights = targets.ones_like();
        let loss = binary_cross_entropy(logits, targets, weights, (n * pixels) as f32);
        parts.push(("masks", loss));
        Ok(Some(state))
    }

    /// Regions of every scene, as the first stage sees them now.
    fn proposed(&self) -> Vec<Vec<Rect>> {
        let keep = self.two.train_proposals;
        let detection = Detection { keep, ..self.detector.detection.clone() };
        proposed(self.detector, &detection, self.first)
    }
}

/// Regions of every image, from the outputs of the first stage.
pub(super) fn proposed(
    detector: &Detector,
    detection: &Detection,
    first: &FirstStage,
) -> Vec<Vec<Rect>> {
    let [height, width, _] = detector.input;
    by_image(detector, first)
        .iter()
        .map(|levels| detection::proposals(detection, &borrowed(levels), [height, width]))
        .collect()
}

/// Rows and columns, scores and deltas of a level.
pub(super) type Level = ([usize; 2], Vec<f32>, Vec<f32>);

pub(super) fn borrowed(levels: &[Level]) -> Vec<([usize; 2], &[f32], &[f32])> {
    levels.iter().map(|(size, scores, deltas)| (*size, &scores[..], &deltas[..])).collect()
}

/// Levels of every image.
pub(super) fn by_image(detector: &Detector, first: &FirstStage) -> Vec<Vec<Level>> {
    let [images, anchors, kinds] = first.scores.dims();
    let host = |values: &Tensor<3>| {
        let values = values.clone();
        params::values(if values.device().is_autodiff() { values.inner() } else { values })
    };
    let (scores, deltas) = (host(&first.scores), host(&first.deltas));
    let per_position = detector.detection.anchors.per_position();
    let levels = |image: usize| {
        let mut from = image * anchors;
        let level = |size: [usize; 2]| {
            let start = from;
            from += size[0] * size[1] * per_position;
            let (scores, deltas) =
                (&scores[start * kinds..from * kinds], &deltas[start * 4..from * 4]);
            (size, scores.to_vec(), deltas.to_vec())
        };
        detector.sizes().into_iter().map(level).collect()
    };
    (0..images).map(levels).collect()
}
