//! The compact lossless form of WISDM text: one file `<subject>.wisdm` holds both sensors of a subject.
//!
//! Layout, little-endian: the magic `WISDMPK1`, then one zlib stream (whose checksum covers everything) of
//!
//! | field | type |
//! | --- | --- |
//! | subject | u32 |
//! | then for the accelerometer and for the gyroscope: | |
//! | form | u8: 0 columns, 1 text |
//! | form 1: length, the file as it was | u32, bytes |
//! | form 0: number of runs; activity letter and samples of each run | u32; u8, u32 |
//! | columns of all samples, see [`crate::wisdm_columns`] | 44 bytes a sample |
//! | number of odd values; sample, axis, length and text of each | u32; u32, u8, u8, bytes |
//!
//! A run is a stretch of lines of one activity. An odd value is one whose text is not the usual decimal text of
//! its f32. A file with anything else than lines `subject,activity,timestamp_ns,x,y,z;` is kept as text, so
//! that every byte of every file comes back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::error::{DataError, Result};
use crate::wisdm::{self, Recording, Track};
use crate::wisdm_columns::{self as columns, Lattice};
use crate::{atomic, wisdm_text};

const MAGIC: &[u8; 8] = b"WISDMPK1";
/// Largest accepted decompressed size: ten times that of a subject with all 18 activities.
const MAX_BODY: u64 = 64 << 20;
const LATTICES: [Lattice; 2] = [columns::ACCEL, columns::GYRO];

/// The content of one packed file.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// Subject number.
    pub subject: u32,
    sensors: [Sensor; 2],
}

#[derive(Debug, Clone, PartialEq)]
enum Sensor {
    Columns { runs: Vec<(char, usize)>, samples: Track, odd: BTreeMap<(usize, usize), String> },
    Text(Vec<u8>),
}

impl Packed {
    /// Takes the text of the accelerometer and of the gyroscope file of one subject.
    pub fn from_text(subject: u32, accel: &[u8], gyro: &[u8]) -> Self {
        Self { subject, sensors: [accel, gyro].map(|text| Sensor::from_text(subject, text)) }
    }

    /// The text of accelerometer and gyroscope file, byte for byte.
    pub fn text(&self) -> [Vec<u8>; 2] {
        self.sensors.each_ref().map(|sensor| sensor.text(self.subject))
    }

    /// The samples of accelerometer and gyroscope; `file` names the text in errors.
    pub fn recordings(&self, file: &str) -> Result<[Recording; 2]> {
        let [accel, gyro] = &self.sensors;
        Ok([accel.recording(self.subject, file)?, gyro.recording(self.subject, file)?])
    }

    /// The bytes of the packed file.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = self.subject.to_le_bytes().to_vec();
        for (sensor, lattice) in self.sensors.iter().zip(LATTICES) {
            sensor.encode(lattice, &mut body);
        }
        // Writing to memory cannot fail, so neither can the encoder.
        let mut encoder = ZlibEncoder::new(MAGIC.to_vec(), Compression::best());
        let written = encoder.write_all(&body).and_then(|()| encoder.finish());
        written.unwrap_or_default()
    }

    /// Reads a packed file; `file` names it in errors, whose offsets are those of the decompressed content.
    pub fn decode(bytes: &[u8], file: &str) -> Result<Self> {
        let wrong = |reason: String| DataError::File { file: file.to_owned(), reason };
        let Some(stream) = bytes.strip_prefix(MAGIC) else {
            return Err(wrong("not a packed WISDM file (magic WISDMPK1)".into()));
        };
        let mut body = Vec::new();
        let read = ZlibDecoder::new(stream).take(MAX_BODY + 1).read_to_end(&mut body);
        read.map_err(|e| wrong(format!("the compressed content is damaged: {e}")))?;
        if body.len() as u64 > MAX_BODY {
            return Err(wrong(format!("more than {MAX_BODY} bytes of content")));
        }
        let mut body = Body { bytes: &body, at: 0, file };
        let subject = body.u32("subject")?;
        let sensors =
            [Sensor::decode(&mut body, LATTICES[0])?, Sensor::decode(&mut body, LATTICES[1])?];
        match body.at == body.bytes.len() {
            true => Ok(Self { subject, sensors }),
            false => Err(body.error("bytes after the end of the gyroscope")),
        }
    }
}

impl Sensor {
    fn from_text(subject: u32, text: &[u8]) -> Self {
        Self::columns(subject, text).unwrap_or_else(|| Self::Text(text.to_vec()))
    }

