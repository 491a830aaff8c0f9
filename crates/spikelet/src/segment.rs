//! Graphs that give every pixel of an image a class: their figures, beside those of Otsu's threshold, and pictures of
//! what they see.

use crate::failure::{Failure, Result};
use serde::Serialize;
use spikelet_data::{
    coco_eval::{
        CocoFigures, Detection, ImageResult, Overlap, Truth, evaluate as average_precision,
    },
    components::components,
    draw::colour,
    mask_folders::MaskValues,
    masked::Masked,
    metrics::{Confusion, Segmentation},
    normalize::Normalization,
    otsu,
    picture::Picture,
    rle::Rle,
    samples::NO_LABEL,
    view::View,
};
use spikelet_graph::{Graph, Op};
use spikelet_runtime::Executor;
use std::path::Path;

/// Pixels of the smallest object.
const LEAST: usize = 10;
/// The class that is not painted.
const BACKGROUND: &str = "background";

/// What a graph made of images with masks.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Images.
    pub images: usize,
    /// Overlap and accuracy of pixels.
    #[serde(flatten)]
    pub segmentation: Segmentation,
    /// Of two classes, the overlap of the second one by Otsu's threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otsu_overlap: Option<f64>,
    /// Average precision of objects: parts of the foreground that touch each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<CocoFigures>,
    /// Pixels of true class against those of predicted class.
    #[serde(skip)]
    pub confusion: Confusion,
}

/// Height, width and classes of the output of a graph that gives every pixel of its input a class.
pub fn shape(graph: &Graph) -> Option<[usize; 3]> {
    let input = graph.nodes.iter().find(|node| matches!(node.op, Op::Input { .. }))?;
    let output = graph.nodes.iter().find(|node| matches!(node.op, Op::Output))?;
    match (&input.shape[..], &output.shape[..]) {
        (&[h, w, 3], &[out_h, out_w, classes]) if [h, w] == [out_h, out_w] => Some([h, w, classes]),
        _ => None,
    }
}

/// Runs a graph over images with masks.
pub fn evaluate(
    graph: &Graph,
    masked: &Masked,
    index: &[usize],
    values: MaskValues,
) -> Result<Figures> {
    let classes = masked.classes().len();
    if shape(graph) != Some([masked.size, masked.size, classes]) {
        return Err(Failure::input(format!(
            "{} does not give {classes} classes to the pixels of images of {size} x {size}",
            graph.name,
            size = masked.size
        )));
    }
    let executor = Executor::new(graph)?;
    let (mut confusion, mut by_otsu) = (Confusion::new(classes), Confusion::new(classes));
    let mut results = Vec::new();
    let mut x = Vec::new();
    for &i in index {
        masked.batch(&[i], &mut x);
        let scores = run(&executor, &x, masked.shown)?;
        let truth = masked.labels_of(&[i]);
        let predicted: Vec<u32> = scores.chunks_exact(classes).map(argmax).collect();
        count(&mut confusion, &truth, predicted.iter().copied());
        if classes == 2 {
            let foreground = otsu::foreground(&masked.picture(i).rgb);
            count(&mut by_otsu, &truth, foreground.into_iter().map(u32::from));
        }
        if let Some(instances) = masked.instances(i, values) {
            results.push(objects(&instances?, &predicted, &scores, masked.size)?);
        }
    }
    let instances = match results.is_empty() {
        true => None,
        false => Some(average_precision(&results, 1, Overlap::Mask)?),
    };
    Ok(Figures {
        images: index.len(),
        segmentation: Segmentation::of(&confusion),
        otsu_overlap: (classes == 2).then(|| by_otsu.overlaps()[1].unwrap_or_default()),
        instances,
        confusion,
    })
}

/// Scores `[h, w, classes]` of an image shown for some steps.
fn run(executor: &Executor, x: &[f32], shown: usize) -> Result<Vec<f32>> {
    let mut out = Vec::new();
    executor.run_to_end(&mut [executor.state()], &x.repeat(shown.max(1)), &mut out)?;
    Ok(out)
}

fn count(confusion: &mut Confusion, truth: &[u32], predicted: impl Iterator<Item = u32>) {
    let labelled = truth.iter().zip(predicted).filter(|(truth, _)| **truth != NO_LABEL);
    labelled.for_each(|(&truth, predicted)| confusion.add(truth, predicted));
}

