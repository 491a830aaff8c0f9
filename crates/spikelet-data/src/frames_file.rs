//! Frames in one file that is mapped, not read: what image folders and event recordings are kept as once decoded.
//!
//! 64 bytes of header, then the samples as bytes, the class and the group of each as u32, and JSON with class
//! names and official parts. Numbers are little-endian.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..8 | magic `SPKFRMS1` |
//! | 8..24 | time, height, width, channels, u32 each |
//! | 24..28 | scale, f32 |
//! | 28..32 | length of the JSON, u32 |
//! | 32..40 | number of samples, u64 |
//! | 40..64 | zero |

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::frames::{Frames, MAX_CLASSES};

const MAGIC: &[u8; 8] = b"SPKFRMS1";
const HEADER: usize = 64;
/// Most bytes of one sample: 64 frames of 1024 x 1024 with four channels.
const MAX_SAMPLE: usize = 1 << 28;
const MAX_JSON: usize = 1 << 24;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    classes: Vec<String>,
    official: Option<[usize; 3]>,
}

/// Writes a file sample by sample, so that a set may be larger than the memory. The file appears at its path when
/// it is complete.
pub struct FramesWriter {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    shape: [usize; 3],
    time: usize,
    scale: f32,
    y: Vec<u32>,
    group: Vec<u32>,
}

impl FramesWriter {
    /// Starts a file of samples `[time, height, width, channels]`.
    pub fn create(path: &Path, shape: [usize; 3], time: usize, scale: f32) -> Result<Self> {
        if sample_len(shape, time).is_none() {
            return Err(DataError::request(format!(
                "{time} frames of {shape:?}: a sample has 1 to {MAX_SAMPLE} values"
            )));
        }
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::create(&temporary).map_err(|e| DataError::io(path, e))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&[0; HEADER]).map_err(|e| DataError::io(path, e))?;
        let (y, group) = (Vec::new(), Vec::new());
        Ok(Self { path: path.to_path_buf(), temporary, file, shape, time, scale, y, group })
    }

    /// Appends one sample.
    ///
    /// # Panics
    /// If `sample` is no `[time, height, width, channels]`.
    pub fn push(&mut self, sample: &[u8], y: u32, group: u32) -> Result<()> {
        assert_eq!(Some(sample.len()), sample_len(self.shape, self.time));
        self.y.push(y);
        self.group.push(group);
        self.file.write_all(sample).map_err(|e| DataError::io(&self.path, e))
    }

    /// Number of samples so far.
    pub fn samples(&self) -> usize {
        self.y.len()
    }

    /// Completes the file and gives it its name.
    pub fn finish(mut self, classes: Vec<String>, official: Option<[usize; 3]>) -> Result<()> {
        let about = serde_json::to_vec(&About { classes, official })
            .map_err(|e| DataError::file(&self.path, e.to_string()))?;
        let [height, width, channels] = self.shape;
        let mut header = MAGIC.to_vec();
        for number in [self.time, height, width, channels] {
            header.extend((number as u32).to_le_bytes());
        }
        header.extend(self.scale.to_le_bytes());
        header.extend((about.len() as u32).to_le_bytes());
        header.extend((self.y.len() as u64).to_le_bytes());
        let mut write = || {
            for list in [&self.y, &self.group] {
                for number in list {
                    self.file.write_all(&number.to_le_bytes())?;
                }
            }
            self.file.write_all(&about)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&header)?;
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            fs::rename(&self.temporary, &self.path)
        };
        write().map_err(|e| DataError::io(&self.path, e))
    }
}

