//! Labelled images and event frames: bytes in memory or in a mapped file, floats only in a batch.

use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{DataError, Result};
use crate::frame_augment::FrameAugmenter;
use crate::frames_file::FramesWriter;
use crate::normalize::Normalization;
use crate::resized_crop::Window;

/// Most classes a set of frames can have: ImageNet-21k has fewer.
pub const MAX_CLASSES: usize = 1 << 16;

/// Labelled frames of equal size. A sample is `[time, height, width, channels]`, channels last, row 0 on top; a
/// still image has one time step.
#[derive(Debug, Clone)]
pub struct Frames {
    /// Height, width and channels of each frame. Event frames have two channels: OFF, then ON.
    pub shape: [usize; 3],
    /// Frames of each sample.
    pub time: usize,
    /// Number of samples.
    pub n: usize,
    /// Class of each sample, an index into `classes`.
    pub y: Vec<u32>,
    /// What must not be divided between training and test: person or recording; 0 where the source names none.
    pub group: Vec<u32>,
    /// Class names.
    pub classes: Vec<String>,
    /// Sizes of the official training, validation and test parts, which follow each other in this order;
    /// `None`: the data set has no official parts.
    pub official: Option<[usize; 3]>,
    /// What a stored 1 means: 1/255 for images, 1 for event counts.
    pub scale: f32,
    normalization: Option<Normalization>,
    store: Store,
    /// Value of each stored byte in each channel, `[256, channels]`.
    table: Vec<f32>,
}

#[derive(Debug, Clone)]
enum Store {
    Owned(Vec<u8>),
    Mapped { map: Arc<Mmap>, offset: usize },
}

impl Frames {
    /// No samples yet, of the given form.
    pub fn empty(shape: [usize; 3], time: usize, classes: Vec<String>, scale: f32) -> Self {
        let mut frames = Self {
            shape,
            time,
            n: 0,
            y: Vec::new(),
            group: Vec::new(),
            classes,
            official: None,
            scale,
            normalization: None,
            store: Store::Owned(Vec::new()),
            table: Vec::new(),
        };
        frames.tabulate();
        frames
    }

    /// The same form and labels over bytes of a mapped file; `None` if it is too short for `n` samples.
    pub(crate) fn over(mut self, map: Arc<Mmap>, offset: usize) -> Option<Self> {
        let len = self.n.checked_mul(self.sample_len())?;
        (offset.checked_add(len)? <= map.len()).then(|| {
            self.store = Store::Mapped { map, offset };
            self
        })
    }

    /// Appends one sample `[time, height, width, channels]`.
    ///
    /// # Panics
    /// If `sample` has another length, or if the frames lie in a mapped file.
    pub fn push(&mut self, sample: &[u8], y: u32, group: u32) {
        assert_eq!(sample.len(), self.sample_len(), "a sample is [time, height, width, channels]");
        let Store::Owned(bytes) = &mut self.store else { panic!("a mapped file does not grow") };
        bytes.extend_from_slice(sample);
        self.y.push(y);
        self.group.push(group);
        self.n += 1;
    }

    /// Values of one frame, `height * width * channels`: the channels of a batch.
    pub fn frame_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of one sample.
    pub fn sample_len(&self) -> usize {
        self.time * self.frame_len()
    }

    /// Sample `i` as stored, `[time, height, width, channels]`.
    pub fn sample(&self, i: usize) -> &[u8] {
        let len = self.sample_len();
        let bytes = match &self.store {
            Store::Owned(bytes) => bytes,
            Store::Mapped { map, offset } => &map[*offset..],
        };
        &bytes[i * len..(i + 1) * len]
    }

    /// What values are normalised with, in units of `scale`.
    pub fn normalization(&self) -> Option<&Normalization> {
        self.normalization.as_ref()
    }

    /// Normalises what batches hold from now on; `None` ends it.
    pub fn normalize(&mut self, normalization: Option<Normalization>) -> Result<()> {
        if let Some(given) = &normalization {
            let channels = self.shape[2];
            if given.mean.len() != channels || given.std.len() != channels {
                let (mean, std) = (given.mean.len(), given.std.len());
                return Err(DataError::request(format!(
                    "{mean} means and {std} standard deviations for {channels} channels"
                )));
            }
            if given.std.iter().any(|s| !(s.is_finite() && *s > 0.0))
                || given.mean.iter().any(|m| !m.is_finite())
            {
                return Err(DataError::request(
                    "means must be finite and standard deviations above 0",
                ));
            }
        }
        self.normalization = normalization;
        self.tabulate();
        Ok(())
    }

