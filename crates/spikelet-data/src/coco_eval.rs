//! Average precision and recall of detections, by the rules of COCO (cocodataset/cocoapi, `pycocotools`).
//!
//! Detections of a category are taken by falling score; each matches the free object it overlaps most, at ten thresholds
//! of overlap from 0.50 to 0.95. Precision is made monotone and read at 101 points of recall. Crowds, and objects or
//! unmatched detections of another size class, count neither as right nor as wrong.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::rle::Rle;

/// Thresholds of overlap.
const THRESHOLDS: usize = 10;
/// Points of recall at which precision is read.
const RECALLS: usize = 101;
/// Most detections of an image and category that are looked at, for each of the figures of recall.
const MOST: [usize; 3] = [1, 10, 100];
/// Areas in pixels: all, small, medium, large.
const AREAS: [[f64; 2]; 4] = [[0.0, 1e10], [0.0, 1024.0], [1024.0, 9216.0], [9216.0, 1e10]];

/// An object that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// Its category.
    pub category: u32,
    /// Left, top, width, height.
    pub bbox: [f64; 4],
    /// Its pixels by the annotation, which says what is small.
    pub area: f64,
    /// A crowd: any number of detections may lie in it.
    pub crowd: bool,
    /// Matched, but not counted (`difficult` of Pascal VOC).
    pub ignored: bool,
    /// Its pixels; needed where masks are compared.
    pub mask: Option<Rle>,
}

/// What a detector found.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// Its category.
    pub category: u32,
    /// How sure the detector is.
    pub score: f64,
    /// Left, top, width, height.
    pub bbox: [f64; 4],
    /// Its pixels; needed where masks are compared.
    pub mask: Option<Rle>,
}

/// What is there and what was found in one image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageResult {
    /// What is there.
    pub truths: Vec<Truth>,
    /// What was found, in any order; equal scores keep theirs.
    pub detections: Vec<Detection>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Boxes.
    Box,
    /// Masks.
    Mask,
}

/// COCO's twelve figures; `None` where no object of that size was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CocoFigures {
    /// Mean average precision over the thresholds 0.50 to 0.95.
    pub ap: Option<f64>,
    /// At 0.50.
    pub ap50: Option<f64>,
    /// At 0.75.
    pub ap75: Option<f64>,
    /// Of objects below 32 x 32 pixels.
    pub ap_small: Option<f64>,
    /// Of objects from 32 x 32 to 96 x 96 pixels.
    pub ap_medium: Option<f64>,
    /// Of objects above 96 x 96 pixels.
    pub ap_large: Option<f64>,
    /// Recall with 1 detection an image and category.
    pub ar1: Option<f64>,
    /// Recall with 10.
    pub ar10: Option<f64>,
    /// Recall with 100.
    pub ar100: Option<f64>,
    /// Recall of small objects.
    pub ar_small: Option<f64>,
    /// Recall of medium objects.
    pub ar_medium: Option<f64>,
    /// Recall of large objects.
    pub ar_large: Option<f64>,
    /// Of each category the average precision over all thresholds and that at 0.50.
    pub categories: Vec<[Option<f64>; 2]>,
}

