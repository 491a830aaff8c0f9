//! The layers as functions of tensors `[batch, h, w, channels]`: our own operations where the
//! tensors lie in the memory of the CPU, else composed of tensor operations.

use crate::{
    neuron::Dynamics,
    ops::{
        batch_norm::batch_norm,
        flex::is_f32_on_flex,
        mean_pool,
        normalized_neurons::{Constants, normalized_neurons},
        spike_conv::{spike_conv, spike_linear},
    },
};
use burn::tensor::{Device, Tensor, TensorData, module::conv2d, ops::ConvOptions};
use spikelet_kernels::{
    conv::Conv,
    interpolate::{Place, places},
    mean_pool::Windows,
    window::Window,
};

/// Added to variances.
const EPSILON: f32 = 1e-5;
/// Added to the variance of a kernel times its fan-in.
const KERNEL_EPSILON: f32 = 1e-4;
/// Of neurons that are given no other.
pub(super) const THRESHOLD: f32 = 1.0;
/// Weight of a new value in running statistics.
pub const MOMENTUM: f32 = 0.1;

/// Where a kernel goes.
#[derive(Clone, Copy)]
pub(in crate::models) struct Steps {
    pub(in crate::models) stride: usize,
    pub(in crate::models) padding: usize,
    pub(in crate::models) groups: usize,
}

/// A convolution with the kernel `[kh, kw, in / groups, out]`.
pub(in crate::models) fn conv(
    x: Tensor<4>,
    kernel: Tensor<4>,
    bias: Option<Tensor<1>>,
    steps: Steps,
) -> Tensor<4> {
    if !is_f32_on_flex(&x) {
        return composed_conv(x, kernel, bias, steps);
    }
    let Steps { stride, padding, groups } = steps;
    let ([_, h, w, inputs], [kh, kw, _, outputs]) = (x.dims(), kernel.dims());
    let window = Window {
        input: [h, w],
        output: [(h, kh), (w, kw)].map(|(n, k)| (n + 2 * padding - k) / stride + 1),
        kernel: [kh, kw],
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [1; 2],
    };
    let none = || Tensor::zeros([0], &x.device());
    let bias = bias.unwrap_or_else(none);
    spike_conv(x, kernel, bias, Conv { window, inputs, outputs, groups })
}

/// `x` `[batch, in]` times `weight` `[in, out]` plus `bias` `[out]`.
pub(super) fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    match is_f32_on_flex(&x) {
        true => spike_linear(x, weight, bias),
        false => composed_linear(x, weight, bias),
    }
}

fn composed_linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    x.matmul(weight) + bias.unsqueeze()
}

fn composed_conv(
    x: Tensor<4>,
    kernel: Tensor<4>,
    bias: Option<Tensor<1>>,
    Steps { stride, padding, groups }: Steps,
) -> Tensor<4> {
    let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], groups);
    let (x, kernel) = (x.permute([0, 3, 1, 2]), kernel.permute([3, 2, 0, 1]));
    conv2d(x, kernel, bias, options).permute([0, 2, 3, 1])
}

/// The kernel `[kh, kw, in, out]` with mean zero and variance one over its fan-in, for every
/// output, times the gain of the output (ScaledWS).
pub fn standardized(kernel: Tensor<4>, gain: Tensor<1>) -> Tensor<4> {
    let shape = kernel.dims();
    let [kh, kw, inputs, outputs] = shape;
    let fan_in = kh * kw * inputs;
    let kernel = kernel.reshape([fan_in, outputs]);
    let centred = kernel.clone() - kernel.mean_dim(0);
    let squares = (centred.clone() * centred.clone()).sum_dim(0);
    let unbiased = (fan_in - 1).max(1) as f32;
    let variance = squares.mul_scalar(fan_in as f32 / unbiased);
    let scale = gain.reshape([1, outputs]) / variance.add_scalar(KERNEL_EPSILON).sqrt();
    (centred * scale).reshape(shape)
}

/// Scale and shift of a normalisation.
pub(super) struct Affine {
    pub(super) weight: Tensor<1>,
    pub(super) bias: Tensor<1>,
}

/// Running mean and variance, each `[1, channels]`, on the plain device.
pub(super) type Statistics = [Tensor<2>; 2];