    /// Columns that give back exactly `text`, or `None` if it is not of the plain form.
    fn columns(subject: u32, text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (mut runs, mut samples, mut odd) =
            (Vec::<(char, usize)>::new(), Track::default(), BTreeMap::new());
        for (i, line) in text.lines().enumerate() {
            let sample = wisdm_text::parse(line).ok()?;
            match runs.last_mut() {
                Some((activity, n)) if *activity == sample.activity => *n += 1,
                _ => runs.push((sample.activity, 1)),
            }
            for (axis, (field, value)) in
                line.trim_end_matches(';').split(',').skip(3).zip(sample.xyz).enumerate()
            {
                if columns::text(value) != field {
                    u8::try_from(field.len()).ok()?;
                    odd.insert((i, axis), field.to_owned());
                }
            }
            samples.time_ns.push(sample.time_ns);
            samples.xyz.push(sample.xyz);
        }
        // A repeated line is dropped by the text reader; only as text it is treated alike in both forms.
        let repeated = text.lines().zip(text.lines().skip(1)).any(|(a, b)| a == b);
        let made = Self::Columns { runs, samples, odd };
        (!repeated && made.text(subject) == text.as_bytes()).then_some(made)
    }

    fn text(&self, subject: u32) -> Vec<u8> {
        let (runs, samples, odd) = match self {
            Self::Text(text) => return text.clone(),
            Self::Columns { runs, samples, odd } => (runs, samples, odd),
        };
        let mut out = String::new();
        let activities = runs.iter().flat_map(|&(activity, n)| std::iter::repeat_n(activity, n));
        for (i, activity) in activities.enumerate() {
            let [x, y, z] = [0, 1, 2].map(|axis| match odd.get(&(i, axis)) {
                Some(text) => text.clone(),
                None => columns::text(samples.xyz[i][axis]),
            });
            out.push_str(&format!("{subject},{activity},{},{x},{y},{z};\n", samples.time_ns[i]));
        }
        out.into_bytes()
    }

    fn recording(&self, subject: u32, file: &str) -> Result<Recording> {
        let (runs, samples) = match self {
            Self::Text(text) => return wisdm_text::read(&text[..], file, Some(subject)),
            Self::Columns { runs, samples, .. } => (runs, samples),
        };
        let mut tracks: BTreeMap<char, Track> = BTreeMap::new();
        let mut start = 0;
        for &(activity, n) in runs {
            let track = tracks.entry(activity).or_default();
            track.time_ns.extend_from_slice(&samples.time_ns[start..start + n]);
            track.xyz.extend_from_slice(&samples.xyz[start..start + n]);
            start += n;
        }
        Ok(Recording { subject, tracks })
    }

    fn encode(&self, lattice: Lattice, out: &mut Vec<u8>) {
        let put = |out: &mut Vec<u8>, n: usize| out.extend((n as u32).to_le_bytes());
        match self {
            Self::Text(text) => {
                out.push(1);
                put(out, text.len());
                out.extend_from_slice(text);
            }
            Self::Columns { runs, samples, odd } => {
                out.push(0);
                put(out, runs.len());
                for &(activity, n) in runs {
                    out.push(activity as u8);
                    put(out, n);
                }
                columns::encode(samples, lattice, out);
                put(out, odd.len());
                for ((i, axis), text) in odd {
                    put(out, *i);
                    out.extend([*axis as u8, text.len() as u8]);
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
    }

    fn decode(body: &mut Body, lattice: Lattice) -> Result<Self> {
        match body.u8("form")? {
            0 => {}
            1 => {
                let length = body.u32("text length")? as usize;
                return Ok(Self::Text(body.take(length, "text")?.to_vec()));
            }
            form => return Err(body.error(format!("form {form}; known are 0 and 1"))),
        }
        let (mut runs, mut total) = (Vec::new(), 0usize);
        for _ in 0..body.u32("number of runs")? {
            let letter = char::from(body.u8("activity")?);
            if wisdm::activity_name(letter).is_none() {
                return Err(body.error(format!("{letter:?} is no activity")));
            }
            let n = body.u32("samples of a run")? as usize;
            runs.push((letter, n));
            total = total.saturating_add(n);
        }
        let size = columns::size(total)
            .ok_or_else(|| body.error("more samples than an address can count"))?;
        let samples = columns::decode(body.take(size, "columns")?, total, lattice);
        if let Some(i) = samples.xyz.iter().position(|row| row.iter().any(|v| !v.is_finite())) {
            return Err(body.error(format!("sample {i} is not finite")));
        }
        let mut odd = BTreeMap::new();
        for _ in 0..body.u32("number of odd values")? {
            let (i, axis) = (body.u32("odd sample")? as usize, usize::from(body.u8("odd axis")?));
            let length = usize::from(body.u8("odd length")?);
            let text = String::from_utf8_lossy(body.take(length, "odd text")?).into_owned();
            let value = samples.xyz.get(i).and_then(|row| row.get(axis));
            if value.is_none_or(|v| text.parse() != Ok(*v)) {
                return Err(body.error(format!(
                    "odd text {text:?} is not the value of sample {i} axis {axis}"
                )));
            }
            odd.insert((i, axis), text);
        }
        Ok(Self::Columns { runs, samples, odd })
    }
}

struct Body<'a> {
    bytes: &'a [u8],
    at: usize,
    file: &'a str,
}

impl<'a> Body<'a> {
    fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..n) else {
            return Err(self.error(format!("{what} needs {n} bytes, {} are left", rest.len())));
        };
        self.at += n;
        Ok(taken)
    }

