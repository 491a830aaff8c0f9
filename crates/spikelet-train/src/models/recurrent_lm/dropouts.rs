//! What is dropped in a pass of training.

use super::config::{Axes, Dropouts};
use crate::draws::{Draws, LAYER_STREAMS};
use burn::tensor::{Tensor, TensorData};

/// Draws for what stands behind layer `index`.
const FORWARD: u64 = 2;
/// Draws for what stands around the layers, after those of all of them.
const WORDS: u64 = 0;
const EMBEDDING: u64 = 1;
const OUTPUT: u64 = 2;

/// The drop-outs of one pass.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) fractions: &'a Dropouts,
    pub(super) draws: &'a Draws,
    /// Layers of the network.
    pub(super) layers: usize,
}

impl Pass<'_> {
    /// Rows `[tokens, channels]` of the embedding, of which those of dropped words are zero.
    pub(super) fn words(&self, rows: Tensor<2>, tokens: &[usize], vocabulary: usize) -> Tensor<2> {
        let fraction = self.fractions.words;
        if fraction == 0.0 {
            return rows;
        }
        let kept = self.draws.once(self.around(WORDS), fraction, vocabulary);
        let kept = tokens.iter().map(|&token| kept[token] / (1.0 - fraction)).collect();
        let kept = TensorData::new::<f32, _>(kept, [tokens.len(), 1]);
        let kept = Tensor::<2>::from_data(kept, &rows.device());
        rows * kept
    }

    /// Behind the embedding.
    pub(super) fn embedding(&self, x: Tensor<3>) -> Tensor<3> {
        self.drop(x, self.fractions.embedding, self.around(EMBEDDING))
    }

    /// Between layer `index` and the next.
    pub(super) fn forward(&self, x: Tensor<3>, index: usize) -> Tensor<3> {
        self.drop(x, self.fractions.forward, index as u64 * LAYER_STREAMS + FORWARD)
    }

    /// In front of the decoder.
    pub(super) fn output(&self, x: Tensor<3>) -> Tensor<3> {
        self.drop(x, self.fractions.output, self.around(OUTPUT))
    }

    fn around(&self, what: u64) -> u64 {
        self.layers as u64 * LAYER_STREAMS + what
    }

    fn drop(&self, x: Tensor<3>, fraction: f32, stream: u64) -> Tensor<3> {
        if fraction == 0.0 {
            return x;
        }
        let [time, batch, width] = x.dims();
        let (kept, shape) = match self.fractions.axes {
            Axes::Official => (self.draws.each(stream, fraction, time, width), [time, 1, width]),
            Axes::Intended => (self.draws.once(stream, fraction, batch * width), [1, batch, width]),
        };
        let kept = Tensor::<3>::from_data(TensorData::new(kept, shape), &x.device());
        x * kept.mul_scalar(1.0 / (1.0 - fraction))
    }
}
