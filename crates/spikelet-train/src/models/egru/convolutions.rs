//! The convolutional front end of the official gesture network: AlexNet's layers (Krizhevsky et al.
//! 2012, in the sizes of torchvision) over single frames, and a matrix behind them.

use super::{front::COUNTS, model::Linear};
use crate::{
    init::Init,
    lower::tensor,
    models::{
        ModelError,
        convnet::layers::{Steps, conv},
    },
    params,
    raise::{Raise, RaiseError},
};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::relu, module::max_pool2d, ops::MaxPoolOptions};
use serde::{Deserialize, Serialize};
use spikelet_graph::{Function, GraphBuilder, Layout, Op, Pooling};

/// Sizes of the front end; kernels, strides and paddings are official.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvolutionsConfig {
    /// Channels of the five convolutions.
    #[serde(default = "channels")]
    pub channels: [usize; LAYERS],
    /// Values that go on to the first layer.
    #[serde(default = "features")]
    pub features: usize,
}

/// Convolutions.
pub const LAYERS: usize = 5;

fn channels() -> [usize; LAYERS] {
    [64, 192, 384, 256, 256]
}

fn features() -> usize {
    512
}

impl Default for ConvolutionsConfig {
    fn default() -> Self {
        ConvolutionsConfig { channels: channels(), features: features() }
    }
}

/// What a convolution does apart from its weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Behind it the largest of 3 x 3 positions, two apart, is kept.
    pooled: bool,
}

/// The pooling behind a convolution: side and distance of its windows.
const POOL: [usize; 2] = [3, 2];

/// The convolutions for frames of this side: the third is followed by a pooling from 64 pixels on,
/// the fourth from 128 on.
fn stages(side: usize) -> [Stage; LAYERS] {
    let stage = |kernel, stride, padding, pooled| Stage { kernel, stride, padding, pooled };
    [
        stage(11, 4, 2, true),
        stage(5, 1, 2, true),
        stage(3, 1, 1, side >= 64),
        stage(3, 1, 1, side >= 128),
        stage(3, 1, 1, false),
    ]
}

impl Stage {
    /// Positions along an axis of `size`.
    fn positions(self, size: usize) -> Option<usize> {
        let size = (size + 2 * self.padding).checked_sub(self.kernel)? / self.stride + 1;
        let [pool, apart] = POOL;
        if self.pooled { Some(size.checked_sub(pool)? / apart + 1) } else { Some(size) }
    }
}

/// A convolution with bias.
#[derive(Module, Debug)]
pub struct Convolution {
    /// `[kh, kw, in, out]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    stage: Stage,
}

/// The front end.
#[derive(Module, Debug)]
pub struct Convolutions {
    /// In the order in which they run; behind each is a ReLU.
    pub conv: Vec<Convolution>,
    /// From all positions and channels of the last to the inputs of the first layer.
    pub linear: Linear,
}

impl Convolutions {
    /// A fresh front end for images of this shape, with PyTorch's initial values.
    ///
    /// # Errors
    /// Images that are too small, sizes of zero, more weights than any memory holds.
    pub fn new(
        config: &ConvolutionsConfig,
        [height, width, channels]: [usize; 3],
        init: &mut Init,
    ) -> Result<Convolutions, ModelError> {
        let named = config.channels.iter().chain([&config.features]);
        for &size in named {
            if !(1..=1 << 16).contains(&size) {
                let (name, value) = ("convolutions", size as f32);
                return Err(ModelError::Setting { name, value, range: "1 to 65536" });
            }
        }
        let (mut size, mut inputs) = ([height, width], channels);
        let mut conv = Vec::with_capacity(LAYERS);
        for (at, (stage, outputs)) in
            stages(height.min(width)).into_iter().zip(config.channels).enumerate()
        {
            let [Some(h), Some(w)] = size.map(|size| stage.positions(size)) else {
                let (layer, kernel) = (format!("convolutions.conv.{at}"), stage.kernel);
                return Err(ModelError::Image { layer, kernel, size });
            };
            let fan_in = stage.kernel * stage.kernel * inputs;
            let shape = [stage.kernel, stage.kernel, inputs, outputs];
            conv.push(Convolution {
                weight: init.torch_linear(fan_in, shape),
                bias: init.torch_linear(fan_in, [outputs]),
                stage,
            });
            (size, inputs) = ([h, w], outputs);
        }
        let last = size[0] * size[1] * inputs;
        if last.saturating_mul(config.features) > 1 << 30 {
            return Err(ModelError::TooLarge { layer: "convolutions.linear".to_owned() });
        }
        Ok(Convolutions { conv, linear: Linear::new(last, config.features, init) })
    }

