//! Populations of neurons.

use super::{Compiler, ValueId};
use crate::{
    buffers::{Buffer, Content},
    error::Error,
    plan::{Instruction, Parameter, Population},
};
use spikelet_graph::{GraphError, Membrane, Neuron, Param, Reset};
use spikelet_kernels::neuron::{self, Model, NeuronSpec};

impl<'a> Compiler<'a> {
    pub(super) fn neuron(
        &mut self,
        index: usize,
        neuron: &Neuron,
        value: ValueId,
    ) -> Result<Buffer, Error> {
        let node = &self.graph.nodes[index];
        let current = self.dense(value);
        let zero = Parameter::Shared(0.0);
        let param = |param: &Param| -> Result<Parameter, GraphError> {
            Ok(match param {
                Param::Shared(value) => Parameter::Shared(*value),
                Param::Tensor(_) => Parameter::PerNeuron(self.graph.param(&node.name, param)?),
            })
        };
        let (model, beta, second_decay, gain) = match &neuron.membrane {
            Membrane::If => (Model::If, zero.clone(), zero.clone(), zero),
            Membrane::Lif { beta, input_decay } => {
                let model = Model::Lif { input_decay: *input_decay };
                (model, param(beta)?, zero.clone(), zero)
            }
            Membrane::CubaLif { alpha, beta } => {
                (Model::CubaLif, param(beta)?, param(alpha)?, zero)
            }
            Membrane::AdaptiveLif { beta, rho, gain } => {
                (Model::AdaptiveLif, param(beta)?, param(rho)?, param(gain)?)
            }
            Membrane::Li { beta } => (Model::Li, param(beta)?, zero.clone(), zero),
        };
        let threshold = param(&neuron.threshold)?;
        let reset = match neuron.reset {
            Reset::None => neuron::Reset::None,
            Reset::Subtract => neuron::Reset::Subtract,
            Reset::Zero => neuron::Reset::Zero,
        };
        let spec = NeuronSpec {
            model,
            reset,
            reset_delayed: neuron.reset_delayed,
            fires_at_threshold: neuron.fires_at_threshold,
        };
        let v = match model {
            Model::Li => self.wishes.add(Content::Values, node.len(), true),
            _ => self.wishes.add_potentials(node.len()),
        };
        let second = spec.has_second().then(|| self.wishes.add(Content::Values, node.len(), true));
        self.plan.nodes[index].potential = Some(v);
        let population = Population { spec, threshold, beta, second_decay, gain, v, second };
        self.plan.neurons.push(population);
        let neuron = self.plan.neurons.len() - 1;
        let value = self.own(index);
        if model == Model::Li {
            let to = self.dense(value);
            self.push(Instruction::Integrate { neuron, current, to });
        } else {
            let to = self.events(value);
            self.push(Instruction::Fire { neuron, current, to });
        }
        Ok(current)
    }
}
