//! Synthetic gestures: limbs that move in eleven ways before an event camera, in the layout of the DVS128 Gesture set.
//!
//! Bright capsules (arms and hands) move over a dim background as the classes of that set are named. Each person has
//! a speed, a reach, a place and a light of their own; persons are either in the training part or in the test part.

use std::f32::consts::{PI, TAU};
use std::path::Path;

use rand_chacha::ChaCha8Rng;

use crate::aedat3;
use crate::error::{DataError, Result};
use crate::event_camera::{Camera, CameraConfig};
use crate::events::Event;
use crate::split;
use crate::synth_folder::SynthFolder;
use crate::synthetic::uniform;

/// How much is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GesturesConfig {
    /// Persons; every fifth is in the test part.
    pub persons: usize,
    /// Recordings of each person, each with all gestures in its own light.
    pub lights: usize,
    /// Microseconds of a gesture.
    pub duration: u64,
    /// Decides everything that is up to chance.
    pub seed: u64,
    /// The camera.
    pub camera: CameraConfig,
}

/// Name of the data set.
pub const NAME: &str = "synthetic-gestures";
const ABOUT: &str = "moving shapes before a simulated event camera (spikelet data synth gestures).";
/// Classes, named after what they imitate.
const CLASSES: [&str; 11] = [
    "synthetic hand clapping",
    "synthetic right hand wave",
    "synthetic left hand wave",
    "synthetic right arm clockwise",
    "synthetic right arm counter clockwise",
    "synthetic left arm clockwise",
    "synthetic left arm counter clockwise",
    "synthetic arm roll",
    "synthetic air drums",
    "synthetic air guitar",
    "synthetic other gestures",
];
const SIDE: usize = 128;
/// Microseconds from one view to the next.
const STEP: u64 = 2500;
/// Microseconds between gestures.
const PAUSE: u64 = 100_000;

/// Writes recordings to the new folder `out`; calls `done` after each. Returns the number of gestures.
///
/// # Errors
/// If `out` exists, or a part would have no persons.
pub fn write(config: &GesturesConfig, out: &Path, mut done: impl FnMut()) -> Result<usize> {
    if config.persons < 5 || config.lights == 0 || config.duration < 2 * STEP {
        return Err(DataError::request(
            "synthetic gestures need 5 persons, 1 light and 5 ms or more",
        ));
    }
    let folder = SynthFolder::create(out, ABOUT)?;
    let mut parts = [String::new(), String::new()];
    for person in 1..=config.persons {
        for light in 1..=config.lights {
            let name = format!("user{person:02}_light{light}");
            let (events, labels) = record(config, person as u64, light as u64);
            folder.put(&format!("{name}.aedat"), &aedat3::encode(&events)?)?;
            folder.put(&format!("{name}_labels.csv"), labels.as_bytes())?;
            parts[usize::from(person % 5 == 0)] += &format!("{name}.aedat\n");
            done();
        }
    }
    folder.put("trials_to_train.txt", parts[0].as_bytes())?;
    folder.put("trials_to_test.txt", parts[1].as_bytes())?;
    let numbered = CLASSES.iter().enumerate().map(|(i, name)| format!("{name},{}\n", i + 1));
    let mapping = format!("action,label\n{}", numbered.collect::<String>());
    folder.put("gesture_mapping.csv", mapping.as_bytes())?;
    folder.finish()?;
    Ok(config.persons * config.lights * CLASSES.len())
}

