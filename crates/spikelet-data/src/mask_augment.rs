//! Random changes of images with masks, as segmenting networks are trained with: size, crop, mirror, colours. The mask
//! follows the image.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::colour::Colours;
use crate::error::{DataError, Result};
use crate::mask_folders::NO_CLASS;

/// Values of a pixel: red, green, blue, class.
const VALUES: usize = 4;
/// What lies outside: the mean of photographs.
const GREY: [u8; 3] = [124, 116, 104];

/// Which changes are made; all are off by default.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskAugmentConfig {
    /// Least and largest scale; of a larger image a random part is seen, around a smaller one there is nothing.
    pub scale: [f32; 2],
    /// Mirror left and right in half of the cases.
    pub flip: bool,
    /// Mirror top and bottom in half of the cases: for images without an up.
    pub flip_vertical: bool,
    /// Brightness by up to 32 of 255, contrast and saturation by 0.5 to 1.5, hue by up to 18 degrees, each in half of
    /// the cases.
    pub photometric: bool,
}

impl Default for MaskAugmentConfig {
    fn default() -> Self {
        Self { scale: [1.0; 2], flip: false, flip_vertical: false, photometric: false }
    }
}

impl MaskAugmentConfig {
    /// Checks the strengths.
    pub fn check(&self) -> Result<()> {
        let [least, most] = self.scale;
        match (0.1..=10.0).contains(&least) && (least..=10.0).contains(&most) {
            true => Ok(()),
            false => Err(DataError::request(format!(
                "data.masks.augment.scale = [{least}, {most}]: least and largest scale, 0.1 to 10"
            ))),
        }
    }

    /// The change of one sample in one epoch.
    pub(crate) fn draw(&self, seed: u64, epoch: u64, sample: u64) -> MaskChange {
        let mut key = [0; 32];
        for (part, number) in key.chunks_exact_mut(8).zip([seed, epoch, sample, 0x6d_61_73_6b]) {
            part.copy_from_slice(&number.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        let mut uniform = || (f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)) as f32;
        let [least, most] = self.scale;
        let scale = least + (most - least) * uniform();
        let place = [uniform(), uniform()];
        let mirrored = [uniform() < 0.5 && self.flip_vertical, uniform() < 0.5 && self.flip];
        let mut half = |value: f32, same: f32| if uniform() < 0.5 { value } else { same };
        let chosen =
            [half(1.0, 0.0), half(1.0, 0.0), half(1.0, 0.0), half(1.0, 0.0)].map(|c| c > 0.0);
        let drawn = [uniform(), uniform(), uniform(), uniform()].map(|u| 2.0 * u - 1.0);
        let same = Colours::SAME;
        let colours = match self.photometric {
            false => same,
            true => Colours {
                brightness: if chosen[0] { 32.0 * drawn[0] } else { same.brightness },
                contrast: if chosen[1] { 1.0 + 0.5 * drawn[1] } else { same.contrast },
                saturation: if chosen[2] { 1.0 + 0.5 * drawn[2] } else { same.saturation },
                hue: if chosen[3] { 18.0 * drawn[3] } else { same.hue },
            },
        };
        MaskChange { scale, place, mirrored, colours }
    }
}

/// What happens to one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MaskChange {
    scale: f32,
    /// Where the part lies, 0 to 1.
    place: [f32; 2],
    /// Top and bottom, left and right.
    mirrored: [bool; 2],
    colours: Colours,
}

impl MaskChange {
    /// The changed sample, `[size, size, 4]`: colours between the middles of pixels, classes of the nearest.
    pub fn apply(&self, sample: &[u8], size: usize) -> Vec<u8> {
        let [rows, columns] = [0, 1].map(|axis| self.places(axis, size));
        let mut out = Vec::with_capacity(sample.len());
        for row in &rows {
            for column in &columns {
                let (Some(y), Some(x)) = (row, column) else {
                    out.extend([GREY[0], GREY[1], GREY[2], NO_CLASS]);
                    continue;
                };
                let at = |y: usize, x: usize| &sample[(y * size + x) * VALUES..][..VALUES];
                let corners = [
                    at(y.first, x.first),
                    at(y.first, x.second),
                    at(y.second, x.first),
                    at(y.second, x.second),
                ];
                let mut rgb = [0; 3];
                for (c, value) in rgb.iter_mut().enumerate() {
                    let [a, b, d, e] = corners.map(|corner| f32::from(corner[c]));
                    let (upper, lower) = (a + x.weight * (b - a), d + x.weight * (e - d));
                    *value = (upper + y.weight * (lower - upper)).round() as u8;
                }
                let rgb = self.colours.of(rgb);
                let nearest = at(y.nearest, x.nearest)[VALUES - 1];
                out.extend([rgb[0], rgb[1], rgb[2], nearest]);
            }
        }
        out
    }

