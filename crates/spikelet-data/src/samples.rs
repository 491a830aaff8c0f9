//! Labelled samples of either kind, as a network reads them: `[time, values]`.

use std::borrow::Cow;

use crate::frames::Frames;
use crate::masked::Masked;
use crate::sentences::Sentences;
use crate::sequences::Sequences;
use crate::text::Text;
use crate::vocabulary::Vocabulary;

/// The label of what has none: a pixel that is neither learnt nor counted.
pub const NO_LABEL: u32 = u32::MAX;

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
    /// Images, every pixel of which has a label of its own.
    Masked(Masked),
    /// Sentences, each as long as it is.
    Sentences(Sentences),
    /// Windows of text, every token of which has a label of its own: the token after it.
    Text(Text),
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
            Self::Masked(masked) => masked.len(),
            Self::Sentences(sentences) => sentences.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Time steps of a sample; of sentences, of the longest.
    pub fn time(&self) -> usize {
        match self {
            Self::Sequences(sequences) => sequences.time,
            Self::Frames { frames, shown } => frames.time * self.repeats(*shown),
            Self::Masked(masked) => masked.shown.max(1),
            Self::Sentences(sentences) => sentences.longest(),
            Self::Text(text) => text.window,
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
            Self::Masked(masked) => vec![masked.size, masked.size, 3],
            Self::Sentences(_) | Self::Text(_) => vec![1],
        }
    }

    /// Names of the channels; none for frames and text.
    pub fn channel_names(&self) -> &[String] {
        match self {
            Self::Sequences(sequences) => &sequences.channel_names,
            Self::Frames { .. } | Self::Masked(_) | Self::Sentences(_) | Self::Text(_) => &[],
        }
    }

    /// Milliseconds between steps; 0 if unknown.
    pub fn step_ms(&self) -> f32 {
        match self {
            Self::Sequences(sequences) => sequences.step_ms,
            Self::Frames { .. } | Self::Masked(_) | Self::Sentences(_) | Self::Text(_) => 0.0,
        }
    }

    /// Class names; of text, those of the tokens.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Sequences(sequences) => &sequences.classes,
            Self::Frames { frames, .. } => &frames.classes,
            Self::Masked(masked) => masked.classes(),
            Self::Sentences(sentences) => &sentences.classes,
            Self::Text(text) => &text.names,
        }
    }

    /// Classes of some samples `[batch]`; of text, the tokens after those of some windows,
    /// `[time, batch]`; of images with masks, those of their pixels, `[batch, height * width]`.
    pub fn labels_of(&self, index: &[usize]) -> Vec<u32> {
        let labels = match self {
            Self::Sequences(sequences) => &sequences.y,
            Self::Frames { frames, .. } => &frames.y,
            Self::Masked(masked) => return masked.labels_of(index),
            Self::Sentences(sentences) => &sentences.y,
            Self::Text(text) => return text.targets(&text.starts(index)),
        };
        index.iter().map(|&i| labels[i]).collect()
    }

    /// The images with masks, if these are some.
    pub fn masked(&self) -> Option<&Masked> {
        match self {
            Self::Masked(masked) => Some(masked),
            _ => None,
        }
    }

    /// The text, if these are windows of one.
    pub fn text(&self) -> Option<&Text> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What token numbers mean, if samples are made of them.
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        match self {
            Self::Sentences(sentences) => Some(&sentences.vocabulary),
            Self::Text(text) => Some(&text.vocabulary),
            _ => None,
        }
    }

    /// How many tokens there are, if samples are made of them.
    pub fn vocabulary_size(&self) -> Option<usize> {
        match self {
            Self::Sentences(sentences) => Some(sentences.vocabulary_size),
            Self::Text(text) => Some(text.names.len()),
            _ => None,
        }
    }

    /// Whether all values are 0 or 1. Frames and tokens are taken as real values.
    pub fn is_binary(&self) -> bool {
        match self {
            Self::Sequences(sequences) => sequences.x.iter().all(|&v| v == 0.0 || v == 1.0),
            Self::Frames { .. } | Self::Masked(_) | Self::Sentences(_) | Self::Text(_) => false,
        }
    }

    /// The samples of `index` as `[time, batch, values]`; of sentences, as many steps as the longest
    /// of them has.
    pub fn batch(&self, index: &[usize], out: &mut Vec<f32>) {
        match self {
            Self::Sequences(sequences) => sequences.batch(index, out),
            Self::Frames { frames, shown } => {
                frames.batch(index, out);
                *out = out.repeat(self.repeats(*shown));
            }
            Self::Masked(masked) => {
                masked.batch(index, out);
                *out = out.repeat(masked.shown.max(1));
            }
            Self::Sentences(sentences) => *out = sentences.batch(index),
            Self::Text(text) => *out = text.inputs(&text.starts(index)),
        }
    }

    /// One sample, `[time, values]`.
    pub fn sample(&self, i: usize) -> Cow<'_, [f32]> {
        match self {
            Self::Sequences(sequences) => Cow::Borrowed(sequences.sample(i)),
            Self::Frames { .. } | Self::Masked(_) | Self::Sentences(_) | Self::Text(_) => {
                let mut out = Vec::new();
                self.batch(&[i], &mut out);
                Cow::Owned(out)
            }
        }
    }
}
