//! What a network is made of: layers in the order in which they run.

use serde::{Deserialize, Serialize};

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
        /// Groups of channels that do not mix.
        groups: usize,
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
    /// One position more on every side, with what the normalisation before gives where its input
    /// is zero. The value comes from the running statistics, in training from those that this very
    /// pass left, and no gradient flows through it. Parameters are those of the normalisation.
    Border {
        /// Scale.
        weight: ParamId,
        /// Shift.
        bias: ParamId,
        /// Running mean.
        mean: ParamId,
        /// Running variance.
        variance: ParamId,
    },
    /// Neurons.
    Lif(Threshold),
    /// Rectifiers in the place of neurons, for twins that do not spike.
    Relu,
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
    /// Bilinear interpolation to another size.
    Interpolate,
    /// The mean over time: what follows runs once, with neurons that start from rest.
    TimeMean,
    /// The sum over all positions.
    SumPool,
    /// The sum of its inputs.
    Add,
    /// The product of its inputs, value by value; one of a single position is repeated.
    Multiply,
    /// Linear attention of the spikes of queries, keys and values, `scale Q (K^T V)` in every head
    /// (channels side by side), over all positions.
    Attention {
        /// How many.
        heads: usize,
        /// Factor of the counts.
        scale: f32,
    },
    /// The mean of its inputs; in training, one after the other along the channels.
    Heads,
    /// A transposed convolution of kernel 2 and stride 2: four pixels of every position, which lie
    /// side by side, row by row, in the row of the position. `[h, w, in]` becomes `[h, 4 w, out]`.
    Deconv {
        /// `[1, 1, in, 4 out]`.
        weight: ParamId,
        /// `[out]`.
        bias: ParamId,
    },
    /// A matrix product of all values.
    Linear {
        /// `[out, h * w * in]`.
        weight: ParamId,
        /// `[out]`.
        bias: ParamId,
    },
}

/// When neurons fire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// At this potential.
    Fixed(f32),
    /// At a learned one, `[1]`.
    Learned(ParamId),
}

impl Op {
    /// Whether these are neurons.
    pub fn is_neurons(&self) -> bool {
        matches!(self, Op::Lif(_))
    }
}

/// The layers; the first is the image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// In the order in which they run.
    pub layers: Vec<Layer>,
    /// Those that the network gives; of a classifier the last one.
    pub outputs: Vec<LayerId>,
}

impl Network {
    /// Whether a part of the network runs once for all steps.
    pub(in crate::models) fn averages_time(&self) -> bool {
        self.layers.iter().any(|layer| layer.op == Op::TimeMean)
    }

    /// The layers of one kind.
    pub(in crate::models) fn count(&self, wanted: fn(&Op) -> bool) -> usize {
        self.layers.iter().filter(|layer| wanted(&layer.op)).count()
    }

    /// Whether this is a normalisation that only the layer after it reads, and that layer neurons.
    pub(in crate::models) fn fires_next(&self, id: LayerId) -> bool {
        let next = self.layers.get(id + 1);
        matches!(self.layers[id].op, Op::BatchNorm { .. })
            && next.is_some_and(|next| next.op.is_neurons() && next.inputs == [id])
            && self.layers.iter().filter(|layer| layer.inputs.contains(&id)).count() == 1
    }

    /// For every layer, the last one that reads it; outputs are read after all layers.
    pub(in crate::models) fn last_readers(&self) -> Vec<LayerId> {
        let mut last: Vec<LayerId> = (0..self.layers.len()).collect();
        for (id, layer) in self.layers.iter().enumerate() {
            layer.inputs.iter().for_each(|&input| last[input] = id);
        }
        self.outputs.iter().for_each(|&output| last[output] = self.layers.len());
        last
    }
}

/// What neurons are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Units {
    /// Leaky integrate-and-fire neurons.
    #[default]
    Lif,
    /// Rectifiers: the same network without spikes.
    Relu,
}
