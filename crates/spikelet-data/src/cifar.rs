//! CIFAR-10 and CIFAR-100 in the binary version of their authors.
//!
//! A record is one label byte (CIFAR-100: coarse, then fine) and 3,072 bytes of a 32 x 32 image: the red plane,
//! the green and the blue one, rows from the top.

use std::path::Path;

use crate::error::{DataError, Result};
use crate::frames::Frames;
use crate::lines::{self, Lines};
use crate::npy::fill;

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
/// Most records of one file: five times those of the largest.
const MAX_RECORDS: usize = 250_000;

/// Which of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cifar {
    /// 10 classes: `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin`, `batches.meta.txt`.
    Ten,
    /// 100 fine classes: `train.bin`, `test.bin`, `fine_label_names.txt`.
    Hundred,
}

impl Cifar {
    /// Number of classes.
    pub fn classes(self) -> usize {
        match self {
            Self::Ten => 10,
            Self::Hundred => 100,
        }
    }

    /// Files of the training part, then that of the test part, then that of the class names.
    fn files(self) -> (&'static [&'static str], &'static str, &'static str) {
        match self {
            Self::Ten => (
                &[
                    "data_batch_1.bin",
                    "data_batch_2.bin",
                    "data_batch_3.bin",
                    "data_batch_4.bin",
                    "data_batch_5.bin",
                ],
                "test_batch.bin",
                "batches.meta.txt",
            ),
            Self::Hundred => (&["train.bin"], "test.bin", "fine_label_names.txt"),
        }
    }

    /// Loads all images of a folder, training part first.
    pub fn load(self, dir: &Path) -> Result<Frames> {
        let (train, test, names) = self.files();
        let mut frames =
            Frames::empty([SIDE, SIDE, 3], 1, self.names(&dir.join(names))?, 1.0 / 255.0);
        let read = |name: &str, frames: &mut Frames| {
            let path = dir.join(name);
            self.read(&mut lines::open(&path)?, &path.display().to_string(), frames)
        };
        for name in train {
            read(name, &mut frames)?;
        }
        let n = frames.n;
        read(test, &mut frames)?;
        frames.official = Some([n, 0, frames.n - n]);
        Ok(frames)
    }

    /// Appends the records of one file; `file` names it in errors.
    pub fn read(
        self,
        input: &mut dyn std::io::BufRead,
        file: &str,
        frames: &mut Frames,
    ) -> Result<()> {
        let labels = if self == Self::Ten { 1 } else { 2 };
        let mut record = vec![0; labels + 3 * PIXELS];
        let mut pixels = vec![0; 3 * PIXELS];
        let more = |input: &mut dyn std::io::BufRead| {
            let rest = input.fill_buf().map(|rest| !rest.is_empty());
            rest.map_err(|source| DataError::Io { path: file.to_owned(), source })
        };
        let (mut at, mut input) = (0, input);
        while more(&mut input)? {
            if at == MAX_RECORDS {
                return Err(DataError::File {
                    file: file.to_owned(),
                    reason: format!("more than {MAX_RECORDS} records"),
                });
            }
            let offset = (at * record.len()) as u64;
            fill(&mut input, &mut record, file, offset, format_args!("image {at}"))?;
            let class = record[labels - 1];
            if usize::from(class) >= self.classes() {
                let reason = format!("image {at} has class {class} of {}", self.classes());
                return Err(DataError::offset(file, offset + labels as u64 - 1, reason));
            }
            let planes = &record[labels..];
            for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&[planes[i], planes[PIXELS + i], planes[2 * PIXELS + i]]);
            }
            frames.push(&pixels, u32::from(class), 0);
            at += 1;
        }
        Ok(())
    }

    fn names(self, path: &Path) -> Result<Vec<String>> {
        let mut lines = Lines::new(lines::open(path)?, path.display().to_string(), 200);
        let mut names = Vec::new();
        while let Some(line) = lines.next_line()? {
            let name = line.trim().to_owned();
            if !name.is_empty() {
                names.push(name);
            }
            if names.len() > self.classes() {
                break;
            }
        }
        match names.len() == self.classes() {
            true => Ok(names),
            false => Err(DataError::file(
                path,
                format!("{} class names; expected {}", names.len(), self.classes()),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A record whose planes hold 1, 2, 3 but for the second pixel of the first row.
    fn record(labels: &[u8]) -> Vec<u8> {
        let mut out = labels.to_vec();
        for plane in 1..=3u8 {
            let start = out.len();
            out.extend([plane; PIXELS]);
            out[start + 1] = 10 * plane;
        }
        out
    }

    fn folder(kind: Cifar) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (train, test, names) = kind.files();
        let put = |name: &str, bytes: Vec<u8>| fs::write(dir.path().join(name), bytes).unwrap();
        for (i, name) in train.iter().enumerate() {
            let class = i as u8 + 1;
            put(name, if kind == Cifar::Ten { record(&[class]) } else { record(&[9, class]) });
        }
        put(test, if kind == Cifar::Ten { record(&[9]) } else { record(&[3, 99]) });
        put(names, (0..kind.classes()).flat_map(|i| format!("class {i}\n").into_bytes()).collect());
        dir
    }

    #[test]
    fn planes_become_channels() {
        for (kind, n, last) in [(Cifar::Ten, 6, 9), (Cifar::Hundred, 2, 99)] {
            let frames = kind.load(folder(kind).path()).unwrap();
            frames.validate().unwrap();
            assert_eq!((frames.n, frames.official), (n, Some([n - 1, 0, 1])));
            assert_eq!((frames.y[0], frames.y[n - 1]), (1, last));
            assert_eq!(frames.sample(0)[..9], [1, 2, 3, 10, 20, 30, 1, 2, 3]);
        }
    }

    #[test]
    fn hostile_files() {
        let said = |bytes: &[u8]| {
            let mut frames = Frames::empty([SIDE, SIDE, 3], 1, vec![], 1.0);
            Cifar::Ten.read(&mut &bytes[..], "c", &mut frames).unwrap_err().to_string()
        };
        assert!(said(&record(&[10])).contains("byte 0: image 0 has class 10 of 10"));
        let two = [record(&[1]), record(&[2])].concat();
        assert!(said(&two[..two.len() - 1]).contains("image 1"), "{}", said(&two[..4000]));
        let dir = folder(Cifar::Ten);
        fs::write(dir.path().join("batches.meta.txt"), "one\ntwo\n").unwrap();
        let e = Cifar::Ten.load(dir.path()).unwrap_err().to_string();
        assert!(e.contains("2 class names; expected 10"), "{e}");
    }
}
