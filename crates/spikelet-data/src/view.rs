//! A picture seen through a frame of fixed size: scaled, shifted, mirrored. What lies outside of the picture is grey.

use crate::picture::Picture;

/// What is outside: the mean of photographs, so that a normalised image is about zero there.
const GREY: [u8; 3] = [124, 116, 104];
/// Most samples along a side that a pixel is the mean of.
const MOST_SAMPLES: usize = 8;

/// Where a picture lies in its frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Pixels of the frame for a pixel of the picture.
    pub scale: f32,
    /// Where the left and the top side of the picture lie, in pixels of the frame before it is mirrored.
    pub shift: [f32; 2],
    /// Whether left and right, top and bottom of the frame change places.
    pub mirror: [bool; 2],
    /// Height and width of the frame.
    pub frame: [usize; 2],
}

impl View {
    /// The whole picture, as large as it goes, from the upper left corner.
    pub fn whole(height: usize, width: usize, frame: [usize; 2]) -> Self {
        let along = |frame: usize, size: usize| frame as f32 / size.max(1) as f32;
        let scale = along(frame[0], height).min(along(frame[1], width));
        Self { scale, shift: [0.0; 2], mirror: [false; 2], frame }
    }

    /// The frame, `[height, width, 3]`: every pixel the mean of bilinear samples, so many that none of the picture's
    /// pixels is passed over.
    pub fn of(&self, picture: &Picture) -> Vec<u8> {
        let [height, width] = self.frame;
        let samples = (1.0 / self.scale).ceil().clamp(1.0, MOST_SAMPLES as f32) as usize;
        let rows = self.places(1, height, picture.height, samples);
        let columns = self.places(0, width, picture.width, samples);
        let share = 1.0 / (samples * samples) as f32;
        let mut out = Vec::with_capacity(height * width * 3);
        for row in rows.chunks_exact(samples) {
            for column in columns.chunks_exact(samples) {
                let mut sum = [0.0; 3];
                for row in row {
                    for column in column {
                        let (Some((y, below, v)), Some((x, right, u))) = (row, column) else {
                            sum.iter_mut()
                                .zip(GREY)
                                .for_each(|(sum, grey)| *sum += f32::from(grey));
                            continue;
                        };
                        let at =
                            |y: usize, x: usize| &picture.rgb[(y * picture.width + x) * 3..][..3];
                        let corners =
                            [at(*y, *x), at(*y, *right), at(*below, *x), at(*below, *right)];
                        for (c, sum) in sum.iter_mut().enumerate() {
                            let [a, b, d, e] = corners.map(|corner| f32::from(corner[c]));
                            let (upper, lower) = (a + u * (b - a), d + u * (e - d));
                            *sum += upper + v * (lower - upper);
                        }
                    }
                }
                out.extend(sum.map(|sum| (sum * share).round() as u8));
            }
        }
        out
    }

    /// For each sample along an axis the two pixels that it lies between, and how near it is to the second; `None`
    /// outside of the picture.
    fn places(
        &self,
        axis: usize,
        n: usize,
        size: usize,
        samples: usize,
    ) -> Vec<Option<(usize, usize, f32)>> {
        let last = size.saturating_sub(1);
        let place = |i: usize| {
            let at = (i as f32 + 0.5) / samples as f32;
            let at = if self.mirror[axis] { n as f32 - at } else { at };
            let at = (at - self.shift[axis]) / self.scale;
            if !(0.0..=size as f32).contains(&at) {
                return None;
            }
            let at = (at - 0.5).clamp(0.0, last as f32);
            let first = at as usize;
            Some((first, (first + 1).min(last), at - first as f32))
        };
        (0..n * samples).map(place).collect()
    }

    /// Where a box of the picture (left, top, right, bottom) lies in the frame, also outside of it.
    pub fn place(&self, rect: [f32; 4]) -> [f32; 4] {
        self.mirrored(std::array::from_fn(|i| rect[i] * self.scale + self.shift[i % 2]))
    }

    /// Where a box of the frame lies in the picture.
    pub fn back(&self, rect: [f32; 4]) -> [f32; 4] {
        let rect = self.mirrored(rect);
        std::array::from_fn(|i| (rect[i] - self.shift[i % 2]) / self.scale)
    }

    fn mirrored(&self, mut rect: [f32; 4]) -> [f32; 4] {
        for axis in 0..2 {
            if self.mirror[axis] {
                let size = self.frame[1 - axis] as f32;
                (rect[axis], rect[axis + 2]) = (size - rect[axis + 2], size - rect[axis]);
            }
        }
        rect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let rgb = (0..24).flat_map(|i| [10 * (i % 6), 10 * (i / 6), 7]).collect();
        Picture { width: 6, height: 4, rgb }
    }

    #[test]
    fn pixels_are_where_boxes_say() {
        let plain = View::whole(4, 6, [4, 6]);
        assert_eq!(plain.of(&picture()), picture().rgb);
        let mirrored = View { mirror: [true, false], ..plain };
        assert_eq!(mirrored.of(&picture())[..3], [50, 0, 7]);
        assert_eq!(mirrored.place([4.0, 1.0, 6.0, 2.0]), [0.0, 1.0, 2.0, 2.0]);
        let upside_down = View { mirror: [false, true], shift: [2.0, 0.0], ..plain };
        let seen = upside_down.of(&picture());
        assert_eq!((&seen[..3], &seen[6..9]), (&GREY[..], &[0, 30, 7][..]));
        assert_eq!(upside_down.place([0.0, 0.0, 1.0, 1.0]), [2.0, 3.0, 3.0, 4.0]);
    }

    #[test]
    fn a_smaller_frame_has_means() {
        let half = View::whole(4, 6, [2, 4]);
        assert_eq!(half.scale, 0.5);
        let seen = half.of(&picture());
        assert_eq!(seen[..6], [5, 5, 7, 25, 5, 7]);
        assert_eq!(seen[9..12], GREY);
    }

    #[test]
    fn what_is_placed_comes_back() {
        let view = View { scale: 0.3, shift: [5.0, -7.0], mirror: [true, true], frame: [64, 96] };
        let rect = [10.0, 20.0, 90.0, 30.0];
        let back = view.back(view.place(rect));
        assert!(back.iter().zip(rect).all(|(a, b)| (a - b).abs() < 1e-3), "{back:?}");
    }
}
