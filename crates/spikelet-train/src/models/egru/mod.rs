//! EGRU layers (Subramoney et al. 2023), and a network of them over sequences of values.

pub(super) mod checkpoint;
pub(super) mod config;
mod convolutions;
mod front;
mod functions;
pub(super) mod layer;
mod lower;
mod model;
pub(super) mod regulariser;
mod sparsity;

pub use checkpoint::{OfficialFrames, learned, official_graph, pseudo};
pub use config::{CellConfig, EgruConfig};
pub use convolutions::{Convolution, Convolutions, ConvolutionsConfig};
pub use front::{Aggregate, Divide, FrontConfig};
pub use layer::EgruLayer;
pub(super) use model::affine;
pub use model::{Egru, Linear};
pub use regulariser::{ActivityGradient, RegulariserConfig};
pub(in crate::models) use sparsity::silence;
