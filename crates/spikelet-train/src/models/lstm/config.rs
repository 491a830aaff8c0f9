//! Sizes of an LSTM.

use serde::{Deserialize, Serialize};
use spikelet_graph::Readout;

/// One LSTM layer and a linear read-out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmConfig {
    /// Hidden units.
    pub hidden: usize,
    /// How the outputs of all steps become logits.
    #[serde(default = "last")]
    pub readout: Readout,
}

fn last() -> Readout {
    Readout::Last
}