    /// Mean and standard deviation of each channel over all time steps of the samples of `train`, in units of
    /// `scale`. Sums are of integers, so the result does not depend on the order of samples.
    pub fn statistics(&self, train: &[usize]) -> Result<Normalization> {
        let channels = self.shape[2];
        let mut counts = vec![[0u64; 256]; channels];
        for &i in train {
            for pixel in self.sample(i).chunks_exact(channels.max(1)) {
                pixel.iter().zip(&mut counts).for_each(|(&v, c)| c[usize::from(v)] += 1);
            }
        }
        let mut fitted = Normalization { mean: Vec::new(), std: Vec::new() };
        for counts in &counts {
            let n: u64 = counts.iter().sum();
            if n == 0 {
                return Err(DataError::request("normalisation needs at least one training sample"));
            }
            let mean = weighted(counts, |v| v) / n as f64;
            let variance = weighted(counts, |v| (v - mean).powi(2)) / n as f64;
            let scale = f64::from(self.scale);
            fitted.mean.push((mean * scale) as f32);
            fitted.std.push(if variance > 0.0 { (variance.sqrt() * scale) as f32 } else { 1.0 });
        }
        Ok(fitted)
    }

    /// The samples of `index` as one time-major batch, `[time, batch, height * width * channels]`, written over
    /// `out`.
    pub fn batch(&self, index: &[usize], out: &mut Vec<f32>) {
        out.clear();
        out.resize(index.len() * self.sample_len(), 0.0);
        for (b, &i) in index.iter().enumerate() {
            self.place(self.sample(i), b, index.len(), out);
        }
    }

    /// As [`Self::batch`], with the random changes of this epoch.
    pub fn train_batch(
        &self,
        index: &[usize],
        augmenter: &FrameAugmenter,
        seed: u64,
        epoch: u64,
        out: &mut Vec<f32>,
    ) {
        out.clear();
        out.resize(index.len() * self.sample_len(), 0.0);
        let mut changed = Vec::new();
        for (b, &i) in index.iter().enumerate() {
            let change = augmenter.draw(self.shape, seed, epoch, i as u64);
            change.apply(self.sample(i), &mut changed);
            self.place(&changed, b, index.len(), out);
            let frame = self.frame_len();
            for t in 0..self.time {
                change.cut_out(&mut out[(t * index.len() + b) * frame..][..frame]);
            }
        }
    }

    /// Writes one sample as member `b` of a batch of `size`.
    fn place(&self, sample: &[u8], b: usize, size: usize, out: &mut [f32]) {
        let (frame, channels) = (self.frame_len(), self.shape[2]);
        for (t, bytes) in sample.chunks_exact(frame.max(1)).enumerate() {
            let out = &mut out[(t * size + b) * frame..][..frame];
            for (value, pixel) in out.chunks_exact_mut(channels).zip(bytes.chunks_exact(channels)) {
                for (c, (value, &byte)) in value.iter_mut().zip(pixel).enumerate() {
                    *value = self.table[usize::from(byte) * channels + c];
                }
            }
        }
    }

    /// Writes a file of the same samples with frames of `side` x `side`: linear interpolation between the middles of
    /// pixels.
    pub fn write_resized(&self, side: usize, path: &Path) -> Result<()> {
        let [height, width, channels] = self.shape;
        let mut writer = FramesWriter::create(path, [side, side, channels], self.time, self.scale)?;
        let whole = Window::whole(height, width);
        for i in 0..self.n {
            let resized = whole.resized_to(self.sample(i), self.shape, [side, side]);
            writer.push(&resized, self.y[i], self.group[i])?;
        }
        writer.finish(self.classes.clone(), self.official)
    }

    /// Classes of the samples of `index`.
    pub fn labels(&self, index: &[usize]) -> Vec<u32> {
        index.iter().map(|&i| self.y[i]).collect()
    }

