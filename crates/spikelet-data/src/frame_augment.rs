//! Random changes of training images and event frames that keep their class: the recipes of the papers on
//! convolutional spiking networks.
//!
//! A change is a function of seed, epoch and sample only, and is the same for all time steps of a sample.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::rand_augment::{self, Erasure, ImageChange};
use crate::resized_crop::Window;
use crate::warp::{MOST_PERSPECTIVE, MOST_ROTATION, Warp};

/// Which changes are made; all are off by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FrameAugmentConfig {
    /// Random crop with padding: pixels of zeros around the frame, out of which a window of the old size is cut.
    pub crop: usize,
    /// Mirror left and right in half of the cases.
    pub flip: bool,
    /// Shift by up to so many pixels in both directions; what leaves on one side enters on the other.
    pub roll: usize,
    /// Random resized crop: a window of at least so many per cent of the frame, with sides of 3:4 to 4:3, is brought to
    /// the size of the frame before all other changes; 8 is usual for ImageNet, 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub resized_crop: usize,
    /// RandAugment of this strength, of 10 (images, grey or RGB; `rand-m9-mstd0.5-inc1` is 9), 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub rand_augment: usize,
    /// Random erasing: in so many of a hundred cases a rectangle becomes noise.
    #[serde(skip_serializing_if = "is_zero")]
    pub erase: usize,
    /// Random perspective, in half of the cases: corners move by up to so many per cent of the way to the middle; 50 is
    /// usual, 0: none. Before all changes but the resized crop.
    #[serde(skip_serializing_if = "is_zero")]
    pub perspective: usize,
    /// Rotation by up to so many degrees in both directions, behind the perspective.
    #[serde(skip_serializing_if = "is_zero")]
    pub rotation: usize,
    /// Whether the resized crop takes the nearest pixels instead of interpolating: counts of events stay counts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nearest: bool,
    /// Side of a square at a random place whose values become 0 after normalisation (Cutout, DeVries and Taylor
    /// 2017); at the border a part of it lies outside.
    pub cutout: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Applies a [`FrameAugmentConfig`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameAugmenter {
    config: FrameAugmentConfig,
}

/// What happens to one sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    shape: [usize; 3],
    /// The part that is resized to the whole.
    window: Option<Window>,
    /// What shows where, behind that.
    warp: Option<Warp>,
    /// Row and column of the source that lands on (0, 0).
    from: [i64; 2],
    mirrored: bool,
    wraps: [usize; 2],
    /// Rows and columns of the square of Cutout.
    hole: [std::ops::Range<usize>; 2],
    /// Of RandAugment.
    images: Vec<ImageChange>,
    erasure: Option<Erasure>,
}

impl FrameAugmenter {
    /// Checks the strengths for frames of `shape` `[height, width, channels]`.
    pub fn new(config: FrameAugmentConfig, shape: [usize; 3]) -> Result<Self> {
        let least = shape[0].min(shape[1]);
        for (name, value, most) in [
            ("crop", config.crop, least),
            ("roll", config.roll, least),
            ("cutout", config.cutout, 2 * least),
        ] {
            if value > most {
                return Err(DataError::request(format!(
                    "data.frames.augment.{name} = {value}: frames are {} x {}",
                    shape[0], shape[1]
                )));
            }
        }
        if config.resized_crop > 100 {
            let percent = config.resized_crop;
            return Err(DataError::request(format!(
                "data.frames.augment.resized_crop = {percent}: per cent of the frame, 0 to 100"
            )));
        }
        if config.rand_augment > 10 || config.erase > 100 {
            let FrameAugmentConfig { rand_augment, erase, .. } = config;
            return Err(DataError::request(format!(
                "data.frames.augment.rand_augment = {rand_augment}, erase = {erase}: up to 10 and 100"
            )));
        }
        if config.rand_augment > 0 && ![1, 3].contains(&shape[2]) {
            return Err(DataError::request(format!(
                "data.frames.augment.rand_augment: for grey or RGB images, not for {} channels",
                shape[2]
            )));
        }
        for (name, value, most) in [
            ("perspective", config.perspective, MOST_PERSPECTIVE),
            ("rotation", config.rotation, MOST_ROTATION),
        ] {
            if value > most {
                return Err(DataError::request(format!(
                    "data.frames.augment.{name} = {value}: 0 to {most}"
                )));
            }
        }
        Ok(Self { config })
    }