/// One recording: its events and its label file.
fn record(config: &GesturesConfig, person: u64, light: u64) -> (Vec<Event>, String) {
    let mut rng = split::rng(config.seed, person << 16);
    let body = Body::draw(&mut rng);
    let mut rng = split::rng(config.seed, person << 16 | light);
    let background: Vec<f32> = {
        let (level, slope) = (0.08 + 0.12 * uniform(&mut rng), 0.1 * uniform(&mut rng));
        (0..SIDE * SIDE).map(|i| level + slope * (i / SIDE) as f32 / SIDE as f32).collect()
    };
    let bright = 0.5 + 0.4 * uniform(&mut rng);
    let (mut events, mut labels) = (Vec::new(), "class,startTime_usec,endTime_usec\n".to_owned());
    let mut view = background.clone();
    let camera_seed = config.seed.wrapping_add(person << 16 | light);
    let mut camera = Camera::new(config.camera, [SIDE, SIDE], camera_seed, &view, 0);
    let mut t = PAUSE;
    for class in 0..CLASSES.len() {
        let chance: [f32; 4] = std::array::from_fn(|_| uniform(&mut rng));
        // The limbs appear in the pause, which belongs to no label.
        let (start, end) = (t, t + config.duration);
        while t <= end {
            view.copy_from_slice(&background);
            for limb in body.limbs(class, (t - start) as f32 * 1e-6, chance) {
                limb.draw(&mut view, bright);
            }
            camera.see(&view, t, &mut events);
            t += STEP;
        }
        labels += &format!("{},{},{}\n", class + 1, start + STEP, end);
        camera.see(&background, t, &mut events);
        t += PAUSE;
    }
    (events, labels)
}

/// What a person is like: lengths in pixels, rates in turns a second.
struct Body {
    centre: [f32; 2],
    reach: f32,
    rate: f32,
    width: f32,
}

impl Body {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut around = |middle: f32, range: f32| middle + range * (2.0 * uniform(rng) - 1.0);
        Self {
            centre: [around(64.0, 8.0), around(60.0, 8.0)],
            reach: around(30.0, 6.0),
            rate: around(1.8, 0.5),
            width: around(5.0, 1.2),
        }
    }

    /// Where the limbs are `seconds` into a gesture. The person looks at the camera: their right is left in the view.
    fn limbs(&self, class: usize, seconds: f32, chance: [f32; 4]) -> Vec<Limb> {
        let phase = TAU * (self.rate * (0.85 + 0.3 * chance[0]) * seconds + chance[1]);
        let [cx, cy] = self.centre;
        let reach = self.reach * (0.9 + 0.2 * chance[2]);
        let shoulder = |side: f32| [cx + side * 22.0, cy - 10.0];
        let limb = |from: [f32; 2], to: [f32; 2]| Limb { from, to, width: self.width };
        let hand = |at: [f32; 2]| Limb { from: at, to: at, width: 1.6 * self.width };
        let off = |at: [f32; 2], x: f32, y: f32| [at[0] + x, at[1] + y];
        let (sin, cos) = phase.sin_cos();
        match class {
            0 => {
                let apart = 6.0 + 0.45 * reach * (1.0 + sin);
                vec![hand([cx - apart, cy + 15.0]), hand([cx + apart, cy + 15.0])]
            }
            1 | 2 => {
                let side = if class == 1 { -1.0 } else { 1.0 };
                let elbow = off(shoulder(side), side * 8.0, 8.0);
                let angle = -PI / 2.0 + 0.7 * sin;
                let palm = off(elbow, reach * angle.cos(), reach * angle.sin());
                vec![limb(elbow, palm), hand(palm)]
            }
            3..=6 => {
                let side = if class < 5 { -1.0 } else { 1.0 };
                let turn = if class % 2 == 1 { 1.0 } else { -1.0 };
                let angle = turn * phase;
                let from = shoulder(side);
                let palm = off(from, reach * angle.cos(), reach * angle.sin());
                vec![limb(from, palm), hand(palm)]
            }
            7 => {
                let radius = 0.35 * reach;
                [1.0, -1.0]
                    .map(|way| {
                        let middle =
                            [cx + 0.3 * radius * way * cos, cy + 12.0 + way * radius * sin];
                        limb(off(middle, -0.7 * reach, 0.0), off(middle, 0.7 * reach, 0.0))
                    })
                    .to_vec()
            }
            8 => [1.0, -1.0]
                .map(|side| {
                    let palm = [cx + side * 20.0, cy + 18.0 + 0.5 * reach * side * sin];
                    limb(off(palm, side * 6.0, -14.0), palm)
                })
                .to_vec(),
            9 => {
                let neck = [cx + 30.0, cy - 4.0 + 2.0 * cos];
                let strum = [cx - 14.0 + 3.0 * sin, cy + 18.0 + 0.5 * reach * sin];
                vec![hand(neck), limb([cx - 24.0, cy], strum), hand(strum)]
            }
            _ => {
                let (kx, ky) = (1.0 + (3.0 * chance[2]).floor(), 1.0 + (3.0 * chance[3]).floor());
                let x = cx + reach * (kx * phase * 0.6).sin();
                let y = cy + 5.0 + 0.8 * reach * (ky * phase * 0.6 + 1.0).cos();
                vec![limb([cx, cy + 30.0], [x, y]), hand([x, y])]
            }
        }
    }
}

