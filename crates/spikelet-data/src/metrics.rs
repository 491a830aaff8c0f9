//! Figures of a classifier, of sequences, images or pixels: accuracy, precision, recall, F1 and overlap of each class,
//! confusion matrix.

use serde::{Deserialize, Serialize};

/// Counts of true class against predicted class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Number of classes.
    pub classes: usize,
    /// `[true, predicted]`, row by row.
    pub counts: Vec<u64>,
}

/// Figures of one class. A ratio whose denominator is 0 counts as 0, so that a class never predicted lowers the
/// macro average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    /// Of those predicted as this class, the fraction that is.
    pub precision: f64,
    /// Of those of this class, the fraction predicted so.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Number of sequences of this class.
    pub support: u64,
}

impl Confusion {
    /// No predictions yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// The matrix of paired true and predicted classes.
    ///
    /// # Panics
    /// If a class is `classes` or above.
    pub fn of(classes: usize, truth: &[u32], predicted: &[u32]) -> Self {
        assert_eq!(truth.len(), predicted.len(), "one prediction for each true class");
        let mut matrix = Self::new(classes);
        truth.iter().zip(predicted).for_each(|(&t, &p)| matrix.add(t, p));
        matrix
    }

    /// Counts one prediction.
    ///
    /// # Panics
    /// If a class is `classes` or above.
    pub fn add(&mut self, truth: u32, predicted: u32) {
        let (t, p) = (truth as usize, predicted as usize);
        assert!(t < self.classes && p < self.classes, "classes {t} and {p} of {}", self.classes);
        self.counts[t * self.classes + p] += 1;
    }

    /// Number of predictions.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Number of right predictions.
    pub fn correct(&self) -> u64 {
        (0..self.classes).map(|c| self.counts[c * self.classes + c]).sum()
    }

    /// Fraction of right predictions; 0 without any.
    pub fn accuracy(&self) -> f64 {
        ratio(self.correct(), self.total())
    }

    /// Precision, recall, F1 and support of each class.
    pub fn per_class(&self) -> Vec<ClassFigures> {
        let figures = (0..self.classes).map(|c| {
            let right = self.counts[c * self.classes + c];
            let support = self.counts[c * self.classes..(c + 1) * self.classes].iter().sum();
            let predicted = (0..self.classes).map(|t| self.counts[t * self.classes + c]).sum();
            let f1 = ratio(2 * right, support + predicted);
            ClassFigures {
                precision: ratio(right, predicted),
                recall: ratio(right, support),
                f1,
                support,
            }
        });
        figures.collect()
    }

    /// Mean F1 over the classes that occur in truth or prediction.
    pub fn macro_f1(&self) -> f64 {
        let figures = self.per_class();
        let occurs = |c: &usize| {
            let column = (0..self.classes).any(|t| self.counts[t * self.classes + c] > 0);
            figures[*c].support > 0 || column
        };
        let present: Vec<f64> = (0..self.classes).filter(occurs).map(|c| figures[c].f1).collect();
        match present.len() {
            0 => 0.0,
            n => present.iter().sum::<f64>() / n as f64,
        }
    }
}

impl Confusion {
    /// Of each class the intersection of truth and prediction over their union; `None` where it is in neither.
    pub fn overlaps(&self) -> Vec<Option<f64>> {
        let of = |c: usize| {
            let right = self.counts[c * self.classes + c];
            let truth: u64 = self.counts[c * self.classes..(c + 1) * self.classes].iter().sum();
            let predicted: u64 = (0..self.classes).map(|t| self.counts[t * self.classes + c]).sum();
            let union = truth + predicted - right;
            (union > 0).then(|| ratio(right, union))
        };
        (0..self.classes).map(of).collect()
    }

    /// Mean of [`Self::overlaps`] over the classes that occur (mIoU); 0 without any.
    pub fn mean_overlap(&self) -> f64 {
        let present: Vec<f64> = self.overlaps().into_iter().flatten().collect();
        match present.len() {
            0 => 0.0,
            n => present.iter().sum::<f64>() / n as f64,
        }
    }
}

