//! The Heidelberg sets of spoken words, SHD and SSC (Cramer et al. 2022): HDF5 files of spikes.
//!
//! `spikes/times` (seconds) and `spikes/units` (channel, 0 to 699) hold a sequence a recording, `labels` its class,
//! and `extra/speaker`, if it is there, who speaks.
//!
//! `hdf5-pure` reads the structure of the file, and gives a sequence as a reference into a global heap; the heaps are
//! read here. A collection is `GCOL`, version 1, three bytes, and its size as u64; each object in it has a u16 index,
//! 6 bytes, its size as u64, and its content, up to a multiple of 8 bytes. All is little-endian.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use hdf5_pure::{Dataset, Datatype, DatatypeByteOrder};

use crate::error::{DataError, Result};
use crate::event_frames::EventFramesConfig;
use crate::events::Event;
use crate::frames_file::FramesWriter;
use crate::number::Number;

/// Channels of the model of the cochlea.
pub const UNITS: usize = 700;
/// Length of a sample where none is asked for, in microseconds: the longest recording of SHD is a little shorter.
const DURATION: u64 = 1_400_000;
/// Most recordings of one file: some times those of SSC.
const MAX_RECORDINGS: u64 = 1 << 20;
/// Largest collection of a heap.
const MAX_HEAP: u64 = 1 << 26;
/// Bytes of a reference: length u32, address u64, index u32.
const REFERENCE: usize = 16;

/// One file.
pub struct Spoken<R> {
    file: R,
    name: String,
    size: u64,
    times: Sequences,
    units: Sequences,
    /// Class of each recording.
    pub labels: Vec<u32>,
    /// Speaker of each recording; 0 where the file names none.
    pub speakers: Vec<u32>,
    /// The collection read last, as most sequences lie beside the one before.
    heap: (u64, Vec<u8>),
}

/// Sequences of numbers in heaps.
struct Sequences {
    references: Vec<u8>,
    number: Number,
}

/// The files of the training, validation and test parts in `root`.
pub fn files(root: &Path) -> Result<[Option<PathBuf>; 3]> {
    for set in ["shd", "ssc"] {
        let at = |part: &str| Some(root.join(format!("{set}_{part}.h5"))).filter(|p| p.is_file());
        if let (Some(train), Some(test)) = (at("train"), at("test")) {
            return Ok([Some(train), at("valid"), Some(test)]);
        }
    }
    Err(DataError::file(
        root,
        "neither shd_train.h5 and shd_test.h5 nor ssc_train.h5 and ssc_test.h5",
    ))
}

impl Spoken<File> {
    /// Opens a file and reads all but its spikes.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| DataError::io(path, e))?;
        Self::new(file, hdf5_pure::File::open_streaming(path), &path.display().to_string())
    }
}

impl Spoken<Cursor<Vec<u8>>> {
    /// As [`Spoken::open`], from the bytes of a file; `name` names it in errors.
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Self> {
        Self::new(Cursor::new(bytes.clone()), hdf5_pure::File::from_bytes(bytes), name)
    }
}

