//! Normalisation by the statistics of the batch as one differentiable operation.

use super::flex::{contiguous, tensor, values};
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, Flex,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    flex::FlexTensor,
    tensor::FloatTensor,
};
use burn::tensor::Tensor;
use spikelet_kernels::batch_norm::{
    Moments, input_gradient, moments, normalize, parameter_gradients,
};
use std::sync::Arc;

/// `x` `[groups, rows, channels]`, each group by its own mean and variance, times `weight` plus
/// `bias`; differentiable in these three. Also the means and the variances, `[groups, channels]`,
/// without gradient. On Flex, in f32, only.
pub fn batch_norm(
    x: Tensor<3>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f32,
) -> (Tensor<3>, [Tensor<2>; 2]) {
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    let (out, mean, variance) = Dispatch::batch_norm(x, weight, bias, epsilon);
    (Tensor::from_dispatch(out), [mean, variance].map(Tensor::from_dispatch))
}

/// Backends that run the fused normalisation.
#[backend_extension(Flex, Autodiff)]
pub trait BatchNormBackend: Backend {
    /// See [`batch_norm`].
    fn batch_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

#[derive(Clone, Debug)]
struct Inputs {
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
}

impl Inputs {
    /// `[groups, rows, channels]`.
    fn shape(&self) -> [usize; 3] {
        self.x.layout().shape().to_vec().try_into().expect("three axes")
    }

    fn run(&self, epsilon: f32) -> ([FlexTensor; 3], Vec<Moments>) {
        let [groups, rows, channels] = self.shape();
        let x = values(&self.x);
        let (weight, bias) = (values(&self.weight), values(&self.bias));
        let kept: Vec<Moments> =
            x.chunks_exact(rows * channels).map(|x| moments(x, channels, epsilon)).collect();
        let out = normalize(x, &kept, weight, bias);
        let mean = kept.iter().flat_map(|m| m.mean.iter().copied()).collect();
        let variance = kept.iter().flat_map(|m| m.variance.iter().copied()).collect();
        let statistics = [mean, variance].map(|values| tensor(values, [groups, channels]));
        let [mean, variance] = statistics;
        ([tensor(out, [groups, rows, channels]), mean, variance], kept)
    }
}

impl BatchNormBackend for Flex {
    fn batch_norm(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f32,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [x, weight, bias] = [x, weight, bias].map(contiguous);
        let ([out, mean, variance], _) = Inputs { x, weight, bias }.run(epsilon);
        (out, mean, variance)
    }
}

#[derive(Debug)]
struct BatchNormBackward;

impl Backward<Flex, 3> for BatchNormBackward {
    type State = (Inputs, Arc<Vec<Moments>>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let (inputs, moments) = ops.state;
        let [groups, rows, channels] = inputs.shape();
        let weight = values(&inputs.weight);
        let (mut d_weight, mut d_bias) = (vec![0.0; channels], vec![0.0; channels]);
        let [to_x, to_weight, to_bias] = ops.parents;
        let (x, d_out) = (values(&inputs.x), values(&d_out));
        let size = rows * channels;
        let of_groups = x.chunks_exact(size).zip(d_out.chunks_exact(size)).zip(moments.iter());
        let sums: Vec<[Vec<f32>; 2]> =
            of_groups.map(|((x, d), moments)| parameter_gradients(x, moments, d)).collect();
        for [d_w, d_b] in &sums {
            for (sum, part) in [(&mut d_weight, d_w), (&mut d_bias, d_b)] {
                sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            }
        }
        if let Some(node) = to_x {
            let d_x = input_gradient(x, &moments, weight, d_out, &sums);
            grads.register::<Flex>(node.id, tensor(d_x, [groups, rows, channels]));
        }
        for (node, gradient) in [(to_weight, d_weight), (to_bias, d_bias)] {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(gradient, [channels]));
            }
        }
    }
}

impl<C: CheckpointStrategy> BatchNormBackend for Autodiff<Flex, C> {
    fn batch_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, gx), (weight, gw), (bias, gb)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        let [x, weight, bias] = [x, weight, bias].map(contiguous);
        let inputs = Inputs { x, weight, bias };
        let ([out, mean, variance], moments) = inputs.run(epsilon);
        let out = match BatchNormBackward.prepare::<C>([gx, gw, gb]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((inputs, Arc::new(moments)), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        };
        let constant = <Self as AutodiffBackend>::from_inner;
        (out, constant(mean), constant(variance))
    }
}
