//! RandAugment (Cubuk et al. 2020) in the form in which it is usual for ImageNet, `rand-m9-mstd0.5-inc1` of timm: two of
//! fifteen changes, each made in half of the cases, with a strength around 9 of 10; stronger is always further away
//! from the image.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::split;

/// Changes that are drawn for an image.
const DRAWN: usize = 2;
/// Deviation of the strength.
const SPREAD: f32 = 0.5;
/// The largest strength.
const MOST: f32 = 10.0;
/// What lies outside: the mean of photographs.
const FILL: [u8; 3] = [124, 116, 104];

/// One change of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ImageChange {
    AutoContrast,
    Equalize,
    Invert,
    /// By an affine map from places of the new image to places of the old one, both from the middle, in halves of its
    /// sides; degrees are taken for square images.
    Move([[f32; 3]; 2]),
    /// So many of the highest bits are kept.
    Posterize(u32),
    /// Values from here on are inverted.
    Solarize(u16),
    /// Added to values below 128.
    SolarizeAdd(u8),
    /// Away from grey, or towards it: factor of the difference.
    Colour(f32),
    /// The same from the mean of the grey image.
    Contrast(f32),
    /// The same from black.
    Brightness(f32),
    /// The same from the smoothed image.
    Sharpness(f32),
}

/// The changes of one image.
pub(crate) fn draw(magnitude: usize, rng: &mut ChaCha8Rng) -> Vec<ImageChange> {
    let mut changes = Vec::new();
    for _ in 0..DRAWN {
        // All are drawn always, so that what follows does not depend on chance.
        let kind = (u64::from(rng.next_u32()) * 15) >> 32;
        let strength = ((magnitude as f32 + SPREAD * normal(rng)) / MOST).clamp(0.0, 1.0);
        let sign = if rng.next_u32() & 1 == 0 { 1.0 } else { -1.0 };
        let made = rng.next_u32() & 1 == 0;
        if made {
            changes.push(change(kind, strength, sign));
        }
    }
    changes
}

/// A change of strength 0 to 1.
fn change(kind: u64, strength: f32, sign: f32) -> ImageChange {
    let factor = (1.0 + sign * 0.9 * strength).max(0.1);
    let same = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
    let moved = |row: usize, column: usize, by: f32| {
        let mut map = same;
        map[row][column] += sign * by;
        ImageChange::Move(map)
    };
    match kind {
        0 => ImageChange::AutoContrast,
        1 => ImageChange::Equalize,
        2 => ImageChange::Invert,
        3 => {
            let (sin, cos) = (sign * strength * 30.0).to_radians().sin_cos();
            ImageChange::Move([[cos, sin, 0.0], [-sin, cos, 0.0]])
        }
        4 => ImageChange::Posterize(4 - (4.0 * strength) as u32),
        5 => ImageChange::Solarize(256 - (256.0 * strength) as u16),
        6 => ImageChange::SolarizeAdd((110.0 * strength) as u8),
        7 => ImageChange::Colour(factor),
        8 => ImageChange::Contrast(factor),
        9 => ImageChange::Brightness(factor),
        10 => ImageChange::Sharpness(factor),
        11 => moved(0, 1, 0.3 * strength),
        12 => moved(1, 0, 0.3 * strength),
        // A shift by 0.45 of a side is one by 0.9 of its half.
        13 => moved(0, 2, 0.9 * strength),
        _ => moved(1, 2, 0.9 * strength),
    }
}

/// A normal number by the sum of twelve uniform ones.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let uniform = |rng: &mut ChaCha8Rng| rng.next_u32() as f32 / u32::MAX as f32;
    (0..12).map(|_| uniform(rng)).sum::<f32>() - 6.0
}

impl ImageChange {
    /// The changed image `[height, width, channels]`, grey or RGB.
    pub fn apply(&self, image: &[u8], [height, width, channels]: [usize; 3]) -> Vec<u8> {
        let shape = [height, width, channels];
        match *self {
            Self::AutoContrast => by_channel(image, channels, stretched),
            Self::Equalize => by_channel(image, channels, equalized),
            Self::Invert => image.iter().map(|v| 255 - v).collect(),
            Self::Move(map) => moved(image, shape, map),
            Self::Posterize(bits) => {
                let mask = if bits == 0 { 0 } else { u8::MAX << (8 - bits) };
                image.iter().map(|v| v & mask).collect()
            }
            Self::Solarize(from) => {
                image.iter().map(|&v| if u16::from(v) < from { v } else { 255 - v }).collect()
            }
            Self::SolarizeAdd(add) => {
                image.iter().map(|&v| if v < 128 { v.saturating_add(add) } else { v }).collect()
            }
            Self::Colour(factor) => {
                let greys = image
                    .chunks_exact(channels)
                    .flat_map(|p| std::iter::repeat_n(grey(p), channels));
                away(image, greys, factor)
            }
            Self::Contrast(factor) => {
                let pixels = image.len() / channels;
                let sum: f32 = image.chunks_exact(channels).map(grey).sum();
                let mean = (sum / pixels.max(1) as f32).round();
                away(image, std::iter::repeat(mean), factor)
            }
            Self::Brightness(factor) => away(image, std::iter::repeat(0.0), factor),
            Self::Sharpness(factor) => {
                let smooth = smoothed(image, shape);
                away(image, smooth.into_iter().map(f32::from), factor)
            }
        }
    }
}

