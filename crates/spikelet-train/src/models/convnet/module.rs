//! The parameters of a network as a Burn module whose names are the official ones.

use super::network::Network;
use crate::neuron::Dynamics;
use burn::module::{Content, Devices, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use std::sync::Arc;

/// A parameter and its name in the official code.
#[derive(Clone, Debug)]
pub(super) struct Named<const D: usize> {
    pub(super) name: String,
    pub(super) param: Param<Tensor<D>>,
}

/// A convolutional spiking network; see [`SequenceModel`](crate::model::SequenceModel).
#[derive(Clone, Debug)]
pub struct Convnet {
    pub(super) network: Arc<Network>,
    /// What all neurons and normalisations share.
    pub(super) settings: Settings,
    /// Biases, gains, normalisations.
    pub(super) vectors: Vec<Named<1>>,
    /// The classes, `[out, in]`.
    pub(super) matrices: Vec<Named<2>>,
    /// Of convolutions, `[kh, kw, in, out]`.
    pub(super) kernels: Vec<Named<4>>,
}

/// What all layers share.
#[derive(Clone, Copy, Debug)]
pub(in crate::models) struct Settings {
    /// Equation of the neurons and derivative of their spikes.
    pub(in crate::models) dynamics: Dynamics,
    /// Decay of potentials a step.
    pub(in crate::models) beta: f32,
    /// Normalise over all steps together where a rule sees them all.
    pub(in crate::models) norm_over_time: bool,
}

impl Convnet {
    fn with(
        self,
        vector: impl FnMut(Named<1>) -> Named<1>,
        matrix: impl FnMut(Named<2>) -> Named<2>,
        kernel: impl FnMut(Named<4>) -> Named<4>,
    ) -> Self {
        Convnet {
            vectors: self.vectors.into_iter().map(vector).collect(),
            matrices: self.matrices.into_iter().map(matrix).collect(),
            kernels: self.kernels.into_iter().map(kernel).collect(),
            ..self
        }
    }
}

impl<const D: usize> Named<D> {
    fn with(self, change: impl FnOnce(Param<Tensor<D>>) -> Param<Tensor<D>>) -> Self {
        Named { param: change(self.param), ..self }
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.name.split('.').for_each(|part| visitor.enter_module(part, "Convnet"));
        self.param.visit(visitor);
        self.name.rsplit('.').for_each(|part| visitor.exit_module(part, "Convnet"));
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.name.split('.').for_each(|part| mapper.enter_module(part, "Convnet"));
        let param = self.param.map_with(mapper);
        self.name.rsplit('.').for_each(|part| mapper.exit_module(part, "Convnet"));
        Named { param, name: self.name }
    }
}

/// [`Module::map`] of a parameter, which has a `map` of its own.
trait MapWith {
    fn map_with<M: ModuleMapper>(self, mapper: &mut M) -> Self;
}

impl<const D: usize> MapWith for Param<Tensor<D>> {
    fn map_with<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        Module::map(self, mapper)
    }
}

macro_rules! each {
    ($model:expr, $change:expr) => {
        $model.with(|p| p.with($change), |p| p.with($change), |p| p.with($change))
    };
}

impl Module for Convnet {
    fn collect_devices(&self, devices: Devices) -> Devices {
        let devices = self.vectors.iter().fold(devices, |d, p| p.param.collect_devices(d));
        let devices = self.matrices.iter().fold(devices, |d, p| p.param.collect_devices(d));
        self.kernels.iter().fold(devices, |d, p| p.param.collect_devices(d))
    }

    fn fork(self, device: &Device) -> Self {
        each!(self, |p| p.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        each!(self, |p| p.to_device(device))
    }

    fn train(self) -> Self {
        each!(self, Module::train)
    }

    fn valid(&self) -> Self {
        each!(self.clone(), |p| p.valid())
    }

    fn materialize(self) -> Self {
        each!(self, Module::materialize)
    }

    /// Learned values: running statistics are not counted.
    fn num_params(&self) -> usize {
        let running =
            |name: &str| name.ends_with(".running_mean") || name.ends_with(".running_var");
        let vectors = self.vectors.iter().filter(|p| !running(&p.name));
        vectors.map(|p| Module::num_params(&p.param)).sum::<usize>()
            + self.matrices.iter().map(|p| Module::num_params(&p.param)).sum::<usize>()
            + self.kernels.iter().map(|p| Module::num_params(&p.param)).sum::<usize>()
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.vectors.iter().for_each(|p| p.visit(visitor));
        self.matrices.iter().for_each(|p| p.visit(visitor));
        self.kernels.iter().for_each(|p| p.visit(visitor));
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        Convnet {
            vectors: self.vectors.into_iter().map(|p| p.map(mapper)).collect(),
            matrices: self.matrices.into_iter().map(|p| p.map(mapper)).collect(),
            kernels: self.kernels.into_iter().map(|p| p.map(mapper)).collect(),
            ..self
        }
    }
}

// As a part of another module.
impl burn::module::ModuleDisplayDefault for Convnet {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_debug_attribute("layers", &self.network.layers.len()).optional()
    }
}

impl burn::module::ModuleDisplay for Convnet {}
