//! Sizes of a network of EGRU layers, and what a layer does.

use super::{front::FrontConfig, regulariser::RegulariserConfig};
use crate::models::ModelError;
use serde::{Deserialize, Serialize};
use spikelet_graph::Readout;

/// EGRU layers over a sequence of values and a linear read-out (the gesture network of the EGRU
/// paper). The trace of the events, not the events, goes on to the next layer and the read-out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgruConfig {
    /// Units of every layer.
    pub units: usize,
    /// Layers.
    #[serde(default = "one_layer")]
    pub layers: usize,
    /// Fraction of the inputs of the first layer and of the trace behind every layer dropped in
    /// training.
    #[serde(default)]
    pub dropout: f32,
    /// What every layer does.
    #[serde(default)]
    pub cell: CellConfig,
    /// What stands in front of the first layer; nothing unless named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front: Option<FrontConfig>,
    /// What is added to the loss for the sake of few events; nothing unless named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regularise: Option<RegulariserConfig>,
    /// How the outputs of all steps become logits.
    #[serde(default = "mean")]
    pub readout: Readout,
}

/// What an EGRU layer does, apart from its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellConfig {
    /// Mean of the Beta distribution that fresh thresholds are drawn from, above 0 and below 1.
    #[serde(default = "threshold_mean")]
    pub threshold_mean: f32,
    /// Whether thresholds learn.
    #[serde(default = "yes")]
    pub train_threshold: bool,
    /// Largest value of the pseudo-derivative of an event.
    #[serde(default = "dampening")]
    pub dampening: f32,
    /// Inverse of the distance from the threshold at which the pseudo-derivative ends.
    #[serde(default = "one")]
    pub support: f32,
    /// Fraction of units that keep their state in a step of training.
    #[serde(default)]
    pub zoneout: f32,
    /// Fraction of recurrent weights dropped in a pass of training.
    #[serde(default)]
    pub dropconnect: f32,
    /// Gain of the fresh weights.
    #[serde(default = "one")]
    pub init_gain: f32,
}

impl Default for CellConfig {
    fn default() -> Self {
        CellConfig {
            threshold_mean: threshold_mean(),
            train_threshold: true,
            dampening: dampening(),
            support: 1.0,
            zoneout: 0.0,
            dropconnect: 0.0,
            init_gain: 1.0,
        }
    }
}

fn one_layer() -> usize {
    1
}

fn mean() -> Readout {
    Readout::Mean
}

fn threshold_mean() -> f32 {
    0.3
}

fn dampening() -> f32 {
    0.7
}

fn one() -> f32 {
    1.0
}

fn yes() -> bool {
    true
}

impl CellConfig {
    /// Whether a layer can be made of these settings.
    ///
    /// # Errors
    /// Numbers out of range.
    pub fn check(&self) -> Result<(), ModelError> {
        fraction("zoneout", self.zoneout)?;
        fraction("dropconnect", self.dropconnect)?;
        let (name, value) = ("threshold_mean", self.threshold_mean);
        if value <= 0.0 || value >= 1.0 || value.is_nan() {
            return Err(ModelError::Setting { name, value, range: "above 0 and below 1" });
        }
        let positive = [("support", self.support), ("init_gain", self.init_gain)];
        for (name, value) in positive {
            if value <= 0.0 || !value.is_finite() {
                return Err(ModelError::Setting { name, value, range: "above 0" });
            }
        }
        if self.dampening < 0.0 || !self.dampening.is_finite() {
            let (name, value) = ("dampening", self.dampening);
            return Err(ModelError::Setting { name, value, range: "0 or above" });
        }
        Ok(())
    }
}

/// Four gigabytes of weights.
const MAX_WEIGHTS: usize = 1 << 30;

impl EgruConfig {
    /// Whether a network can be made of these settings for so many inputs.
    ///
    /// # Errors
    /// Sizes of zero, numbers out of range, more weights than any memory holds.
    pub fn check(&self, inputs: usize) -> Result<(), ModelError> {
        sizes(&[("units", self.units), ("layers", self.layers), ("inputs", inputs)])?;
        fraction("dropout", self.dropout)?;
        let widths = std::iter::once(inputs).chain(std::iter::repeat_n(self.units, self.layers));
        check_weights(&widths.collect::<Vec<_>>())?;
        self.regularise.map_or(Ok(()), |regularise| regularise.check())?;
        self.cell.check()
    }
}

/// That a stack of layers, from a number of inputs over the units of each, fits into memory.
pub(in crate::models) fn check_weights(widths: &[usize]) -> Result<(), ModelError> {
    let layer = |pair: &[usize]| pair[0].checked_add(pair[1])?.checked_mul(pair[1])?.checked_mul(3);
    let all = widths.windows(2).map(layer).try_fold(0_usize, |sum, n| sum.checked_add(n?));
    match all {
        Some(weights) if weights <= MAX_WEIGHTS => Ok(()),
        _ => Err(ModelError::TooLarge { layer: "layers".to_owned() }),
    }
}

/// That none of the sizes is zero.
pub(in crate::models) fn sizes(sizes: &[(&'static str, usize)]) -> Result<(), ModelError> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((name, _)) => Err(ModelError::Setting { name, value: 0.0, range: "1 or more" }),
        None => Ok(()),
    }
}

/// That a fraction is one of which something is left.
pub(in crate::models) fn fraction(name: &'static str, value: f32) -> Result<(), ModelError> {
    match (0.0..1.0).contains(&value) {
        true => Ok(()),
        false => Err(ModelError::Setting { name, value, range: "from 0 to below 1" }),
    }
}
