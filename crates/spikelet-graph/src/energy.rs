//! Energy, modelled: a named set of constants on top of the operation counts.
//!
//! This is no measurement. [`ConstantSet::assumptions`] says what a figure leaves out and is
//! printed beside it.

use crate::counters::NodeCounters;
use serde::Serialize;

/// What one operation is taken to cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ConstantSet {
    /// The name of the set.
    pub name: &'static str,
    /// Picojoules of a multiply-accumulate.
    pub mac_pj: f64,
    /// Picojoules of an accumulate.
    pub ac_pj: f64,
    /// Where the constants come from.
    pub source: &'static str,
    /// What a figure built on them assumes.
    pub assumptions: &'static str,
}

/// 32-bit floating point at 45 nm: the constants most spiking-network papers use.
pub const F32_45NM: ConstantSet = ConstantSet {
    name: "45 nm, f32",
    mac_pj: 4.6,
    ac_pj: 0.9,
    source: "M. Horowitz, Computing's energy problem, ISSCC 2014: 32-bit floating-point \
             multiplication 3.7 pJ and addition 0.9 pJ at 45 nm, 0.9 V",
    assumptions: "modelled, not measured: 4.6 pJ per effective MAC and 0.9 pJ per effective AC \
                  (32-bit floats, 45 nm); memory access, neuron state, element-wise work, \
                  control and leakage are not included",
};

/// 8-bit weights that accumulate in 32-bit integers at 45 nm.
pub const INT8_45NM: ConstantSet = ConstantSet {
    name: "45 nm, int8",
    mac_pj: 0.3,
    ac_pj: 0.1,
    source: "M. Horowitz, Computing's energy problem, ISSCC 2014: 8-bit integer multiplication \
             0.2 pJ and 32-bit integer addition 0.1 pJ at 45 nm, 0.9 V",
    assumptions: "modelled, not measured: 0.3 pJ per effective MAC and 0.1 pJ per effective AC \
                  (8-bit weights, 32-bit integer sums, 45 nm); memory access, neuron state, \
                  element-wise work, control and leakage are not included",
};

/// All sets.
pub const SETS: [ConstantSet; 2] = [F32_45NM, INT8_45NM];

/// A modelled energy in picojoules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Energy {
    /// Of the multiply-accumulates.
    pub mac_pj: f64,
    /// Of the accumulates.
    pub ac_pj: f64,
}

impl Energy {
    /// Of both kinds of operation.
    pub fn total_pj(&self) -> f64 {
        self.mac_pj + self.ac_pj
    }
}

impl ConstantSet {
    /// The energy of the effective operations counted.
    pub fn energy(&self, counters: &NodeCounters) -> Energy {
        Energy {
            mac_pj: counters.effective_macs as f64 * self.mac_pj,
            ac_pj: counters.effective_acs as f64 * self.ac_pj,
        }
    }
}
