//! A convolution of spikes as one differentiable operation.

use super::flex::{contiguous, tensor, values};
use burn::backend::{
    Autodiff, Backend, Dispatch, Flex,
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
use spikelet_kernels::{
    conv::Conv,
    spike_conv::{
        EventLists, Input, bias_gradient, events, forward, input_gradient, weight_gradient,
    },
    window::Window,
};
use std::sync::Arc;

/// `x` `[batch, h, w, in]` convolved with `kernel` `[kh, kw, in / groups, out]` plus `bias`
/// `[out]`, of which an empty tensor is none; differentiable in all. Uses the zeros of `x`. On
/// Flex, in f32, only.
pub fn spike_conv(x: Tensor<4>, kernel: Tensor<4>, bias: Tensor<1>, conv: Conv) -> Tensor<4> {
    let (x, kernel, bias) = (x.into_dispatch(), kernel.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::spike_conv(x, kernel, bias, conv))
}

/// `x` `[batch, in]` times `weight` `[in, out]` plus `bias` `[out]`, as [`spike_conv`] of images of
/// one pixel: what is zero in `x` costs nothing.
pub fn spike_linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    let ([batch, inputs], [_, outputs]) = (x.dims(), weight.dims());
    let window = Window {
        input: [1; 2],
        output: [1; 2],
        kernel: [1; 2],
        stride: [1; 2],
        padding: [0; 2],
        dilation: [1; 2],
    };
    let conv = Conv { window, inputs, outputs, groups: 1 };
    let x = x.reshape([batch, 1, 1, inputs]);
    spike_conv(x, weight.reshape([1, 1, inputs, outputs]), bias, conv).reshape([batch, outputs])
}

/// Backends that run the convolution of spikes.
#[backend_extension(Flex, Autodiff)]
pub trait SpikeConvBackend: Backend {
    /// See [`spike_conv`].
    fn spike_conv(
        x: FloatTensor<Self>,
        kernel: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        conv: Conv,
    ) -> FloatTensor<Self>;
}

/// What both passes need; the input is kept as its events, where these are fewer.
#[derive(Clone, Debug)]
struct Forward {
    input: Kept,
    batch: usize,
    kernel: FlexTensor,
    biased: bool,
    conv: Conv,
}

#[derive(Clone, Debug)]
enum Kept {
    Events(Arc<EventLists>),
    Dense(FlexTensor),
}

impl Forward {
    fn new(x: FlexTensor, kernel: FlexTensor, conv: Conv) -> Forward {
        let batch = x.layout().shape()[0];
        let x = contiguous(x);
        let input = match events(&conv, values(&x)) {
            Some(lists) => Kept::Events(Arc::new(lists)),
            None => Kept::Dense(x),
        };
        Forward { input, batch, kernel: contiguous(kernel), biased: false, conv }
    }

    fn input(&self) -> Input<'_> {
        match &self.input {
            Kept::Events(lists) => Input::Events(lists),
            Kept::Dense(x) => Input::Dense(values(x)),
        }
    }

    fn run(&mut self, bias: FlexTensor) -> FlexTensor {
        let bias = contiguous(bias);
        let bias = values(&bias);
        self.biased = !bias.is_empty();
        let out = forward(&self.conv, self.input(), self.batch, values(&self.kernel), bias);
        let [height, width] = self.conv.window.output;
        tensor(out, [self.batch, height, width, self.conv.outputs])
    }
}

impl SpikeConvBackend for Flex {
    fn spike_conv(x: FlexTensor, kernel: FlexTensor, bias: FlexTensor, conv: Conv) -> FlexTensor {
        Forward::new(x, kernel, conv).run(bias)
    }
}

#[derive(Debug)]
struct SpikeConvBackward;

impl Backward<Flex, 3> for SpikeConvBackward {
    type State = Forward;

    fn backward(self, ops: Ops<Forward, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let d_out = values(&d_out);
        let pass = ops.state;
        let [to_x, to_kernel, to_bias] = ops.parents;
        // The kernel's first: it is large in the deep layers, with which a backward pass begins, and at
        // once added to the sum of a window.
        if let Some(node) = to_kernel {
            let d_kernel = weight_gradient(&pass.conv, pass.input(), pass.batch, d_out);
            let shape = pass.kernel.layout().shape().clone();
            grads.register::<Flex>(node.id, tensor(d_kernel, shape));
        }
        let Forward { input, batch, kernel, biased, conv } = pass;
        drop(input);
        if let Some(node) = to_x {
            let d_x = input_gradient(&conv, batch, values(&kernel), d_out);
            let [height, width] = conv.window.input;
            grads.register::<Flex>(node.id, tensor(d_x, [batch, height, width, conv.inputs]));
        }
        if let (Some(node), true) = (to_bias, biased) {
            let d_bias = bias_gradient(&conv, d_out);
            grads.register::<Flex>(node.id, tensor(d_bias, [conv.outputs]));
        }
    }
}

impl<C: CheckpointStrategy> SpikeConvBackend for Autodiff<Flex, C> {
    fn spike_conv(
        x: FloatTensor<Self>,
        kernel: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        conv: Conv,
    ) -> FloatTensor<Self> {
        let ((x, gx), (kernel, gk), (bias, gb)) =
            (x.into_parts(), kernel.into_parts(), bias.into_parts());
        let mut pass = Forward::new(x, kernel, conv);
        let out = pass.run(bias);
        match SpikeConvBackward.prepare::<C>([gx, gk, gb]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(pass, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}
