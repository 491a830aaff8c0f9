//! L2MU: a Legendre Memory Unit built only of LIF or CuBa-LIF neurons (Fra et al. 2024).

mod checkpoint;
mod config;
mod input;
mod lower;
mod model;

pub use config::{InputModule, L2muConfig, NeuronKind, PopulationConfig};
pub use model::{L2mu, Trace};
