//! Losses of logits `[batch, classes]` against class indices `[batch]`.

use burn::tensor::{Int, Tensor, activation::log_softmax};

/// Mean cross entropy; with class weights, the weighted mean (PyTorch's definition).
pub fn cross_entropy(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Option<&[f32]>,
) -> Tensor<1> {
    let [batch, _] = logits.dims();
    let picked = log_softmax(logits, 1).gather(1, targets.clone().reshape([batch, 1]));
    let picked = picked.reshape([batch]);
    match weights {
        None => picked.mean().neg(),
        Some(weights) => {
            let device = picked.device();
            let weights = Tensor::<1>::from_floats(weights, &device).select(0, targets);
            (picked * weights.clone()).sum().neg() / weights.sum()
        }
    }
}
