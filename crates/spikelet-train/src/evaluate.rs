//! Accuracy and loss of a model on a part of the data.

use crate::{
    loss::cross_entropy,
    model::{SequenceModel, read_out},
    prepare::Prepared,
    trainer::{scored, targets},
};
use burn::tensor::Device;

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
}

/// Values of a step that run at once: bounds the memory of activations.
const BATCH_VALUES: usize = 1 << 18;
/// The same for the logits of a language model.
const TEXT_VALUES: usize = 1 << 24;

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
    let mut result = Evaluation { loss: 0.0, accuracy: 0.0, predicted: vec![], labels: vec![] };
    let batch = match data.samples.text() {
        // All steps at once; what each gives is as wide as the vocabulary.
        Some(text) => (TEXT_VALUES / (text.window * text.names.len())).clamp(1, 16),
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
        let loss: f32 = cross_entropy(scaled, targets(&labels, &device), None).into_scalar();
        result.loss += f64::from(loss) * labels.len() as f64;
        let [_, classes] = logits.dims();
        let logits = logits.into_data().try_into_vec::<f32>().expect("f32 logits");
        result.predicted.extend(logits.chunks_exact(classes).map(argmax));
        result.labels.extend(labels);
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
