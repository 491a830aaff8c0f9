//! Sizes of a classical LMU.

use serde::{Deserialize, Serialize};
use spikelet_graph::Readout;
use spikelet_kernels::legendre::{Discretization, Form};

/// One LMU layer and a linear read-out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmuConfig {
    /// Number of Legendre memories.
    pub memories: usize,
    /// States of one memory.
    pub order: usize,
    /// Length of the memory's window in time steps.
    pub theta: f64,
    /// Hidden units.
    pub hidden: usize,
    /// How A and B are made discrete.
    #[serde(default)]
    pub discretization: Discretization,
    /// The baseline beside L2MU's official code shares its transposed update; Keras-LMU's is
    /// conventional.
    #[serde(default)]
    pub legendre: Form,
    /// How the outputs of all steps become logits.
    #[serde(default = "sum")]
    pub readout: Readout,
}

fn sum() -> Readout {
    Readout::Sum
}
