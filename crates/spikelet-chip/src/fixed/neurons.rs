//! Populations of neurons.

use super::{FixedRun, ONE, difference, number, product, sum};
use spikelet_graph::{Membrane, Neuron, Param, Reset};

impl FixedRun {
    /// One step of a population, whose equations are those of the graph.
    pub(super) fn neurons(&mut self, index: usize, neuron: &Neuron, current: &[i32]) -> Vec<i32> {
        let mut states = std::mem::take(&mut self.states[index]);
        let param = |param: &Param, unit: usize| match param {
            Param::Shared(value) => number(f64::from(*value)),
            Param::Tensor(name) => {
                let values = self.tensor(name);
                values[unit % values.len().max(1)]
            }
        };
        let delayed = neuron.reset_delayed && neuron.reset != Reset::None;
        let fires =
            |v: i32, threshold: i32| v > threshold || (neuron.fires_at_threshold && v == threshold);
        let reset = |v: i32, threshold: i32| match neuron.reset {
            Reset::None => v,
            Reset::Subtract => difference(v, threshold),
            Reset::Zero => 0,
        };
        let [potentials, seconds, _] = &mut states;
        let mut out = Vec::with_capacity(current.len());
        for (unit, &input) in current.iter().enumerate() {
            let (v, second) = (&mut potentials[unit], &mut seconds[unit]);
            let raised = |second: i32| {
                let base = param(&neuron.threshold, unit);
                match &neuron.membrane {
                    Membrane::AdaptiveLif { gain, .. } => {
                        sum(base, product(param(gain, unit), second))
                    }
                    _ => base,
                }
            };
            let before = raised(*second);
            let fired_before = delayed && fires(*v, before);
            let (beta, drive) = match &neuron.membrane {
                Membrane::If => (ONE, input),
                Membrane::Lif { beta, input_decay } => {
                    let beta = param(beta, unit);
                    (beta, if *input_decay { product(difference(ONE, beta), input) } else { input })
                }
                Membrane::CubaLif { alpha, beta } => {
                    *second = sum(product(param(alpha, unit), *second), input);
                    (param(beta, unit), *second)
                }
                Membrane::AdaptiveLif { beta, .. } | Membrane::Li { beta } => {
                    (param(beta, unit), input)
                }
            };
            let mut new = sum(product(beta, *v), drive);
            if !neuron.membrane.is_spiking() {
                *v = new;
                out.push(new);
                continue;
            }
            let adapt = |second: &mut i32, fired: bool| {
                if let Membrane::AdaptiveLif { rho, .. } = &neuron.membrane {
                    let jump = if fired { ONE } else { 0 };
                    *second = sum(product(param(rho, unit), *second), jump);
                }
            };
            let fired = if delayed {
                adapt(second, fired_before);
                if fired_before {
                    new = reset(new, before);
                }
                fires(new, raised(*second))
            } else {
                let fired = fires(new, before);
                if fired {
                    new = reset(new, before);
                }
                adapt(second, fired);
                fired
            };
            *v = new;
            out.push(if fired { ONE } else { 0 });
        }
        self.states[index] = states;
        out
    }
}
