//! MNIST's idx format, plain or gzip, and the image sets that use it (MNIST, Fashion-MNIST).
//!
//! A file is two zero bytes, a type byte (8: unsigned bytes), the number of dimensions, each dimension as a
//! big-endian u32, and the values.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};
use crate::frames::Frames;
use crate::lines;
use crate::npy::fill;

/// Most values accepted in one file: four times MNIST's training images.
const MAX_VALUES: usize = 1 << 28;
const MAX_DIMENSIONS: u8 = 4;

/// An array of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// Shape, slowest dimension first.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<u8>,
}

/// Reads the (decompressed) content of a file; `file` names it in errors. Memory grows with what is really there.
pub fn read(mut input: impl Read, file: &str) -> Result<Idx> {
    let mut start = [0; 4];
    fill(&mut input, &mut start, file, 0, "the magic")?;
    match start {
        [0, 0, 8, 1..=MAX_DIMENSIONS] => {}
        [0, 0, 8, n] => {
            return Err(DataError::offset(
                file,
                3,
                format!("{n} dimensions; 1 to {MAX_DIMENSIONS} are read"),
            ));
        }
        [0, 0, kind, _] => {
            return Err(DataError::offset(
                file,
                2,
                format!("type {kind:#x}; only bytes (0x8) are read"),
            ));
        }
        _ => {
            return Err(DataError::offset(
                file,
                0,
                "not an idx file (it starts with two zero bytes)",
            ));
        }
    }
    let mut shape = Vec::new();
    for i in 0..u64::from(start[3]) {
        let mut d = [0; 4];
        fill(&mut input, &mut d, file, 4 + 4 * i, "the dimensions")?;
        shape.push(u32::from_be_bytes(d) as usize);
    }
    let header = 4 + 4 * shape.len() as u64;
    let size = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_VALUES);
    let Some(size) = size else {
        return Err(DataError::offset(
            file,
            4,
            format!("shape {shape:?} has more than {MAX_VALUES} values"),
        ));
    };
    let mut values = Vec::new();
    let io = |source| DataError::Io { path: file.to_owned(), source };
    // One more than expected, to notice a longer file.
    input.take(size as u64 + 1).read_to_end(&mut values).map_err(io)?;
    match values.len().cmp(&size) {
        std::cmp::Ordering::Equal => Ok(Idx { shape, values }),
        std::cmp::Ordering::Less => {
            let reason = format!("shape {shape:?} needs {size} values, there are {}", values.len());
            Err(DataError::offset(file, header, reason))
        }
        std::cmp::Ordering::Greater => Err(DataError::offset(
            file,
            header + size as u64,
            format!("bytes after the {size} values of {shape:?}"),
        )),
    }
}

/// Part of an image set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// 60,000 images in the full sets.
    Train,
    /// 10,000 images in the full sets.
    Test,
}

/// Grey images with classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    /// Pixels, `[n, height, width]`, 0 to 255.
    pub pixels: Vec<u8>,
    /// Height of each image.
    pub height: usize,
    /// Width of each image.
    pub width: usize,
    /// Class of each image, 0 to 9.
    pub labels: Vec<u8>,
}

/// Classes of both image sets.
pub const CLASSES: usize = 10;

/// Loads `{train,t10k}-images-idx3-ubyte[.gz]` and the labels beside it.
pub fn load(dir: &Path, part: Part) -> Result<ImageSet> {
    let prefix = match part {
        Part::Train => "train",
        Part::Test => "t10k",
    };
    let image_path = existing(dir, &format!("{prefix}-images-idx3-ubyte"))?;
    let label_path = existing(dir, &format!("{prefix}-labels-idx1-ubyte"))?;
    let images = read(lines::open(&image_path)?, &image_path.display().to_string())?;
    let labels = read(lines::open(&label_path)?, &label_path.display().to_string())?;
    let &[n, height, width] = &images.shape[..] else {
        return Err(DataError::file(
            &image_path,
            format!("shape {:?}; expected [images, height, width]", images.shape),
        ));
    };
    if labels.shape != [n] {
        return Err(DataError::file(
            &label_path,
            format!("shape {:?}; expected [{n}], one label an image", labels.shape),
        ));
    }
    if let Some(i) = labels.values.iter().position(|&l| usize::from(l) >= CLASSES) {
        return Err(DataError::offset(
            &label_path.display().to_string(),
            8 + i as u64,
            format!("class {} of {CLASSES}", labels.values[i]),
        ));
    }
    Ok(ImageSet { pixels: images.values, height, width, labels: labels.values })
}

