//! One row of logits for a sentence from the logits of its tokens.

use burn::tensor::{Tensor, activation::softmax};
use serde::{Deserialize, Serialize};

/// How the logits of tokens become those of a sentence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// Those of the last token.
    Last,
    /// A mean with learned weights: for every class, the soft maximum over tokens of a linear
    /// function of their features.
    Learned,
}

/// What is added to the score of a token that is none.
const NEVER: f32 = -1e30;

impl Pooling {
    /// `[1, batch, classes]` of logits `[time, batch, classes]`, with `mask` `[time, batch, 1]` 1 for
    /// tokens and 0 behind the end; scores `[time, batch, classes]` are those of [`Pooling::Learned`].
    pub(super) fn pool(
        logits: Tensor<3>,
        mask: Tensor<3>,
        scores: Option<Tensor<3>>,
        last: bool,
    ) -> Tensor<3> {
        let weights = match scores {
            Some(scores) => softmax(scores + (mask.neg() + 1.0).mul_scalar(NEVER), 0),
            None if last => {
                let [_, batch, _] = mask.dims();
                let end = Tensor::zeros([1, batch, 1], &mask.device());
                let next = Tensor::cat(vec![mask.clone().slice([1..]), end], 0);
                mask - next
            }
            None => mask.clone() / mask.sum_dim(0),
        };
        (logits * weights).sum_dim(0)
    }
}