impl<R: Read + Seek> Spoken<R> {
    fn new(
        mut file: R,
        hdf5: Result<hdf5_pure::File, hdf5_pure::Error>,
        name: &str,
    ) -> Result<Self> {
        let refused = |reason: String| DataError::File { file: name.to_owned(), reason };
        let wrong = |what: &str, e: hdf5_pure::Error| refused(format!("{what}: {e}"));
        let size = file
            .seek(SeekFrom::End(0))
            .map_err(|source| DataError::Io { path: name.to_owned(), source })?;
        let hdf5 = hdf5.map_err(|e| wrong("no HDF5 file", e))?;
        let n = {
            let times = hdf5.dataset("spikes/times").map_err(|e| wrong("spikes/times", e))?;
            let shape = times.shape().map_err(|e| wrong("spikes/times", e))?;
            match shape[..] {
                [n] if n <= MAX_RECORDINGS => n,
                _ => {
                    let reason = format!(
                        "spikes/times has shape {shape:?}; up to {MAX_RECORDINGS} are read"
                    );
                    return Err(refused(reason));
                }
            }
        };
        let dataset = |what: &str| {
            let dataset = hdf5.dataset(what).map_err(|e| wrong(what, e))?;
            let shape = dataset.shape().map_err(|e| wrong(what, e))?;
            match shape == [n] {
                true => Ok(dataset),
                false => Err(refused(format!("{what} has shape {shape:?}; expected [{n}]"))),
            }
        };
        let sequences = |what: &str| {
            Sequences::new(&dataset(what)?, n as usize)
                .map_err(|reason| refused(format!("{what}: {reason}")))
        };
        let integers = |what: &str| dataset(what)?.read::<u32>().map_err(|e| wrong(what, e));
        let speakers = match hdf5.dataset("extra/speaker") {
            Ok(_) => integers("extra/speaker")?,
            Err(_) => vec![0; n as usize],
        };
        let (times, units) = (sequences("spikes/times")?, sequences("spikes/units")?);
        let labels = integers("labels")?;
        Ok(Self {
            file,
            name: name.to_owned(),
            size,
            times,
            units,
            labels,
            speakers,
            heap: (0, Vec::new()),
        })
    }

    /// Number of recordings.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The spikes of recording `i`, in the order of time: events of one row, all ON.
    ///
    /// # Panics
    /// If `i` is not below [`Self::len`].
    pub fn recording(&mut self, i: usize) -> Result<Vec<Event>> {
        let file = self.name.clone();
        let wrong = |reason: String| DataError::File {
            file: file.clone(),
            reason: format!("recording {i}: {reason}"),
        };
        let read = |what: &str, times: bool, this: &mut Self| {
            let sequences = if times { &this.times } else { &this.units };
            let reference = &sequences.references[i * REFERENCE..][..REFERENCE];
            let (length, address, index) = fields(reference);
            let number = sequences.number;
            let mut values = Vec::new();
            if length > 0 {
                let bytes = this.object(address, index, length as usize * number.size())?;
                number.append_f32(bytes, &mut values);
            }
            match values.iter().all(|v| v.is_finite() && *v >= 0.0) {
                true => Ok(values),
                false => Err(wrong(format!("{what} are not all numbers from 0"))),
            }
        };
        let (times, units) = (read("times", true, self)?, read("units", false, self)?);
        if times.len() != units.len() {
            return Err(wrong(format!("{} times of {} units", times.len(), units.len())));
        }
        let mut events = Vec::with_capacity(times.len());
        for (&time, &unit) in times.iter().zip(&units) {
            if unit as usize >= UNITS || time > 1e6 {
                return Err(wrong(format!("spike of unit {unit} at {time} s")));
            }
            let t = (f64::from(time) * 1e6) as u64;
            if events.last().is_some_and(|last: &Event| last.t > t) {
                return Err(wrong(format!("time runs backwards to {time} s")));
            }
            events.push(Event { t, x: unit as u16, y: 0, on: true });
        }
        Ok(events)
    }

    /// The first `length` bytes of object `index` of the collection at `address`.
    fn object(&mut self, address: u64, index: u32, length: usize) -> Result<&[u8]> {
        let name = self.name.clone();
        let wrong = |reason: &str| DataError::offset(&name, address, reason);
        if self.heap.0 != address || self.heap.1.is_empty() {
            self.heap = (address, self.collection(address)?);
        }
        let mut rest = &self.heap.1[16..];
        while let Some((header, content)) = rest.split_at_checked(16) {
            let found = u16::from_le_bytes([header[0], header[1]]);
            let size = u64_at(header, 8) as usize;
            if found == 0 {
                break;
            }
            if u32::from(found) == index {
                return content
                    .get(..length.min(size))
                    .filter(|bytes| bytes.len() == length)
                    .ok_or_else(|| wrong("a sequence is longer than what the heap holds of it"));
            }
            let next = size.checked_next_multiple_of(8).and_then(|size| content.get(size..));
            rest = next.ok_or_else(|| wrong("an object of the heap ends after the heap"))?;
        }
        Err(wrong("the heap does not hold a sequence that refers to it"))
    }