/// Loads both parts as frames, training part first.
pub fn frames(dir: &Path) -> Result<Frames> {
    let parts = [load(dir, Part::Train)?, load(dir, Part::Test)?];
    let [train, test] = &parts;
    let sizes = parts.each_ref().map(|set| [set.height, set.width]);
    if sizes[0] != sizes[1] {
        let reason = format!("training images are {:?}, test images {:?}", sizes[0], sizes[1]);
        return Err(DataError::file(dir, reason));
    }
    let classes = (0..CLASSES).map(|class| class.to_string()).collect();
    let shape = [train.height, train.width, 1];
    let mut frames = Frames::empty(shape, 1, classes, 1.0 / 255.0);
    for set in &parts {
        let images = set.pixels.chunks_exact((set.height * set.width).max(1));
        for (image, &label) in images.zip(&set.labels) {
            frames.push(image, u32::from(label), 0);
        }
    }
    frames.official = Some([train.labels.len(), 0, test.labels.len()]);
    Ok(frames)
}

/// Whether the folder holds the 60,000 training images of a full set, by the header of their labels.
pub fn is_full(dir: &Path) -> bool {
    let mut header = [0; 8];
    existing(dir, "train-labels-idx1-ubyte")
        .and_then(|path| lines::open(&path))
        .is_ok_and(|mut file| file.read_exact(&mut header).is_ok())
        && u32::from_be_bytes([header[4], header[5], header[6], header[7]]) >= 60_000
}

fn existing(dir: &Path, name: &str) -> Result<PathBuf> {
    let candidates = [dir.join(name), dir.join(format!("{name}.gz"))];
    let found = candidates.into_iter().find(|p| p.is_file());
    found.ok_or_else(|| DataError::file(dir, format!("{name} (or {name}.gz) is missing")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(shape: &[u32], values: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 0, 8, shape.len() as u8];
        out.extend(shape.iter().flat_map(|d| d.to_be_bytes()));
        out.extend(values);
        out
    }

    #[test]
    fn hostile_files() {
        let said = |bytes: &[u8]| read(bytes, "i").unwrap_err().to_string();
        assert!(said(&file(&[u32::MAX; 4], &[])).contains("more than 268435456 values"));
        assert!(said(&file(&[60000, 28, 28], &[7])).contains("needs 47040000 values, there are 1"));
        assert!(said(&file(&[1], &[7, 7])).contains("bytes after"));
        assert!(said(&file(&[1; 5], &[7])).contains("5 dimensions"));
        assert!(said(&[0, 0, 13, 1]).contains("type 0xd"));
        assert!(said(b"no idx").contains("not an idx file"));
        let good = file(&[2, 3], &[1; 6]);
        for at in 0..good.len() {
            assert!(read(&good[..at], "i").is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                let _ = read(&bytes[..], "i");
            }
        }
    }

    #[test]
    fn a_set_of_two_images() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        assert!(
            load(dir.path(), Part::Test)
                .unwrap_err()
                .to_string()
                .contains("t10k-images-idx3-ubyte (or")
        );
        put("t10k-images-idx3-ubyte", &file(&[2, 1, 2], &[1, 2, 3, 4]));
        put("t10k-labels-idx1-ubyte", &file(&[2], &[9, 0]));
        let set = load(dir.path(), Part::Test).unwrap();
        assert_eq!(
            (set.pixels, set.height, set.width, set.labels),
            (vec![1, 2, 3, 4], 1, 2, vec![9, 0])
        );
        put("train-images-idx3-ubyte", &file(&[1, 1, 2], &[5, 6]));
        put("train-labels-idx1-ubyte", &file(&[1], &[4]));
        let both = frames(dir.path()).unwrap();
        both.validate().unwrap();
        assert_eq!((both.official, both.y.clone()), (Some([1, 0, 2]), vec![4, 9, 0]));
        assert_eq!((both.shape, both.sample(1)), ([1, 2, 1], &[1, 2][..]));
        assert!(!is_full(dir.path()));
        put("t10k-labels-idx1-ubyte", &file(&[2], &[9, 10]));
        assert!(
            load(dir.path(), Part::Test)
                .unwrap_err()
                .to_string()
                .contains("byte 9: class 10 of 10")
        );
        put("t10k-labels-idx1-ubyte", &file(&[1], &[9]));
        assert!(load(dir.path(), Part::Test).unwrap_err().to_string().contains("expected [2]"));
    }
}