/// The figures of `images` with `categories` categories.
///
/// # Errors
/// Categories out of range, numbers that are not finite, masks that are missing or of different sizes.
pub fn evaluate(
    images: &[ImageResult],
    categories: usize,
    overlap: Overlap,
) -> Result<CocoFigures> {
    for (i, image) in images.iter().enumerate() {
        check(image, categories, overlap)
            .map_err(|what| DataError::request(format!("image {i}: {what}")))?;
    }
    let curves: Vec<Vec<Curve>> = (0..categories as u32)
        .map(|category| {
            let matched: Vec<Pairs> =
                images.iter().filter_map(|image| Pairs::of(image, category, overlap)).collect();
            // One curve for each area with 100 detections, then those with 10 and 1 for all areas.
            (0..AREAS.len())
                .map(|area| Curve::of(&matched, area, MOST[2]))
                .chain([MOST[1], MOST[0]].map(|most| Curve::of(&matched, 0, most)))
                .collect()
        })
        .collect();
    let mean = |at: usize, value: &dyn Fn(&Curve) -> Vec<f64>| {
        let all: Vec<f64> = curves.iter().flat_map(|c| value(&c[at])).collect();
        mean(&all)
    };
    let all = |c: &Curve| c.precision.concat();
    let recall = |c: &Curve| c.recall.clone();
    let at = |t: usize| move |c: &Curve| c.precision.get(t).cloned().unwrap_or_default();
    Ok(CocoFigures {
        ap: mean(0, &all),
        ap50: mean(0, &at(0)),
        ap75: mean(0, &at(5)),
        ap_small: mean(1, &all),
        ap_medium: mean(2, &all),
        ap_large: mean(3, &all),
        ar1: mean(5, &recall),
        ar10: mean(4, &recall),
        ar100: mean(0, &recall),
        ar_small: mean(1, &recall),
        ar_medium: mean(2, &recall),
        ar_large: mean(3, &recall),
        categories: curves
            .iter()
            .map(|c| [self::mean(&all(&c[0])), self::mean(&at(0)(&c[0]))])
            .collect(),
    })
}

fn check(
    image: &ImageResult,
    categories: usize,
    overlap: Overlap,
) -> std::result::Result<(), String> {
    let truths = image.truths.iter().map(|t| (t.category, t.bbox, t.area, &t.mask));
    let found = image.detections.iter().map(|d| (d.category, d.bbox, d.score, &d.mask));
    let mut size = None;
    for (category, bbox, number, mask) in truths.chain(found) {
        if category as usize >= categories {
            return Err(format!("category {category} of {categories}"));
        }
        if !bbox.iter().chain([&number]).all(|v| v.is_finite()) {
            return Err("boxes, areas and scores must be finite".into());
        }
        if overlap == Overlap::Mask {
            let mask = mask.as_ref().ok_or("masks are compared, and one is missing")?;
            let this = [mask.width, mask.height];
            if *size.get_or_insert(this) != this {
                return Err(format!("masks of {size:?} and {this:?}"));
            }
        }
    }
    Ok(())
}

/// Truths and detections of one image and category, and how much each two overlap.
struct Pairs<'a> {
    truths: Vec<&'a Truth>,
    /// By falling score, at most [`MOST`].
    found: Vec<&'a Detection>,
    /// Area of each detection.
    areas: Vec<f64>,
    /// `[detection, truth]`.
    overlaps: Vec<f64>,
}

impl<'a> Pairs<'a> {
    /// `None` if there is neither.
    fn of(image: &'a ImageResult, category: u32, overlap: Overlap) -> Option<Self> {
        let truths: Vec<&Truth> = image.truths.iter().filter(|t| t.category == category).collect();
        let mut found: Vec<&Detection> =
            image.detections.iter().filter(|d| d.category == category).collect();
        found.sort_by(|a, b| falling(a.score, b.score));
        found.truncate(MOST[2]);
        let area = |d: &&Detection| match (overlap, &d.mask) {
            (Overlap::Mask, Some(mask)) => mask.area() as f64,
            _ => d.bbox[2] * d.bbox[3],
        };
        let areas = found.iter().map(area).collect();
        let pairs = found.iter().flat_map(|d| truths.iter().map(move |t| (d, t)));
        let overlaps = pairs
            .map(|(d, t)| match (overlap, &d.mask, &t.mask) {
                (Overlap::Mask, Some(d), Some(t_mask)) => mask_overlap(d, t_mask, t.crowd),
                _ => box_overlap(d.bbox, t.bbox, t.crowd),
            })
            .collect();
        (!truths.is_empty() || !found.is_empty()).then_some(Self { truths, found, areas, overlaps })
    }

    /// Which truths do not count for objects of `area`.
    fn ignored(&self, [least, most]: [f64; 2]) -> Vec<bool> {
        let ignored = |t: &&Truth| t.crowd || t.ignored || t.area < least || t.area > most;
        self.truths.iter().map(ignored).collect()
    }