impl Drop for FramesWriter {
    fn drop(&mut self) {
        // After `finish` there is no file of that name.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Maps a file.
pub fn open(path: &Path) -> Result<Frames> {
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    // SAFETY: the map is only read, as bytes, for which every value is valid. Files of this kind are never changed
    // in place: `FramesWriter` renames a new file over the old one, whose mapped content stays as it was.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(&file) }.map_err(|e| DataError::io(path, e))?;
    read(map, &path.display().to_string())
}

fn read(map: Mmap, file: &str) -> Result<Frames> {
    let parsed = Layout::parse(&map, file)?;
    let mut frames = Frames::empty(parsed.shape, parsed.time, parsed.json.classes, parsed.scale);
    frames.n = parsed.n;
    frames.y = numbers(&map[parsed.labels..parsed.groups]);
    frames.group = numbers(&map[parsed.groups..parsed.about]);
    frames.official = parsed.json.official;
    let wrong = |reason: String| DataError::File { file: file.to_owned(), reason };
    let frames =
        frames.over(Arc::new(map), HEADER).ok_or_else(|| wrong("samples are missing".into()))?;
    frames.validate().map_err(|e| wrong(e.to_string()))?;
    Ok(frames)
}

/// Whether `bytes` are a file as [`open`] accepts it; nothing is mapped. For fuzzing.
pub fn parse(bytes: &[u8], file: &str) -> Result<usize> {
    Layout::parse(bytes, file).map(|layout| layout.n)
}

/// Where everything is in a file.
struct Layout {
    shape: [usize; 3],
    time: usize,
    scale: f32,
    n: usize,
    labels: usize,
    groups: usize,
    about: usize,
    json: About,
}

impl Layout {
    fn parse(bytes: &[u8], file: &str) -> Result<Self> {
        let wrong = |offset: u64, reason: String| Err(DataError::offset(file, offset, reason));
        let Some(header) = bytes.get(..HEADER) else {
            return wrong(0, format!("{} bytes are no header of {HEADER}", bytes.len()));
        };
        if &header[..8] != MAGIC {
            return wrong(0, "not a file of frames (magic SPKFRMS1)".into());
        }
        let words: Vec<usize> = numbers(&header[8..40]).iter().map(|&v| v as usize).collect();
        let (time, shape) = (words[0], [words[1], words[2], words[3]]);
        let Some(sample) = sample_len(shape, time) else {
            return wrong(8, format!("{time} frames of {shape:?}: 1 to {MAX_SAMPLE} values"));
        };
        let scale = f32::from_bits(words[4] as u32);
        if !(scale.is_finite() && scale > 0.0) {
            return wrong(24, format!("scale {scale}"));
        }
        let (json_len, n) = (words[5], words[6] as u64 | (words[7] as u64) << 32);
        let labels = usize::try_from(n)
            .ok()
            .and_then(|n| Some((n, n.checked_mul(sample)?.checked_add(HEADER)?, n.checked_mul(4)?)))
            .filter(|&(_, data, list)| {
                json_len <= MAX_JSON
                    && data.checked_add(2 * list).and_then(|v| v.checked_add(json_len))
                        == Some(bytes.len())
            });
        let Some((n, labels, list)) = labels else {
            let len = bytes.len();
            return wrong(28, format!("{n} samples of {sample} bytes do not make a file of {len}"));
        };
        let (groups, about) = (labels + list, labels + 2 * list);
        let json: About = match serde_json::from_slice(&bytes[about..]) {
            Ok(json) => json,
            Err(e) => return wrong(about as u64, format!("class names: {e}")),
        };
        if json.classes.len() > MAX_CLASSES {
            return wrong(about as u64, format!("{} classes", json.classes.len()));
        }
        Ok(Self { shape, time, scale, n, labels, groups, about, json })
    }
}

fn sample_len(shape: [usize; 3], time: usize) -> Option<usize> {
    let len = shape.iter().try_fold(time, |n, &d| n.checked_mul(d))?;
    (1..=MAX_SAMPLE).contains(&len).then_some(len)
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path) -> PathBuf {
        let path = dir.join("a.frames");
        let mut writer = FramesWriter::create(&path, [1, 2, 1], 2, 0.5).unwrap();
        writer.push(&[1, 2, 3, 4], 1, 7).unwrap();
        writer.push(&[5, 6, 7, 8], 0, 9).unwrap();
        assert!(!path.exists(), "not before it is complete");
        writer.finish(vec!["a".into(), "b".into()], Some([1, 0, 1])).unwrap();
        path
    }

    #[test]
    fn what_is_written_is_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let frames = open(&written(dir.path())).unwrap();
        assert_eq!((frames.n, frames.time, frames.shape, frames.scale), (2, 2, [1, 2, 1], 0.5));
        assert_eq!((&frames.y[..], &frames.group[..]), (&[1, 0][..], &[7, 9][..]));
        assert_eq!((frames.sample(1), frames.official), (&[5, 6, 7, 8][..], Some([1, 0, 1])));
        let mut out = Vec::new();
        frames.batch(&[1], &mut out);
        assert_eq!(out, [2.5, 3.0, 3.5, 4.0]);
    }

    #[test]
    fn an_abandoned_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = FramesWriter::create(&dir.path().join("a"), [1, 1, 1], 1, 1.0).unwrap();
        writer.push(&[1], 0, 0).unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn lying_headers() {
        let dir = tempfile::tempdir().unwrap();
        let good = fs::read(written(dir.path())).unwrap();
        assert_eq!(parse(&good, "f").unwrap(), 2);
        for at in 0..good.len() {
            assert!(parse(&good[..at], "f").is_err(), "cut at {at}");
        }
        let said = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at..at + 4].fill(value);
            parse(&bytes, "f").unwrap_err().to_string()
        };
        assert!(said(0, 0).contains("magic"));
        assert!(said(8, 255).contains("values"));
        assert!(said(12, 0).contains("values"));
        assert!(said(24, 255).contains("scale"));
        assert!(said(32, 255).contains("do not make a file of"));
        assert!(FramesWriter::create(&dir.path().join("b"), [0, 1, 1], 1, 1.0).is_err());
        // A label without a class is found when the file is opened.
        let path = dir.path().join("c");
        let mut writer = FramesWriter::create(&path, [1, 1, 1], 1, 1.0).unwrap();
        writer.push(&[1], 3, 0).unwrap();
        writer.finish(vec!["a".into()], None).unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("class 3 of 1"));
    }
}