/// `other + factor (value - other)`.
fn away(image: &[u8], other: impl Iterator<Item = f32>, factor: f32) -> Vec<u8> {
    let mixed = image.iter().zip(other).map(|(&v, other)| other + factor * (f32::from(v) - other));
    mixed.map(|v| v.round().clamp(0.0, 255.0) as u8).collect()
}

fn grey(pixel: &[u8]) -> f32 {
    match *pixel {
        [r, g, b] => 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b),
        [v] => f32::from(v),
        _ => 0.0,
    }
}

/// Every channel through a table made of its histogram.
fn by_channel(image: &[u8], channels: usize, table: fn(&[u32; 256]) -> [u8; 256]) -> Vec<u8> {
    let mut tables = Vec::new();
    for c in 0..channels {
        let mut counts = [0; 256];
        image.iter().skip(c).step_by(channels).for_each(|&v| counts[usize::from(v)] += 1);
        tables.push(table(&counts));
    }
    image.iter().enumerate().map(|(i, &v)| tables[i % channels][usize::from(v)]).collect()
}

/// The smallest value becomes 0, the largest 255.
fn stretched(counts: &[u32; 256]) -> [u8; 256] {
    let used = |v: &usize| counts[*v] > 0;
    let (low, high) = ((0..256).find(used).unwrap_or(0), (0..256).rfind(used).unwrap_or(0));
    std::array::from_fn(|v| match high > low {
        true => (255 * v.saturating_sub(low) / (high - low)).min(255) as u8,
        false => v as u8,
    })
}

/// All values as often as each other, as far as can be.
fn equalized(counts: &[u32; 256]) -> [u8; 256] {
    let last = counts.iter().rev().find(|n| **n > 0).copied().unwrap_or(0);
    let step = (counts.iter().sum::<u32>() - last) / 255;
    if step == 0 {
        return std::array::from_fn(|v| v as u8);
    }
    let mut below = step / 2;
    std::array::from_fn(|v| {
        let value = (below / step).min(255) as u8;
        below += counts[v];
        value
    })
}

/// Each pixel mixed with its neighbours, itself five times as strong as each; the border stays.
fn smoothed(image: &[u8], [height, width, channels]: [usize; 3]) -> Vec<u8> {
    let mut out = image.to_vec();
    let at = |y: usize, x: usize, c: usize| u32::from(image[(y * width + x) * channels + c]);
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            for c in 0..channels {
                let around: u32 = (y - 1..=y + 1)
                    .flat_map(|y| (x - 1..=x + 1).map(move |x| (y, x)))
                    .map(|(y, x)| at(y, x, c))
                    .sum();
                out[(y * width + x) * channels + c] = ((around + 4 * at(y, x, c) + 6) / 13) as u8;
            }
        }
    }
    out
}

fn moved(image: &[u8], [height, width, channels]: [usize; 3], map: [[f32; 3]; 2]) -> Vec<u8> {
    let mut out = Vec::with_capacity(image.len());
    let half = [width as f32 / 2.0, height as f32 / 2.0];
    let last = [width as f32 - 1.0, height as f32 - 1.0];
    for y in 0..height {
        for x in 0..width {
            let from = [(x as f32 + 0.5) / half[0] - 1.0, (y as f32 + 0.5) / half[1] - 1.0];
            let to = [0, 1].map(|axis: usize| {
                let [a, b, shift] = map[axis];
                (a * from[0] + b * from[1] + shift + 1.0) * half[axis] - 0.5
            });
            if (0..2).any(|axis| to[axis] < -0.5 || to[axis] > last[axis] + 0.5) {
                out.extend_from_slice(&FILL[..channels]);
                continue;
            }
            let at = [0, 1].map(|axis: usize| to[axis].clamp(0.0, last[axis]));
            let (left, top) = (at[0] as usize, at[1] as usize);
            let (right, below) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
            let (u, v) = (at[0] - left as f32, at[1] - top as f32);
            for c in 0..channels {
                let value = |y: usize, x: usize| f32::from(image[(y * width + x) * channels + c]);
                let upper = value(top, left) + u * (value(top, right) - value(top, left));
                let lower = value(below, left) + u * (value(below, right) - value(below, left));
                out.push((upper + v * (lower - upper)).round() as u8);
            }
        }
    }
    out
}

/// Random erasing (Zhong et al. 2017) of a rectangle, in the form `pixel`: normal noise in the place of normalised
/// values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Erasure {
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
    noise: u64,
}

/// Area of the rectangle, as a share of the image.
const AREA: [f64; 2] = [0.02, 1.0 / 3.0];
/// Height over width, at least; at most one over that.
const RATIO: f64 = 0.3;
/// Shapes that are tried before nothing is erased.
const TRIES: usize = 10;

