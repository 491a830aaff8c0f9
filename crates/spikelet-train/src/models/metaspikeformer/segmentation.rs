//! Semantic segmentation (Yao et al. 2024): a spiking feature pyramid and a spiking head behind the
//! backbone.
//!
//! The backbone runs at every step; its features are averaged over time, and neck and head run
//! once. Names are those of the official code and of MMSegmentation.

use super::{
    config::MetaSpikeformerConfig,
    model::{backbone, settings},
};
use crate::{
    init::Init,
    models::{
        ModelError,
        convnet::{
            Convnet,
            build::{Builder, ConvSize, Draw, LayerId, MAX_WEIGHTS},
        },
    },
    params::{self, LoadError, Tensors},
};
use serde::{Deserialize, Serialize};

/// Spread of the first weights of the classes.
const CLASSES_STD: f32 = 0.01;
/// In front of the names of the backbone's parameters.
const BACKBONE: &str = "backbone.";

type Result<T> = std::result::Result<T, ModelError>;

/// A Meta-SpikeFormer that gives every pixel a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationConfig {
    /// The backbone; it says for how many steps an image is shown.
    pub backbone: MetaSpikeformerConfig,
    /// Channels of the neck: 128 in the published 15M, 256 in the 55M.
    #[serde(default = "usual")]
    pub width: usize,
    /// Channels of the head. With 128 the networks have as many parameters as published.
    #[serde(default = "usual")]
    pub head: usize,
    /// Fraction of the head's last spikes dropped in training.
    #[serde(default = "tenth")]
    pub dropout: f32,
    /// Share of the pixels that each class has, whose logarithms the scores start from; empty: they
    /// start from zero, as in the official code. Where one class has nearly all pixels, spikes
    /// otherwise learn to say no more than that: all of them for it, none for the others.
    #[serde(default)]
    pub shares: Vec<f32>,
}

fn usual() -> usize {
    128
}

fn tenth() -> f32 {
    0.1
}

/// A fresh network for images `[h, w, channels]`; what it gives is `[h, w, classes]`.
///
/// # Errors
/// As [`network`](super::network), sides that are no multiples of 16, and a drop-out of 1 or more.
pub fn segmentation(
    config: &SegmentationConfig,
    input: [usize; 3],
    classes: usize,
    init: &mut Init,
) -> Result<Convnet> {
    let refuse = |name, value: f32, range| Err(ModelError::Setting { name, value, range });
    for (name, size) in [("height", input[0]), ("width", input[1])] {
        if size == 0 || !size.is_multiple_of(16) {
            return refuse(name, size as f32, "a multiple of 16");
        }
    }
    for (name, width) in [("width", config.width), ("head", config.head)] {
        if width == 0 {
            return refuse(name, 0.0, "1 or more");
        }
    }
    if !(0.0..1.0).contains(&config.dropout) {
        return refuse("dropout", config.dropout, "from 0 to below 1");
    }
    if !config.shares.is_empty() && config.shares.len() != classes {
        return refuse("shares", config.shares.len() as f32, "none, or one of each class");
    }
    if let Some(share) = config.shares.iter().find(|share| !(**share > 0.0 && **share <= 1.0)) {
        return refuse("shares", *share, "above 0, up to 1");
    }
    let empty = Convnet::empty(settings());
    let mut builder = Builder::new(input, empty, MAX_WEIGHTS, Draw::FanIn, init);
    builder.scope(BACKBONE);
    let (builder, [half, first, second, _, fourth]) = backbone(builder, &config.backbone)?;
    let mut parts = Parts { builder, config };
    parts.builder.scope("");
    let features = parts.averaged([half, first, second, fourth]);
    let levels = parts.neck(features)?;
    parts.head(levels, [input[0], input[1]], classes)?;
    Ok(parts.builder.finish())
}

/// The network with the weights of a classifier in the place of its backbone's; what a classifier
/// has beyond that is left out.
///
/// # Errors
/// Names or shapes that are not those of the backbone.
pub fn with_backbone(
    model: Convnet,
    classifier: &Tensors,
) -> std::result::Result<Convnet, LoadError> {
    let mut tensors = params::collect(&model);
    for (name, tensor) in classifier {
        if !name.starts_with("head.") && !name.starts_with("head_kd.") {
            tensors.insert(format!("{BACKBONE}{name}"), tensor.clone());
        }
    }
    params::load(model, &tensors)
}

