//! From the mask of a region to pixels.

use super::boxes::Rect;

/// Where a pixel of a mask of this side lies among the values of the output `masks`: the four pixels
/// of a square of 2 x 2 one after the other.
pub fn pixel_place(side: usize, row: usize, column: usize) -> usize {
    (row / 2) * 2 * side + (column / 2) * 4 + (row % 2) * 2 + column % 2
}

/// The mask of a class, row by row, from the output `masks` `[side / 2, side / 2, 4 * classes]`.
pub fn mask_of(output: &[f32], classes: usize, class: usize) -> Vec<f32> {
    let side = (output.len() / classes.max(1)).isqrt();
    let value =
        |pixel: usize| output[pixel_place(side, pixel / side, pixel % side) * classes + class];
    (0..side * side).map(value).collect()
}

/// The pixels of an image of `[height, width]` that a mask `[side, side]` of logits covers, spread
/// over a box: bilinear between the middles of its positions, true where the probability is 0.5 or
/// more. As `[height * width]`, row by row.
pub fn paste(mask: &[f32], side: usize, rect: Rect, [height, width]: [usize; 2]) -> Vec<bool> {
    let mut pixels = vec![false; height * width];
    let [left, top, right, bottom] = rect;
    if !(right > left && bottom > top) || mask.len() < side * side || side == 0 {
        return pixels;
    }
    let within = |from: f32, to: f32, most: usize| {
        (from.floor().max(0.0) as usize).min(most)..(to.ceil().max(0.0) as usize).min(most)
    };
    let probability: Vec<f32> = mask.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
    // Outside of the mask there is nothing.
    let at = |row: i64, column: i64| match (usize::try_from(row), usize::try_from(column)) {
        (Ok(row), Ok(column)) if row < side && column < side => probability[row * side + column],
        _ => 0.0,
    };
    for y in within(top, bottom, height) {
        let v = (y as f32 + 0.5 - top) / (bottom - top) * side as f32 - 0.5;
        for x in within(left, right, width) {
            let u = (x as f32 + 0.5 - left) / (right - left) * side as f32 - 0.5;
            let (row, column) = (v.floor(), u.floor());
            let (dv, du) = (v - row, u - column);
            let (row, column) = (row as i64, column as i64);
            let upper = at(row, column) * (1.0 - du) + at(row, column + 1) * du;
            let lower = at(row + 1, column) * (1.0 - du) + at(row + 1, column + 1) * du;
            pixels[y * width + x] = upper * (1.0 - dv) + lower * dv >= 0.5;
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_pixels_lie_side_by_side() {
        let places: Vec<usize> = (0..16).map(|p| pixel_place(4, p / 4, p % 4)).collect();
        assert_eq!(places, [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
        let output: Vec<f32> = (0..32).map(|v| v as f32).collect();
        assert_eq!(mask_of(&output, 2, 1)[..4], [1.0, 3.0, 9.0, 11.0]);
    }

    #[test]
    fn a_mask_fills_its_box() {
        let mask = [9.0, 9.0, -9.0, -9.0];
        let pixels = paste(&mask, 2, [2.0, 1.0, 6.0, 5.0], [6, 8]);
        let rows: Vec<usize> =
            pixels.chunks_exact(8).map(|row| row.iter().filter(|p| **p).count()).collect();
        assert_eq!(rows, [0, 4, 4, 0, 0, 0], "{pixels:?}");
        assert!(paste(&mask, 2, [2.0, 1.0, 2.0, 5.0], [6, 8]).iter().all(|p| !p));
        assert!(paste(&[], 2, [2.0, 1.0, 6.0, 5.0], [6, 8]).iter().all(|p| !p));
    }
}
