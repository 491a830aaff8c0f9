//! Adding up gradients over time steps.
//!
//! The sum so far enters the next backward pass as the gradient the parameters begin with, so that
//! there is never a second set of gradients beside it: memory at 32 time steps is that of one.

use crate::ops::{carry::carry, flex::is_f32_on_flex};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor};

/// The sum of some gradients.
#[derive(Default)]
pub(crate) struct GradientSum {
    sum: GradientsParams,
}

impl GradientSum {
    /// The loss, whose backward pass goes on from the sum so far.
    pub(crate) fn carried_by<M: Module>(&mut self, model: &M, loss: Tensor<1>) -> Tensor<1> {
        if !is_f32_on_flex(&loss) {
            return loss;
        }
        let mut visitor = Carry { sum: std::mem::take(&mut self.sum), loss };
        model.visit(&mut visitor);
        visitor.loss
    }

    /// Adds the gradients of that loss.
    pub(crate) fn add<M: Module>(&mut self, model: &M, gradients: Gradients) {
        let gradients = GradientsParams::from_grads(gradients, model);
        model.visit(&mut Plus { sum: &mut self.sum, gradients });
    }

    pub(crate) fn gradients(self) -> GradientsParams {
        self.sum
    }
}

/// Hands the sums to the loss.
struct Carry {
    sum: GradientsParams,
    loss: Tensor<1>,
}

impl ModuleVisitor for Carry {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(sum) = self.sum.remove::<D>(param.id) {
            self.loss = carry(self.loss.clone(), param.val(), sum);
        }
    }
}

/// Adds gradients to the sums that no loss carried.
struct Plus<'a> {
    sum: &'a mut GradientsParams,
    gradients: GradientsParams,
}

impl ModuleVisitor for Plus<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let sum = match self.sum.remove::<D>(param.id) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.sum.register::<D>(param.id, sum);
    }
}