    /// Values that go on to the first layer.
    pub fn features(&self) -> usize {
        self.linear.weight.val().dims()[0]
    }

    /// `[frames, h, w, channels]` to `[frames, features]`.
    pub fn run(&self, mut x: Tensor<4>) -> Tensor<2> {
        for layer in &self.conv {
            let Stage { stride, padding, pooled, .. } = layer.stage;
            let steps = Steps { stride, padding, groups: 1 };
            x = relu(conv(x, layer.weight.val(), Some(layer.bias.val()), steps));
            if pooled {
                let [kernel, apart] = POOL;
                let options = MaxPoolOptions::new([kernel; 2]).with_stride([apart; 2]);
                x = max_pool2d(x.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1]);
            }
        }
        let [frames, h, w, channels] = x.dims();
        self.linear.run(x.reshape([1, frames, h * w * channels])).squeeze_dim(0)
    }

    /// Adds the front end to a graph behind `input`, whose channels are so many `copies` of those of
    /// the images; returns its last node.
    pub fn lower(&self, graph: &mut GraphBuilder, input: &str, copies: usize) -> String {
        let mut last = input.to_owned();
        for (at, layer) in self.conv.iter().enumerate() {
            let [name, activation, pool] =
                ["", ".relu", ".pool"].map(|end| format!("convolutions.conv.{at}{end}"));
            let Stage { stride, padding, pooled, .. } = layer.stage;
            let [kh, kw, inputs, outputs] = layer.weight.val().dims();
            let copies = if at == 0 { copies } else { 1 };
            let values = params::values(layer.weight.val());
            let taps = values.chunks_exact(inputs * outputs);
            let values = taps.flat_map(|tap| tap.repeat(copies)).collect();
            let weight = spikelet_graph::Tensor::f32(&[kh, kw, copies * inputs, outputs], values);
            let weight = weight.expect("a value for every weight");
            let weight = weight.permuted(&[3, 2, 0, 1]).expect("four axes");
            let (bias, layout) = (Some(tensor(&layer.bias)), Layout::ByInput);
            graph.conv2d(&name, &last, &weight, bias, layout, [stride; 2], [padding; 2], 1);
            graph.activation(&activation, &name, Function::Relu);
            last = activation;
            if pooled {
                let [kernel, apart] = POOL.map(|size| [size; 2]);
                let pooling = Pooling::Max;
                graph.node(&pool, Op::Pool2d { pooling, kernel, stride: apart, padding: [0; 2] });
                graph.edge(&*last, &pool, 0);
                last = pool;
            }
        }
        graph.node("convolutions.flat", Op::Flatten);
        graph.edge(&*last, "convolutions.flat", 0);
        let (weight, bias) = (tensor(&self.linear.weight), Some(tensor(&self.linear.bias)));
        let name = "convolutions.linear";
        graph.linear(name, "convolutions.flat", &weight, bias, Layout::ByInput);
        name.to_owned()
    }

    /// The front end of a graph that [`lower`](Self::lower) made, if it has one.
    pub(super) fn from_graph(raise: &Raise<'_>) -> Result<Option<Convolutions>, RaiseError> {
        if !raise.has("convolutions.linear") {
            return Ok(None);
        }
        let layer = |at: usize| {
            let name = format!("convolutions.conv.{at}");
            let Op::Conv2d { weight, bias: Some(bias), stride, padding, .. } = raise.op(&name)?
            else {
                let expected = "a convolution with a bias";
                return Err(RaiseError::Kind { node: name, expected });
            };
            let mut values = raise.kernel(&name, weight)?;
            let [kernel, _, inputs, outputs] = values.val().dims();
            if at == 0 && raise.has(COUNTS) {
                // The kernel is there twice.
                let one = inputs / 2 * outputs;
                let both = params::values(values.val());
                let once = both.chunks_exact((2 * one).max(1)).flat_map(|tap| tap[..one].to_vec());
                let shape = [kernel, kernel, inputs / 2, outputs];
                values = raise.init().values(once.collect(), shape);
            }
            let pooled = raise.has(&format!("{name}.pool"));
            let stage = Stage { kernel, stride: stride[0], padding: padding[0], pooled };
            Ok(Convolution { weight: values, bias: raise.vector(&name, bias)?, stage })
        };
        let conv = (0..LAYERS).map(layer).collect::<Result<_, _>>()?;
        let (weight, bias) =
            (raise.matrix("convolutions.linear")?, raise.bias("convolutions.linear")?);
        Ok(Some(Convolutions { conv, linear: Linear { weight, bias } }))
    }
}
