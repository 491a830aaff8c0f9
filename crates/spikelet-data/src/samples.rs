//! Labelled samples of either kind, as a network reads them: `[time, values]`.

use std::borrow::Cow;

use crate::frames::Frames;
use crate::sequences::Sequences;

/// Labelled samples.
#[derive(Debug, Clone)]
pub enum Samples {
    /// Values over time.
    Sequences(Sequences),
    /// Images or event recordings.
    Frames {
        /// The frames.
        frames: Frames,
        /// How many times a still image is shown.
        shown: usize,
    },
}

impl From<Sequences> for Samples {
    fn from(sequences: Sequences) -> Self {
        Self::Sequences(sequences)
    }
}

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Sequences(sequences) => sequences.n,
            Self::Frames { frames, .. } => frames.n,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Time steps of a sample.
    pub fn time(&self) -> usize {
        match self {
            Self::Sequences(sequences) => sequences.time,
            Self::Frames { frames, shown } => frames.time * self.repeats(*shown),
        }
    }

    /// How often every stored step is shown.
    fn repeats(&self, shown: usize) -> usize {
        match self {
            Self::Frames { frames, .. } if frames.time == 1 => shown.max(1),
            _ => 1,
        }
    }

    /// Values of a time step.
    pub fn values(&self) -> usize {
        self.shape().iter().product()
    }

    /// Shape of a time step: `[channels]`, or `[height, width, channels]`.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Sequences(sequences) => vec![sequences.channels],
            Self::Frames { frames, .. } => frames.shape.to_vec(),
        }
    }

    /// Names of the channels; none for frames.
    pub fn channel_names(&self) -> &[String] {
        match self {
            Self::Sequences(sequences) => &sequences.channel_names,
            Self::Frames { .. } => &[],
        }
    }

    /// Milliseconds between steps; 0 if unknown.
    pub fn step_ms(&self) -> f32 {
        match self {
            Self::Sequences(sequences) => sequences.step_ms,
            Self::Frames { .. } => 0.0,
        }
    }

    /// Class names.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Sequences(sequences) => &sequences.classes,
            Self::Frames { frames, .. } => &frames.classes,
        }
    }

    /// Class of each sample.
    pub fn labels(&self) -> &[u32] {
        match self {
            Self::Sequences(sequences) => &sequences.y,
            Self::Frames { frames, .. } => &frames.y,
        }
    }

    /// Classes of some samples.
    pub fn labels_of(&self, index: &[usize]) -> Vec<u32> {
        index.iter().map(|&i| self.labels()[i]).collect()
    }

    /// Whether all values are 0 or 1. Frames are taken as real values.
    pub fn is_binary(&self) -> bool {
        match self {
            Self::Sequences(sequences) => sequences.x.iter().all(|&v| v == 0.0 || v == 1.0),
            Self::Frames { .. } => false,
        }
    }

    /// The samples of `index` as `[time, batch, values]`.
    pub fn batch(&self, index: &[usize], out: &mut Vec<f32>) {
        match self {
            Self::Sequences(sequences) => sequences.batch(index, out),
            Self::Frames { frames, shown } => {
                frames.batch(index, out);
                *out = out.repeat(self.repeats(*shown));
            }
        }
    }

    /// One sample, `[time, values]`.
    pub fn sample(&self, i: usize) -> Cow<'_, [f32]> {
        match self {
            Self::Sequences(sequences) => Cow::Borrowed(sequences.sample(i)),
            Self::Frames { .. } => {
                let mut out = Vec::new();
                self.batch(&[i], &mut out);
                Cow::Owned(out)
            }
        }
    }
}
