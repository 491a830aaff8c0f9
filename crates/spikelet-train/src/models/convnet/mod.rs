//! Convolutional spiking networks: chains in the manner of VGG, pre-activation ResNets and
//! normaliser-free ResNets, as Meng et al. (2023) train them.
//!
//! A network is a list of layers in the order in which they run ([`Network`]); training, lowering
//! and official names all read that list. Activations are channels-last, `[batch, h, w, channels]`.

mod builder;
mod checkpoint;
mod config;
mod functions;
mod lower;
mod model;
mod module;
mod network;
mod nf_resnet;
mod pass;
mod preact_resnet;
mod rates;
mod sparsity;
mod vgg;

pub use checkpoint::{OfficialShape, from_official, official_graph};
pub use config::{
    Architecture, ArchitectureError, Chain, ConvnetConfig, Link, NfResnet, PreactResnet,
};
pub use functions::{MOMENTUM, standardized};
pub use model::Convnet;
pub use network::{Layer, Network, Op, Threshold, Units};

/// What other networks of layers are built with.
pub(in crate::models) mod build {
    pub(in crate::models) use super::{
        builder::{Builder, ConvSize, Draw},
        model::MAX_WEIGHTS,
        module::Settings,
        network::{LayerId, Threshold},
    };
}

/// Layers that other networks are made of.
pub(in crate::models) mod layers {
    pub(in crate::models) use super::functions::{Steps, conv};
}
