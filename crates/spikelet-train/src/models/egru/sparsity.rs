//! How much of a layer is silent, forwards and backwards.

use super::layer::EgruLayer;
use crate::{ops::egru::EgruOutputs, params};
use serde::{Deserialize, Serialize};

/// What could be skipped of a layer, as fractions of all units and steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sparsity {
    /// The layer.
    pub layer: String,
    /// Without an event.
    pub activity: f64,
    /// Outside the window of the pseudo-derivative, by the state in front of the reset: what the
    /// gradient really sees.
    pub backward: f64,
    /// The same by the state after the reset, as the official code reports it.
    pub backward_official: f64,
}

impl Sparsity {
    /// Of a layer that gave `out`.
    pub fn of(name: String, layer: &EgruLayer, out: &EgruOutputs) -> Sparsity {
        let [h, o] = [&out.h, &out.o].map(|t| params::values(t.clone()));
        let threshold = params::values(layer.thr.val());
        let n = h.len().max(1) as f64;
        let events = o.iter().filter(|o| **o != 0.0).count();
        let outside = |reset: bool| {
            let units = h.iter().zip(&o).zip(threshold.iter().cycle());
            let outside = units.filter(|((h, o), threshold)| {
                let state = if reset { **h } else { **h + **o * **threshold };
                layer.pseudo.support * (state - **threshold).abs() > 1.0
            });
            outside.count() as f64 / n
        };
        Sparsity {
            layer: name,
            activity: 1.0 - events as f64 / n,
            backward: outside(false),
            backward_official: outside(true),
        }
    }
}
