//! What a network is made of: layers in the order in which they run.

use super::module::{Convnet, Named};
use crate::{init::Init, models::ModelError};
use burn::module::Param;
use burn::tensor::Tensor;
use std::sync::Arc;

/// Height, width, channels.
pub type Shape = [usize; 3];

/// The place of a layer in the network.
pub type LayerId = usize;

/// The place of a vector, a matrix or a kernel among the parameters.
pub type ParamId = usize;

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its name in the official code.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Whose outputs it reads.
    pub inputs: Vec<LayerId>,
    /// Its output.
    pub shape: Shape,
}

/// What a layer computes. Parameters are places in the lists of the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The image.
    Input,
    /// Convolution.
    Conv {
        /// `[kh, kw, in, out]`.
        weight: ParamId,
        /// `[out]`.
        bias: Option<ParamId>,
        /// `[out]`; the kernel is standardised and multiplied by it (ScaledWS, Brock et al. 2021).
        gain: Option<ParamId>,
        /// Along both axes.
        stride: usize,
        /// On every side.
        padding: usize,
    },
    /// Normalisation over batch and positions; each `[channels]`.
    BatchNorm {
        /// Scale.
        weight: ParamId,
        /// Shift.
        bias: ParamId,
        /// Running mean, not learned.
        mean: ParamId,
        /// Running variance, not learned.
        variance: ParamId,
    },
    /// Neurons.
    Lif,
    /// Multiplication by a constant.
    Scale(f32),
    /// Multiplication by a constant and a learned number.
    Gain {
        /// `[1]`.
        gain: ParamId,
        /// The constant.
        alpha: f32,
    },
    /// In training, zeroes this fraction and scales the rest up.
    Dropout(f32),
    /// Means over squares; zeros in the padding count.
    AveragePool {
        /// Size of the square.
        kernel: usize,
        /// Along both axes.
        stride: usize,
        /// On every side.
        padding: usize,
    },
    /// Means over as many overlapping windows as the output has positions (PyTorch's
    /// `AdaptiveAvgPool2d`), also to more positions than there are.
    AdaptivePool,
    /// The sum of its inputs.
    Add,
    /// A matrix product of all values.
    Linear {
        /// `[out, h * w * in]`.
        weight: ParamId,
        /// `[out]`.
        bias: ParamId,
    },
}

/// The layers; the first is the image, the last gives the classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// In the order in which they run.
    pub layers: Vec<Layer>,
}

impl Network {
    /// The layers of one kind.
    pub(super) fn count(&self, wanted: fn(&Op) -> bool) -> usize {
        self.layers.iter().filter(|layer| wanted(&layer.op)).count()
    }

    /// Whether this is a normalisation that only the layer after it reads, and that layer neurons.
    pub(super) fn fires_next(&self, id: LayerId) -> bool {
        let next = self.layers.get(id + 1);
        matches!(self.layers[id].op, Op::BatchNorm { .. })
            && next.is_some_and(|next| next.op == Op::Lif && next.inputs == [id])
            && self.layers.iter().filter(|layer| layer.inputs.contains(&id)).count() == 1
    }

    /// For every layer, the last one that reads it.
    pub(super) fn last_readers(&self) -> Vec<LayerId> {
        let mut last: Vec<LayerId> = (0..self.layers.len()).collect();
        for (id, layer) in self.layers.iter().enumerate() {
            layer.inputs.iter().for_each(|&input| last[input] = id);
        }
        last
    }
}

/// Makes a network layer by layer, with fresh weights.
pub(super) struct Builder<'a> {
    init: &'a mut Init,
    model: Convnet,
    network: Network,
    /// Values that weights may still take.
    room: usize,
}

