//! Random changes of training sequences that keep their class.
//!
//! They change raw values, as a rotation turns gravity with the axes; normalised sequences are turned back into
//! raw ones for it. Each is a function of
//! seed, epoch and sequence only, so the order of batches and the number of threads do not matter.

use std::f32::consts::TAU;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::normalize::Normalization;
use crate::synthetic::{normal, uniform};

/// Strength of each change; 0 turns it off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Noise added to each value: standard deviation, in standard deviations of the channel.
    pub jitter: f32,
    /// Standard deviation of the factor, around 1, that each channel is multiplied by.
    pub scale: f32,
    /// Largest angle, in degrees, of the random rotation of every triple of channels (x, y, z of a sensor). All
    /// sensors of a sequence turn alike, as they sit in one device.
    pub rotation: f32,
    /// Standard deviation of the logarithm of the speed at which a stretch of the sequence is replayed.
    pub time_warp: f32,
}

/// Applies an [`AugmentConfig`] to sequences of one form.
#[derive(Debug, Clone, PartialEq)]
pub struct Augmenter {
    config: AugmentConfig,
    std: Vec<f32>,
    /// What the sequences were normalised with, if they were.
    normalized: Option<Normalization>,
}

/// Points of a sequence between which the replay speed changes linearly.
const WARP_POINTS: usize = 4;

impl Augmenter {
    /// For raw sequences. `std` is the standard deviation of each channel, as fitted on the training part.
    pub fn new(config: AugmentConfig, std: &[f32]) -> Result<Self> {
        let AugmentConfig { jitter, scale, rotation, time_warp } = config;
        for (name, value) in
            [("jitter", jitter), ("scale", scale), ("rotation", rotation), ("time_warp", time_warp)]
        {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(DataError::request(format!(
                    "augmentation `{name}` is {value}; need 0 or more"
                )));
            }
        }
        if rotation > 0.0 && !std.len().is_multiple_of(3) {
            let n = std.len();
            return Err(DataError::request(format!(
                "rotation needs channels in triples x, y, z; there are {n}"
            )));
        }
        Ok(Self { config, std: std.to_vec(), normalized: None })
    }

    /// For sequences that `fitted` has normalised.
    pub fn of_normalized(config: AugmentConfig, fitted: &Normalization) -> Result<Self> {
        let raw = Self::new(config, &fitted.std)?;
        Ok(Self { normalized: Some(fitted.clone()), ..raw })
    }

    /// Changes sequence `x` `[time, channels]` in place. `sample` is its index in the data set.
    ///
    /// # Panics
    /// If `x` is no whole number of time steps.
    pub fn apply(&self, x: &mut [f32], seed: u64, epoch: u64, sample: u64) {
        let channels = self.std.len();
        assert!(channels > 0 && x.len().is_multiple_of(channels), "a sequence is [time, channels]");
        let mut key = [0; 32];
        for (part, number) in key.chunks_exact_mut(8).zip([seed, epoch, sample, 0x61_75_67]) {
            part.copy_from_slice(&number.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        if let Some(fitted) = &self.normalized {
            fitted.undo(x);
        }
        if self.config.time_warp > 0.0 {
            time_warp(x, channels, self.config.time_warp, &mut rng);
        }
        if self.config.rotation > 0.0 {
            let turn = rotation(self.config.rotation.to_radians(), &mut rng);
            for v in x.as_chunks_mut::<3>().0 {
                *v = turn.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
            }
        }
        if self.config.scale > 0.0 {
            let factors: Vec<f32> =
                (0..channels).map(|_| 1.0 + self.config.scale * normal(&mut rng)).collect();
            x.chunks_exact_mut(channels)
                .for_each(|row| row.iter_mut().zip(&factors).for_each(|(v, f)| *v *= f));
        }
        if self.config.jitter > 0.0 {
            for row in x.chunks_exact_mut(channels) {
                row.iter_mut()
                    .zip(&self.std)
                    .for_each(|(v, s)| *v += self.config.jitter * s * normal(&mut rng));
            }
        }
        if let Some(fitted) = &self.normalized {
            fitted.apply(x);
        }
    }
}

/// Rotation by up to `limit` radians about an axis that is uniform on the sphere (Rodrigues).
fn rotation(limit: f32, rng: &mut ChaCha8Rng) -> [[f32; 3]; 3] {
    let (z, around) = (2.0 * uniform(rng) - 1.0, TAU * uniform(rng));
    let flat = (1.0 - z * z).max(0.0).sqrt();
    let axis = [flat * around.cos(), flat * around.sin(), z];
    let (sin, cos) = (limit * (2.0 * uniform(rng) - 1.0)).sin_cos();
    let cross = [[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]];
    std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            let same = if i == j { cos } else { 0.0 };
            same + sin * cross[i][j] + (1.0 - cos) * axis[i] * axis[j]
        })
    })
}

