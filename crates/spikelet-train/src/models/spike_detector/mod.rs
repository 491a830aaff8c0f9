//! Detectors on Meta-SpikeFormer: a spiking feature pyramid (SpikeFPN), and either spiking region
//! proposals with heads for boxes and masks (Mask R-CNN) or a single stage (as RetinaNet).
//!
//! Every convolution and matrix product of neck and heads but the last ones of the box head has
//! neurons in front of it. Names are those of the official code and of MMDetection; what turns
//! outputs into boxes is in [`spikelet_graph::detection`].

mod checkpoint;
mod config;
mod lower;
mod model;

pub use checkpoint::from_official;
pub use config::{DetectorConfig, Head, SingleStage, Strides, TwoStage};
pub use lower::lower;
pub use model::{Detector, FirstStage, Network};