    fn u8(&mut self, what: &str) -> Result<u8> {
        Ok(self.take(1, what)?[0])
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        let b = self.take(4, what)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn error(&self, reason: impl Into<String>) -> DataError {
        DataError::offset(self.file, self.at as u64, reason)
    }
}

/// The packed files in `dir`, by subject.
pub fn subjects(dir: &Path) -> Result<BTreeMap<u32, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(|e| DataError::io(dir, e))? {
        let path = entry.map_err(|e| DataError::io(dir, e))?.path();
        let subject =
            path.file_name().and_then(|n| n.to_str()?.strip_suffix(".wisdm")?.parse().ok());
        if let Some(subject) = subject {
            found.insert(subject, path);
        }
    }
    Ok(found)
}

/// Reads one packed file.
pub fn open(path: &Path) -> Result<Packed> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    file.take(MAX_BODY).read_to_end(&mut bytes).map_err(|e| DataError::io(path, e))?;
    Packed::decode(&bytes, &path.display().to_string())
}

/// Accelerometer and gyroscope of the packed file of `subject`.
pub fn read_file(path: &Path, subject: u32) -> Result<[Recording; 2]> {
    let packed = open(path)?;
    if packed.subject != subject {
        return Err(DataError::file(
            path,
            format!("holds subject {}, its name says {subject}", packed.subject),
        ));
    }
    packed.recordings(&path.display().to_string())
}

