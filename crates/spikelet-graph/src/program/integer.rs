//! Neurons and functions in the numbers of a program.

use super::{
    Constant, Content, Model, Population, Step,
    bounds::{abs, unsupported},
    fixed,
    lower::Lower,
};
use crate::{
    error::GraphError,
    neuron::{Membrane, Neuron, Param},
    op::Function,
};
use alloc::{format, vec::Vec};

/// What a table is given stays below this: in units of `2^-TABLE_IN`, below `2^30`.
pub(super) const TABLE_LIMIT: f64 = 16384.0;

/// Whether what adaptations add to a threshold stays below `2^28`.
fn fits(gain: &Constant, decay: &Constant) -> bool {
    let largest = |values: &Constant| values.integers().iter().map(|n| n.unsigned_abs()).max();
    let one = fixed::power(fixed::DECAY as i32);
    let leak = 1.0 - f64::from(largest(decay).unwrap_or(0)) / one;
    let limit = f64::from(fixed::LIMIT) / one;
    let adaptation = if leak > 0.0 { (1.0 / leak + 1.0).min(limit) } else { limit };
    f64::from(largest(gain).unwrap_or(0)) * adaptation < fixed::power(28)
}

impl Lower<'_> {
    pub(super) fn neuron(&mut self, index: usize, neuron: &Neuron) -> Result<(), GraphError> {
        let node = &self.graph.nodes[index];
        let fraction = self.formats.port.get(index).copied().unwrap_or(0);
        let current = self.current(index, fraction);
        let nothing = Constant::I32(Vec::new());
        let values = |param: &Param| self.graph.param(&node.name, param);
        let decay = |param: &Param| Ok::<_, GraphError>(self.decay(&values(param)?));
        let (model, beta, drive, second_decay, gain) = match &neuron.membrane {
            Membrane::If => (Model::Lif, nothing.clone(), nothing.clone(), nothing.clone(), None),
            Membrane::Lif { beta, input_decay } => {
                let drive = match input_decay {
                    true => self.decay(&values(beta)?.iter().map(|b| 1.0 - b).collect::<Vec<_>>()),
                    false => nothing.clone(),
                };
                (Model::Lif, decay(beta)?, drive, nothing.clone(), None)
            }
            Membrane::CubaLif { alpha, beta } => {
                (Model::CubaLif, decay(beta)?, nothing.clone(), decay(alpha)?, None)
            }
            Membrane::AdaptiveLif { beta, rho, gain } => {
                let gain = Some(values(gain)?);
                (Model::AdaptiveLif, decay(beta)?, nothing.clone(), decay(rho)?, gain)
            }
            Membrane::Li { beta } => {
                (Model::Li, decay(beta)?, nothing.clone(), nothing.clone(), None)
            }
        };
        let thresholds = values(&neuron.threshold)?;
        let saturates = self.saturates(index, neuron, fraction, &thresholds)?;
        let threshold = self.numbers(&thresholds, current);
        let gain = gain.map_or(nothing, |gain| self.numbers(&gain, current));
        if self.program.integer && !fits(&gain, &second_decay) {
            let problem = "the gain of its adaptation is too large for integers";
            return Err(unsupported(node, problem));
        }
        let len = node.len();
        let v = self.buffer(&format!("{} v", node.name), Content::Values, len, true, fraction);
        let second = match model {
            Model::CubaLif => Some((fraction, "i")),
            Model::AdaptiveLif => Some((fixed::DECAY, "a")),
            Model::Lif | Model::Li => None,
        };
        let second = second.map(|(fraction, what)| {
            let name = format!("{} {what}", node.name);
            self.buffer(&name, Content::Values, len, true, fraction)
        });
        let population = Population {
            name: node.name.clone(),
            model,
            reset: neuron.reset,
            reset_delayed: neuron.reset_delayed,
            fires_at_threshold: neuron.fires_at_threshold,
            threshold,
            beta,
            drive,
            second_decay,
            gain,
            saturates,
            v,
            second,
        };
        if model == Model::Li {
            let to = self.own_values(index, fraction, false);
            self.push(Step::Integrate { population, current, to });
        } else {
            let to = self.own(index, Content::Events, 0, false);
            self.push(Step::Fire { population, current, to });
        }
        Ok(())
    }

    /// Decays in units of `2^-DECAY`.
    fn decay(&self, values: &[f32]) -> Constant {
        match self.program.integer {
            true => fixed::integers(values, fixed::DECAY),
            false => Constant::F32(values.to_vec()),
        }
    }

    /// Whether what the population integrates may reach the limit.
    fn saturates(
        &self,
        index: usize,
        neuron: &Neuron,
        fraction: u32,
        thresholds: &[f32],
    ) -> Result<bool, GraphError> {
        let Some(&[arriving, _]) = self.formats.arriving.get(index) else { return Ok(false) };
        let beta = match &neuron.membrane {
            Membrane::Lif { beta, .. } | Membrane::Li { beta } => beta,
            _ => return Ok(true),
        };
        let decays = self.graph.param(&self.graph.nodes[index].name, beta)?;
        let leak = decays.iter().fold(1.0, |least: f64, d| least.min(1.0 - f64::from(*d)));
        let threshold = thresholds.iter().fold(0.0, |most: f64, t| most.max(abs(*t)));
        // Half of the limit leaves room for what rounding adds.
        let limit = f64::from(fixed::LIMIT) / 2.0;
        Ok(leak < 1e-3 || (arriving + threshold) / leak * fixed::power(fraction as i32) >= limit)
    }

    pub(super) fn activation(
        &mut self,
        index: usize,
        function: Function,
    ) -> Result<(), GraphError> {
        let node = &self.graph.nodes[index];
        let is_table = matches!(function, Function::Tanh | Function::Sigmoid);
        if is_table && self.formats.arriving.get(index).is_some_and(|[x, _]| *x >= TABLE_LIMIT) {
            let problem = "its input leaves the range of its table: scale its weights down";
            return Err(unsupported(node, problem));
        }
        let from = match (function, self.program.integer) {
            (Function::ReluSquared, true) => {
                return Err(unsupported(node, "the square of relu is no integer-only operation"));
            }
            (Function::Tanh | Function::Sigmoid, true) => self.current(index, fixed::TABLE_IN),
            _ => {
                let value = self.port(index, 0);
                self.dense(value)
            }
        };
        let fraction = match function {
            Function::Relu | Function::ReluSquared => self.program.buffers[from].fraction,
            Function::Tanh | Function::Sigmoid => self.format(index),
        };
        let to = self.own_values(index, fraction, false);
        self.push(Step::Apply { function, from, to });
        Ok(())
    }
}