/// What a segmenting network makes of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segmentation {
    /// Mean over the classes of intersection over union (mIoU).
    pub mean_overlap: f64,
    /// Fraction of pixels right.
    pub pixel_accuracy: f64,
    /// Intersection over union of each class; nothing where it is neither there nor predicted.
    pub overlaps: Vec<Option<f64>>,
}

impl Segmentation {
    /// The figures of counts of pixels.
    pub fn of(confusion: &Confusion) -> Self {
        Self {
            mean_overlap: confusion.mean_overlap(),
            pixel_accuracy: confusion.accuracy(),
            overlaps: confusion.overlaps(),
        }
    }
}

/// Whether `class` is among the `k` highest of `scores`; of equal scores the first is the higher.
///
/// # Panics
/// If there is no such class.
pub fn in_top(scores: &[f32], class: u32, k: usize) -> bool {
    let class = class as usize;
    let own = scores[class];
    let above = |(i, score): (usize, &f32)| *score > own || (*score == own && i < class);
    scores.iter().enumerate().filter(|&entry| above(entry)).count() < k
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What a language model makes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Language {
    /// Bits a token takes on average: a character, or a byte.
    pub bits_per_token: f64,
    /// Bits a UTF-8 byte of the text takes on average.
    pub bits_per_byte: f64,
    /// `2^bits_per_token`.
    pub perplexity: f64,
}

impl Language {
    /// Figures of a mean cross entropy per token, in nats, over text of so many bytes a token.
    pub fn of(loss: f64, bytes_per_token: f64) -> Self {
        let bits_per_token = loss / std::f64::consts::LN_2;
        Self {
            bits_per_token,
            bits_per_byte: bits_per_token / bytes_per_token,
            perplexity: loss.exp(),
        }
    }

    /// The figures in words; `unit` is what a token is.
    pub fn text(&self, unit: &str) -> String {
        format!(
            "{:.4} bits per {unit}, {:.4} bits per byte, perplexity {:.3}",
            self.bits_per_token, self.bits_per_byte, self.perplexity
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_worked_out_by_hand() {
        // True 0: two right, one taken for 1. True 1: one right. True 2: one taken for 0. Class 3 never occurs.
        let m = Confusion::of(4, &[0, 0, 0, 1, 2], &[0, 0, 1, 1, 0]);
        assert_eq!(m.counts, [2, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((m.total(), m.correct(), m.accuracy()), (5, 3, 0.6));
        let c = m.per_class();
        assert_eq!((c[0].precision, c[0].recall, c[0].support), (2.0 / 3.0, 2.0 / 3.0, 3));
        assert_eq!((c[1].precision, c[1].recall, c[1].f1), (0.5, 1.0, 2.0 / 3.0));
        assert_eq!((c[2].precision, c[2].recall, c[2].f1), (0.0, 0.0, 0.0));
        assert!((m.macro_f1() - 4.0 / 9.0).abs() < 1e-15);
    }

    #[test]
    fn overlaps_worked_out_by_hand() {
        let m = Confusion::of(4, &[0, 0, 0, 1, 2], &[0, 0, 1, 1, 0]);
        assert_eq!(m.overlaps(), [Some(0.5), Some(0.5), Some(0.0), None]);
        assert_eq!((m.mean_overlap(), Confusion::new(2).mean_overlap()), (1.0 / 3.0, 0.0));
    }

    #[test]
    fn the_highest_scores() {
        let scores = [0.1, 0.9, 0.5, 0.5];
        assert!(in_top(&scores, 1, 1) && !in_top(&scores, 2, 1) && in_top(&scores, 2, 2));
        assert!(!in_top(&scores, 3, 2) && in_top(&scores, 3, 3) && in_top(&scores, 0, 5));
    }

    #[test]
    fn nothing_predicted_is_zero_not_nan() {
        let m = Confusion::new(3);
        assert_eq!((m.accuracy(), m.macro_f1()), (0.0, 0.0));
    }
}