/// What a normalisation by running statistics makes of zero, `[1, channels]`.
pub(super) fn of_zero(affine: Affine, [mean, variance]: Statistics) -> Tensor<2> {
    let scale = affine.weight.unsqueeze::<2>() / variance.add_scalar(EPSILON).sqrt();
    affine.bias.unsqueeze::<2>() - mean * scale
}

/// Normalises by the running statistics.
pub(super) fn normalize(
    x: Tensor<4>,
    affine: Affine,
    mean: Tensor<1>,
    variance: Tensor<1>,
) -> Tensor<4> {
    let scale = affine.weight / variance.add_scalar(EPSILON).sqrt();
    let shift = affine.bias - mean * scale.clone();
    x * scale.unsqueeze() + shift.unsqueeze()
}

/// `x` with one position more on every side, of the values `[1, channels]`; no gradient flows
/// through these.
pub(super) fn border(x: Tensor<4>, value: Tensor<2>) -> Tensor<4> {
    let [n, h, w, channels] = x.dims();
    let value = value.detach().reshape([1, 1, 1, channels]);
    let framed = value.expand([n, h + 2, w + 2, channels]);
    framed.slice_assign([0..n, 1..h + 1, 1..w + 1, 0..channels], x)
}

/// `scale Q (K^T V)` in every head, over all positions; all `[n, h, w, channels]`. The product of
/// keys and values comes first: its cost does not grow with the square of the positions.
pub(super) fn attention(qkv: [Tensor<4>; 3], heads: usize, scale: f32) -> Tensor<4> {
    let shape = qkv[0].dims();
    let [n, h, w, channels] = shape;
    let by_head =
        |x: Tensor<4>| x.reshape([n, h * w, heads, channels / heads]).permute([0, 2, 1, 3]);
    let [q, k, v] = qkv.map(by_head);
    let counts = q.matmul(k.swap_dims(2, 3).matmul(v));
    counts.mul_scalar(scale).permute([0, 2, 1, 3]).reshape(shape)
}

