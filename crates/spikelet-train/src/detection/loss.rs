//! Losses of detectors, each a sum over weighted elements divided by one number.

use burn::tensor::{
    Tensor,
    activation::{relu, sigmoid},
};

/// What hard and easy examples weigh in the focal loss, and what objects do (Lin et al. 2017).
const GAMMA: f32 = 2.0;
const ALPHA: f32 = 0.25;

/// Cross entropy of logits and targets 0 or 1, element by element.
fn entropy<const D: usize>(logits: Tensor<D>, targets: Tensor<D>) -> Tensor<D> {
    // max(x, 0) - x t + log(1 + e^-|x|)
    let soft = (logits.clone().abs().neg().exp() + 1.0).log();
    relu(logits.clone()) - logits * targets + soft
}

/// Binary cross entropy with weights.
pub fn binary_cross_entropy<const D: usize>(
    logits: Tensor<D>,
    targets: Tensor<D>,
    weights: Tensor<D>,
    by: f32,
) -> Tensor<1> {
    (entropy(logits, targets) * weights).sum().div_scalar(by)
}

/// Focal loss: binary cross entropy in which what is right already counts little.
pub fn focal<const D: usize>(
    logits: Tensor<D>,
    targets: Tensor<D>,
    weights: Tensor<D>,
    by: f32,
) -> Tensor<1> {
    let p = sigmoid(logits.clone());
    // How far off: 1 - p where the target is 1, p where it is 0.
    let off = targets.clone() + p * (targets.clone().mul_scalar(-2.0) + 1.0);
    let off = if GAMMA == 2.0 { off.clone() * off } else { off.powf_scalar(GAMMA) };
    let balance = targets.clone().mul_scalar(2.0 * ALPHA - 1.0) + (1.0 - ALPHA);
    (entropy(logits, targets) * off * balance * weights).sum().div_scalar(by)
}

/// Absolute differences with weights.
pub fn absolute<const D: usize>(
    found: Tensor<D>,
    wanted: Tensor<D>,
    weights: Tensor<D>,
    by: f32,
) -> Tensor<1> {
    ((found - wanted).abs() * weights).sum().div_scalar(by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn value(loss: Tensor<1>) -> f32 {
        loss.into_scalar()
    }

    #[test]
    fn known_values() {
        let device = Device::flex();
        let t = |values: [f32; 3]| Tensor::<1>::from_floats(values, &device);
        let (x, y, w) = (t([0.0, 2.0, -100.0]), t([1.0, 0.0, 1.0]), t([1.0, 1.0, 0.5]));
        let bce = value(binary_cross_entropy(x.clone(), y.clone(), w.clone(), 2.0));
        let exact = (2.0_f32.ln() + (1.0 + 2.0_f32.exp()).ln() + 50.0) / 2.0;
        assert!((bce - exact).abs() < 1e-4, "{bce} {exact}");
        let p = 1.0 / (1.0 + (-2.0_f32).exp());
        let exact =
            0.25 * 0.25 * 2.0_f32.ln() + 0.75 * p * p * (1.0 + 2.0_f32.exp()).ln() + 0.25 * 50.0;
        let found = value(focal(x.clone(), y.clone(), w.clone(), 1.0));
        assert!((found - exact).abs() < 1e-4, "{found} {exact}");
        assert_eq!(value(absolute(x, y, t([1.0, 2.0, 0.0]), 5.0)), 1.0);
    }
}