    fn collection(&mut self, address: u64) -> Result<Vec<u8>> {
        let wrong = |reason: &str| Err(DataError::offset(&self.name, address, reason));
        let io = |source| DataError::Io { path: self.name.clone(), source };
        if self.size.checked_sub(16).is_none_or(|last| address > last) {
            return wrong("a sequence refers to a heap after the end of the file");
        }
        let mut header = [0; 16];
        self.file.seek(SeekFrom::Start(address)).map_err(io)?;
        self.file.read_exact(&mut header).map_err(io)?;
        let size = u64_at(&header, 8);
        if &header[..5] != b"GCOL\x01" {
            return wrong("no heap where a sequence refers to one");
        }
        if !(16..=MAX_HEAP.min(self.size - address)).contains(&size) {
            return wrong("a heap that is larger than the file or too large to be read");
        }
        let mut bytes = vec![0; size as usize];
        bytes[..16].copy_from_slice(&header);
        self.file.read_exact(&mut bytes[16..]).map_err(io)?;
        Ok(bytes)
    }
}

impl Sequences {
    fn new(dataset: &Dataset, n: usize) -> Result<Self, String> {
        let text = |e: hdf5_pure::Error| e.to_string();
        let datatype = dataset.datatype().map_err(text)?;
        let Datatype::VariableLength { base_type, .. } = &datatype else {
            return Err("expected sequences of numbers".to_owned());
        };
        let number = match **base_type {
            Datatype::FloatingPoint {
                size: 2,
                byte_order: DatatypeByteOrder::LittleEndian,
                ..
            } => Number::F16,
            Datatype::FloatingPoint {
                size: 4,
                byte_order: DatatypeByteOrder::LittleEndian,
                ..
            } => Number::F32,
            Datatype::FloatingPoint {
                size: 8,
                byte_order: DatatypeByteOrder::LittleEndian,
                ..
            } => Number::F64,
            Datatype::FixedPoint {
                size: 2, byte_order: DatatypeByteOrder::LittleEndian, ..
            } => Number::U16,
            Datatype::FixedPoint {
                size: 4, byte_order: DatatypeByteOrder::LittleEndian, ..
            } => Number::I32,
            Datatype::FixedPoint {
                size: 8, byte_order: DatatypeByteOrder::LittleEndian, ..
            } => Number::I64,
            _ => return Err(format!("sequences of a type that is not read: {base_type:?}")),
        };
        let references = dataset.read_raw().map_err(text)?;
        match references.len() == n * REFERENCE {
            true => Ok(Self { references, number }),
            false => Err(format!("{} bytes of references to {n} sequences", references.len())),
        }
    }
}

