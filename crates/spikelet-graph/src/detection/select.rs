//! From outputs to boxes: the best of every level, decoded, without overlaps.

use super::{
    Coder, Detection, Keep, Regions,
    boxes::{Rect, area, clip},
    nms::nms,
};

/// An object, as a detector sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Place of its class among the classes.
    pub class: usize,
    /// From 0 to 1.
    pub score: f32,
    /// Where it is.
    pub rect: Rect,
}

/// A candidate of the first stage.
struct Candidate {
    score: f32,
    kind: usize,
    rect: Rect,
}

/// Regions that may hold an object, best first, from the outputs of every level: rows, columns,
/// scores (one an anchor), deltas. Overlaps are looked at within a level.
pub fn proposals(
    detection: &Detection,
    levels: &[([usize; 2], &[f32], &[f32])],
    image: [usize; 2],
) -> Vec<Rect> {
    let candidates = candidates(detection, levels, image, 1, |level, _| level);
    chosen(&candidates, detection.keep).into_iter().map(|i| candidates[i].rect).collect()
}

/// Decisions of a detector of a single stage, best first, from the outputs of every level: rows,
/// columns, scores (of every anchor and class), deltas.
pub fn decisions(
    detection: &Detection,
    levels: &[([usize; 2], &[f32], &[f32])],
    classes: usize,
    image: [usize; 2],
) -> Vec<Found> {
    let candidates = candidates(detection, levels, image, classes, |_, class| class);
    found(candidates, detection.keep)
}

/// Decisions of the second stage: of every region the logits of its classes, the background last,
/// and the deltas of every class.
pub fn of_regions(
    regions: &Regions,
    rects: &[Rect],
    logits: &[f32],
    deltas: &[f32],
    image: [usize; 2],
) -> Vec<Found> {
    let outputs = logits.len().checked_div(rects.len()).unwrap_or(1).max(1);
    let classes = outputs - 1;
    let mut candidates = Vec::new();
    for ((rect, logits), deltas) in
        rects.iter().zip(logits.chunks_exact(outputs)).zip(deltas.chunks_exact(4 * classes.max(1)))
    {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        for class in 0..classes {
            let score = (logits[class] - largest).exp() / sum;
            if score > regions.keep.score {
                let rect = decoded(&regions.coder, *rect, &deltas[4 * class..], image);
                candidates.push(Candidate { score, kind: class, rect });
            }
        }
    }
    found(candidates, regions.keep)
}

fn candidates(
    detection: &Detection,
    levels: &[([usize; 2], &[f32], &[f32])],
    image: [usize; 2],
    classes: usize,
    kind: fn(usize, usize) -> usize,
) -> Vec<Candidate> {
    let Keep { score: least, per_level, .. } = detection.keep;
    // Logits are compared before any exponential is taken.
    let least = (least / (1.0 - least)).ln();
    let mut candidates = Vec::new();
    for (level, (size, scores, deltas)) in levels.iter().enumerate() {
        let anchors = detection.anchors.of_level(level, *size);
        let mut best: Vec<usize> = (0..scores.len().min(anchors.len() * classes))
            .filter(|&i| scores[i] > least && scores[i].is_finite())
            .collect();
        best.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        best.truncate(per_level);
        candidates.extend(best.into_iter().map(|i| {
            let (anchor, class) = (i / classes, i % classes);
            let rect = decoded(&detection.coder, anchors[anchor], &deltas[4 * anchor..], image);
            let score = 1.0 / (1.0 + (-scores[i]).exp());
            Candidate { score, kind: kind(level, class), rect }
        }));
    }
    candidates.retain(|candidate| area(candidate.rect) > 0.0);
    candidates
}

fn decoded(coder: &Coder, from: Rect, deltas: &[f32], image: [usize; 2]) -> Rect {
    clip(coder.decode(from, [deltas[0], deltas[1], deltas[2], deltas[3]]), image)
}

fn chosen(candidates: &[Candidate], keep: Keep) -> Vec<usize> {
    let boxes: Vec<Rect> = candidates.iter().map(|c| c.rect).collect();
    let scores: Vec<f32> = candidates.iter().map(|c| c.score).collect();
    let kinds: Vec<usize> = candidates.iter().map(|c| c.kind).collect();
    let mut chosen = nms(&boxes, &scores, &kinds, keep.overlap);
    chosen.truncate(keep.most);
    chosen
}

fn found(mut candidates: Vec<Candidate>, keep: Keep) -> Vec<Found> {
    candidates.retain(|candidate| area(candidate.rect) > 0.0);
    let chosen = chosen(&candidates, keep);
    let found = |i: usize| {
        let Candidate { score, kind, rect } = candidates[i];
        Found { class: kind, score, rect }
    };
    chosen.into_iter().map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Anchors;
    use super::*;

    fn detection() -> Detection {
        Detection {
            anchors: Anchors { strides: vec![8], scales: vec![2.0], ratios: vec![1.0] },
            coder: Coder::PLAIN,
            keep: Keep { score: 0.05, per_level: 100, overlap: 0.5, most: 10 },
            regions: None,
        }
    }

    #[test]
    fn one_anchor_one_object() {
        let (mut scores, mut deltas) = (vec![-9.0; 12], vec![0.0; 24]);
        (scores[9], scores[8]) = (2.0, -1.0);
        deltas[4 * 4] = 0.25;
        let found = decisions(&detection(), &[([2, 3], &scores, &deltas)], 2, [16, 24]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].class, found[0].rect), (1, [4.0, 0.0, 20.0, 16.0]));
        assert!((found[0].score - 0.880_797).abs() < 1e-5);
        assert_eq!((found[1].class, found[1].rect), (0, [4.0, 0.0, 20.0, 16.0]));
        let regions = proposals(&detection(), &[([2, 6], &scores, &[0.0; 48])], [16, 48]);
        assert_eq!(regions[0], [16.0, 0.0, 32.0, 16.0]);
    }

    #[test]
    fn hostile_outputs_are_no_boxes() {
        let (scores, deltas) = (vec![f32::NAN; 12], vec![f32::NAN; 24]);
        assert!(decisions(&detection(), &[([2, 3], &scores, &deltas)], 2, [16, 24]).is_empty());
        let scores = vec![3.0; 6];
        assert!(decisions(&detection(), &[([2, 3], &scores, &deltas)], 1, [16, 24]).is_empty());
        assert!(decisions(&detection(), &[([2, 3], &[], &[])], 1, [16, 24]).is_empty());
    }

    #[test]
    fn the_background_is_no_object() {
        let keep = Keep { score: 0.3, per_level: 1, overlap: 0.5, most: 10 };
        let regions = Regions {
            strides: vec![4],
            finest: 56.0,
            side: 7,
            mask_side: None,
            coder: Coder::REGIONS,
            keep,
        };
        let rects = [[0.0, 0.0, 8.0, 8.0], [8.0, 8.0, 16.0, 16.0]];
        let logits = [0.0, 0.0, 9.0, 0.0, 3.0, 0.0];
        let found = of_regions(&regions, &rects, &logits, &[0.0; 16], [16, 16]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].class, found[0].rect), (1, rects[1]));
        assert!(of_regions(&regions, &[], &[], &[], [16, 16]).is_empty());
    }
}
