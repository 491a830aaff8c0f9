//! Optimisers by name, and clipping of the gradient by its global norm.

use crate::{
    adam::Adam,
    lamb::Lamb,
    ops::flex::{is_f32_on_flex, primitive, values},
    sgd::Sgd,
};
use burn::backend::Flex;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use spikelet_kernels::update;

/// An optimiser with its constants; defaults are PyTorch's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd {
        /// Learning rate.
        lr: f64,
        /// Momentum; 0 for none.
        #[serde(default)]
        momentum: f64,
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Adam.
    Adam {
        /// Learning rate.
        lr: f64,
        /// Decay of the first moment.
        #[serde(default = "beta_1")]
        beta_1: f32,
        /// Decay of the second moment.
        #[serde(default = "beta_2")]
        beta_2: f32,
        /// Added to the denominator.
        #[serde(default = "epsilon")]
        epsilon: f32,
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// Learning rate.
        lr: f64,
        /// Decay of the first moment.
        #[serde(default = "beta_1")]
        beta_1: f32,
        /// Decay of the second moment.
        #[serde(default = "beta_2")]
        beta_2: f32,
        /// Added to the denominator.
        #[serde(default = "epsilon")]
        epsilon: f32,
        /// Fraction of the learning rate by which weights shrink.
        #[serde(default = "decoupled")]
        weight_decay: f32,
    },
    /// LAMB as timm has it with `trust_clip`; its own limit on gradients is `clip_norm = 1.0`.
    Lamb {
        /// Learning rate.
        lr: f64,
        /// Decay of the first moment.
        #[serde(default = "beta_1")]
        beta_1: f32,
        /// Decay of the second moment.
        #[serde(default = "beta_2")]
        beta_2: f32,
        /// Added to the denominator.
        #[serde(default = "lamb_epsilon")]
        epsilon: f32,
        /// Fraction of the learning rate by which weights shrink; vectors do not.
        #[serde(default = "decoupled")]
        weight_decay: f32,
    },
}

fn beta_1() -> f32 {
    0.9
}

fn beta_2() -> f32 {
    0.999
}

fn epsilon() -> f32 {
    1e-8
}

fn lamb_epsilon() -> f32 {
    1e-6
}

fn decoupled() -> f32 {
    0.01
}

impl Default for Optimizer {
    fn default() -> Self {
        let (beta_1, beta_2, epsilon) = (beta_1(), beta_2(), epsilon());
        Optimizer::Adam { lr: 1e-3, beta_1, beta_2, epsilon, weight_decay: 0.0 }
    }
}

impl Optimizer {
    /// The full learning rate, before any schedule.
    pub fn lr(&self) -> f64 {
        match self {
            Optimizer::Sgd { lr, .. }
            | Optimizer::Adam { lr, .. }
            | Optimizer::AdamW { lr, .. }
            | Optimizer::Lamb { lr, .. } => *lr,
        }
    }

    /// An optimiser without state.
    pub fn init(&self) -> ModuleOptimizer {
        match *self {
            Optimizer::Sgd { momentum, weight_decay, .. } => {
                ModuleOptimizer::from(Sgd { momentum: momentum as f32, weight_decay })
            }
            Optimizer::Adam { beta_1, beta_2, epsilon, weight_decay, .. } => {
                let decoupled = false;
                ModuleOptimizer::from(Adam { beta_1, beta_2, epsilon, weight_decay, decoupled })
            }
            Optimizer::AdamW { beta_1, beta_2, epsilon, weight_decay, .. } => {
                let decoupled = true;
                ModuleOptimizer::from(Adam { beta_1, beta_2, epsilon, weight_decay, decoupled })
            }
            Optimizer::Lamb { beta_1, beta_2, epsilon, weight_decay, .. } => {
                ModuleOptimizer::from(Lamb { beta_1, beta_2, epsilon, weight_decay })
            }
        }
    }
}

/// `sum` plus `share` times `gradients`.
pub(crate) fn add_share<M: Module>(
    module: &M,
    sum: GradientsParams,
    gradients: GradientsParams,
    share: f32,
) -> GradientsParams {
    struct Add {
        sum: GradientsParams,
        gradients: GradientsParams,
        share: f32,
    }
    impl ModuleVisitor for Add {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(g) = self.gradients.remove::<D>(param.id) else { return };
            let g = g.mul_scalar(self.share);
            let g = match self.sum.remove::<D>(param.id) {
                Some(sum) => sum + g,
                None => g,
            };
            self.sum.register::<D>(param.id, g);
        }
    }
    let mut add = Add { sum, gradients, share };
    module.visit(&mut add);
    add.sum
}

/// Scales all gradients so that their common L2 norm is at most `limit`; returns the norm before.
pub fn clip_norm<M: Module>(
    module: &M,
    gradients: GradientsParams,
    limit: f32,
) -> (GradientsParams, f32) {
    struct Norm<'a> {
        gradients: &'a GradientsParams,
        squares: f64,
    }
    impl ModuleVisitor for Norm<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(g) = self.gradients.get::<D>(param.id) else { return };
            self.squares += match is_f32_on_flex(&g) {
                true => update::squares(values(&primitive(g))),
                false => f64::from(g.powi_scalar(2).sum().into_scalar::<f32>()),
            };
        }
    }
    struct Scale {
        gradients: GradientsParams,
        factor: f32,
    }
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(g) = self.gradients.remove::<D>(param.id) else { return };
            let scaled = match is_f32_on_flex(&g) {
                true => {
                    let mut g = primitive(g);
                    update::scale(g.storage_mut::<f32>(), self.factor);
                    Tensor::from_primitive::<Flex>(g)
                }
                false => g.mul_scalar(self.factor),
            };
            self.gradients.register::<D>(param.id, scaled);
        }
    }
    let mut norm = Norm { gradients: &gradients, squares: 0.0 };
    module.visit(&mut norm);
    let found = norm.squares.sqrt() as f32;
    if found <= limit {
        return (gradients, found);
    }
    let mut scale = Scale { gradients, factor: limit / found };
    module.visit(&mut scale);
    (scale.gradients, found)
}