    pub(crate) fn draw(&self, shape: [usize; 3], seed: u64, epoch: u64, sample: u64) -> Change {
        let mut key = [0; 32];
        for (part, number) in key.chunks_exact_mut(8).zip([seed, epoch, sample, 0x66_72_61_6d]) {
            part.copy_from_slice(&number.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        let FrameAugmentConfig {
            crop,
            flip,
            roll,
            resized_crop,
            perspective,
            rotation,
            nearest,
            rand_augment,
            erase,
            cutout,
        } = self.config;
        // All are drawn always, so that turning one on does not change the others.
        let mut shift = |most: usize| [0, 1].map(|_| below(2 * most + 1, &mut rng) - most as i64);
        let (from, rolled) = (shift(crop), shift(roll));
        let mirrored = below(2, &mut rng) == 1 && flip;
        let hole = [0, 1].map(|axis: usize| {
            let centre = below(shape[axis], &mut rng) as usize;
            let start = centre.saturating_sub(cutout / 2);
            start..(centre + cutout.div_ceil(2)).min(shape[axis]).max(start)
        });
        let wraps = [0, 1].map(|axis: usize| rolled[axis].rem_euclid(shape[axis] as i64) as usize);
        let window =
            (resized_crop > 0).then(|| Window::draw(shape[0], shape[1], resized_crop, &mut rng));
        let images = match rand_augment {
            0 => Vec::new(),
            magnitude => rand_augment::draw(magnitude, &mut rng),
        };
        let erasure = (erase > 0).then(|| Erasure::draw(erase, shape, &mut rng)).flatten();
        let near = window.filter(|_| nearest);
        let warped = near.is_some() || perspective > 0 || rotation > 0;
        let size = [shape[0], shape[1]];
        let warp = warped.then(|| Warp::draw(size, [perspective, rotation], near, &mut rng));
        let window = window.filter(|_| !nearest);
        Change { shape, window, warp, from, mirrored, wraps, hole, images, erasure }
    }
}

impl Change {
    /// Writes the changed sample `[time, height, width, channels]` over `out`.
    pub(crate) fn apply(&self, sample: &[u8], out: &mut Vec<u8>) {
        let [height, width, channels] = self.shape;
        let resized = self.window.map(|window| window.resized(sample, self.shape));
        let sample = resized.as_deref().unwrap_or(sample);
        let warped = self.warp.as_ref().map(|warp| warp.apply(sample, channels));
        let sample = warped.as_deref().unwrap_or(sample);
        out.clear();
        out.resize(sample.len(), 0);
        let frame = height * width * channels;
        for (source, target) in sample.chunks_exact(frame).zip(out.chunks_exact_mut(frame)) {
            for (y, row) in target.chunks_exact_mut(width * channels).enumerate() {
                let rolled = (y + height - self.wraps[0]) % height;
                let Some(from_y) = inside(rolled, self.from[0], height) else { continue };
                let from_row = &source[from_y * width * channels..][..width * channels];
                for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                    let rolled = (x + width - self.wraps[1]) % width;
                    let rolled = if self.mirrored { width - 1 - rolled } else { rolled };
                    if let Some(from_x) = inside(rolled, self.from[1], width) {
                        pixel.copy_from_slice(&from_row[from_x * channels..][..channels]);
                    }
                }
            }
            for change in &self.images {
                let changed = change.apply(target, self.shape);
                target.copy_from_slice(&changed);
            }
        }
    }

    /// Sets the square of Cutout to 0, and the rectangle of random erasing to noise, in one frame of a batch, `[height, width, channels]`.
    pub(crate) fn cut_out(&self, frame: &mut [f32]) {
        let [_, width, channels] = self.shape;
        let [rows, columns] = &self.hole;
        for y in rows.clone() {
            frame[(y * width + columns.start) * channels..(y * width + columns.end) * channels]
                .fill(0.0);
        }
        if let Some(erasure) = &self.erasure {
            erasure.apply(frame, self.shape);
        }
    }
}

fn inside(at: usize, from: i64, size: usize) -> Option<usize> {
    usize::try_from(at as i64 + from).ok().filter(|&at| at < size)
}

/// A number in `0..n`, by the high half of a product; the bias is below n / 2^32.
fn below(n: usize, rng: &mut impl Rng) -> i64 {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Frames;
    use proptest::prelude::*;

    const SHAPE: [usize; 3] = [6, 5, 2];

    fn frames() -> Frames {
        let mut frames = Frames::empty(SHAPE, 2, vec!["a".into()], 1.0);
        // Both time steps alike, no value 0.
        let frame: Vec<u8> = (1..=60).collect();
        frames.push(&[frame.clone(), frame].concat(), 0, 0);
        frames
    }

    fn changed(config: FrameAugmentConfig, key: [u64; 2]) -> Vec<f32> {
        let (augmenter, mut out) = (FrameAugmenter::new(config, SHAPE).unwrap(), Vec::new());
        frames().train_batch(&[0], &augmenter, key[0], key[1], &mut out);
        out
    }

    #[test]
    fn no_change_is_the_batch() {
        let mut plain = Vec::new();
        frames().batch(&[0], &mut plain);
        assert_eq!(changed(FrameAugmentConfig::default(), [3, 4]), plain);
    }

    #[test]
    fn all_epochs_differ_and_seeds_repeat() {
        let all = FrameAugmentConfig {
            crop: 2,
            flip: true,
            roll: 3,
            resized_crop: 20,
            perspective: 50,
            rotation: 25,
            nearest: true,
            cutout: 2,
            erase: 50,
            ..Default::default()
        };
        let draws: Vec<_> = (0..20).map(|epoch| changed(all, [1, epoch])).collect();
        assert_eq!(draws[7], changed(all, [1, 7]));
        let distinct = (0..20).filter(|&i| !draws[..i].contains(&draws[i])).count();
        assert!(distinct >= 19, "{distinct}");
    }

    #[test]
    fn half_are_mirrored() {
        let flip = FrameAugmentConfig { flip: true, ..Default::default() };
        let plain = changed(FrameAugmentConfig::default(), [0, 0]);
        let n = (0..1000).filter(|&epoch| changed(flip, [0, epoch]) != plain).count();
        assert!((430..570).contains(&n), "{n}");
        let mirrored = (0..).map(|e| changed(flip, [0, e])).find(|m| *m != plain).unwrap();
        for (row, old) in mirrored.chunks_exact(10).zip(plain.chunks_exact(10)) {
            assert!(row.chunks_exact(2).eq(old.chunks_exact(2).rev()));
        }
    }

    #[test]
    fn strengths_are_checked() {
        let said = |config| FrameAugmenter::new(config, SHAPE).unwrap_err().to_string();
        assert!(said(FrameAugmentConfig { crop: 6, ..Default::default() }).contains("crop = 6"));
        let percent = FrameAugmentConfig { resized_crop: 101, ..Default::default() };
        assert!(said(percent).contains("resized_crop = 101"));
        let random = FrameAugmentConfig { rand_augment: 9, ..Default::default() };
        assert!(said(random).contains("not for 2 channels"));
        assert!(FrameAugmenter::new(random, [6, 5, 3]).is_ok());
        assert!(
            said(FrameAugmentConfig { erase: 101, ..Default::default() }).contains("erase = 101")
        );
        assert!(said(FrameAugmentConfig { cutout: 99, ..Default::default() }).contains("cutout"));
        let far = FrameAugmentConfig { perspective: 61, ..Default::default() };
        assert!(said(far).contains("perspective = 61: 0 to 60"));
        let far = FrameAugmentConfig { rotation: 181, ..Default::default() };
        assert!(said(far).contains("rotation = 181"));
    }

    proptest! {
        #[test]
        fn both_time_steps_change_alike(seed: u64) {
            let all = FrameAugmentConfig {
                crop: 2, flip: true, roll: 2, resized_crop: 8, perspective: 60, rotation: 90, nearest: seed % 2 == 0,
                cutout: 3, ..Default::default()
            };
            let out = changed(all, [seed, 0]);
            prop_assert_eq!(&out[..60], &out[60..]);
        }

        #[test]
        fn rolling_keeps_every_value(seed: u64) {
            let mut out = changed(FrameAugmentConfig { roll: 4, ..Default::default() }, [seed, 0]);
            out.truncate(60);
            out.sort_by(f32::total_cmp);
            prop_assert!(out.iter().enumerate().all(|(i, v)| *v == i as f32 + 1.0));
        }

        #[test]
        fn a_crop_is_a_shift_with_zeros(seed: u64) {
            let out = changed(FrameAugmentConfig { crop: 2, ..Default::default() }, [seed, 0]);
            let plain = changed(FrameAugmentConfig::default(), [0, 0]);
            let found = (-2i64..=2).flat_map(|dy| (-2i64..=2).map(move |dx| [dy, dx])).any(|[dy, dx]| {
                (0..60).all(|i| {
                    let (y, x, c) = (i / 10 + dy, i / 2 % 5 + dx, i % 2);
                    let inside = (0..6).contains(&y) && (0..5).contains(&x);
                    out[i as usize] == if inside { plain[(y * 10 + x * 2 + c) as usize] } else { 0.0 }
                })
            });
            prop_assert!(found);
        }

        #[test]
        fn cutout_is_one_square(seed: u64) {
            let out = changed(FrameAugmentConfig { cutout: 3, ..Default::default() }, [seed, 0]);
            let zeros: Vec<usize> = (0..30).filter(|i| out[2 * i] == 0.0).collect();
            let (rows, columns): (Vec<_>, Vec<_>) = zeros.iter().map(|i| (i / 5, i % 5)).unzip();
            let side = |v: &[usize]| v.iter().max().unwrap() - v.iter().min().unwrap() + 1;
            let (h, w) = (side(&rows), side(&columns));
            prop_assert!((2..=3).contains(&h) && (2..=3).contains(&w) && zeros.len() == h * w);
        }
    }
}
