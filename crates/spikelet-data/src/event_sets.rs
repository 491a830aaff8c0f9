//! Labelled recordings as frames: class folders of files, one sample or more each.

use std::path::Path;

use crate::class_folders::ClassFolders;
use crate::error::{DataError, Result};
use crate::event_frames::{EventFramesConfig, Framer};
use crate::events::{self, read_all};
use crate::frames_file::FramesWriter;

/// Writes the frames of all recordings to `out`. `transposed`: rows and columns change places first. The group of a
/// sample is the number of its recording.
pub fn frames(
    listed: &ClassFolders,
    config: &EventFramesConfig,
    transposed: bool,
    out: &Path,
) -> Result<()> {
    let mut to: Option<([usize; 2], Framer, FramesWriter)> = None;
    let mut parts = listed.official.map(|_| [0; 3]);
    for (i, (path, class)) in listed.files.iter().enumerate() {
        let mut reader = events::open(path)?;
        let [height, width] = reader.size();
        let sensor = if transposed { [width, height] } else { [height, width] };
        if to.is_none() {
            let framer = Framer::new(config, sensor)?;
            let writer = FramesWriter::create(out, framer.shape(), config.steps, framer.scale())?;
            to = Some((sensor, framer, writer));
        }
        let Some((first, framer, writer)) = &mut to else { continue };
        if *first != sensor {
            let reason = format!("a sensor of {sensor:?}; that of the first file is {first:?}");
            return Err(DataError::file(path, reason));
        }
        let mut events = read_all(&mut *reader).map_err(|e| named(e, path))?;
        if transposed {
            events.iter_mut().for_each(|event| (event.x, event.y) = (event.y, event.x));
        }
        let before = writer.samples();
        framer.frames(&mut events, |sample| writer.push(sample, *class, i as u32))?;
        if let Some((parts, files)) = parts.as_mut().zip(listed.official) {
            let part = if i < files[0] { 0 } else { 1 + usize::from(i >= files[0] + files[1]) };
            parts[part] += writer.samples() - before;
        }
    }
    match to {
        Some((_, _, writer)) => writer.finish(listed.classes.clone(), parts),
        None => Err(DataError::file(out, "no recordings")),
    }
}

/// An error that names the recording if it does not do so.
fn named(error: DataError, path: &Path) -> DataError {
    match error {
        DataError::Request(reason) => DataError::file(path, reason),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class_folders;
    use crate::events::Event;
    use crate::{frames_file, nmnist};

    #[test]
    fn recordings_of_class_folders() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, events: &[Event]| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, nmnist::encode(events).unwrap()).unwrap();
        };
        let event = |t, x, y| Event { t, x, y, on: true };
        put("Train/0/1.bin", &[event(1, 2, 3), event(2, 2, 3)]);
        put("Train/1/1.bin", &[event(1, 0, 0)]);
        put("Test/1/9.bin", &[]);
        let listed = class_folders::list(dir.path(), &events::ENDINGS).unwrap();
        let out = dir.path().join("out");
        let config = EventFramesConfig { steps: 2, ..Default::default() };
        frames(&listed, &config, false, &out).unwrap();
        let made = frames_file::open(&out).unwrap();
        assert_eq!((made.shape, made.time, made.official), ([34, 34, 2], 2, Some([2, 0, 1])));
        assert_eq!((&made.y[..], &made.group[..]), (&[0, 1, 1][..], &[0, 1, 2][..]));
        let at = |x: usize, y: usize| (y * 34 + x) * 2 + 1;
        assert_eq!((made.sample(0)[at(2, 3)], made.sample(0)[34 * 34 * 2 + at(2, 3)]), (1, 1));
        frames(&listed, &config, true, &out).unwrap();
        assert_eq!(frames_file::open(&out).unwrap().sample(0)[at(3, 2)], 1);

        std::fs::write(dir.path().join("Train/1/1.bin"), [40, 0, 0, 0, 0]).unwrap();
        let e = frames(&listed, &config, false, &out).unwrap_err().to_string();
        assert!(e.contains("1.bin: at byte 0: event at column 40"), "{e}");
    }
}