    /// What each position along an axis shows; `None` outside of the image.
    fn places(&self, axis: usize, size: usize) -> Vec<Option<Place>> {
        let n = size as f32;
        // From 0 to what a larger image has more, or centred: a smaller one may lie anywhere too.
        let start = self.place[axis] * (n * self.scale - n);
        let last = size - 1;
        let place = |i: usize| {
            let i = if self.mirrored[axis] { last - i } else { i };
            let at = (i as f32 + 0.5 + start) / self.scale;
            if !(0.0..n).contains(&at) {
                return None;
            }
            let nearest = (at as usize).min(last);
            let at = (at - 0.5).clamp(0.0, last as f32);
            let first = at as usize;
            Some(Place { first, second: (first + 1).min(last), weight: at - first as f32, nearest })
        };
        (0..size).map(place).collect()
    }
}

struct Place {
    first: usize,
    second: usize,
    weight: f32,
    nearest: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: usize = 6;

    /// Red is the column, green the row, blue 0, the class that of the left or right half.
    fn sample() -> Vec<u8> {
        (0..SIZE * SIZE)
            .flat_map(|i| [10 * (i % SIZE) as u8, 10 * (i / SIZE) as u8, 0, (i % SIZE / 3) as u8])
            .collect()
    }

    #[test]
    fn no_change_is_the_sample() {
        let change = MaskAugmentConfig::default().draw(1, 2, 3);
        assert_eq!(change.apply(&sample(), SIZE), sample());
    }

    #[test]
    fn seeds_repeat_and_epochs_differ() {
        let all = MaskAugmentConfig {
            scale: [0.5, 2.0],
            flip: true,
            flip_vertical: true,
            photometric: true,
        };
        let drawn: Vec<_> =
            (0..20).map(|epoch| all.draw(1, epoch, 0).apply(&sample(), SIZE)).collect();
        assert_eq!(drawn[7], all.draw(1, 7, 0).apply(&sample(), SIZE));
        assert!((1..20).all(|i| drawn[i] != drawn[i - 1]));
    }

    #[test]
    fn strengths_are_checked() {
        for scale in [[0.0, 1.0], [2.0, 1.0], [1.0, f32::NAN], [1.0, 11.0]] {
            assert!(
                MaskAugmentConfig { scale, ..Default::default() }.check().is_err(),
                "{scale:?}"
            );
        }
    }

    proptest! {
        /// The class stays that of the colour beside it.
        #[test]
        fn the_mask_follows_the_image(seed: u64) {
            let change = MaskAugmentConfig {
                scale: [0.5, 2.0], flip: true, flip_vertical: true, photometric: false,
            };
            for pixel in change.draw(seed, 0, 0).apply(&sample(), SIZE).chunks_exact(4) {
                match pixel[3] {
                    NO_CLASS => prop_assert_eq!(&pixel[..3], &GREY),
                    0 => prop_assert!(pixel[0] <= 25, "{:?}", pixel),
                    _ => prop_assert!(pixel[0] >= 25, "{:?}", pixel),
                }
            }
        }

        #[test]
        fn mirrors_keep_every_pixel(seed: u64) {
            let change = MaskAugmentConfig { flip: true, flip_vertical: true, ..Default::default() };
            let out = change.draw(seed, 0, 0).apply(&sample(), SIZE);
            let sorted = |bytes: &[u8]| {
                let mut pixels: Vec<[u8; 4]> = bytes.chunks_exact(4).map(|p| [p[0], p[1], p[2], p[3]]).collect();
                pixels.sort_unstable();
                pixels
            };
            prop_assert_eq!(sorted(&out), sorted(&sample()));
        }
    }
}
