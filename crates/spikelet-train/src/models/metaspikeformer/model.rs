//! The layers, under their official names.

use super::config::{Attention, MetaSpikeformerConfig, Shortcut};
use crate::{
    init::Init,
    models::{
        ModelError,
        convnet::{
            Convnet,
            build::{Builder, ConvSize, Draw, LayerId, MAX_WEIGHTS, Settings, Threshold},
        },
    },
    neuron::Dynamics,
};
use spikelet_kernels::{
    neuron::{Model, NeuronSpec, Reset},
    surrogate::Surrogate,
};

/// `v- = v + (x - v) / 2`, `s = [v- >= threshold]`, `v = (1 - s) v-`.
const NEURON: NeuronSpec = NeuronSpec {
    model: Model::Lif { input_decay: true },
    reset: Reset::Zero,
    reset_delayed: false,
    fires_at_threshold: true,
};
/// Time constant of two steps.
const BETA: f32 = 0.5;
/// Of the neurons behind the attention.
const ATTENTION_THRESHOLD: f32 = 0.5;
/// Of the counts of the attention, whatever the size of a head.
const ATTENTION_SCALE: f32 = 0.125;
/// Channels inside a separable convolution, a block's convolutions, an MLP, per channel outside.
const SEPARABLE: usize = 2;
const EXPANSION: usize = 4;
/// Spread of the head's first weights.
const HEAD_STD: f32 = 0.02;

type Result<T> = std::result::Result<T, ModelError>;

/// A fresh network for images `[h, w, channels]`, or recordings of such frames.
///
/// # Errors
/// Widths that heads do not divide, more weights than any memory holds.
pub fn network(
    config: &MetaSpikeformerConfig,
    input: [usize; 3],
    classes: usize,
    init: &mut Init,
) -> Result<Convnet> {
    of_size(config, input, classes, MAX_WEIGHTS, init)
}

/// The same with at most so many weights.
pub(super) fn of_size(
    config: &MetaSpikeformerConfig,
    input: [usize; 3],
    classes: usize,
    limit: usize,
    init: &mut Init,
) -> Result<Convnet> {
    check(config)?;
    let builder = Builder::new(input, Convnet::empty(settings()), limit, Draw::FanIn, init);
    let mut stages = Stages { builder, config };
    let [.., last] = stages.backbone()?;
    stages.heads(last, classes)?;
    Ok(stages.builder.finish())
}

/// What all layers of a Meta-SpikeFormer share.
pub(in crate::models) fn settings() -> Settings {
    let dynamics = Dynamics { spec: NEURON, surrogate: Surrogate::SIGMOID, detach_reset: true };
    Settings { dynamics, beta: BETA, norm_over_time: true }
}

/// Adds the stages behind the image to what is built; returns what they give: the membranes behind
/// `ConvBlock1_1`, `ConvBlock1_2`, `ConvBlock2_2`, `block3` and `block4`, at strides 2, 4, 8, 16
/// and 16.
///
/// # Errors
/// As [`network`].
pub(in crate::models) fn backbone<'a>(
    builder: Builder<'a>,
    config: &'a MetaSpikeformerConfig,
) -> Result<(Builder<'a>, [LayerId; 5])> {
    check(config)?;
    let mut stages = Stages { builder, config };
    let features = stages.backbone()?;
    Ok((stages.builder, features))
}

fn check(config: &MetaSpikeformerConfig) -> Result<()> {
    let refuse =
        |name, value: usize, range| Err(ModelError::Setting { name, value: value as f32, range });
    if config.heads == 0 {
        return refuse("heads", 0, "1 or more");
    }
    for (name, value) in
        [("attention_gain", config.attention_gain), ("norm_gain", config.norm_gain)]
    {
        if !(value > 0.0 && value.is_finite()) {
            return Err(ModelError::Setting { name, value, range: "above 0" });
        }
    }
    for width in config.widths {
        if width == 0 || !width.is_multiple_of(2) {
            return refuse("widths", width, "even and at least 2");
        }
    }
    for width in &config.widths[2..] {
        if !width.is_multiple_of(config.heads) {
            return refuse("widths", *width, "a multiple of `heads` in the last two stages");
        }
    }
    Ok(())
}

struct Stages<'a> {
    builder: Builder<'a>,
    config: &'a MetaSpikeformerConfig,
}

