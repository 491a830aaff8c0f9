//! Sizes, and what the ablations of the paper change.

use serde::{Deserialize, Serialize};

/// A Meta-SpikeFormer. All neurons are LIF with input decay 1/2, immediate reset to zero through
/// which no gradient flows, and the derivative of a sigmoid of slope 4.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetaSpikeformerConfig {
    /// Channels of the four stages; the first half stage has half of the first.
    pub widths: [usize; 4],
    /// Heads of the attention.
    #[serde(default = "eight")]
    pub heads: usize,
    /// How many steps a still image is shown for; recordings have steps of their own.
    #[serde(default = "one")]
    pub steps: usize,
    /// How tokens are mixed in the last two stages.
    #[serde(default)]
    pub attention: Attention,
    /// What the normalisations before queries, keys and values start with as their weight: 1 in the
    /// official code. There a fortieth of the neurons fires at first, and with few tokens no product
    /// of three such reaches the threshold; gradients behind silent attention then grow by
    /// `1 / sqrt(1e-5)` at each of three normalisations of nothing. 2 to 4 make it fire from the
    /// start, which is needed where small images are learned from scratch.
    #[serde(default = "unchanged")]
    pub attention_gain: f32,
    /// What the normalisations in front of neurons start with as their weight, but for branches that
    /// are added to potentials; behind the backbone also those of a segmenter's head and of a
    /// detector's pyramid and first stage. It is 1 in the official code. At one step a
    /// neuron fires from 2 on, so that 2.3 % of normalised values make it fire and networks from scratch
    /// learn little; with 2 it is 16 %.
    #[serde(default = "unchanged")]
    pub norm_gain: f32,
    /// Where shortcuts begin and end.
    #[serde(default)]
    pub shortcut: Shortcut,
    /// A second head that learns from a teacher; the answer is the mean of both.
    #[serde(default)]
    pub distilled: bool,
}

/// How tokens are mixed. Only SDSA-3 is in the official code; the others are as described in the
/// paper, with no official code to compare with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attention {
    /// `Q * SN(sum over tokens of K * V)`, channel by channel.
    #[serde(rename = "sdsa-1")]
    Sdsa1,
    /// The same without values: `Q * SN(sum over tokens of K)`.
    #[serde(rename = "sdsa-2")]
    Sdsa2,
    /// `SN(Q (K^T V) / 8)` in every head, with the threshold 0.5.
    #[default]
    #[serde(rename = "sdsa-3")]
    Sdsa3,
    /// SDSA-3 with a learned threshold.
    #[serde(rename = "sdsa-4")]
    Sdsa4,
    /// None: convolutional blocks in the last two stages too.
    Conv,
}

/// Where shortcuts begin and end. The ablations have no official code; their head reads the mean of
/// spikes over positions, without neurons in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortcut {
    /// From membrane potential to membrane potential: `x + f(SN(x))`.
    #[default]
    Membrane,
    /// From spikes to sums of spikes (SEW, Fang et al. 2021): `x + SN(f(x))`.
    Sew,
    /// From spikes to potentials (vanilla): `SN(x + f(x))`.
    Vanilla,
}

fn eight() -> usize {
    8
}

fn one() -> usize {
    1
}

fn unchanged() -> f32 {
    1.0
}

impl MetaSpikeformerConfig {
    /// The network of the paper with 15 million parameters.
    pub const M15: [usize; 4] = [64, 128, 256, 360];
    /// With 31 million (`metaspikformer_8_384`).
    pub const M31: [usize; 4] = [96, 192, 384, 480];
    /// With 55 million (`metaspikformer_8_512`).
    pub const M55: [usize; 4] = [128, 256, 512, 640];
    /// With 124 million: in the code (`metaspikformer_8_768`), not in the paper.
    pub const M124: [usize; 4] = [192, 384, 768, 960];

    /// A network of these widths with the official settings, shown an image for one step.
    pub fn new(widths: [usize; 4]) -> Self {
        Self {
            widths,
            heads: eight(),
            steps: one(),
            attention: Attention::default(),
            attention_gain: unchanged(),
            norm_gain: unchanged(),
            shortcut: Shortcut::default(),
            distilled: false,
        }
    }
}