impl<'a> Builder<'a> {
    /// A network that sees images of this shape.
    pub(super) fn new(
        input: Shape,
        model: Convnet,
        limit: usize,
        init: &'a mut Init,
    ) -> Builder<'a> {
        let network = Network::default();
        let mut builder = Builder { init, model, network, room: limit };
        builder.add("input", Op::Input, &[], input);
        builder
    }

    pub(super) fn finish(self) -> Convnet {
        Convnet { network: Arc::new(self.network), ..self.model }
    }

    pub(super) fn shape(&self, id: LayerId) -> Shape {
        self.network.layers[id].shape
    }

    fn add(&mut self, name: &str, op: Op, inputs: &[LayerId], shape: Shape) -> LayerId {
        let (name, inputs) = (name.to_owned(), inputs.to_vec());
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
        let param = param.set_require_grad(learned);
        self.model.vectors.push(Named { name, param });
        self.model.vectors.len() - 1
    }

    /// A convolution with weights drawn as He et al. (2015) do, by fan-out.
    pub(super) fn conv(&mut self, name: &str, from: LayerId, conv: ConvSize) -> Result<LayerId> {
        let ConvSize { channels, kernel, stride, bias, standardized } = conv;
        let [h, w, inputs] = self.shape(from);
        let padding = kernel / 2;
        let shape = window(name, [h, w], kernel, stride, padding)?;
        let std = (2.0 / (channels * kernel * kernel) as f32).sqrt();
        self.take(name, &[kernel, kernel, inputs, channels])?;
        let param = self.init.normal(std, [kernel, kernel, inputs, channels]);
        self.model.kernels.push(Named { name: format!("{name}.weight"), param });
        let weight = self.model.kernels.len() - 1;
        let bias = bias.then(|| self.vector(format!("{name}.bias"), 0.0, channels, true));
        let gain = standardized.then(|| self.vector(format!("{name}.gain"), 1.0, channels, true));
        let op = Op::Conv { weight, bias, gain, stride, padding };
        Ok(self.add(name, op, &[from], [shape[0], shape[1], channels]))
    }

    pub(super) fn batch_norm(&mut self, name: &str, from: LayerId) -> LayerId {
        let shape = self.shape(from);
        let mut vector = |part: &str, value, learned| {
            self.vector(format!("{name}.{part}"), value, shape[2], learned)
        };
        let op = Op::BatchNorm {
            weight: vector("weight", 1.0, true),
            bias: vector("bias", 0.0, true),
            mean: vector("running_mean", 0.0, false),
            variance: vector("running_var", 1.0, false),
        };
        self.add(name, op, &[from], shape)
    }

    pub(super) fn lif(&mut self, name: &str, from: LayerId) -> LayerId {
        self.add(name, Op::Lif, &[from], self.shape(from))
    }

    pub(super) fn scale(&mut self, name: &str, from: LayerId, factor: f32) -> LayerId {
        self.add(name, Op::Scale(factor), &[from], self.shape(from))
    }

    pub(super) fn gain(&mut self, name: &str, from: LayerId, alpha: f32) -> LayerId {
        let gain = self.vector(name.to_owned(), 0.0, 1, true);
        self.add(name, Op::Gain { gain, alpha }, &[from], self.shape(from))
    }

    /// Nothing, where nothing is dropped.
    pub(super) fn dropout(&mut self, name: &str, from: LayerId, fraction: f32) -> LayerId {
        match fraction > 0.0 {
            true => self.add(name, Op::Dropout(fraction), &[from], self.shape(from)),
            false => from,
        }
    }

    pub(super) fn pool(
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

    pub(super) fn adaptive(&mut self, name: &str, from: LayerId, size: usize) -> LayerId {
        let channels = self.shape(from)[2];
        self.add(name, Op::AdaptivePool, &[from], [size, size, channels])
    }

    pub(super) fn sum(&mut self, name: &str, a: LayerId, b: LayerId) -> LayerId {
        self.add(name, Op::Add, &[a, b], self.shape(a))
    }

    /// The classes; weights are normal with this deviation.
    pub(super) fn linear(
        &mut self,
        name: &str,
        from: LayerId,
        classes: usize,
        std: f32,
    ) -> Result<()> {
        let [h, w, channels] = self.shape(from);
        self.take(name, &[classes, h, w, channels])?;
        let inputs = h * w * channels;
        let param = self.init.normal(std, [classes, inputs]);
        self.model.matrices.push(Named { name: format!("{name}.weight"), param });
        let weight = self.model.matrices.len() - 1;
        let bias = self.vector(format!("{name}.bias"), 0.0, classes, true);
        self.add(name, Op::Linear { weight, bias }, &[from], [1, 1, classes]);
        Ok(())
    }
}

type Result<T> = std::result::Result<T, ModelError>;

/// Sizes of a convolution whose padding keeps positions.
#[derive(Clone, Copy)]
pub(super) struct ConvSize {
    pub(super) channels: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) bias: bool,
    pub(super) standardized: bool,
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
