//! Objects of a mask: pixels that touch each other, by side or corner.

/// For every pixel of `[height, width]` the number of its object, from 1, or 0 where `inside` does not hold; and how many
/// objects there are. Objects with fewer than `least` pixels are no objects.
pub fn components(inside: &[bool], width: usize, least: usize) -> (Vec<u32>, u32) {
    let mut labels = vec![0; inside.len()];
    let height = inside.len() / width.max(1);
    let (mut found, mut open, mut members) = (0, Vec::new(), Vec::new());
    for start in 0..inside.len() {
        if !inside[start] || labels[start] != 0 {
            continue;
        }
        let number = found + 1;
        labels[start] = number;
        open.push(start);
        while let Some(at) = open.pop() {
            members.push(at);
            let (y, x) = (at / width, at % width);
            for y in y.saturating_sub(1)..(y + 2).min(height) {
                for x in x.saturating_sub(1)..(x + 2).min(width) {
                    let next = y * width + x;
                    if inside[next] && labels[next] == 0 {
                        labels[next] = number;
                        open.push(next);
                    }
                }
            }
        }
        match members.len() >= least {
            true => found = number,
            // Not 0: its pixels are not to be looked at again.
            false => members.iter().for_each(|&at| labels[at] = u32::MAX),
        }
        members.clear();
    }
    labels.iter_mut().filter(|label| **label == u32::MAX).for_each(|label| *label = 0);
    (labels, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_touch_and_small_ones_are_left_out() {
        let picture = ["##..#", "..#..", ".....", "#...#", "....#"];
        let inside: Vec<bool> =
            picture.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect();
        let (labels, n) = components(&inside, 5, 1);
        assert_eq!(n, 4);
        assert_eq!(labels[..10], [1, 1, 0, 0, 2, 0, 0, 1, 0, 0]);
        let (labels, n) = components(&inside, 5, 2);
        assert_eq!((n, labels[4], labels[15], labels[24]), (2, 0, 0, 2));
        assert_eq!(components(&[], 0, 1), (vec![], 0));
    }
}
