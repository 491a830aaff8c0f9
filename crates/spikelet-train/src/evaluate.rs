//! Accuracy and loss of a model on a part of the data.

use crate::{
    loss::{Loss, LossConfig},
    model::{SequenceModel, read_out},
    prepare::Prepared,
    trainer::{scored, targets},
};
use burn::tensor::Device;
use spikelet_data::{
    Samples,
    metrics::{Confusion, Segmentation},
    samples::NO_LABEL,
};

/// Result on one part.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean cross entropy.
    pub loss: f64,
    /// Fraction right.
    pub accuracy: f64,
    /// Class predicted for each sequence of the part, in its order; of text, for every token of
    /// batches of windows, `[time, batch]`.
    pub predicted: Vec<u32>,
    /// Class of each.
    pub labels: Vec<u32>,
    /// Pixels that were measured; none of other samples.
    pub pixels: u64,
    /// Figures of a segmenting network, whose predictions are not kept.
    pub segmentation: Option<Segmentation>,
}

impl Evaluation {
    /// What the best model is chosen by: mean overlap of a segmenting network, else accuracy.
    pub fn score(&self) -> f64 {
        self.segmentation.as_ref().map_or(self.accuracy, |found| found.mean_overlap)
    }
}

/// Values of a step that run at once: bounds the memory of activations.
const BATCH_VALUES: usize = 1 << 18;
/// The same for the logits of a language model.
const TEXT_VALUES: usize = 1 << 24;

/// Values of images that run at once where every pixel gets a class.
const PIXELS: usize = 1 << 20;
/// Sentences that run at once.
const SENTENCES: usize = 32;

/// Evaluates `model` (on the plain device) on the sequences of `part`.
pub fn evaluate<M: SequenceModel>(
    model: &M,
    data: &Prepared,
    part: &[usize],
    logit_scale: f32,
) -> Evaluation {
    let device = Device::flex();
    let mut result = Evaluation {
        loss: 0.0,
        accuracy: 0.0,
        predicted: vec![],
        labels: vec![],
        pixels: 0,
        segmentation: None,
    };
    let mut confusion = Confusion::new(match &data.samples {
        Samples::Masked(masked) => masked.classes().len(),
        _ => 0,
    });
    let batch = match data.samples.text() {
        // All steps at once; what each gives is as wide as the vocabulary.
        Some(text) => (TEXT_VALUES / (text.window * text.names.len())).clamp(1, 16),
        None if data.samples.masked().is_some() => {
            (PIXELS / data.samples.values().max(1)).clamp(1, 64)
        }
        None if data.samples.vocabulary().is_some() => SENTENCES,
        None => (BATCH_VALUES / data.samples.values().max(1)).clamp(16, 256),
    };
    for batch in part.chunks(batch) {
        let x = data.batch(batch, &device);
        let labels = data.samples.labels_of(batch);
        let outputs = model.sequence(x);
        let logits = read_out(model.readout(), outputs.clone());
        let logits = scored(outputs, logits, labels.len());
        let scaled = logits.clone().mul_scalar(logit_scale);
        let plain = Loss::new(LossConfig::default());
        let loss: f32 = plain.of(scaled, targets(&labels, &device)).into_scalar();
        let labelled = labels.iter().filter(|&&label| label != NO_LABEL).count();
        result.loss += f64::from(loss) * labelled as f64;
        let [_, classes] = logits.dims();
        let logits = logits.into_data().try_into_vec::<f32>().expect("f32 logits");
        if data.samples.masked().is_some() {
            let found = logits.chunks_exact(classes).map(argmax).zip(&labels);
            let found = found.filter(|(_, label)| **label != NO_LABEL);
            found.for_each(|(predicted, label)| confusion.add(*label, predicted));
            continue;
        }
        result.predicted.extend(logits.chunks_exact(classes).map(argmax));
        result.labels.extend(labels);
    }
    if data.samples.masked().is_some() {
        result.pixels = confusion.total();
        result.loss /= result.pixels.max(1) as f64;
        result.accuracy = confusion.accuracy();
        result.segmentation = Some(Segmentation::of(&confusion));
        return result;
    }
    let right = result.predicted.iter().zip(&result.labels).filter(|(p, y)| p == y).count();
    let n = result.labels.len().max(1) as f64;
    result.accuracy = right as f64 / n;
    result.loss /= n;
    result
}

/// The first index of the maximum (PyTorch's rule for ties).
pub fn argmax(values: &[f32]) -> u32 {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best as u32
}
