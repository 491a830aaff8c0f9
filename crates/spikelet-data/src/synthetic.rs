//! Made-up sequences that can be learnt, for tests and CI without any file.

use std::f32::consts::TAU;

use rand_chacha::rand_core::Rng;

use crate::sequences::Sequences;
use crate::split;

/// Form of the sequences.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticConfig {
    /// Number of sequences, divided evenly among classes.
    pub n: usize,
    /// Time steps of each.
    pub time: usize,
    /// Channels.
    pub channels: usize,
    /// Classes.
    pub classes: usize,
    /// Groups ("subjects"); each has sequences of every class if `n` is large enough, and its own amplitude.
    pub groups: usize,
    /// Standard deviation of the noise; the waves have amplitude 1.
    pub noise: f32,
    /// Seed.
    pub seed: u64,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { n: 240, time: 40, channels: 6, classes: 4, groups: 8, noise: 0.3, seed: 0 }
    }
}

/// Sequences of sine waves. Class `k` has `k + 1` periods a sequence and its own phase shift from channel to
/// channel; the starting phase is random, so no single time step tells the class.
pub fn generate(config: &SyntheticConfig) -> Sequences {
    let SyntheticConfig { n, time, channels, classes, groups, noise, seed } = *config;
    let names = |what: &str, n: usize| (0..n).map(|i| format!("{what}{i}")).collect::<Vec<_>>();
    let mut out = Sequences::empty(time, names("c", channels), names("class", classes), 50.0);
    let mut rng = split::rng(seed, 0);
    let mut x = vec![0.0; time * channels];
    for i in 0..n {
        let (class, group) = (i % classes.max(1), i / classes.max(1) % groups.max(1));
        let start = uniform(&mut rng);
        let amplitude = 0.8 + 0.4 * group as f32 / groups.max(1) as f32;
        for (t, row) in x.chunks_exact_mut(channels.max(1)).enumerate() {
            for (c, value) in row.iter_mut().enumerate() {
                let periods = (class + 1) as f32 * t as f32 / time as f32;
                let shift = (c * (class + 1)) as f32 / (2 * channels) as f32;
                *value =
                    amplitude * (TAU * (start + periods + shift)).sin() + noise * normal(&mut rng);
            }
        }
        out.push(&x, class as u32, group as u32);
    }
    out
}

/// A number in [0, 1) with 24 random bits.
pub(crate) fn uniform(rng: &mut impl Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 24) as f32
}

/// A number of the standard normal distribution (Box and Muller).
pub(crate) fn normal(rng: &mut impl Rng) -> f32 {
    // 1 - u is never 0, so the logarithm is finite.
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    radius * (TAU * uniform(rng)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deterministic_balanced_and_valid() {
        let config = SyntheticConfig::default();
        let data = generate(&config);
        data.validate().unwrap();
        assert_eq!(data.class_counts(), [60; 4]);
        assert_eq!(data.groups().len(), 8);
        assert_eq!(data, generate(&config));
        assert_ne!(data.x, generate(&SyntheticConfig { seed: 1, ..config }).x);
    }

    #[test]
    fn classes_differ_in_frequency() {
        let data = generate(&SyntheticConfig { noise: 0.0, ..SyntheticConfig::default() });
        for i in 0..data.n {
            let first: Vec<f32> = data.sample(i).iter().step_by(data.channels).copied().collect();
            let crossings = first.windows(2).filter(|w| (w[0] < 0.0) != (w[1] < 0.0)).count();
            let expected = 2 * (data.y[i] as usize + 1);
            assert!(
                crossings.abs_diff(expected) <= 1,
                "{crossings} crossings in class {}",
                data.y[i]
            );
        }
    }

    #[test]
    fn normal_has_mean_0_and_variance_1() {
        let mut rng = split::rng(3, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| f64::from(normal(&mut rng))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}
