//! Synthetic saccades: handwritten digits before an event camera that moves, as N-MNIST was recorded.
//!
//! The camera makes three saccades along the sides of a triangle, about 100 ms each (Orchard et al. 2015). Everything
//! is written as N-MNIST is, `{Train,Test}/<digit>/<number>.bin`.

use std::fs;
use std::path::Path;

use crate::error::{DataError, Result};
use crate::event_camera::{Camera, CameraConfig};
use crate::events::Event;
use crate::synth_folder::SynthFolder;
use crate::synthetic::uniform;
use crate::{idx, nmnist, split};

/// How much is made, and from what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SaccadesConfig {
    /// Images of the training part that are used, from the first.
    pub train: usize,
    /// Images of the test part that are used.
    pub test: usize,
    /// Decides noise and the shape of each triangle.
    pub seed: u64,
    /// The camera.
    pub camera: CameraConfig,
}

/// Name of the data set.
pub const NAME: &str = "synthetic-saccades";
const ABOUT: &str = "MNIST digits before a simulated event camera (spikelet data synth saccades).";
/// Microseconds of a saccade.
const SACCADE: u64 = 100_000;
/// Microseconds from one view to the next.
const STEP: u64 = 1000;
/// Intensity of paper.
const PAPER: f32 = 0.1;

/// Writes recordings of the digits in `mnist` to the new folder `out`; calls `done` after each. Returns how many.
///
/// # Errors
/// If `out` exists, or holds fewer images than are asked for.
pub fn write(
    mnist: &Path,
    config: &SaccadesConfig,
    out: &Path,
    mut done: impl FnMut(),
) -> Result<usize> {
    let folder = SynthFolder::create(out, ABOUT)?;
    let parts = [(idx::Part::Train, "Train", config.train), (idx::Part::Test, "Test", config.test)];
    for (stream, (part, name, wanted)) in parts.into_iter().enumerate() {
        let set = idx::load(mnist, part)?;
        if set.labels.len() < wanted {
            let have = set.labels.len();
            return Err(DataError::file(
                mnist,
                format!("{have} {name} images; {wanted} are wanted"),
            ));
        }
        for digit in 0..idx::CLASSES {
            let path = folder.working().join(name).join(digit.to_string());
            fs::create_dir_all(&path).map_err(|e| DataError::io(&path, e))?;
        }
        let pixels = set.height * set.width;
        for (i, image) in set.pixels.chunks_exact(pixels.max(1)).take(wanted).enumerate() {
            let seed = config.seed.wrapping_add(((stream as u64) << 32) + i as u64);
            let events = record(image, [set.height, set.width], seed, config.camera);
            let file = format!("{name}/{}/{:05}.bin", set.labels[i], i + 1);
            folder.put(&file, &nmnist::encode(&events)?)?;
            done();
        }
    }
    folder.finish()?;
    Ok(config.train + config.test)
}

/// The recording of one image `[height, width]`, 0 to 255.
pub fn record(image: &[u8], size: [usize; 2], seed: u64, camera: CameraConfig) -> Vec<Event> {
    let mut rng = split::rng(seed, 1);
    // Corners of the triangle, in pixels; each recording has its own.
    let corners: [[f32; 2]; 4] = [[0.0, 0.0], [3.5, 1.75], [3.5, -1.75], [0.0, 0.0]]
        .map(|corner| corner.map(|v| v + 0.5 * (uniform(&mut rng) - 0.5)));
    let mut events = Vec::new();
    let mut view = vec![0.0; nmnist::SIZE[0] * nmnist::SIZE[1]];
    let shift = [corners[0][0] - 1.75, corners[0][1]];
    render(image, size, shift, &mut view);
    let mut camera = Camera::new(camera, nmnist::SIZE, seed, &view, 0);
    for t in (STEP..=3 * SACCADE).step_by(STEP as usize) {
        let saccade = ((t - 1) / SACCADE) as usize;
        let part = (t - saccade as u64 * SACCADE) as f32 / SACCADE as f32;
        let [from, to] = [corners[saccade], corners[saccade + 1]];
        let at = |axis: usize| from[axis] + (to[axis] - from[axis]) * part;
        render(image, size, [at(0) - 1.75, at(1)], &mut view);
        camera.see(&view, t, &mut events);
    }
    events
}

