//! Meta-SpikeFormer (Yao et al. 2024, "Spike-driven Transformer V2"): a network of spiking
//! convolutional and transformer blocks whose every product has spikes as input, apart from the
//! first convolution and the depthwise parts that belong to the convolution behind them.
//!
//! The network is a list of layers like the other convolutional networks
//! ([`Network`](super::convnet::Network)): `config.rs` has its sizes, `model.rs` its layers and
//! blocks, `checkpoint.rs` the official weights. Where paper and official code differ, the code is
//! followed: an image is shown at every step, the statistics of normalisations are those of all
//! steps together, the head's neurons come after the mean over positions, and drop path, which the
//! code makes and never applies, is left out.

mod checkpoint;
mod config;
mod model;
mod segmentation;

pub use checkpoint::{
    Sizes, graph_at_rate, has_second_head, official_graph, sizes, with_second_head,
};
pub use config::{Attention, MetaSpikeformerConfig, Shortcut};
pub use model::network;
pub(in crate::models) use model::{backbone, settings};
pub use segmentation::{SegmentationConfig, segmentation, with_backbone};