/// A capsule: all that is nearer than `width` to a line.
#[derive(Clone)]
struct Limb {
    from: [f32; 2],
    to: [f32; 2],
    width: f32,
}

impl Limb {
    fn draw(&self, view: &mut [f32], bright: f32) {
        let along = [self.to[0] - self.from[0], self.to[1] - self.from[1]];
        let length = (along[0] * along[0] + along[1] * along[1]).max(1e-6);
        let range = |axis: usize| {
            let low = self.from[axis].min(self.to[axis]) - self.width - 1.0;
            let high = self.from[axis].max(self.to[axis]) + self.width + 2.0;
            (low.max(0.0) as usize).min(SIDE)..(high.max(0.0) as usize).min(SIDE)
        };
        for y in range(1) {
            for x in range(0) {
                let at = [x as f32 - self.from[0], y as f32 - self.from[1]];
                let part = ((at[0] * along[0] + at[1] * along[1]) / length).clamp(0.0, 1.0);
                let (dx, dy) = (at[0] - part * along[0], at[1] - part * along[1]);
                // The edge is a pixel wide, so that motion is smooth.
                let cover = (self.width + 0.5 - (dx * dx + dy * dy).sqrt()).clamp(0.0, 1.0);
                let value = &mut view[y * SIDE + x];
                *value = value.max(bright * cover);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_frames::EventFramesConfig;
    use crate::{frames_file, gestures};

    fn small() -> GesturesConfig {
        let camera = CameraConfig { noise: 0.1, ..CameraConfig::default() };
        GesturesConfig { persons: 5, lights: 1, duration: 300_000, seed: 1, camera }
    }

    #[test]
    fn the_ordinary_loader_reads_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("made");
        assert_eq!(write(&small(), &out, || ()).unwrap(), 55);
        let trials = gestures::list(&out).unwrap();
        assert_eq!((trials.train, trials.files.len()), (4, 5));
        assert_eq!(
            (&trials.classes[10][..], trials.files[4].person),
            ("synthetic other gestures", 5)
        );
        let file = dir.path().join("frames");
        let config = EventFramesConfig { steps: 4, size: 32, ..Default::default() };
        gestures::frames(&trials, &config, &file).unwrap();
        let frames = frames_file::open(&file).unwrap();
        assert_eq!((frames.official, frames.class_counts()), (Some([44, 0, 11]), vec![5; 11]));
        for i in 0..frames.n {
            let events: u32 = frames.sample(i).iter().map(|&n| u32::from(n)).sum();
            assert!(events > 1000, "sample {i} has {events} events");
        }
        assert!(write(&small(), &out, || ()).unwrap_err().to_string().contains("exists"));
        let few = GesturesConfig { persons: 4, ..small() };
        assert!(write(&few, &dir.path().join("few"), || ()).is_err());
    }

    #[test]
    fn persons_lights_and_seeds_differ_and_repeat() {
        let one = record(&small(), 1, 1);
        assert_eq!(one, record(&small(), 1, 1));
        for (person, light, seed) in [(2, 1, 1), (1, 2, 1), (1, 1, 2)] {
            assert_ne!(one.0, record(&GesturesConfig { seed, ..small() }, person, light).0);
        }
    }

    #[test]
    fn clockwise_and_counter_clockwise_are_mirrored_in_time() {
        let body = Body { centre: [64.0, 60.0], reach: 30.0, rate: 1.0, width: 5.0 };
        let palm = |class, seconds| body.limbs(class, seconds, [0.5, 0.0, 0.5, 0.5])[1].to;
        let (there, back) = (palm(3, 0.2), palm(4, 0.8));
        assert!((there[0] - back[0]).abs() < 1e-2 && (there[1] - back[1]).abs() < 1e-2);
        assert!(palm(3, 0.1)[1] > 50.0, "clockwise in the view: downwards from the right");
    }
}