/// Packs the raw text of `subjects` found in `raw` into files `<subject>.wisdm` in the folder `out`.
///
/// Each is decoded again and compared with the text before it is written.
pub fn pack(raw: &Path, subjects: &[u32], out: &Path) -> Result<Vec<PathBuf>> {
    let files = wisdm_text::subjects(raw)?;
    fs::create_dir_all(out).map_err(|e| DataError::io(out, e))?;
    let mut written = Vec::new();
    for subject in subjects {
        let Some([accel, gyro]) = files.get(subject) else {
            return Err(DataError::file(raw, format!("no raw text of subject {subject}")));
        };
        let text = [wisdm_text::raw_bytes(accel)?, wisdm_text::raw_bytes(gyro)?];
        let path = out.join(format!("{subject}.wisdm"));
        let bytes = Packed::from_text(*subject, &text[0], &text[1]).encode();
        if Packed::decode(&bytes, &path.display().to_string())?.text() != text {
            return Err(DataError::file(
                &path,
                "the packed form does not give the text back; nothing was written",
            ));
        }
        atomic::write(&path, &bytes)?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEL: &str = "1600,F,83506777357134,-0.39369655,-0.88944596,9.29893;\n1600,F,83506827294014,-2.992752E-4,0.0,-0.0;\n1600,G,83506877230894,0.11866262,-3.5422213,9.555109;\n1600,F,5,1.0,2.0,3.0;\n";
    const GYRO: &str = "1600,F,83506777357134,-0.50246763,-0.340,-0.03948003;\n1600,G,83506827294014,-0.30432847,0.036556944,-0.03948003;\n";

    fn packed() -> Packed {
        Packed::from_text(1600, ACCEL.as_bytes(), GYRO.as_bytes())
    }

    #[test]
    fn text_and_samples_come_back() {
        let back = Packed::decode(&packed().encode(), "p").unwrap();
        assert_eq!(back, packed());
        assert!(matches!(&back.sensors[0], Sensor::Columns { odd, .. } if odd.is_empty()));
        assert!(matches!(&back.sensors[1], Sensor::Columns { odd, .. } if odd.len() == 1));
        assert_eq!(back.text(), [ACCEL.as_bytes(), GYRO.as_bytes()]);
        let from_text =
            [ACCEL, GYRO].map(|text| wisdm_text::read(text.as_bytes(), "t", None).unwrap());
        assert_eq!(back.recordings("p").unwrap(), from_text);
    }

    #[test]
    fn whatever_is_not_plain_is_kept_as_text() {
        let twice = "1600,F,1,1.0,2.0,3.0;\n1600,F,1,1.0,2.0,3.0;\n";
        for text in [
            "1600,F,1,1.0,2.0,3.0;",
            "1600,F,1,1.0,2.0,3.0\n",
            "1600,F,01,1.0,2.0,3.0;\n",
            "\n",
            "1601,F,1,1.0,2.0,3.0;\n",
            twice,
        ] {
            let packed = Packed::from_text(1600, text.as_bytes(), b"\xff");
            assert!(matches!(packed.sensors, [Sensor::Text(_), Sensor::Text(_)]), "{text:?}");
            assert_eq!(
                Packed::decode(&packed.encode(), "p").unwrap().text(),
                [text.as_bytes(), b"\xff"]
            );
        }
    }

    fn body_of(bytes: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        ZlibDecoder::new(&bytes[8..]).read_to_end(&mut body).unwrap();
        body
    }

    fn file_of(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(MAGIC.to_vec(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn damaged_files_are_errors_and_never_panic() {
        let good = packed().encode();
        for cut in 0..good.len() {
            assert!(Packed::decode(&good[..cut], "p").is_err(), "cut at {cut}");
            let mut bytes = good.clone();
            bytes[cut] ^= 1 << (cut % 8);
            let _ = Packed::decode(&bytes, "p");
        }
        // The same below the compression, where no checksum protects.
        let body = body_of(&good);
        for at in 0..body.len() {
            assert!(Packed::decode(&file_of(&body[..at]), "p").is_err(), "body cut at {at}");
            for flip in [1, 0x80, 0xff] {
                let mut body = body.clone();
                body[at] ^= flip;
                if let Ok(packed) = Packed::decode(&file_of(&body), "p") {
                    let _ = (packed.text(), packed.recordings("p"));
                }
            }
        }
    }

    #[test]
    fn huge_counts_are_refused_before_memory_is_taken() {
        let mut body = 1600u32.to_le_bytes().to_vec();
        body.push(0);
        body.extend(1u32.to_le_bytes());
        body.push(b'F');
        body.extend(u32::MAX.to_le_bytes());
        let e = Packed::decode(&file_of(&body), "p").unwrap_err().to_string();
        assert!(e.contains("columns needs 188978560980"), "{e}");
        let bomb = file_of(&vec![0; MAX_BODY as usize + 1]);
        assert!(
            Packed::decode(&bomb, "p")
                .unwrap_err()
                .to_string()
                .contains("more than 67108864 bytes")
        );
    }

    #[test]
    fn packs_a_folder_and_loads_it() {
        let dir = tempfile::tempdir().unwrap();
        for (sensor, text) in [("accel", ACCEL), ("gyro", GYRO)] {
            fs::write(dir.path().join(format!("data_1600_{sensor}_watch.txt")), text).unwrap();
        }
        let out = dir.path().join("packed");
        let written = pack(dir.path(), &[1600], &out).unwrap();
        assert_eq!(open(&written[0]).unwrap(), packed());
        assert!(!wisdm::is_full(&out) && wisdm::is_full(dir.path()));
        let config = wisdm::WisdmConfig { window: 1, hop: 1, ..Default::default() };
        let loaded = wisdm::load(&out, &config).unwrap();
        assert_eq!(loaded.n, 4);
        assert_eq!(loaded, wisdm::load(dir.path(), &config).unwrap());
        assert!(pack(dir.path(), &[1601], &out).is_err());
        fs::rename(&written[0], out.join("1601.wisdm")).unwrap();
        let e = wisdm::load(&out, &config).unwrap_err().to_string();
        assert!(e.contains("holds subject 1600, its name says 1601"), "{e}");
    }
}
