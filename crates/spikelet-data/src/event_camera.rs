//! An event camera that does not exist: events from a sequence of intensities.
//!
//! Each pixel compares the logarithm of its intensity with a level it remembers, and sends an event, and moves that
//! level, whenever the difference reaches its threshold (Lichtsteiner et al. 2008). Thresholds differ from pixel to
//! pixel, a pixel is blind for a while after an event, and there are events without any cause.

use rand_chacha::ChaCha8Rng;

use crate::events::Event;
use crate::split;
use crate::synthetic::{normal, uniform};

/// What the camera is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CameraConfig {
    /// Change of the logarithm of the intensity that makes an event.
    pub threshold: f32,
    /// Standard deviation of the thresholds of pixels.
    pub mismatch: f32,
    /// Time after an event in which a pixel sends none, in microseconds.
    pub refractory: u64,
    /// Events without cause, per pixel and second.
    pub noise: f32,
    /// Times are multiples of so many microseconds.
    pub resolution: u64,
}

impl Default for CameraConfig {
    fn default() -> Self {
        Self { threshold: 0.25, mismatch: 0.03, refractory: 1000, noise: 0.5, resolution: 1 }
    }
}

/// Least threshold of a pixel: a smaller one would send events without end.
const LEAST_THRESHOLD: f32 = 0.02;
/// Added to intensities: the darkest a pixel sees.
const DARK: f32 = 1e-3;

/// A camera that looks at a scene.
pub struct Camera {
    config: CameraConfig,
    /// Height and width.
    size: [usize; 2],
    rng: ChaCha8Rng,
    t: u64,
    pixels: Vec<Pixel>,
}

struct Pixel {
    /// Logarithm of the intensity now.
    log: f32,
    /// Logarithm that the next change is measured from.
    level: f32,
    /// Thresholds of OFF and ON.
    thresholds: [f32; 2],
    /// No event before this time.
    ready: u64,
}

impl Camera {
    /// A camera of `size` `[height, width]` that sees `intensities` (from 0 to 1) at time `t`.
    pub fn new(
        config: CameraConfig,
        size: [usize; 2],
        seed: u64,
        intensities: &[f32],
        t: u64,
    ) -> Self {
        let mut rng = split::rng(seed, 0x63_61_6d);
        let pixels = intensities
            .iter()
            .map(|&intensity| {
                let log = (intensity + DARK).ln();
                let mut threshold =
                    || (config.threshold + config.mismatch * normal(&mut rng)).max(LEAST_THRESHOLD);
                let thresholds = [threshold(), threshold()];
                // Where between two events a pixel is when it begins to look is up to chance.
                let level = log + (uniform(&mut rng) - 0.5) * config.threshold;
                Pixel { log, level, thresholds, ready: 0 }
            })
            .collect();
        Self { config, size, rng, t, pixels }
    }

    /// Appends the events up to time `t`, when the intensities are `intensities`, in the order of time. In between
    /// their logarithms change linearly.
    pub fn see(&mut self, intensities: &[f32], t: u64, out: &mut Vec<Event>) {
        let first = out.len();
        let (config, from, span) = (self.config, self.t, (t - self.t) as f32);
        let width = self.size[1];
        let rounded = |at: f32| {
            let time = from + (at * span) as u64;
            time / config.resolution * config.resolution
        };
        for (i, (pixel, &intensity)) in self.pixels.iter_mut().zip(intensities).enumerate() {
            let log = (intensity + DARK).ln();
            let change = log - pixel.log;
            let on = change > 0.0;
            let threshold = if on { pixel.thresholds[1] } else { -pixel.thresholds[0] };
            // The level is passed once for every threshold that lies between it and the new value.
            while change != 0.0 && (log - pixel.level - threshold) * threshold.signum() >= 0.0 {
                pixel.level += threshold;
                let t = rounded(((pixel.level - pixel.log) / change).clamp(0.0, 1.0));
                if t >= pixel.ready {
                    pixel.ready = t + config.refractory;
                    out.push(Event { t, x: (i % width) as u16, y: (i / width) as u16, on });
                }
            }
            pixel.log = log;
        }
        let expected = config.noise * self.pixels.len() as f32 * span * 1e-6;
        let n = expected as usize + usize::from(uniform(&mut self.rng) < expected.fract());
        for _ in 0..n {
            let i = (uniform(&mut self.rng) * self.pixels.len() as f32) as usize;
            let (t, on) = (rounded(uniform(&mut self.rng)), uniform(&mut self.rng) < 0.5);
            out.push(Event { t, x: (i % width) as u16, y: (i / width) as u16, on });
        }
        self.t = t;
        out[first..].sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: CameraConfig =
        CameraConfig { threshold: 0.25, mismatch: 0.0, refractory: 0, noise: 0.0, resolution: 1 };

    fn seen(config: CameraConfig, n: usize, from: f32, to: f32) -> Vec<Event> {
        let mut camera = Camera::new(config, [1, n], 5, &vec![from; n], 1000);
        let mut events = Vec::new();
        camera.see(&vec![to; n], 11_000, &mut events);
        events
    }

    #[test]
    fn one_event_per_threshold_of_the_logarithm() {
        for (from, to, on) in [(0.1, 0.8, true), (0.8, 0.1, false)] {
            let events = seen(PLAIN, 100, from, to);
            // ln 8 / 0.25 = 8.3, less the half event that is left over on average.
            let each = events.len() as f32 / 100.0;
            assert!((7.5..8.1).contains(&each), "{each}");
            assert!(events.iter().all(|e| e.on == on && (1000..=11_000).contains(&e.t)));
            assert!(events.is_sorted());
        }
        assert_eq!(seen(PLAIN, 10, 0.5, 0.5), []);
    }

    #[test]
    fn crossings_are_even_in_the_logarithm() {
        let times: Vec<u64> = seen(PLAIN, 1, 0.1, 0.8).iter().map(|e| e.t).collect();
        let gaps: Vec<u64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(gaps.iter().all(|g| g.abs_diff(gaps[0]) <= 2), "{gaps:?}");
    }

    #[test]
    fn a_pixel_rests_after_an_event() {
        let events = seen(CameraConfig { refractory: 3000, ..PLAIN }, 1, 0.01, 1.0);
        assert!(events.windows(2).all(|w| w[1].t - w[0].t >= 3000));
        assert!(events.len() >= 2);
    }

    #[test]
    fn noise_mismatch_and_resolution() {
        let noise = seen(CameraConfig { noise: 10.0, resolution: 50, ..PLAIN }, 10_000, 0.5, 0.5);
        assert!(noise.len().abs_diff(1000) <= 1, "{}", noise.len());
        assert!(noise.iter().all(|e| e.t % 50 == 0) && noise.is_sorted());
        let one = seen(CameraConfig { mismatch: 0.05, ..PLAIN }, 50, 0.1, 0.8);
        assert_ne!(one, seen(PLAIN, 50, 0.1, 0.8));
        assert_eq!(one, seen(CameraConfig { mismatch: 0.05, ..PLAIN }, 50, 0.1, 0.8));
    }
}
