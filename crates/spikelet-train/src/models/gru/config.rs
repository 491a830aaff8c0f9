//! Sizes of a GRU.

use serde::{Deserialize, Serialize};
use spikelet_graph::Readout;

/// One GRU layer and a linear read-out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GruConfig {
    /// Hidden units.
    pub hidden: usize,
    /// How the outputs of all steps become logits.
    #[serde(default = "last")]
    pub readout: Readout,
}

fn last() -> Readout {
    Readout::Last
}