    /// What becomes of each of the first `most` detections at a threshold.
    fn outcomes(
        &self,
        threshold: f64,
        area: [f64; 2],
        ignored: &[bool],
        most: usize,
    ) -> Vec<Outcome> {
        // Those that count come first; a match with one of them is not given up for one that does not.
        let (first, last): (Vec<usize>, Vec<usize>) =
            (0..self.truths.len()).partition(|&t| !ignored[t]);
        let mut taken = vec![false; self.truths.len()];
        let mut outcome = |d: usize| {
            let (mut best, mut matched) = (threshold.min(1.0 - 1e-10), None);
            for &t in first.iter().chain(&last) {
                if taken[t] && !self.truths[t].crowd {
                    continue;
                }
                if matched.is_some_and(|m: usize| !ignored[m]) && ignored[t] {
                    break;
                }
                let overlap = self.overlaps[d * self.truths.len() + t];
                if overlap >= best {
                    (best, matched) = (overlap, Some(t));
                }
            }
            if let Some(t) = matched {
                taken[t] = true;
                return if ignored[t] { Outcome::Ignored } else { Outcome::Right };
            }
            match self.areas[d] < area[0] || self.areas[d] > area[1] {
                true => Outcome::Ignored,
                false => Outcome::Wrong,
            }
        };
        (0..self.found.len().min(most)).map(&mut outcome).collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Right,
    Wrong,
    Ignored,
}

/// Precision at each recall and the highest recall, for each threshold; nothing if no object counts.
struct Curve {
    precision: Vec<Vec<f64>>,
    recall: Vec<f64>,
}

impl Curve {
    fn of(images: &[Pairs], area: usize, most: usize) -> Self {
        let area = AREAS[area];
        let ignored: Vec<Vec<bool>> = images.iter().map(|pairs| pairs.ignored(area)).collect();
        let asked = ignored.iter().flatten().filter(|ignored| !**ignored).count();
        let mut curve = Self { precision: Vec::new(), recall: Vec::new() };
        if asked == 0 {
            return curve;
        }
        let scores: Vec<f64> = images
            .iter()
            .flat_map(|pairs| pairs.found.iter().take(most).map(|d| d.score))
            .collect();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| falling(scores[a], scores[b]));
        for t in 0..THRESHOLDS {
            let outcomes: Vec<Outcome> = images
                .iter()
                .zip(&ignored)
                .flat_map(|(pairs, ignored)| pairs.outcomes(threshold(t), area, ignored, most))
                .collect();
            let (mut right, mut wrong) = (0.0, 0.0);
            let (mut recalls, mut precisions) = (Vec::new(), Vec::new());
            for &i in &order {
                match outcomes[i] {
                    Outcome::Right => right += 1.0,
                    Outcome::Wrong => wrong += 1.0,
                    Outcome::Ignored => {}
                }
                recalls.push(right / asked as f64);
                precisions.push(right / (wrong + right + f64::EPSILON));
            }
            for i in (1..precisions.len()).rev() {
                if precisions[i] > precisions[i - 1] {
                    precisions[i - 1] = precisions[i];
                }
            }
            let read = |r: usize| {
                let wanted = if r == RECALLS - 1 { 1.0 } else { r as f64 * 0.01 };
                let at = recalls.partition_point(|&recall| recall < wanted);
                precisions.get(at).copied().unwrap_or(0.0)
            };
            curve.precision.push((0..RECALLS).map(read).collect());
            curve.recall.push(recalls.last().copied().unwrap_or(0.0));
        }
        curve
    }
}

/// As `numpy.linspace(0.5, 0.95, 10)` has it, to the last bit.
fn threshold(t: usize) -> f64 {
    match t {
        9 => 0.95,
        _ => 0.5 + t as f64 * ((0.95 - 0.5) / 9.0),
    }
}

