//! Accuracy and loss of a model on a part of the data.

use crate::{
    loss::{Loss, LossConfig},
    model::{SequenceModel, State, read_out},
    prepare::Prepared,
    sparsity::{Counted, Sparsity},
    trainer::targets,
};
use burn::tensor::{Device, Tensor};
use spikelet_data::{
    Samples,
    columns::{Reading, reading},
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
    /// How much of each event-based layer is silent, over all of a text whose windows are carried;
    /// nothing of other samples.
    pub sparsity: Vec<Sparsity>,
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
    if data.samples.text().is_some_and(|text| text.windows.carried()) {
        return in_columns(model, data, part, logit_scale);
    }
    let device = Device::flex();
    let mut result = Evaluation::empty();
    let mut confusion = match &data.samples {
        Samples::Masked(masked) => Some(Confusion::new(masked.classes().len())),
        _ => None,
    };
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
        let outputs = model.sequence(x);
        let labels = data.samples.labels_of(batch);
        result.add(model, outputs, labels, logit_scale, confusion.as_mut());
    }
    result.finished(confusion)
}

/// The windows of a part of a text one behind the other, each from the state behind the one before
/// it, in as many columns as the part is read in.
fn in_columns<M: SequenceModel>(
    model: &M,
    data: &Prepared,
    part: &[usize],
    logit_scale: f32,
) -> Evaluation {
    let device = Device::flex();
    let mut result = Evaluation::empty();
    let Reading { rows, rest } = reading(part);
    let mut state = model.initial_state(rows.first().map_or(0, Vec::len), &device);
    let mut counted = Counted::default();
    let mut read = |windows: &[usize], state: State| {
        let x = data.batch(windows, &device);
        let (outputs, next) = model.resume_counted(x, state, &mut counted);
        result.add(model, outputs, data.samples.labels_of(windows), logit_scale, None);
        model.carried(next)
    };
    for row in &rows {
        state = read(row, state);
    }
    let last = |part: Tensor<2>| {
        let [columns, _] = part.dims();
        part.narrow(0, columns - 1, 1)
    };
    let mut state = if rest.is_empty() { state } else { state.into_iter().map(last).collect() };
    for window in rest {
        state = read(&[window], state);
    }
    result.sparsity = counted.fractions();
    result.finished(None)
}

impl Evaluation {
    fn empty() -> Self {
        Evaluation {
            loss: 0.0,
            accuracy: 0.0,
            predicted: vec![],
            labels: vec![],
            pixels: 0,
            segmentation: None,
            sparsity: vec![],
        }
    }

    /// Adds a batch; the loss is a sum until all is done. Predictions for pixels go to `confusion`.
    fn add<M: SequenceModel>(
        &mut self,
        model: &M,
        outputs: Tensor<3>,
        labels: Vec<u32>,
        logit_scale: f32,
        confusion: Option<&mut Confusion>,
    ) {
        let device = Device::flex();
        let logits = read_out(model.readout(), outputs.clone());
        let logits = scored(outputs, logits, labels.len());
        let scaled = logits.clone().mul_scalar(logit_scale);
        let plain = Loss::new(LossConfig::default());
        let loss: f32 = plain.of(scaled, targets(&labels, &device)).into_scalar();
        let labelled = labels.iter().filter(|&&label| label != NO_LABEL).count();
        self.loss += f64::from(loss) * labelled as f64;
        let [_, classes] = logits.dims();
        let logits = logits.into_data().try_into_vec::<f32>().expect("f32 logits");
        let predicted = logits.chunks_exact(classes).map(argmax);
        if let Some(confusion) = confusion {
            let found = predicted.zip(&labels).filter(|(_, label)| **label != NO_LABEL);
            found.for_each(|(predicted, label)| confusion.add(*label, predicted));
            return;
        }
        self.predicted.extend(predicted);
        self.labels.extend(labels);
    }

    fn finished(mut self, confusion: Option<Confusion>) -> Self {
        if let Some(confusion) = confusion {
            self.pixels = confusion.total();
            self.loss /= self.pixels.max(1) as f64;
            self.accuracy = confusion.accuracy();
            self.segmentation = Some(Segmentation::of(&confusion));
            return self;
        }
        let right = self.predicted.iter().zip(&self.labels).filter(|(p, y)| p == y).count();
        let n = self.labels.len().max(1) as f64;
        self.accuracy = right as f64 / n;
        self.loss /= n;
        self
    }
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

/// What is compared with `labels` labels: the logits of the read-out, or the outputs of all steps
/// where every step, or every position of an image, has a label.
pub(crate) fn scored(outputs: Tensor<3>, logits: Tensor<2>, labels: usize) -> Tensor<2> {
    let [time, batch, values] = outputs.dims();
    match labels == batch {
        true => logits,
        false => outputs.reshape([labels, time * batch * values / labels]),
    }
}

/// The mean of two heads side by side, `[rows, 2 * classes]`, where there are two.
pub(crate) fn one_head(logits: Tensor<2>, classes: usize) -> Tensor<2> {
    match logits.dims()[1] == 2 * classes {
        true => (logits.clone().narrow(1, 0, classes) + logits.narrow(1, classes, classes))
            .mul_scalar(0.5),
        false => logits,
    }
}
