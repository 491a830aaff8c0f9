//! Non-maximum suppression.

use super::boxes::{Rect, area, iou};

/// Which boxes stay, best first: of two of one kind that overlap by more than `overlap`, only the
/// one with the higher score does (the first of equal ones). Scores are numbers.
pub fn nms(boxes: &[Rect], scores: &[f32], kinds: &[usize], overlap: f32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let areas: Vec<f32> = boxes.iter().map(|rect| area(*rect)).collect();
    let mut kept: Vec<usize> = Vec::new();
    for candidate in order {
        let beaten = kept.iter().any(|&better| {
            // The smaller area is the most that two boxes can share.
            let (small, large) = match areas[better] < areas[candidate] {
                true => (areas[better], areas[candidate]),
                false => (areas[candidate], areas[better]),
            };
            kinds[better] == kinds[candidate]
                && small >= overlap * large
                && iou(boxes[better], boxes[candidate]) > overlap
        });
        if !beaten {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_of_two_stays() {
        let boxes = [[0.0, 0.0, 4.0, 4.0], [1.0, 0.0, 5.0, 4.0], [9.0, 9.0, 12.0, 12.0]];
        assert_eq!(nms(&boxes, &[0.5, 0.7, 0.1], &[0; 3], 0.5), [1, 2]);
        assert_eq!(nms(&boxes, &[0.5, 0.7, 0.1], &[0; 3], 0.6), [1, 0, 2]);
        assert_eq!(nms(&boxes, &[0.5, 0.7, 0.1], &[0, 1, 0], 0.5), [1, 0, 2]);
        assert_eq!(nms(&boxes[..2], &[0.5; 2], &[0; 2], 0.5), [0]);
    }
}