impl Erasure {
    /// In so many of a hundred cases a rectangle.
    pub fn draw(
        percent: usize,
        [height, width, _]: [usize; 3],
        rng: &mut ChaCha8Rng,
    ) -> Option<Self> {
        let noise = rng.next_u64();
        let uniform =
            |rng: &mut ChaCha8Rng| f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
        if uniform(rng) * 100.0 >= percent as f64 {
            return None;
        }
        for _ in 0..TRIES {
            let area = (AREA[0] + (AREA[1] - AREA[0]) * uniform(rng)) * (height * width) as f64;
            let ratio = RATIO.powf(2.0 * uniform(rng) - 1.0);
            let (h, w) =
                ((area * ratio).sqrt().round() as usize, (area / ratio).sqrt().round() as usize);
            if h > 0 && w > 0 && h < height && w < width {
                let top = (uniform(rng) * (height - h + 1) as f64) as usize;
                let left = (uniform(rng) * (width - w + 1) as f64) as usize;
                return Some(Self { rows: top..top + h, columns: left..left + w, noise });
            }
        }
        None
    }

    /// Writes over the rectangle in a normalised frame `[height, width, channels]`.
    pub fn apply(&self, frame: &mut [f32], [_, width, channels]: [usize; 3]) {
        let mut noise = split::rng(self.noise, 0);
        for y in self.rows.clone() {
            let range = (y * width + self.columns.start) * channels
                ..(y * width + self.columns.end) * channels;
            frame[range].iter_mut().for_each(|v| *v = normal(&mut noise));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::rng;

    /// Large enough that equalising has whole steps.
    const SHAPE: [usize; 3] = [24, 32, 3];

    fn image() -> Vec<u8> {
        (0..2304u32).map(|i| (i * i % 251) as u8).collect()
    }

    #[test]
    fn every_change_keeps_the_size_and_strength_0_the_image() {
        for kind in 0..15 {
            let strong = change(kind, 0.9, -1.0).apply(&image(), SHAPE);
            assert_eq!(strong.len(), 2304, "{kind}");
            assert_ne!(strong, image(), "{kind}");
            let none = change(kind, 0.0, 1.0).apply(&image(), SHAPE);
            // Three of them have no strength, and posterizing keeps four bits at least.
            assert_eq!(none == image(), !matches!(kind, 0..=2 | 4), "{kind}");
            let grey = change(kind, 0.9, 1.0).apply(&image()[..768], [24, 32, 1]);
            assert_eq!(grey.len(), 768);
        }
    }

    #[test]
    fn changes_worked_out_by_hand() {
        let of = |change: ImageChange| change.apply(&[10, 200, 30, 60], [2, 2, 1]);
        assert_eq!(of(ImageChange::Invert), [245, 55, 225, 195]);
        assert_eq!(of(ImageChange::AutoContrast), [0, 255, 26, 67]);
        assert_eq!(of(ImageChange::Posterize(2)), [0, 192, 0, 0]);
        assert_eq!(of(ImageChange::Solarize(60)), [10, 55, 30, 195]);
        assert_eq!(of(ImageChange::SolarizeAdd(99)), [109, 200, 129, 159]);
        assert_eq!(of(ImageChange::Brightness(0.5)), [5, 100, 15, 30]);
        assert_eq!(of(ImageChange::Contrast(0.5)), [43, 138, 53, 68]);
        assert_eq!(of(ImageChange::Colour(0.1)), [10, 200, 30, 60], "grey has no colours");
        // By half the width to the left.
        let left = ImageChange::Move([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]);
        assert_eq!(of(left), [200, FILL[0], 60, FILL[0]]);
        let even: Vec<u8> = (0..=255).rev().collect();
        assert_eq!(ImageChange::Equalize.apply(&even, [16, 16, 1]), even);
    }

    #[test]
    fn one_of_two_is_made_and_seeds_repeat() {
        let drawn: Vec<_> = (0..1000).map(|seed| draw(9, &mut rng(seed, 0))).collect();
        let made: usize = drawn.iter().map(Vec::len).sum();
        assert!((930..1070).contains(&made), "{made}");
        assert_eq!(drawn[7], draw(9, &mut rng(7, 0)));
        let turned = drawn.iter().flatten().filter(|c| matches!(c, ImageChange::Move(_))).count();
        assert!((280..390).contains(&turned), "a third: {turned}");
    }

    #[test]
    fn a_quarter_loses_a_rectangle() {
        let mut erased = 0;
        for seed in 0..1000 {
            let Some(erasure) = Erasure::draw(25, [20, 30, 1], &mut rng(seed, 0)) else { continue };
            let mut frame = vec![9.0; 600];
            erasure.apply(&mut frame, [20, 30, 1]);
            let noise: Vec<f32> = frame.into_iter().filter(|v| *v != 9.0).collect();
            assert_eq!(noise.len(), erasure.rows.len() * erasure.columns.len());
            assert!((8..=215).contains(&noise.len()), "{}", noise.len());
            erased += 1;
        }
        assert!((200..300).contains(&erased), "{erased}");
        assert_eq!(Erasure::draw(0, [20, 30, 1], &mut rng(1, 0)), None);
    }
}