/// What the camera sees of the image in the middle of its field when that is moved by `shift` pixels (right, down).
fn render(image: &[u8], [height, width]: [usize; 2], shift: [f32; 2], view: &mut [f32]) {
    let [rows, columns] = nmnist::SIZE;
    let pixel = |x: i64, y: i64| match (usize::try_from(x), usize::try_from(y)) {
        (Ok(x), Ok(y)) if x < width && y < height => f32::from(image[y * width + x]) / 255.0,
        _ => 0.0,
    };
    let left = shift[0] + (columns as f32 - width as f32) / 2.0;
    let top = shift[1] + (rows as f32 - height as f32) / 2.0;
    for (i, value) in view.iter_mut().enumerate() {
        let (x, y) = ((i % columns) as f32 - left, (i / columns) as f32 - top);
        let (x0, y0) = (x.floor(), y.floor());
        let (dx, dy) = (x - x0, y - y0);
        let (x0, y0) = (x0 as i64, y0 as i64);
        let above = pixel(x0, y0) + (pixel(x0 + 1, y0) - pixel(x0, y0)) * dx;
        let below = pixel(x0, y0 + 1) + (pixel(x0 + 1, y0 + 1) - pixel(x0, y0 + 1)) * dx;
        *value = PAPER + (1.0 - PAPER) * (above + (below - above) * dy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_frames::EventFramesConfig;
    use crate::events::{Event, open, read_all};
    use crate::{class_folders, event_sets, events, frames_file};

    /// A square of 8 x 8 on 28 x 28.
    fn square() -> Vec<u8> {
        let inside = |i: usize| (10..18).contains(&(i % 28)) && (10..18).contains(&(i / 28));
        (0..784).map(|i| if inside(i) { 255 } else { 0 }).collect()
    }

    #[test]
    fn edges_make_events_and_noise_few() {
        let still = CameraConfig { noise: 0.0, ..CameraConfig::default() };
        let events = record(&square(), [28, 28], 3, still);
        // Sides and corners of a square that moves by a few pixels: nothing far from them.
        let near = |e: &Event| (6..28).contains(&e.x) && (8..26).contains(&e.y);
        assert!(events.len() > 800 && events.iter().all(near), "{}", events.len());
        let on = events.iter().filter(|e| e.on).count() as f32 / events.len() as f32;
        assert!((0.4..0.6).contains(&on), "{on}");
        for saccade in 0..3 {
            let during = |e: &&Event| e.t / SACCADE == saccade;
            assert!(events.iter().filter(during).count() > 200);
        }
        let noisy = record(&square(), [28, 28], 3, CameraConfig::default());
        assert!(noisy.len() > events.len() && noisy.len() < events.len() + 400);
        assert_eq!(noisy, record(&square(), [28, 28], 3, CameraConfig::default()));
        assert_ne!(noisy, record(&square(), [28, 28], 4, CameraConfig::default()));
    }

    #[test]
    fn the_ordinary_loader_reads_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for part in ["train", "t10k"] {
            let put = |name: &str, bytes: Vec<u8>| {
                fs::write(dir.path().join(format!("{part}-{name}")), bytes).unwrap();
            };
            let images =
                [vec![0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28], square()].concat();
            put("images-idx3-ubyte", images);
            put("labels-idx1-ubyte", vec![0, 0, 8, 1, 0, 0, 0, 1, 7]);
        }
        let out = dir.path().join("made");
        let config = SaccadesConfig { train: 1, test: 1, seed: 0, camera: CameraConfig::default() };
        let mut calls = 0;
        assert_eq!(write(dir.path(), &config, &out, || calls += 1).unwrap(), 2);
        assert_eq!(calls, 2);
        let events = read_all(&mut *open(&out.join("Test/7/00001.bin")).unwrap()).unwrap();
        assert_eq!(events, record(&square(), [28, 28], 1 << 32, CameraConfig::default()));
        let listed = class_folders::list(&out, &events::ENDINGS).unwrap();
        assert_eq!((listed.classes.len(), listed.official), (10, Some([1, 0, 1])));
        let file = dir.path().join("frames");
        event_sets::frames(&listed, &EventFramesConfig::default(), false, &file).unwrap();
        assert_eq!(frames_file::open(&file).unwrap().y, [7, 7]);
        assert!(
            write(dir.path(), &config, &out, || ()).unwrap_err().to_string().contains("exists")
        );
        let much = SaccadesConfig { train: 2, ..config };
        let other = dir.path().join("other");
        assert!(write(dir.path(), &much, &other, || ()).is_err() && !other.exists());
    }
}
