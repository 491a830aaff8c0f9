//! Random resized crop, as ImageNet is trained with (Szegedy et al. 2015): a window of random size and shape, brought
//! to the size of the frame.

use rand_chacha::rand_core::Rng;

/// Widest and tallest shape of a window, width over height and the inverse.
const MOST_RATIO: f64 = 4.0 / 3.0;
/// Shapes tried before the whole frame is taken.
const TRIES: usize = 10;

/// A part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

impl Window {
    /// A window of at least `percent` of the area of a frame of `height` x `width`. Area and logarithm of the ratio
    /// of its sides are uniform.
    pub fn draw(height: usize, width: usize, percent: usize, rng: &mut impl Rng) -> Self {
        let mut uniform = || f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
        let least = percent as f64 / 100.0;
        for _ in 0..TRIES {
            let area = (least + (1.0 - least) * uniform()) * (height * width) as f64;
            let ratio = MOST_RATIO.powf(2.0 * uniform() - 1.0);
            let h = (area / ratio).sqrt().round() as usize;
            let w = (area * ratio).sqrt().round() as usize;
            if (1..=height).contains(&h) && (1..=width).contains(&w) {
                let top = (uniform() * (height - h + 1) as f64) as usize;
                let left = (uniform() * (width - w + 1) as f64) as usize;
                return Self { top, left, height: h, width: w };
            }
        }
        Self { top: 0, left: 0, height, width }
    }

    /// All of a frame.
    pub fn whole(height: usize, width: usize) -> Self {
        Self { top: 0, left: 0, height, width }
    }

    /// The window of every frame of `sample`, `[time, height, width, channels]`, in the size of the frame: linear
    /// interpolation between the middles of pixels.
    pub fn resized(self, sample: &[u8], shape: [usize; 3]) -> Vec<u8> {
        self.resized_to(sample, shape, [shape[0], shape[1]])
    }

    /// The same in another size.
    pub fn resized_to(
        self,
        sample: &[u8],
        [height, width, channels]: [usize; 3],
        size: [usize; 2],
    ) -> Vec<u8> {
        let rows = places(self.top, self.height, size[0]);
        let columns = places(self.left, self.width, size[1]);
        let frames = sample.len() / (height * width * channels).max(1);
        let mut out = Vec::with_capacity(frames * size[0] * size[1] * channels);
        for frame in sample.chunks_exact((height * width * channels).max(1)) {
            for &(y, below, v) in &rows {
                for &(x, right, u) in &columns {
                    for c in 0..channels {
                        let at =
                            |y: usize, x: usize| f32::from(frame[(y * width + x) * channels + c]);
                        let upper = at(y, x) + u * (at(y, right) - at(y, x));
                        let lower = at(below, x) + u * (at(below, right) - at(below, x));
                        out.push((upper + v * (lower - upper)).round() as u8);
                    }
                }
            }
        }
        out
    }

    /// Row and column of the pixel of the window that shows at a place `[x, y]` of the whole frame.
    pub fn nearest(self, [x, y]: [f64; 2], [height, width]: [f64; 2]) -> [usize; 2] {
        let at =
            |place: f64, of: f64, size: usize| ((place / of * size as f64) as usize).min(size - 1);
        [self.top + at(y, height, self.height), self.left + at(x, width, self.width)]
    }
}

/// For each of `n` positions the two of a window from `start` that it lies between, and how near it is to the second.
fn places(start: usize, size: usize, n: usize) -> Vec<(usize, usize, f32)> {
    let last = (size - 1) as f32;
    let place = |i: usize| {
        let at = ((i as f32 + 0.5) * size as f32 / n as f32 - 0.5).clamp(0.0, last);
        let first = at as usize;
        (start + first, start + (first + 1).min(size - 1), at - first as f32)
    };
    (0..n).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    #[test]
    fn values_lie_between_those_of_the_window() {
        // The right half of one row, twice as wide: 10, 20 at a quarter and three quarters.
        let window = Window { top: 0, left: 2, height: 1, width: 2 };
        assert_eq!(window.resized(&[0, 0, 10, 20], [1, 4, 1]), [10, 13, 18, 20]);
        let whole = Window::whole(2, 2);
        let sample = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(whole.resized(&sample, [2, 2, 2]), sample);
        let wide = Window::whole(1, 2).resized_to(&[0, 100, 8, 16], [1, 2, 1], [1, 4]);
        assert_eq!(wide, [0, 25, 75, 100, 8, 10, 14, 16], "two frames");
    }

    #[test]
    fn areas_and_shapes_are_spread() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let drawn: Vec<Window> = (0..4000).map(|_| Window::draw(224, 224, 8, &mut rng)).collect();
        let mean = |value: fn(&Window) -> f64| drawn.iter().map(value).sum::<f64>() / 4000.0;
        let area = mean(|w| (w.height * w.width) as f64 / (224.0 * 224.0));
        // A little below the middle of 8 and 100 %: of the largest only the squarest fit.
        assert!((0.48..0.54).contains(&area), "{area}");
        assert!(mean(|w| (w.width as f64 / w.height as f64).ln()).abs() < 0.02);
        assert!(drawn.iter().any(|w| w.top > 150) && drawn.iter().any(|w| w.left > 150));
    }

    proptest! {
        #[test]
        fn a_window_lies_within(height in 1usize..40, width in 1usize..40, percent in 1usize..=100, seed: u64) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let window = Window::draw(height, width, percent, &mut rng);
            prop_assert!(window.top + window.height <= height && window.left + window.width <= width);
            let out = window.resized(&vec![7; height * width * 2], [height, width, 2]);
            prop_assert!(out.len() == height * width * 2 && out.iter().all(|&v| v == 7));
        }
    }
}
