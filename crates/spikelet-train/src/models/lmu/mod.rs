//! The classical Legendre Memory Unit (Voelker et al. 2019), the dense counterpart of L2MU.

mod checkpoint;
mod config;
mod lower;
mod model;

pub use config::LmuConfig;
pub use model::{Lmu, legendre_step};
