//! Networks made layer by layer, with fresh weights.

use super::{
    functions::THRESHOLD,
    module::{Convnet, Named},
    network::{Layer, LayerId, Network, Op, ParamId, Shape, Threshold, Units},
};
use crate::{init::Init, models::ModelError};
use burn::module::Param;
use burn::tensor::Tensor;
use std::sync::Arc;

/// Makes a network layer by layer, with fresh weights.
pub(in crate::models) struct Builder<'a> {
    init: &'a mut Init,
    model: Convnet,
    network: Network,
    /// Values that weights may still take.
    room: usize,
    /// How kernels and their biases start.
    draw: Draw,
    /// What neurons are.
    units: Units,
    /// In front of the names of layers.
    scope: String,
}

/// How kernels and their biases start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models) enum Draw {
    /// As He et al. (2015) do, by fan-out; biases are zero.
    FanOut,
    /// PyTorch's default, biases too: uniform, by fan-in.
    FanIn,
}

impl<'a> Builder<'a> {
    /// A network that sees images of this shape.
    pub(in crate::models) fn new(
        input: Shape,
        model: Convnet,
        limit: usize,
        draw: Draw,
        init: &'a mut Init,
    ) -> Builder<'a> {
        let network = Network::default();
        let (units, scope) = (Units::default(), String::new());
        let mut builder = Builder { init, model, network, room: limit, draw, units, scope };
        builder.add("input", Op::Input, &[], input);
        builder
    }

    /// With other units.
    pub(in crate::models) fn with_units(self, units: Units) -> Builder<'a> {
        Builder { units, ..self }
    }

    /// Layers from here on have names that start with this.
    pub(in crate::models) fn scope(&mut self, scope: &str) {
        self.scope = scope.to_owned();
    }

    /// Declares an output. Without any, the last layer is the one.
    pub(in crate::models) fn output(&mut self, layer: LayerId) {
        self.network.outputs.push(layer);
    }

    pub(in crate::models) fn finish(mut self) -> Convnet {
        if self.network.outputs.is_empty() {
            self.network.outputs.push(self.network.layers.len() - 1);
        }
        Convnet { network: Arc::new(self.network), ..self.model }
    }

    pub(in crate::models) fn shape(&self, id: LayerId) -> Shape {
        self.network.layers[id].shape
    }

    fn add(&mut self, name: &str, op: Op, inputs: &[LayerId], shape: Shape) -> LayerId {
        let (name, inputs) = (format!("{}{name}", self.scope), inputs.to_vec());
        self.network.layers.push(Layer { name, op, inputs, shape });
        self.network.layers.len() - 1
    }

    /// Takes room for weights, before memory is.
    fn take(&mut self, layer: &str, shape: &[usize]) -> Result<()> {
        let len = shape.iter().try_fold(1_usize, |len, size| len.checked_mul(*size));
        match len.and_then(|len| self.room.checked_sub(len)) {
            Some(room) => self.room = room,
            None => return Err(ModelError::TooLarge { layer: layer.to_owned() }),
        }
        Ok(())
    }

    fn vector(&mut self, name: String, value: f32, len: usize, learned: bool) -> ParamId {
        let param: Param<Tensor<1>> = self.init.constant(value, [len]);
        self.push_vector(name, param.set_require_grad(learned))
    }

    fn push_vector(&mut self, name: String, param: Param<Tensor<1>>) -> ParamId {
        let name = format!("{}{name}", self.scope);
        self.model.vectors.push(Named { name, param });
        self.model.vectors.len() - 1
    }

    fn push_kernel(&mut self, name: &str, param: Param<Tensor<4>>) -> ParamId {
        let name = format!("{}{name}.weight", self.scope);
        self.model.kernels.push(Named { name, param });
        self.model.kernels.len() - 1
    }

    /// The convolution of another layer, which has no other padding and stride, at another place.
    pub(in crate::models) fn conv_again(
        &mut self,
        name: &str,
        from: LayerId,
        like: LayerId,
    ) -> LayerId {
        let op = self.network.layers[like].op.clone();
        let ([h, w, _], [_, _, channels]) = (self.shape(from), self.shape(like));
        self.add(name, op, &[from], [h, w, channels])
    }

    /// Weights and biases of a convolution as they start: normal around zero, and by channel.
    pub(in crate::models) fn restart(
        &mut self,
        conv: LayerId,
        std: f32,
        biases: impl Fn(usize) -> f32,
    ) {
        let Op::Conv { weight, bias, .. } = self.network.layers[conv].op else {
            unreachable!("a convolution")
        };
        let kernel = &mut self.model.kernels[weight].param;
        *kernel = self.init.normal(std, kernel.val().dims());
        if let Some(bias) = bias {
            let bias = &mut self.model.vectors[bias].param;
            let shape: [usize; 1] = bias.val().dims();
            *bias = self.init.values((0..shape[0]).map(biases).collect(), shape);
        }
    }

    /// A transposed convolution of kernel 2 and stride 2; only neurons and a convolution of kernel
    /// 1 can follow.
    pub(in crate::models) fn deconv(
        &mut self,
        name: &str,
        from: LayerId,
        channels: usize,
    ) -> Result<LayerId> {
        let [h, w, inputs] = self.shape(from);
        let shape = [1, 1, inputs, 4 * channels];
        self.take(name, &shape)?;
        // PyTorch counts outputs as the fan-in of a transposed convolution.
        let fan_in = 4 * channels;
        let weight = self.init.torch_linear(fan_in, shape);
        let weight = self.push_kernel(name, weight);
        let bias = self.init.torch_linear(fan_in, [channels]);
        let bias = self.push_vector(format!("{name}.bias"), bias);
        Ok(self.add(name, Op::Deconv { weight, bias }, &[from], [h, 4 * w, channels]))
    }

    /// A convolution.
    pub(in crate::models) fn conv(
        &mut self,
        name: &str,
        from: LayerId,
        conv: ConvSize,
    ) -> Result<LayerId> {
        let ConvSize { channels, kernel, stride, padding, groups, bias, standardized } = conv;
        let [h, w, inputs] = self.shape(from);
        let out = window(name, [h, w], kernel, stride, padding)?;
        let shape = [kernel, kernel, inputs / groups, channels];
        self.take(name, &shape)?;
        let fan_in = kernel * kernel * inputs / groups;
        let param = match self.draw {
            Draw::FanOut => {
                self.init.normal((2.0 / (channels * kernel * kernel) as f32).sqrt(), shape)
            }
            Draw::FanIn => self.init.torch_linear(fan_in, shape),
        };
        let weight = self.push_kernel(name, param);
        let bias = bias.then(|| {
            let param = match self.draw {
                Draw::FanOut => self.init.constant(0.0, [channels]),
                Draw::FanIn => self.init.torch_linear(fan_in, [channels]),
            };
            self.push_vector(format!("{name}.bias"), param)
        });
        let gain = standardized.then(|| self.vector(format!("{name}.gain"), 1.0, channels, true));
        let op = Op::Conv { weight, bias, gain, stride, padding, groups };
        Ok(self.add(name, op, &[from], [out[0], out[1], channels]))
    }

    pub(in crate::models) fn batch_norm(&mut self, name: &str, from: LayerId) -> LayerId {
        self.scaled_norm(name, from, 1.0)
    }

    /// A normalisation whose weight starts with `gain`.
    pub(in crate::models) fn scaled_norm(
        &mut self,
        name: &str,
        from: LayerId,
        gain: f32,
    ) -> LayerId {
        let shape = self.shape(from);
        let mut vector = |part: &str, value, learned| {
            self.vector(format!("{name}.{part}"), value, shape[2], learned)
        };
        let op = Op::BatchNorm {
            weight: vector("weight", gain, true),
            bias: vector("bias", 0.0, true),
            mean: vector("running_mean", 0.0, false),
            variance: vector("running_var", 1.0, false),
        };
        self.add(name, op, &[from], shape)
    }

    /// A border around the output of a normalisation.
    pub(in crate::models) fn border(&mut self, name: &str, norm: LayerId) -> LayerId {
        let Op::BatchNorm { weight, bias, mean, variance } = self.network.layers[norm].op else {
            unreachable!("a border follows a normalisation")
        };
        let [h, w, channels] = self.shape(norm);
        let op = Op::Border { weight, bias, mean, variance };
        self.add(name, op, &[norm], [h + 2, w + 2, channels])
    }

    pub(in crate::models) fn lif(&mut self, name: &str, from: LayerId) -> LayerId {
        self.lif_at(name, from, Threshold::Fixed(THRESHOLD))
    }

    pub(in crate::models) fn lif_at(
        &mut self,
        name: &str,
        from: LayerId,
        threshold: Threshold,
    ) -> LayerId {
        let op = match self.units {
            Units::Lif => Op::Lif(threshold),
            Units::Relu => Op::Relu,
        };
        self.add(name, op, &[from], self.shape(from))
    }

    /// A rectifier.
    pub(in crate::models) fn relu(&mut self, name: &str, from: LayerId) -> LayerId {
        self.add(name, Op::Relu, &[from], self.shape(from))
    }

    /// A learned threshold.
    pub(in crate::models) fn threshold(&mut self, name: &str, value: f32) -> Threshold {
        Threshold::Learned(self.vector(name.to_owned(), value, 1, true))
    }

    pub(in crate::models) fn scale(&mut self, name: &str, from: LayerId, factor: f32) -> LayerId {
        self.add(name, Op::Scale(factor), &[from], self.shape(from))
    }

    pub(in crate::models) fn gain(&mut self, name: &str, from: LayerId, alpha: f32) -> LayerId {
        let gain = self.vector(name.to_owned(), 0.0, 1, true);
        self.add(name, Op::Gain { gain, alpha }, &[from], self.shape(from))
    }

    /// Nothing, where nothing is dropped.
    pub(in crate::models) fn dropout(
        &mut self,
        name: &str,
        from: LayerId,
        fraction: f32,
    ) -> LayerId {
        match fraction > 0.0 {
            true => self.add(name, Op::Dropout(fraction), &[from], self.shape(from)),
            false => from,
        }
    }

    pub(in crate::models) fn pool(
        &mut self,
        name: &str,
        from: LayerId,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<LayerId> {
        let [h, w, channels] = self.shape(from);
        let shape = window(name, [h, w], kernel, stride, padding)?;
        let op = Op::AveragePool { kernel, stride, padding };
        Ok(self.add(name, op, &[from], [shape[0], shape[1], channels]))
    }

    pub(in crate::models) fn adaptive(
        &mut self,
        name: &str,
        from: LayerId,
        size: usize,
    ) -> LayerId {
        self.resize(name, from, [size; 2])
    }

    /// Means over windows, or the nearest position where the output has a multiple of them.
    pub(in crate::models) fn resize(
        &mut self,
        name: &str,
        from: LayerId,
        [h, w]: [usize; 2],
    ) -> LayerId {
        let channels = self.shape(from)[2];
        self.add(name, Op::AdaptivePool, &[from], [h, w, channels])
    }

    pub(in crate::models) fn interpolate(
        &mut self,
        name: &str,
        from: LayerId,
        [h, w]: [usize; 2],
    ) -> LayerId {
        let channels = self.shape(from)[2];
        self.add(name, Op::Interpolate, &[from], [h, w, channels])
    }

    pub(in crate::models) fn time_mean(&mut self, name: &str, from: LayerId) -> LayerId {
        self.add(name, Op::TimeMean, &[from], self.shape(from))
    }

    pub(in crate::models) fn sum_pool(&mut self, name: &str, from: LayerId) -> LayerId {
        let channels = self.shape(from)[2];
        self.add(name, Op::SumPool, &[from], [1, 1, channels])
    }

    pub(in crate::models) fn sum(&mut self, name: &str, a: LayerId, b: LayerId) -> LayerId {
        self.add(name, Op::Add, &[a, b], self.shape(a))
    }

    pub(in crate::models) fn product(&mut self, name: &str, a: LayerId, b: LayerId) -> LayerId {
        self.add(name, Op::Multiply, &[a, b], self.shape(a))
    }

    pub(in crate::models) fn attention(
        &mut self,
        name: &str,
        qkv: [LayerId; 3],
        heads: usize,
        scale: f32,
    ) -> LayerId {
        self.add(name, Op::Attention { heads, scale }, &qkv, self.shape(qkv[0]))
    }

    pub(in crate::models) fn heads(&mut self, name: &str, heads: [LayerId; 2]) -> LayerId {
        self.add(name, Op::Heads, &heads, self.shape(heads[0]))
    }

    /// The classes; weights are normal with this deviation.
    pub(in crate::models) fn linear(
        &mut self,
        name: &str,
        from: LayerId,
        classes: usize,
        std: f32,
    ) -> Result<LayerId> {
        let [h, w, channels] = self.shape(from);
        self.take(name, &[classes, h, w, channels])?;
        let inputs = h * w * channels;
        let param = self.init.normal(std, [classes, inputs]);
        let full = format!("{}{name}.weight", self.scope);
        self.model.matrices.push(Named { name: full, param });
        let weight = self.model.matrices.len() - 1;
        let bias = self.vector(format!("{name}.bias"), 0.0, classes, true);
        Ok(self.add(name, Op::Linear { weight, bias }, &[from], [1, 1, classes]))
    }
}

type Result<T> = std::result::Result<T, ModelError>;

/// Sizes of a convolution.
#[derive(Clone, Copy)]
pub(in crate::models) struct ConvSize {
    pub(in crate::models) channels: usize,
    pub(in crate::models) kernel: usize,
    pub(in crate::models) stride: usize,
    pub(in crate::models) padding: usize,
    pub(in crate::models) groups: usize,
    pub(in crate::models) bias: bool,
    pub(in crate::models) standardized: bool,
}

impl ConvSize {
    /// A convolution with bias, whose padding keeps positions.
    pub(in crate::models) fn new(channels: usize, kernel: usize) -> ConvSize {
        let (stride, padding) = (1, kernel / 2);
        let (groups, bias, standardized) = (1, true, false);
        ConvSize { channels, kernel, stride, padding, groups, bias, standardized }
    }
}

/// Positions of a square window.
fn window(
    name: &str,
    size: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Result<[usize; 2]> {
    let along = |size: usize| Some((size + 2 * padding).checked_sub(kernel)? / stride + 1);
    match (along(size[0]), along(size[1])) {
        (Some(h), Some(w)) => Ok([h, w]),
        _ => Err(ModelError::Image { layer: name.to_owned(), kernel, size }),
    }
}