    /// Number of samples of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.y.iter().for_each(|&y| counts[y as usize] += 1);
        counts
    }

    /// Checks that lengths agree and labels name a class.
    pub fn validate(&self) -> Result<()> {
        let wrong = |what: String| Err(DataError::request(format!("inconsistent frames: {what}")));
        let stored = match &self.store {
            Store::Owned(bytes) => Some(bytes.len()),
            Store::Mapped { .. } => None,
        };
        if self.shape.contains(&0) || self.time == 0 {
            return wrong(format!("{} frames of {:?}", self.time, self.shape));
        }
        if stored.is_some_and(|len| self.n.checked_mul(self.sample_len()) != Some(len)) {
            return wrong(format!("{stored:?} bytes for {} samples", self.n));
        }
        if self.y.len() != self.n || self.group.len() != self.n {
            return wrong(format!(
                "{} labels and {} groups for {}",
                self.y.len(),
                self.group.len(),
                self.n
            ));
        }
        if let Some(i) = self.y.iter().position(|&y| y as usize >= self.classes.len()) {
            return wrong(format!("sample {i} has class {} of {}", self.y[i], self.classes.len()));
        }
        let parts = self.official.map(|parts| {
            parts.iter().try_fold(0usize, |sum, &part| sum.checked_add(part)).unwrap_or(usize::MAX)
        });
        match parts {
            Some(sum) if sum != self.n => wrong(format!("official parts of {sum} of {}", self.n)),
            _ => Ok(()),
        }
    }

    fn tabulate(&mut self) {
        let channels = self.shape[2];
        self.table = (0..=255u8)
            .flat_map(|byte| std::iter::repeat_n(f32::from(byte) * self.scale, channels))
            .collect();
        if let Some(normalization) = &self.normalization {
            normalization.apply(&mut self.table);
        }
    }
}

fn weighted(counts: &[u64; 256], value: impl Fn(f64) -> f64) -> f64 {
    counts.iter().enumerate().map(|(v, &n)| n as f64 * value(v as f64)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Frames {
        let classes = vec!["no".into(), "yes".into()];
        let mut frames = Frames::empty([1, 2, 2], 2, classes, 0.5);
        frames.push(&[0, 1, 2, 3, 4, 5, 6, 7], 0, 3);
        frames.push(&[10, 11, 12, 13, 14, 15, 16, 17], 1, 4);
        frames
    }

    #[test]
    fn batch_is_time_major_and_channels_last() {
        let mut out = vec![9.0; 3];
        two().batch(&[1, 0], &mut out);
        let first = [5.0, 5.5, 6.0, 6.5, 0.0, 0.5, 1.0, 1.5];
        assert_eq!(out[..8], first);
        assert_eq!(out[8..], first.map(|v| v + 2.0));
        assert_eq!((two().labels(&[1, 0]), two().class_counts()), (vec![1, 0], vec![1, 1]));
    }

    #[test]
    fn normalised_training_samples_have_mean_0_and_deviation_1() {
        let mut frames = two();
        let fitted = frames.statistics(&[0]).unwrap();
        assert_eq!(fitted.mean, [1.5, 2.0]);
        assert!((fitted.std[0] - 1.25f32.sqrt()).abs() < 1e-6);
        frames.normalize(Some(fitted)).unwrap();
        let mut out = Vec::new();
        frames.batch(&[0], &mut out);
        for c in 0..2 {
            let (sum, squares) =
                out.iter().skip(c).step_by(2).fold((0.0, 0.0), |(s, q), v| (s + v, q + v * v));
            assert!(sum.abs() < 1e-6 && (squares / 4.0 - 1.0).abs() < 1e-6);
        }
        assert!(frames.statistics(&[]).is_err());
        let wrong = Normalization { mean: vec![0.0], std: vec![1.0] };
        assert!(frames.normalize(Some(wrong)).is_err());
        let zero = Normalization { mean: vec![0.0; 2], std: vec![0.0; 2] };
        assert!(frames.normalize(Some(zero)).is_err());
    }

    #[test]
    fn validate_finds_each_inconsistency() {
        two().validate().unwrap();
        let broken = |f: fn(&mut Frames)| {
            let mut frames = two();
            f(&mut frames);
            frames.validate().unwrap_err().to_string()
        };
        assert!(broken(|f| f.n = usize::MAX).contains("bytes for"));
        assert!(broken(|f| f.y[1] = 2).contains("sample 1 has class 2 of 2"));
        assert!(broken(|f| f.group.clear()).contains("0 groups"));
        assert!(broken(|f| f.shape[1] = 0).contains("[1, 0, 2]"));
        assert!(broken(|f| f.official = Some([1, 0, 2])).contains("parts of 3 of 2"));
    }
}