/// Length, address and index of a reference.
fn fields(reference: &[u8]) -> (u32, u64, u32) {
    let word = |at: usize| u64_at(reference, at);
    (word(0) as u32, word(4), (word(8) >> 32) as u32)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Writes the frames of all parts to `out`: spikes a time step and channel, `[steps, 1, channels, 1]`.
///
/// A sample takes `window_ms` (0: 1,400) from the start of the recording; later spikes are dropped. `size` is the
/// number of channels that the 700 are brought to (0: 700).
pub fn frames(parts: &[Option<PathBuf>; 3], config: &EventFramesConfig, out: &Path) -> Result<()> {
    let channels = if config.size == 0 { UNITS } else { config.size };
    if channels > UNITS {
        let reason = format!("data.frames.events.size = {channels}: there are {UNITS} channels");
        return Err(DataError::request(reason));
    }
    let mut writer = FramesWriter::create(out, [1, channels, 1], config.steps, 1.0)?;
    let duration =
        if config.window_ms == 0 { DURATION } else { config.window_ms.saturating_mul(1000) };
    let (mut sizes, mut classes) = ([0; 3], 0);
    let mut sample = vec![0u8; config.steps * channels];
    for (part, size) in parts.iter().zip(&mut sizes) {
        let Some(path) = part else { continue };
        let mut spoken = Spoken::open(path)?;
        for i in 0..spoken.len() {
            sample.fill(0);
            for event in spoken.recording(i)?.iter().take_while(|event| event.t < duration) {
                let step = u128::from(event.t) * config.steps as u128 / u128::from(duration);
                let count =
                    &mut sample[step as usize * channels + usize::from(event.x) * channels / UNITS];
                *count = if config.binary { 1 } else { count.saturating_add(1) };
            }
            let class = spoken.labels[i];
            classes = classes.max(class.saturating_add(1) as usize);
            writer.push(&sample, class, spoken.speakers[i])?;
        }
        *size = spoken.len();
    }
    if classes > crate::frames::MAX_CLASSES {
        return Err(DataError::request(format!("{classes} classes of spoken words")));
    }
    writer.finish((0..classes).map(|class| class.to_string()).collect(), Some(sizes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames_file;
    use std::fs;

    /// Three recordings of 4, 1 and 0 spikes, written by h5py 3 with the names and types of SHD.
    const THREE: &[u8] = include_bytes!("../tests/fixtures/shd_three.h5");

    fn put(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn spikes_of_recordings() {
        let dir = tempfile::tempdir().unwrap();
        let mut spoken = Spoken::open(&put(dir.path(), "a.h5", THREE)).unwrap();
        assert_eq!((&spoken.labels[..], &spoken.speakers[..]), (&[0, 19, 7][..], &[4, 5, 4][..]));
        let spike = |t, x| Event { t, x, y: 0, on: true };
        let first = [spike(0, 0), spike(250_000, 350), spike(500_000, 699), spike(1_250_000, 5)];
        assert_eq!(spoken.recording(0).unwrap(), first);
        assert_eq!(spoken.recording(1).unwrap(), [spike(125_000, 42)]);
        assert_eq!(spoken.recording(2).unwrap(), []);
    }

    #[test]
    fn frames_of_both_parts() {
        let dir = tempfile::tempdir().unwrap();
        assert!(files(dir.path()).unwrap_err().to_string().contains("shd_train.h5"));
        put(dir.path(), "shd_train.h5", THREE);
        put(dir.path(), "shd_test.h5", THREE);
        let (parts, out) = (files(dir.path()).unwrap(), dir.path().join("out"));
        let config = EventFramesConfig { steps: 2, window_ms: 1000, size: 7, ..Default::default() };
        frames(&parts, &config, &out).unwrap();
        let made = frames_file::open(&out).unwrap();
        assert_eq!(
            (made.shape, made.official, made.classes.len()),
            ([1, 7, 1], Some([3, 0, 3]), 20)
        );
        assert_eq!(made.sample(0), [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn damaged_files_give_errors() {
        let read = |bytes: &[u8]| -> Result<()> {
            let mut spoken = Spoken::from_bytes(bytes.to_vec(), "a")?;
            (0..spoken.len()).try_for_each(|i| spoken.recording(i).map(|_| ()))
        };
        read(THREE).unwrap();
        let heap = THREE.windows(4).position(|w| w == b"GCOL").unwrap();
        let with = |at: usize, values: &[u8]| {
            let mut bytes = THREE.to_vec();
            bytes[at..at + values.len()].copy_from_slice(values);
            read(&bytes).unwrap_err().to_string()
        };
        assert!(with(heap, b"NONE").contains("no heap where"));
        assert!(with(heap + 8, &[255; 8]).contains("larger than the file"));
        assert!(with(heap + 16 + 8, &[255; 7]).contains("ends after the heap"));
        assert!(with(heap + 16, &[99, 0]).contains("does not hold"));
        assert!(read(b"no file").unwrap_err().to_string().contains("no HDF5 file"));
        // Cut anywhere and damaged everywhere: no panic, whatever is read.
        for at in (0..THREE.len()).step_by(97) {
            let _ = read(&THREE[..at]);
        }
        for at in (0..THREE.len()).step_by(13) {
            let mut bytes = THREE.to_vec();
            bytes[at] ^= 0xff;
            let _ = read(&bytes);
        }
    }
}