/// Higher first; scores were checked to be numbers.
fn falling(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Intersection over union of two boxes `[left, top, width, height]`, or over the detection alone if the truth is a
/// crowd.
pub fn box_overlap(found: [f64; 4], truth: [f64; 4], crowd: bool) -> f64 {
    let side = |axis: usize| {
        (found[axis] + found[axis + 2]).min(truth[axis] + truth[axis + 2])
            - found[axis].max(truth[axis])
    };
    let (w, h) = (side(0), side(1));
    if w <= 0.0 || h <= 0.0 {
        return 0.0;
    }
    let (own, other) = (found[2] * found[3], truth[2] * truth[3]);
    let both = w * h;
    both / if crowd { own } else { own + other - both }
}

/// Intersection over union of two masks, or over the detection alone if the truth is a crowd.
///
/// # Panics
/// If the masks are of different sizes.
pub fn mask_overlap(found: &Rle, truth: &Rle, crowd: bool) -> f64 {
    // Most pairs are far apart, and their boxes say so.
    if box_overlap(found.bounding_box(), truth.bounding_box(), crowd) == 0.0 {
        return 0.0;
    }
    let both = found.intersection(truth);
    let whole = if crowd { found.area() } else { found.area() + truth.area() - both };
    if whole == 0 { 0.0 } else { both as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(bbox: [f64; 4], crowd: bool) -> Truth {
        Truth { category: 0, bbox, area: bbox[2] * bbox[3], crowd, ignored: false, mask: None }
    }

    fn found(bbox: [f64; 4], score: f64) -> Detection {
        Detection { category: 0, score, bbox, mask: None }
    }

    #[test]
    fn one_right_one_wrong_worked_out_by_hand() {
        // Two objects of 10 x 10; one found exactly, one not, a false one with the highest score.
        let image = ImageResult {
            truths: vec![
                truth([0.0, 0.0, 10.0, 10.0], false),
                truth([50.0, 0.0, 10.0, 10.0], false),
            ],
            detections: vec![
                found([0.0, 0.0, 10.0, 10.0], 0.5),
                found([20.0, 20.0, 9.0, 9.0], 0.9),
            ],
        };
        let f = evaluate(&[image], 2, Overlap::Box).unwrap();
        // Precision 1/2 up to recall 0.5: 51 of 101 points.
        let expected = 51.0 * 0.5 / 101.0;
        assert!(
            (f.ap.unwrap() - expected).abs() < 1e-12 && (f.ap50.unwrap() - expected).abs() < 1e-12
        );
        assert_eq!((f.ar100, f.ar1, f.ap_small, f.ap_large), (Some(0.5), Some(0.0), f.ap, None));
        assert_eq!(f.categories, [[f.ap, f.ap50], [None, None]]);
    }

    #[test]
    fn crowds_and_difficult_objects_count_neither_way() {
        let mut hard = truth([0.0, 0.0, 10.0, 10.0], false);
        hard.ignored = true;
        let image = ImageResult {
            truths: vec![
                hard,
                truth([20.0, 0.0, 40.0, 40.0], true),
                truth([80.0, 0.0, 10.0, 10.0], false),
            ],
            detections: vec![
                found([0.0, 0.0, 10.0, 10.0], 0.9),
                found([22.0, 2.0, 5.0, 5.0], 0.8),
                found([30.0, 2.0, 5.0, 5.0], 0.7),
                found([80.0, 0.0, 10.0, 10.0], 0.6),
            ],
        };
        let ap = evaluate(&[image], 1, Overlap::Box).unwrap().ap.unwrap();
        assert!((ap - 1.0).abs() < 1e-12, "{ap}");
    }

    #[test]
    fn bad_requests() {
        let image = |t: Truth| [ImageResult { truths: vec![t], detections: vec![] }];
        let good = truth([0.0, 0.0, 1.0, 1.0], false);
        assert!(evaluate(&image(Truth { category: 1, ..good.clone() }), 1, Overlap::Box).is_err());
        assert!(
            evaluate(&image(Truth { area: f64::NAN, ..good.clone() }), 1, Overlap::Box).is_err()
        );
        let e = evaluate(&image(good), 1, Overlap::Mask).unwrap_err().to_string();
        assert!(e.contains("image 0: masks are compared, and one is missing"), "{e}");
        assert_eq!(evaluate(&[], 1, Overlap::Mask).unwrap().ap, None);
    }
}
