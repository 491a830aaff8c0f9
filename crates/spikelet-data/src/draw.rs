//! Boxes and masks painted on pictures.

use crate::picture::Picture;

/// A colour for each of many things, well apart for the first of them: hues a golden angle apart.
pub fn colour(thing: usize) -> [u8; 3] {
    let hue = (thing as f32 * 137.508) % 360.0 / 60.0;
    let channel = |shift: f32| {
        let k = (shift + hue) % 6.0;
        (255.0 * (1.0 - k.min(4.0 - k).clamp(0.0, 1.0))) as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

impl Picture {
    /// The sides of a box (left, top, right, bottom), so many pixels wide, as far as they lie within the picture.
    pub fn frame(&mut self, rect: [f32; 4], width: usize, colour: [u8; 3]) {
        let along = |value: f32, size: usize| (value.round().max(0.0) as usize).min(size);
        let [left, right] = [rect[0], rect[2]].map(|x| along(x, self.width));
        let [top, bottom] = [rect[1], rect[3]].map(|y| along(y, self.height));
        for y in top..bottom {
            for x in left..right {
                let edge = (x - left).min(right - 1 - x).min(y - top).min(bottom - 1 - y);
                if edge < width {
                    let at = (y * self.width + x) * 3;
                    self.rgb[at..at + 3].copy_from_slice(&colour);
                }
            }
        }
    }

    /// Mixes a colour half and half into the pixels set, `[height * width]`.
    pub fn tint(&mut self, pixels: &[bool], colour: [u8; 3]) {
        for (rgb, _) in self.rgb.chunks_exact_mut(3).zip(pixels).filter(|(_, set)| **set) {
            for (value, colour) in rgb.iter_mut().zip(colour) {
                *value = ((u16::from(*value) + u16::from(colour)) / 2) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_and_inside() {
        let mut picture = Picture { width: 6, height: 5, rgb: vec![0; 90] };
        picture.frame([1.0, 1.0, 99.0, 4.2], 1, [9; 3]);
        let row = |y: usize| -> Vec<u8> { (0..6).map(|x| picture.rgb[(y * 6 + x) * 3]).collect() };
        assert_eq!(
            [row(0), row(1), row(2), row(4)],
            [vec![0; 6], vec![0, 9, 9, 9, 9, 9], vec![0, 9, 0, 0, 0, 9], vec![0; 6]]
        );
        picture.frame([f32::NAN, -5.0, -1.0, 3.0], 2, [7; 3]);
        picture.tint(&[true], [100, 50, 0]);
        assert_eq!(picture.rgb[..3], [50, 25, 0]);
    }

    #[test]
    fn colours_differ() {
        let all: Vec<_> = (0..12).map(colour).collect();
        assert_eq!(all[0], [255, 0, 0]);
        for (at, one) in all.iter().enumerate() {
            assert!(
                all[..at]
                    .iter()
                    .all(|other| one.iter().zip(other).any(|(a, b)| a.abs_diff(*b) > 20))
            );
        }
    }
}