/// The objects that are there, and those found: parts of the foreground, each as sure as its pixels are on average.
fn objects(truth: &[u16], predicted: &[u32], scores: &[f32], size: usize) -> Result<ImageResult> {
    let side = size as u32;
    let mut result = ImageResult::default();
    let most = truth.iter().copied().max().unwrap_or(0);
    for number in 1..=most {
        let mask = Rle::of(side, side, |at| truth[at] == number)?;
        if mask.area() > 0 {
            let (bbox, area) = (mask.bounding_box(), mask.area() as f64);
            let (category, crowd, ignored, mask) = (0, false, false, Some(mask));
            result.truths.push(Truth { category, bbox, area, crowd, ignored, mask });
        }
    }
    let inside: Vec<bool> = predicted.iter().map(|&class| class == 1).collect();
    let (labels, n) = components(&inside, size, LEAST);
    let mut sure = vec![(0.0, 0u32); n as usize];
    for (label, pair) in labels.iter().zip(scores.chunks_exact(2)).filter(|(label, _)| **label > 0)
    {
        let (sum, count) = &mut sure[*label as usize - 1];
        *sum += 1.0 / (1.0 + f64::from(pair[0] - pair[1]).exp());
        *count += 1;
    }
    for (number, (sum, count)) in (1..).zip(sure) {
        let mask = Rle::of(side, side, |at| labels[at] == number)?;
        let (bbox, score) = (mask.bounding_box(), sum / f64::from(count));
        result.detections.push(Detection { category: 0, score, bbox, mask: Some(mask) });
    }
    Ok(result)
}

/// What a graph sees in an image: the share of each class, and the image with the classes painted over it.
pub fn see(graph: &Graph, image: &Path) -> Result<(Vec<f64>, Picture)> {
    let Some([height, width, classes]) = shape(graph) else {
        return Err(Failure::input(format!(
            "{} does not give pixels of images classes",
            graph.name
        )));
    };
    let mut picture = Picture::load(image)?;
    let view = View::whole(picture.height, picture.width, [height, width]);
    let mut x: Vec<f32> = view.of(&picture).into_iter().map(|v| f32::from(v) / 255.0).collect();
    let task = &graph.task;
    if !task.mean.is_empty() {
        Normalization { mean: task.mean.clone(), std: task.std.clone() }.apply(&mut x);
    }
    let scores = run(&Executor::new(graph)?, &x, task.window)?;
    let frame: Vec<u32> = scores.chunks_exact(classes).map(argmax).collect();
    let along = |at: usize, n: usize| (((at as f32 + 0.5) * view.scale) as usize).min(n - 1);
    let columns = picture.width;
    let found: Vec<usize> = (0..picture.rgb.len() / 3)
        .map(|at| (along(at / columns, height), along(at % columns, width)))
        .map(|(y, x)| frame[y * width + x] as usize)
        .collect();
    let mut shares = Vec::new();
    for class in 0..classes {
        let pixels: Vec<bool> = found.iter().map(|&other| other == class).collect();
        let count = pixels.iter().filter(|set| **set).count();
        shares.push(count as f64 / found.len().max(1) as f64);
        if count > 0 && task.classes.get(class).is_none_or(|name| name != BACKGROUND) {
            picture.tint(&pixels, colour(class));
        }
    }
    Ok((shares, picture))
}

fn argmax(scores: &[f32]) -> u32 {
    crate::evaluate::argmax(scores) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_matched_by_their_pixels() {
        // Two objects of 4 x 4, one found with a pixel less.
        let (size, mut truth, mut predicted) = (16, vec![0u16; 256], vec![0u32; 256]);
        for (number, start) in [(1, 0), (2, 8)] {
            for at in (0..16).map(|i| start + i / 4 * 16 + i % 4) {
                truth[at] = number;
                predicted[at] = u32::from(number == 1);
            }
        }
        predicted[0] = 0;
        let scores: Vec<f32> = predicted.iter().flat_map(|&class| [0.0, class as f32]).collect();
        let result = objects(&truth, &predicted, &scores, size).unwrap();
        assert_eq!((result.truths.len(), result.detections.len()), (2, 1));
        let figures = average_precision(&[result], 1, Overlap::Mask).unwrap();
        assert!((figures.ap50.unwrap() - 51.0 / 101.0).abs() < 1e-9);
        assert_eq!(figures.ar100, Some(0.45), "15 of 16 pixels: up to a threshold of 0.90");
    }
}