impl Stages<'_> {
    /// The four stages, the first of which has two halves.
    fn backbone(&mut self) -> Result<[LayerId; 5]> {
        let [c1, c2, c3, c4] = self.config.widths;
        let stem = ConvSize { stride: 2, ..ConvSize::new(c1 / 2, 7) };
        let x = self.embed("downsample1_1", 0, stem)?;
        let half = self.conv_block("ConvBlock1_1.0", x)?;
        let x = self.downsample("downsample1_2", half, c1, 2)?;
        let first = self.conv_block("ConvBlock1_2.0", x)?;
        let mut x = self.downsample("downsample2", first, c2, 2)?;
        for block in ["ConvBlock2_1.0", "ConvBlock2_2.0"] {
            x = self.conv_block(block, x)?;
        }
        let second = x;
        x = self.downsample("downsample3", x, c3, 2)?;
        for block in 0..6 {
            x = self.late_block(&format!("block3.{block}"), x)?;
        }
        let third = x;
        x = self.downsample("downsample4", x, c4, 1)?;
        for block in 0..2 {
            x = self.late_block(&format!("block4.{block}"), x)?;
        }
        Ok([half, first, second, third, x])
    }

    /// The classes from the spikes of the mean over positions; without membrane shortcuts from the
    /// mean of spikes itself, as SEW ResNet and Spikformer do: no mean of zeros and ones would make a
    /// neuron fire.
    fn heads(&mut self, from: LayerId, classes: usize) -> Result<()> {
        let pooled = self.builder.adaptive("pool", from, 1);
        let spikes = self.enter("lif", pooled);
        let head = self.builder.linear("head", spikes, classes, HEAD_STD)?;
        if self.config.distilled {
            let second = self.builder.linear("head_kd", spikes, classes, HEAD_STD)?;
            self.builder.heads("heads", [head, second]);
        }
        Ok(())
    }

    fn downsample(
        &mut self,
        name: &str,
        from: LayerId,
        channels: usize,
        stride: usize,
    ) -> Result<LayerId> {
        let spikes = self.enter(&format!("{name}.encode_lif"), from);
        self.embed(name, spikes, ConvSize { stride, ..ConvSize::new(channels, 3) })
    }

    fn embed(&mut self, name: &str, from: LayerId, size: ConvSize) -> Result<LayerId> {
        let x = self.builder.conv(&format!("{name}.encode_conv"), from, size)?;
        let x = self.builder.scaled_norm(&format!("{name}.encode_bn"), x, self.config.norm_gain);
        Ok(match self.config.shortcut {
            Shortcut::Membrane => x,
            Shortcut::Sew | Shortcut::Vanilla => self.builder.lif(&format!("{name}.out_lif"), x),
        })
    }

    // Shortcuts.

    /// What a branch works on.
    fn enter(&mut self, lif: &str, from: LayerId) -> LayerId {
        match self.config.shortcut {
            Shortcut::Membrane => self.builder.lif(lif, from),
            Shortcut::Sew | Shortcut::Vanilla => from,
        }
    }

    /// A branch and its shortcut together.
    fn join(&mut self, name: &str, shortcut: LayerId, branch: LayerId) -> LayerId {
        match self.config.shortcut {
            Shortcut::Membrane => self.builder.sum(name, shortcut, branch),
            Shortcut::Sew => {
                let spikes = self.builder.lif(&format!("{name}.out_lif"), branch);
                self.builder.sum(name, shortcut, spikes)
            }
            Shortcut::Vanilla => {
                let sum = self.builder.sum(&format!("{name}.sum"), shortcut, branch);
                self.builder.lif(name, sum)
            }
        }
    }

    /// The weight that the last normalisation of a branch starts with: potentials that are added up
    /// need none.
    fn branch_gain(&self) -> f32 {
        match self.config.shortcut {
            Shortcut::Membrane => 1.0,
            Shortcut::Sew | Shortcut::Vanilla => self.config.norm_gain,
        }
    }

    // Blocks.

    /// A separable convolution, then a full one.
    fn conv_block(&mut self, name: &str, from: LayerId) -> Result<LayerId> {
        let channels = self.builder.shape(from)[2];
        let branch = self.separable(&format!("{name}.Conv"), from)?;
        let x = self.join(&format!("{name}.Conv.add"), from, branch);
        let spikes = self.enter(&format!("{name}.lif1"), x);
        let gain = self.config.norm_gain;
        let wide = self.normalized(name, "1", spikes, bare(EXPANSION * channels, 3), gain)?;
        let spikes = self.builder.lif(&format!("{name}.lif2"), wide);
        let gain = self.branch_gain();
        let branch = self.normalized(name, "2", spikes, bare(channels, 3), gain)?;
        Ok(self.join(name, x, branch))
    }

    /// `conv{n}` and `bn{n}`.
    fn normalized(
        &mut self,
        name: &str,
        n: &str,
        from: LayerId,
        size: ConvSize,
        gain: f32,
    ) -> Result<LayerId> {
        let x = self.builder.conv(&format!("{name}.conv{n}"), from, size)?;
        Ok(self.builder.scaled_norm(&format!("{name}.bn{n}"), x, gain))
    }

    fn separable(&mut self, name: &str, from: LayerId) -> Result<LayerId> {
        let part = |part: &str| format!("{name}.{part}");
        let channels = self.builder.shape(from)[2];
        let inner = SEPARABLE * channels;
        let spikes = self.enter(&part("lif1"), from);
        let x = self.builder.conv(&part("pwconv1"), spikes, bare(inner, 1))?;
        let x = self.builder.scaled_norm(&part("bn1"), x, self.config.norm_gain);
        let spikes = self.builder.lif(&part("lif2"), x);
        let depthwise = ConvSize { groups: inner, ..bare(inner, 7) };
        let x = self.builder.conv(&part("dwconv"), spikes, depthwise)?;
        let x = self.builder.conv(&part("pwconv2"), x, bare(channels, 1))?;
        let gain = self.branch_gain();
        Ok(self.builder.scaled_norm(&part("bn2"), x, gain))
    }

    /// A block of the last two stages.
    fn late_block(&mut self, name: &str, from: LayerId) -> Result<LayerId> {
        if self.config.attention == Attention::Conv {
            return self.conv_block(name, from);
        }
        let branch = self.attention(&format!("{name}.attn"), from)?;
        let x = self.join(&format!("{name}.attn.add"), from, branch);
        let branch = self.mlp(&format!("{name}.mlp"), x)?;
        Ok(self.join(name, x, branch))
    }

    fn attention(&mut self, name: &str, from: LayerId) -> Result<LayerId> {
        let spikes = self.enter(&format!("{name}.head_lif"), from);
        let (q, k) = (self.project(name, "q", spikes)?, self.project(name, "k", spikes)?);
        let v = match self.config.attention {
            Attention::Sdsa2 => None,
            _ => Some(self.project(name, "v", spikes)?),
        };
        let lif = format!("{name}.attn_lif");
        let fixed = Threshold::Fixed(ATTENTION_THRESHOLD);
        let builder = &mut self.builder;
        let mixed = match (self.config.attention, v) {
            (Attention::Sdsa3 | Attention::Sdsa4, Some(v)) => {
                let counts = builder.attention(name, [q, k, v], self.config.heads, ATTENTION_SCALE);
                let threshold = match self.config.attention {
                    Attention::Sdsa4 => {
                        builder.threshold(&format!("{lif}.threshold"), ATTENTION_THRESHOLD)
                    }
                    _ => fixed,
                };
                builder.lif_at(&lif, counts, threshold)
            }
            (_, v) => {
                let pairs = match v {
                    Some(v) => builder.product(&format!("{name}.pairs"), k, v),
                    None => k,
                };
                let counts = builder.sum_pool(name, pairs);
                let mask = builder.lif_at(&lif, counts, fixed);
                builder.product(&format!("{name}.masked"), q, mask)
            }
        };
        self.re_conv(&format!("{name}.proj_conv"), mixed, self.branch_gain())
    }

    /// Queries, keys or values.
    fn project(&mut self, name: &str, letter: &str, spikes: LayerId) -> Result<LayerId> {
        let gain = self.config.attention_gain;
        let x = self.re_conv(&format!("{name}.{letter}_conv"), spikes, gain)?;
        Ok(self.builder.lif(&format!("{name}.{letter}_lif"), x))
    }

    /// RepConv and the normalisation behind it, whose weight starts with `gain`: in evaluation one
    /// 3 x 3 convolution with bias.
    fn re_conv(&mut self, name: &str, from: LayerId, gain: f32) -> Result<LayerId> {
        let part = |part: &str| format!("{name}.0.body.{part}");
        let channels = self.builder.shape(from)[2];
        let builder = &mut self.builder;
        let x = builder.conv(&part("0"), from, bare(channels, 1))?;
        let x = builder.batch_norm(&part("1.bn"), x);
        let x = builder.border(&part("1.border"), x);
        let depthwise = ConvSize { groups: channels, padding: 0, ..bare(channels, 3) };
        let x = builder.conv(&part("2.0"), x, depthwise)?;
        let x = builder.conv(&part("2.1"), x, bare(channels, 1))?;
        let x = builder.batch_norm(&part("2.2"), x);
        Ok(builder.scaled_norm(&format!("{name}.1"), x, gain))
    }

    fn mlp(&mut self, name: &str, from: LayerId) -> Result<LayerId> {
        let channels = self.builder.shape(from)[2];
        let spikes = self.enter(&format!("{name}.fc1_lif"), from);
        let wide = self.dense(name, "fc1", spikes, EXPANSION * channels, self.config.norm_gain)?;
        let spikes = self.builder.lif(&format!("{name}.fc2_lif"), wide);
        self.dense(name, "fc2", spikes, channels, self.branch_gain())
    }

    fn dense(
        &mut self,
        name: &str,
        part: &str,
        from: LayerId,
        channels: usize,
        gain: f32,
    ) -> Result<LayerId> {
        let x =
            self.builder.conv(&format!("{name}.{part}_conv"), from, ConvSize::new(channels, 1))?;
        Ok(self.builder.scaled_norm(&format!("{name}.{part}_bn"), x, gain))
    }
}

/// A convolution without bias.
fn bare(channels: usize, kernel: usize) -> ConvSize {
    ConvSize { bias: false, ..ConvSize::new(channels, kernel) }
}