struct Parts<'a> {
    builder: Builder<'a>,
    config: &'a SegmentationConfig,
}

impl Parts<'_> {
    fn averaged(&mut self, features: [LayerId; 4]) -> [LayerId; 4] {
        let mut level = 0;
        features.map(|feature| {
            level += 1;
            self.builder.time_mean(&format!("mean{}", level - 1), feature)
        })
    }

    /// Levels of one width: each gets what the next coarser one has.
    fn neck(&mut self, features: [LayerId; 4]) -> Result<[LayerId; 4]> {
        let mut levels = features;
        for (i, level) in levels.iter_mut().enumerate() {
            let name = format!("neck.lateral_convs.{i}.1.0.conv");
            *level = self.fire_and_convolve(&name, *level, ConvSize::new(self.config.width, 1))?;
        }
        for i in (0..3).rev() {
            let [h, w, _] = self.builder.shape(levels[i]);
            let name = |part: &str| format!("neck.{part}{i}");
            let coarser = self.builder.resize(&name("up"), levels[i + 1], [h, w]);
            levels[i] = self.builder.sum(&name("sum"), levels[i], coarser);
        }
        for (i, level) in levels.iter_mut().enumerate() {
            let name = format!("neck.fpn_convs.{i}.1.0.conv");
            *level = self.fire_and_convolve(&name, *level, ConvSize::new(self.config.width, 3))?;
        }
        Ok(levels)
    }

    /// All levels at the size of the finest, added up; from their spikes the classes.
    fn head(&mut self, levels: [LayerId; 4], size: [usize; 2], classes: usize) -> Result<()> {
        let mut sum = None;
        for (i, mut level) in levels.into_iter().enumerate() {
            for unit in 0..i.max(1) {
                // Convolutions and the interpolations between them are counted together.
                let name = format!("decode_head.scale_heads.{i}.{}", 2 * unit);
                let size = ConvSize { bias: false, ..ConvSize::new(self.config.head, 3) };
                level = self.fire_and_convolve(&format!("{name}.1.0.conv"), level, size)?;
                // The last one of a level is added to those of the others.
                let last = unit + 1 == i.max(1);
                let gain = if last { 1.0 } else { self.config.backbone.norm_gain };
                level = self.builder.scaled_norm(&format!("{name}.1.0.bn"), level, gain);
                if i > 0 {
                    let [h, w, _] = self.builder.shape(level);
                    let name = format!("decode_head.scale_heads.{i}.{}", 2 * unit + 1);
                    level = self.builder.interpolate(&name, level, [2 * h, 2 * w]);
                }
            }
            sum = Some(match sum {
                None => level,
                Some(sum) => self.at_size_of(i, sum, level),
            });
        }
        let sum = sum.expect("four levels");
        let (builder, config) = (&mut self.builder, self.config);
        let spikes = builder.lif("decode_head.decode_lif", sum);
        let kept = builder.dropout("decode_head.dropout", spikes, config.dropout);
        let scores = builder.conv("decode_head.conv_seg", kept, ConvSize::new(classes, 1))?;
        builder.restart(scores, CLASSES_STD, |class| {
            config.shares.get(class).map_or(0.0, |share| share.ln())
        });
        builder.interpolate("decode_head.resize", scores, size);
        Ok(())
    }

    fn at_size_of(&mut self, i: usize, sum: LayerId, mut level: LayerId) -> LayerId {
        let ([h, w, _], [own_h, own_w, _]) = (self.builder.shape(sum), self.builder.shape(level));
        if [h, w] != [own_h, own_w] {
            level = self.builder.interpolate(&format!("decode_head.resize{i}"), level, [h, w]);
        }
        self.builder.sum(&format!("decode_head.sum{i}"), sum, level)
    }

    /// Neurons, then a convolution.
    fn fire_and_convolve(&mut self, name: &str, from: LayerId, size: ConvSize) -> Result<LayerId> {
        let spikes = self.builder.lif(&format!("{name}.lif"), from);
        self.builder.conv(name, spikes, size)
    }
}
