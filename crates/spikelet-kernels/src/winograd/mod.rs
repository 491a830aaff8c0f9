//! Dense 3 x 3 convolutions with fewer products (Winograd 1980; Lavin and Gray 2016), channels
//! last.
//!
//! An output tile of `m` x `m` is `A^T [(G g G^T) . (B^T d B)] A` of the kernel `g` and the input
//! tile `d` of `n` x `n`, `n = m + 2`: `n^2` products instead of `9 m^2`, a quarter for `m` = 4 and
//! 4/9 for `m` = 2. Over many tiles and channels the products are `n^2` matrix products. The
//! gradient of the input is the same convolution with the kernel mirrored and transposed; that
//! of the weights is the adjoint, `G^T [(A d_y A^T) . (B^T d B)] G`.
//!
//! Sums are rounded otherwise than term by term: with `m` = 2 by about 1e-6 of their size, with 4 by
//! 1e-5. What is not finite spreads over its tile.

mod convolve;
#[cfg(test)]
mod tests;
mod tiles;
mod transform;
mod weight_gradient;
mod weights;

use crate::conv::Conv;
use alloc::vec::Vec;
use tiles::Tiles;
use transform::{Four, Two};

/// Channels in and out from which on the transforms are a small part of the work.
const LEAST: usize = 48;

/// The size of output tiles that takes the fewest products, if this form applies and beats the
/// products of the definition.
fn size(conv: &Conv) -> Option<usize> {
    let w = &conv.window;
    let applies = w.kernel == [3; 2]
        && w.stride == [1; 2]
        && w.dilation == [1; 2]
        && w.padding.iter().all(|padding| *padding <= 2)
        // Transforming the weights takes as long for small images as for large ones.
        && w.output.iter().all(|side| *side > 4)
        && conv.groups == 1
        && conv.inputs.min(conv.outputs) >= LEAST;
    // What the definition takes without the padding.
    let taps = [0, 1].map(|axis| 3 * w.output[axis] - 2 * w.padding[axis].min(w.output[axis]));
    let definition = taps[0] * taps[1];
    let products = |m: usize| w.output[0].div_ceil(m) * w.output[1].div_ceil(m) * (m + 2).pow(2);
    // Transforms and kernels of large tiles cost more: they must save a fifth.
    let m = if 5 * products(4) < 4 * products(2) { 4 } else { 2 };
    (applies && 5 * products(m) < 4 * definition).then_some(m)
}

/// Whether [`forward`], [`input_gradient`] and [`weight_gradient`] take this convolution.
pub(crate) fn applies(conv: &Conv) -> bool {
    size(conv).is_some()
}

/// `[batch, oh, ow, out]`: the convolution of `x` with `weights` `[3, 3, in, out]`, plus a bias if
/// there is one. Always by small tiles: large ones round by 1e-5, which is fine for gradients, but
/// would move more spikes than the order of a sum does.
pub(crate) fn forward(
    conv: &Conv,
    x: &[f32],
    batch: usize,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let kernel = weights::Kernel { weights, inputs: conv.inputs, outputs: conv.outputs };
    let panels = |blocks| kernel.forward::<Two>(blocks);
    convolve::run::<Two>(&Tiles::new::<Two>(conv), x, batch, panels, bias)
}

/// The gradient of the input, `[batch, h, w, in]`.
pub(crate) fn input_gradient(
    conv: &Conv,
    batch: usize,
    weights: &[f32],
    d_out: &[f32],
) -> Vec<f32> {
    let kernel = weights::Kernel { weights, inputs: conv.inputs, outputs: conv.outputs };
    let mirrored = mirrored(conv);
    match size(conv) {
        Some(4) => {
            let tiles = Tiles::new::<Four>(&mirrored);
            convolve::run::<Four>(
                &tiles,
                d_out,
                batch,
                |blocks| kernel.mirrored::<Four>(blocks),
                &[],
            )
        }
        _ => {
            let tiles = Tiles::new::<Two>(&mirrored);
            convolve::run::<Two>(&tiles, d_out, batch, |blocks| kernel.mirrored::<Two>(blocks), &[])
        }
    }
}

/// The convolution that gives the gradient of the input.
fn mirrored(conv: &Conv) -> Conv {
    let mut window = conv.window;
    (window.input, window.output) = (window.output, window.input);
    window.padding = window.padding.map(|padding| 2 - padding);
    Conv { window, inputs: conv.outputs, outputs: conv.inputs, groups: 1 }
}

/// The gradient of the weights, `[3, 3, in, out]`.
pub(crate) fn weight_gradient(conv: &Conv, x: &[f32], batch: usize, d_out: &[f32]) -> Vec<f32> {
    match size(conv) {
        Some(4) => weight_gradient::run::<Four>(&Tiles::new::<Four>(conv), conv, x, batch, d_out),
        _ => weight_gradient::run::<Two>(&Tiles::new::<Two>(conv), conv, x, batch, d_out),
    }
}
