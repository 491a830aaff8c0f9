//! What a detector finds, and how good that is.

use super::learn::{Level, borrowed, by_image, normalized, proposed};
use crate::{models::spike_detector::Detector, params};
use burn::tensor::Device;
use spikelet_data::{
    DataError,
    coco_eval::{self, CocoFigures, Detection, ImageResult, Overlap, Truth},
    rle::Rle,
    scenes::Scene,
    scenes_source::{DividedScenes, Seen},
};
use spikelet_graph::detection::{self, Found, paste};
use spikelet_kernels::roi_align::Region;

/// Scenes looked at together.
const SCENES: usize = 8;

/// An object found, with its mask `[2 * side, 2 * side]` of logits if the detector has one.
#[derive(Clone, Debug)]
pub struct Detected {
    /// Class, score, box in the frame.
    pub found: Found,
    /// Row by row.
    pub mask: Option<Vec<f32>>,
}

/// What the detector (on the plain device) finds in scenes as they are seen.
pub fn detect(detector: &Detector, seen: &[Seen], mean: &[f32], std: &[f32]) -> Vec<Vec<Detected>> {
    let device = Device::flex();
    let pixels: Vec<&[u8]> = seen.iter().map(|seen| seen.pixels.as_slice()).collect();
    let (first, _) = detector.first_stage(normalized(&pixels, mean, std, &device), None);
    let [height, width, _] = detector.input;
    let image = [height, width];
    let settings = &detector.detection;
    let Some(regions) = &settings.regions else {
        let decide = |levels: &Vec<Level>| {
            let found = detection::decisions(settings, &borrowed(levels), detector.classes, image);
            found.into_iter().map(|found| Detected { found, mask: None }).collect()
        };
        return by_image(detector, &first).iter().map(decide).collect();
    };
    let mut all = Vec::new();
    for (scene, rects) in proposed(detector, settings, &first).into_iter().enumerate() {
        if rects.is_empty() {
            all.push(Vec::new());
            continue;
        }
        let of = |rect| Region { image: scene, rect };
        let cut: Vec<Region> = rects.iter().map(|&rect| of(rect)).collect();
        let (logits, deltas, _) = detector.boxes(&first.features, &cut, None);
        let (logits, deltas) = (params::values(logits), params::values(deltas));
        let found = detection::of_regions(regions, &rects, &logits, &deltas, image);
        let cut: Vec<Region> = found.iter().map(|found| of(found.rect)).collect();
        let mut masks = vec![None; found.len()];
        if detector.network.mask_head.is_some() && !cut.is_empty() {
            let (logits, _) = detector.masks(&first.features, &cut, None);
            let len = logits.dims()[1..].iter().product();
            let logits = params::values(logits);
            let each = logits.chunks_exact(len).zip(&found);
            masks = each
                .map(|(logits, found)| {
                    Some(detection::mask_of(logits, detector.classes, found.class))
                })
                .collect();
        }
        let with_mask = found.into_iter().zip(masks);
        all.push(with_mask.map(|(found, mask)| Detected { found, mask }).collect());
    }
    all
}

/// COCO's figures of boxes, and of masks where there are any, over scenes of a part.
///
/// # Errors
/// Images that cannot be read, masks that do not fit.
pub fn figures(
    detector: &Detector,
    data: &DividedScenes,
    part: &[usize],
    mean: &[f32],
    std: &[f32],
) -> Result<(CocoFigures, Option<CocoFigures>), DataError> {
    let mut results = Vec::with_capacity(part.len());
    let has_masks = detector.network.mask_head.is_some();
    for part in part.chunks(SCENES) {
        let seen: Vec<Seen> =
            part.iter().map(|&scene| data.whole(scene)).collect::<Result<_, _>>()?;
        for ((&scene, seen), found) in
            part.iter().zip(&seen).zip(detect(detector, &seen, mean, std))
        {
            results.push(result(&data.scenes.images[scene], seen, &found, has_masks)?);
        }
    }
    let categories = data.scenes.categories.len();
    let boxes = coco_eval::evaluate(&results, categories, Overlap::Box)?;
    let masks = match has_masks && results.iter().all(|r| r.truths.iter().all(|t| t.mask.is_some()))
    {
        true => Some(coco_eval::evaluate(&results, categories, Overlap::Mask)?),
        false => None,
    };
    Ok((boxes, masks))
}

/// A scene and what was found in it, in pixels of the scene.
fn result(
    scene: &Scene,
    seen: &Seen,
    found: &[Detected],
    with_masks: bool,
) -> Result<ImageResult, DataError> {
    let mut truths = Vec::with_capacity(scene.objects.len());
    for object in &scene.objects {
        let mask = match with_masks {
            true => object.mask(scene.height, scene.width).transpose()?,
            false => None,
        };
        let (category, bbox, area) = (object.category, object.bbox, object.area);
        truths.push(Truth {
            category,
            bbox,
            area,
            crowd: object.crowd,
            ignored: object.difficult,
            mask,
        });
    }
    let mut detections = Vec::with_capacity(found.len());
    for Detected { found, mask } in found {
        let rect = detection::clip(
            seen.view.back(found.rect),
            [scene.height as usize, scene.width as usize],
        );
        let mask = match mask {
            None => None,
            Some(mask) => {
                let side = mask.len().isqrt();
                let pixels = paste(mask, side, rect, [scene.height as usize, scene.width as usize]);
                Some(Rle::of(scene.height, scene.width, |pixel| pixels[pixel])?)
            }
        };
        let [left, top, right, bottom] = rect.map(f64::from);
        detections.push(Detection {
            category: found.class as u32,
            score: f64::from(found.score),
            bbox: [left, top, right - left, bottom - top],
            mask,
        });
    }
    Ok(ImageResult { truths, detections })
}
