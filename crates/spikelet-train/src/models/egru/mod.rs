//! EGRU layers (Subramoney et al. 2023), and a network of them over sequences of values.

pub(super) mod checkpoint;
pub(super) mod config;
mod front;
mod functions;
pub(super) mod layer;
mod lower;
mod model;
mod sparsity;

pub use checkpoint::{learned, official_graph, pseudo};
pub use config::{CellConfig, EgruConfig};
pub use front::{Aggregate, FrontConfig};
pub use layer::EgruLayer;
pub(super) use model::affine;
pub use model::{Egru, Linear};
pub use sparsity::Sparsity;