/// Replays the sequence at a smoothly varying speed; start and end stay in place.
fn time_warp(x: &mut [f32], channels: usize, strength: f32, rng: &mut ChaCha8Rng) {
    let time = x.len() / channels;
    if time < 2 {
        return;
    }
    let speeds: [f32; WARP_POINTS] = std::array::from_fn(|_| (strength * normal(rng)).exp());
    let mut position = Vec::with_capacity(time);
    let mut at = 0.0f32;
    for t in 0..time {
        position.push(at);
        let place = t as f32 / (time - 1) as f32 * (WARP_POINTS - 1) as f32;
        let point = (place as usize).min(WARP_POINTS - 2);
        at += speeds[point] + (speeds[point + 1] - speeds[point]) * (place - point as f32);
    }
    let stretch = (time - 1) as f32 / position[time - 1];
    let source = x.to_vec();
    for (row, position) in x.chunks_exact_mut(channels).zip(position) {
        let exact = (position * stretch).min((time - 1) as f32);
        let before = (exact as usize).min(time - 2);
        let part = exact - before as f32;
        for (c, value) in row.iter_mut().enumerate() {
            let (a, b) = (source[before * channels + c], source[(before + 1) * channels + c]);
            *value = a + (b - a) * part;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ramp() -> Vec<f32> {
        (0..40 * 6).map(|i| (i / 6) as f32 + (i % 6) as f32).collect()
    }

    fn changed(config: AugmentConfig, key: [u64; 3]) -> Vec<f32> {
        let mut x = ramp();
        Augmenter::new(config, &[1.0; 6]).unwrap().apply(&mut x, key[0], key[1], key[2]);
        x
    }

    const ALL: AugmentConfig =
        AugmentConfig { jitter: 0.1, scale: 0.1, rotation: 30.0, time_warp: 0.2 };

    #[test]
    fn a_function_of_seed_epoch_and_sample() {
        let one = changed(ALL, [1, 2, 3]);
        assert_eq!(one, changed(ALL, [1, 2, 3]));
        for other in [[0, 2, 3], [1, 3, 3], [1, 2, 4], [2, 1, 3]] {
            assert_ne!(one, changed(ALL, other), "{other:?}");
        }
        assert_eq!(changed(AugmentConfig::default(), [1, 2, 3]), ramp());
    }

    #[test]
    fn normalised_sequences_change_as_raw_ones_do() {
        let fitted = Normalization {
            mean: vec![9.5, 1.0, -3.0, 0.5, 0.0, 2.0],
            std: vec![2.0, 0.5, 4.0, 1.0, 3.0, 0.25],
        };
        let (mut raw, mut normalized) = (ramp(), ramp());
        Augmenter::new(ALL, &fitted.std).unwrap().apply(&mut raw, 1, 2, 3);
        fitted.apply(&mut normalized);
        Augmenter::of_normalized(ALL, &fitted).unwrap().apply(&mut normalized, 1, 2, 3);
        fitted.undo(&mut normalized);
        assert!(raw.iter().zip(&normalized).all(|(a, b)| (a - b).abs() < 1e-3));
    }

    #[test]
    fn bad_strengths() {
        for config in
            [AugmentConfig { jitter: -1.0, ..ALL }, AugmentConfig { scale: f32::NAN, ..ALL }]
        {
            assert!(Augmenter::new(config, &[1.0; 6]).is_err());
        }
        let e = Augmenter::new(ALL, &[1.0; 4]).unwrap_err().to_string();
        assert!(e.contains("triples"), "{e}");
        assert!(Augmenter::new(AugmentConfig { rotation: 0.0, ..ALL }, &[1.0; 4]).is_ok());
    }

    proptest! {
        #[test]
        fn rotation_keeps_lengths_and_angles_between_sensors(seed: u64) {
            let (before, after) = (ramp(), changed(AugmentConfig { rotation: 180.0, ..Default::default() }, [seed, 0, 0]));
            let dot = |v: &[f32], a: usize, b: usize| (0..3).map(|i| v[a + i] * v[b + i]).sum::<f32>();
            for (old, new) in before.chunks_exact(6).zip(after.chunks_exact(6)) {
                for (a, b) in [(0, 0), (3, 3), (0, 3)] {
                    prop_assert!((dot(old, a, b) - dot(new, a, b)).abs() <= 1e-4 * (1.0 + dot(old, a, b).abs()));
                }
            }
        }

        #[test]
        fn warped_time_still_runs_forward_from_start_to_end(seed: u64) {
            let warped = changed(AugmentConfig { time_warp: 0.5, ..Default::default() }, [seed, 0, 0]);
            let first: Vec<f32> = warped.iter().step_by(6).copied().collect();
            prop_assert!(first.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(first[0] == 0.0 && (first[39] - 39.0).abs() < 1e-3);
        }

        #[test]
        fn scale_multiplies_each_channel_by_one_factor(seed: u64) {
            let scaled = changed(AugmentConfig { scale: 0.2, ..Default::default() }, [seed, 0, 0]);
            for c in 0..6 {
                let factor = scaled[6 + c] / ramp()[6 + c];
                for t in 1..40 {
                    prop_assert!((scaled[t * 6 + c] - factor * ramp()[t * 6 + c]).abs() < 1e-3);
                }
            }
        }
    }

    #[test]
    fn jitter_has_the_stated_size() {
        let config = AugmentConfig { jitter: 0.5, ..Default::default() };
        let mut x = vec![0.0; 2 * 10_000];
        Augmenter::new(config, &[1.0, 4.0]).unwrap().apply(&mut x, 0, 0, 0);
        for (c, expected) in [(0, 0.5), (1, 2.0)] {
            let rms = (x.iter().skip(c).step_by(2).map(|v| v * v).sum::<f32>() / 10_000.0).sqrt();
            assert!((rms / expected - 1.0).abs() < 0.05, "{rms} for {expected}");
        }
    }
}