/// Scale and shift that running statistics amount to, per channel.
pub(super) fn folded(
    weight: &[f32],
    bias: &[f32],
    mean: &[f32],
    variance: &[f32],
) -> [Vec<f32>; 2] {
    let scale: Vec<f32> =
        weight.iter().zip(variance).map(|(w, v)| w / (v + EPSILON).sqrt()).collect();
    let shift = bias.iter().zip(mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
    [scale, shift]
}

/// Normalises each of `groups` equal parts of the batch by its own mean and variance, and lets
/// the running statistics follow, part after part.
pub(super) fn normalize_batch(
    x: Tensor<4>,
    affine: Affine,
    groups: usize,
    running: Statistics,
) -> (Tensor<4>, Statistics) {
    let shape = x.dims();
    let [n, h, w, channels] = shape;
    let count = n / groups * h * w;
    let x = x.reshape([groups, count, channels]);
    let (out, [mean, variance]) = match is_f32_on_flex(&x) {
        true => batch_norm(x, affine.weight, affine.bias, EPSILON),
        false => composed_batch_norm(x, affine),
    };
    (out.reshape(shape), follow(running, [mean, variance], count))
}

/// The running statistics after those of groups of `count` rows, `[groups, channels]` each, one
/// group after the other.
fn follow(running: Statistics, seen: Statistics, count: usize) -> Statistics {
    let unbiased = count as f32 / (count - 1).max(1) as f32;
    let [mean, variance] = seen.map(Tensor::inner);
    let [mut running_mean, mut running_variance] = running;
    for group in 0..mean.dims()[0] {
        let of = |t: &Tensor<2>| t.clone().narrow(0, group, 1);
        let follow = |old: Tensor<2>, new: Tensor<2>| {
            old.mul_scalar(1.0 - MOMENTUM) + new.mul_scalar(MOMENTUM)
        };
        running_mean = follow(running_mean, of(&mean));
        running_variance = follow(running_variance, of(&variance).mul_scalar(unbiased));
    }
    [running_mean, running_variance]
}

/// What [`normalized_step`] takes besides the currents.
pub(super) struct Population {
    /// Scale and shift of the normalisation.
    pub(super) affine: Affine,
    /// Its running statistics.
    pub(super) running: Statistics,
    /// Potentials `[batch, h * w * channels]` before the reset of the last step.
    pub(super) u: Tensor<2>,
    /// Equation of the neurons and derivative of their spikes.
    pub(super) dynamics: Dynamics,
    /// Decay of the potentials.
    pub(super) beta: f32,
    /// Where they fire.
    pub(super) threshold: f32,
}

/// One time step of neurons behind a normalisation by the statistics of the batch: spikes,
/// potentials before the reset and running statistics; potentials carry no gradient. `None` where the tensors do
/// not lie in the memory of the CPU.
pub(super) fn normalized_step(
    x: &Tensor<4>,
    population: impl FnOnce() -> Population,
) -> Option<(Tensor<4>, Tensor<2>, Statistics)> {
    if !is_f32_on_flex(x) {
        return None;
    }
    let Population { affine, running, u, dynamics, beta, threshold } = population();
    let constants = Constants { dynamics, beta, threshold, epsilon: EPSILON };
    let shape = x.dims();
    let [n, h, w, channels] = shape;
    let rows = [n * h * w, channels];
    let (x, u) = (x.clone().reshape(rows), u.reshape(rows));
    let (spikes, u, seen) = normalized_neurons(x, u, [affine.weight, affine.bias], constants);
    let seen = seen.map(|t| t.unsqueeze::<2>());
    let u = u.inner().reshape([n, h * w * channels]);
    Some((spikes.reshape(shape), u, follow(running, seen, n * h * w)))
}

/// Each group of `x` `[groups, rows, channels]`, with means and variances `[groups, channels]`.
fn composed_batch_norm(x: Tensor<3>, affine: Affine) -> (Tensor<3>, [Tensor<2>; 2]) {
    let channels = x.dims()[2];
    let mean = x.clone().mean_dim(1);
    let centred = x - mean.clone();
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    let scale = variance.clone().add_scalar(EPSILON).sqrt().recip()
        * affine.weight.reshape([1, 1, channels]);
    let out = centred * scale + affine.bias.reshape([1, 1, channels]);
    (out, [mean.squeeze_dim(1), variance.squeeze_dim(1)])
}

/// Means over windows.
pub(super) fn pool(x: Tensor<4>, rows: Windows, columns: Windows) -> Tensor<4> {
    match is_f32_on_flex(&x) {
        true => mean_pool::mean_pool(x, rows, columns),
        false => composed_pool(x, &rows, &columns),
    }
}

/// Rows and columns each are a matrix product.
fn composed_pool(x: Tensor<4>, rows: &Windows, columns: &Windows) -> Tensor<4> {
    let [n, h, w, channels] = x.dims();
    let (oh, ow) = (rows.outputs(), columns.outputs());
    let device = x.device();
    let rows = matrix(rows, &device).reshape([1, oh, h]);
    let columns = matrix(columns, &device).reshape([1, ow, w]);
    let x = rows.matmul(x.reshape([n, h, w * channels]));
    let x = columns.matmul(x.reshape([n * oh, w, channels]));
    x.reshape([n, oh, ow, channels])
}

/// Bilinear interpolation to `size`: rows and columns each are a matrix product.
pub(super) fn interpolate(x: Tensor<4>, [oh, ow]: [usize; 2]) -> Tensor<4> {
    let [n, h, w, channels] = x.dims();
    let device = x.device();
    let x = match oh == h {
        true => x.reshape([n, h, w * channels]),
        false => {
            let rows = weights(&places(h, oh), h, &device).reshape([1, oh, h]);
            rows.matmul(x.reshape([n, h, w * channels]))
        }
    };
    if ow == w {
        return x.reshape([n, oh, ow, channels]);
    }
    let columns = weights(&places(w, ow), w, &device).reshape([1, ow, w]);
    let x = columns.matmul(x.reshape([n * oh, w, channels]));
    x.reshape([n, oh, ow, channels])
}

fn weights(places: &[Place], inputs: usize, device: &Device) -> Tensor<2> {
    let mut matrix = vec![0.0; places.len() * inputs];
    for (place, row) in places.iter().zip(matrix.chunks_exact_mut(inputs)) {
        row[place.first] += 1.0 - place.weight;
        row[place.second] += place.weight;
    }
    Tensor::from_data(TensorData::new(matrix, [places.len(), inputs]), device)
}

fn matrix(windows: &Windows, device: &Device) -> Tensor<2> {
    let (rows, columns) = (windows.outputs(), windows.inputs());
    let mut matrix = vec![0.0; rows * columns];
    for ((range, count), row) in windows.iter().zip(matrix.chunks_exact_mut(columns)) {
        row[range].fill(1.0 / count as f32);
    }
    Tensor::from_data(TensorData::new(matrix, [rows, columns]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    /// Waves, of which `least` and less are zero.
    fn waves<const D: usize>(shape: [usize; D], k: f32, least: f32, device: &Device) -> Tensor<D> {
        let n: usize = shape.iter().product();
        let values = (0..n).map(|i| (i as f32 * k).sin()).map(|x| if x < least { 0.0 } else { x });
        Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), shape), device)
            .require_grad()
    }

    /// Outputs of both forms, and gradients of all inputs under a loss that weighs every output.
    fn same<const D: usize, const N: usize>(
        ours: Tensor<D>,
        composed: Tensor<D>,
        inputs: [&dyn Fn(&burn::tensor::Gradients) -> TensorData; N],
    ) {
        let tolerance = Tolerance::<f32>::absolute(2e-4);
        let weigh = |out: Tensor<D>| {
            let weights = waves(out.dims(), 0.77, -2.0, &out.device()).detach();
            (out * weights).sum().backward()
        };
        ours.to_data().assert_approx_eq(&composed.to_data(), tolerance);
        let (ours, composed) = (weigh(ours), weigh(composed));
        for gradient in inputs {
            gradient(&ours).assert_approx_eq(&gradient(&composed), tolerance);
        }
    }

    macro_rules! gradients {
        ($($tensor:ident),*) => {
            [$(&|g: &burn::tensor::Gradients| $tensor.grad(g).expect("used").to_data()),*]
        };
    }

    #[test]
    fn convolutions_agree_with_the_composed_form() {
        let device = Device::flex().autodiff();
        for (size, kernel, stride, padding, groups, least) in [
            (6, 3, 1, 1, 1, 0.8),
            (7, 3, 2, 1, 1, -2.0),
            (5, 1, 2, 0, 5, 0.5),
            (9, 7, 2, 3, 1, 0.2),
            (9, 7, 1, 3, 70, 0.2),
        ] {
            let inputs = if groups == 70 { 70 } else { 5 };
            let x = waves([2, size, size, inputs], 0.91, least, &device);
            let k = waves([kernel, kernel, inputs / groups, 70], 0.37, -2.0, &device);
            let b = waves([70], 0.53, -2.0, &device);
            let steps = Steps { stride, padding, groups };
            let run = |f: fn(_, _, _, _) -> _| f(x.clone(), k.clone(), Some(b.clone()), steps);
            same::<4, 3>(run(conv), run(composed_conv), gradients!(x, k, b));
        }
    }

    #[test]
    fn products_agree_with_the_composed_form() {
        let device = Device::flex().autodiff();
        for (inputs, outputs, least) in [(300, 10, 0.8), (7, 70, 0.2), (130, 33, -2.0)] {
            let x = waves([9, inputs], 0.91, least, &device);
            let w = waves([inputs, outputs], 0.37, -2.0, &device);
            let b = waves([outputs], 0.53, -2.0, &device);
            let run = |f: fn(_, _, _) -> _| f(x.clone(), w.clone(), b.clone());
            same::<2, 3>(run(linear), run(composed_linear), gradients!(x, w, b));
        }
    }

    #[test]
    fn normalisation_agrees_with_the_composed_form() {
        let device = Device::flex().autodiff();
        let x = waves([3, 40, 6], 0.91, -2.0, &device);
        let (w, b) = (waves([6], 1.3, -2.0, &device), waves([6], 0.53, -2.0, &device));
        let affine = || Affine { weight: w.clone(), bias: b.clone() };
        let (ours, ours_statistics) = batch_norm(x.clone(), w.clone(), b.clone(), EPSILON);
        let (composed, statistics) = composed_batch_norm(x.clone(), affine());
        for (a, b) in ours_statistics.iter().zip(&statistics) {
            a.to_data().assert_approx_eq(&b.to_data(), Tolerance::<f32>::absolute(1e-5));
        }
        same::<3, 3>(ours, composed, gradients!(x, w, b));
    }

    #[test]
    fn pooling_agrees_with_the_composed_form() {
        let device = Device::flex().autodiff();
        let x = waves([2, 6, 5, 3], 0.91, 0.0, &device);
        let rows = Windows::sliding(6, 3, 2, 2, 0);
        let columns = Windows::adaptive(5, 7);
        let composed = composed_pool(x.clone(), &rows, &columns);
        same::<4, 1>(pool(x.clone(), rows, columns), composed, gradients!(x));
    }
}
