//! Sizes and settings of a detector.

use crate::models::{ModelError, convnet::Units, metaspikeformer::MetaSpikeformerConfig};
use serde::{Deserialize, Serialize};
use spikelet_graph::detection::{Anchors, Coder, Detection, Keep, Regions};

/// A detector on Meta-SpikeFormer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// What features are taken from; `steps` is how often the image is shown.
    pub backbone: MetaSpikeformerConfig,
    /// Spiking neurons, or rectifiers for a twin that does not spike.
    #[serde(default)]
    pub units: Units,
    /// Channels of the pyramid and of the convolutions of the heads.
    #[serde(default = "channels")]
    pub channels: usize,
    /// Levels of the pyramid that predict, of five: the four features, and every second position
    /// of the last.
    #[serde(default = "levels")]
    pub levels: Vec<usize>,
    /// What the strides of the levels are taken to be.
    #[serde(default)]
    pub strides: Strides,
    /// Normalise behind the hidden convolutions of neck and heads, level by level. The official
    /// code does not: it starts from trained backbones.
    #[serde(default)]
    pub norm: bool,
    /// Sizes of anchors in strides.
    #[serde(default = "scales")]
    pub scales: Vec<f32>,
    /// Height over width of anchors.
    #[serde(default = "ratios")]
    pub ratios: Vec<f32>,
    /// What predicts.
    pub head: Head,
}

/// What the strides of the levels are taken to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strides {
    /// What they are: 4, 8, 16, 16 and 32.
    #[default]
    True,
    /// What the official code declares: 4, 8, 16, 32 and 64, although its last stage does not
    /// reduce positions.
    Official,
}

/// What predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Head {
    /// Classes of anchors at once, under the focal loss.
    SingleStage(SingleStage),
    /// Regions first, then their classes, boxes and masks.
    TwoStage(TwoStage),
}

/// The head of a single stage; defaults are those of RetinaNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SingleStage {
    /// Convolutions before the last one, for classes and for boxes each.
    pub convs: usize,
    /// Which boxes are decisions.
    pub keep: Keep,
}

impl Default for SingleStage {
    fn default() -> Self {
        let keep = Keep { score: 0.05, per_level: 1000, overlap: 0.5, most: 100 };
        SingleStage { convs: 4, keep }
    }
}

/// Both stages; defaults are those of Mask R-CNN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwoStage {
    /// Also masks.
    pub masks: bool,
    /// Values of the two hidden layers of the box head.
    pub hidden: usize,
    /// Convolutions of the mask head.
    pub mask_convs: usize,
    /// Side of a region from which on it is cut from the second level is twice this.
    pub finest: f32,
    /// Which regions are looked at.
    pub proposals: Keep,
    /// The same while learning.
    pub train_proposals: Keep,
    /// Which boxes are decisions.
    pub keep: Keep,
    /// Anchors of an image that the first stage learns from.
    pub anchors_learned: usize,
    /// Regions of an image that the second stage learns from.
    pub regions_learned: usize,
}

impl Default for TwoStage {
    fn default() -> Self {
        let proposals = Keep { score: 0.0, per_level: 1000, overlap: 0.7, most: 1000 };
        TwoStage {
            masks: true,
            hidden: 1024,
            mask_convs: 4,
            finest: 56.0,
            proposals,
            train_proposals: Keep { per_level: 2000, ..proposals },
            keep: Keep { score: 0.05, per_level: 1000, overlap: 0.5, most: 100 },
            anchors_learned: 256,
            regions_learned: 512,
        }
    }
}

/// Positions on a side of a region, for its box and for its mask.
pub(super) const BOX_SIDE: usize = 7;
pub(super) const MASK_SIDE: usize = 14;
/// Levels that regions are cut from: all but the coarsest.
pub(super) const FEATURES: usize = 4;

fn channels() -> usize {
    256
}

fn levels() -> Vec<usize> {
    (0..=FEATURES).collect()
}

fn scales() -> Vec<f32> {
    vec![8.0]
}

fn ratios() -> Vec<f32> {
    vec![0.5, 1.0, 2.0]
}

impl DetectorConfig {
    /// Pixels from one position to the next, of the levels that predict.
    pub fn strides(&self) -> Vec<usize> {
        let all = match self.strides {
            Strides::True => [4, 8, 16, 16, 32],
            Strides::Official => [4, 8, 16, 32, 64],
        };
        self.levels.iter().filter_map(|&level| all.get(level).copied()).collect()
    }

    /// What turns outputs into boxes.
    pub fn detection(&self) -> Detection {
        let strides = self.strides();
        let regions = match &self.head {
            Head::SingleStage(_) => None,
            Head::TwoStage(two) => Some(Regions {
                strides: strides
                    .iter()
                    .copied()
                    .zip(&self.levels)
                    .filter(|(_, level)| **level < FEATURES)
                    .map(|(s, _)| s)
                    .collect(),
                finest: two.finest,
                side: BOX_SIDE,
                mask_side: two.masks.then_some(MASK_SIDE),
                coder: Coder::REGIONS,
                keep: two.keep,
            }),
        };
        let keep = match &self.head {
            Head::SingleStage(single) => single.keep,
            Head::TwoStage(two) => two.proposals,
        };
        let anchors = Anchors { strides, scales: self.scales.clone(), ratios: self.ratios.clone() };
        Detection { anchors, coder: Coder::PLAIN, keep, regions }
    }

    /// Whether the settings make a detector.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), ModelError> {
        let refuse = |name, value: usize, range| {
            Err(ModelError::Setting { name, value: value as f32, range })
        };
        let rising = self.levels.windows(2).all(|pair| pair[0] < pair[1]);
        if self.levels.is_empty() || !rising || self.levels.iter().any(|level| *level > FEATURES) {
            return refuse("levels", self.levels.len(), "one to five of 0 to 4, rising");
        }
        if !(1..=4096).contains(&self.channels) {
            return refuse("channels", self.channels, "1 to 4096");
        }
        if !(1..=64).contains(&self.backbone.steps) {
            return refuse("backbone.steps", self.backbone.steps, "1 to 64");
        }
        match &self.head {
            Head::SingleStage(head) if head.convs > 16 => {
                return refuse("head.convs", head.convs, "at most 16");
            }
            Head::TwoStage(head) => {
                if !(1..=1 << 16).contains(&head.hidden) {
                    return refuse("head.hidden", head.hidden, "1 to 65536");
                }
                if head.mask_convs > 16 {
                    return refuse("head.mask_convs", head.mask_convs, "at most 16");
                }
                if self.levels[0] >= FEATURES {
                    return refuse("levels", self.levels[0], "with one below 4, for regions");
                }
                for (name, n) in [
                    ("head.anchors_learned", head.anchors_learned),
                    ("head.regions_learned", head.regions_learned),
                ] {
                    if !(1..=1 << 14).contains(&n) {
                        return refuse(name, n, "1 to 16384");
                    }
                }
            }
            _ => {}
        }
        self.detection()
            .check()
            .map_err(|(field, problem)| ModelError::Detection { field, problem })
    }
}
