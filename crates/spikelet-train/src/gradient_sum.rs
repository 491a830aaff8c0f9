//! Adding up gradients over time steps, in place and on all threads.

use crate::ops::flex::{is_f32_on_flex, primitive, values};
use burn::backend::Flex;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use spikelet_kernels::update::add;

/// The sum of some gradients.
#[derive(Default)]
pub(crate) struct GradientSum {
    sum: GradientsParams,
}

impl GradientSum {
    pub(crate) fn add<M: Module>(&mut self, model: &M, gradients: GradientsParams) {
        model.visit(&mut Visitor { sum: &mut self.sum, gradients });
    }

    pub(crate) fn gradients(self) -> GradientsParams {
        self.sum
    }
}

struct Visitor<'a> {
    sum: &'a mut GradientsParams,
    gradients: GradientsParams,
}

impl ModuleVisitor for Visitor<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let sum = match self.sum.remove::<D>(param.id) {
            Some(sum) => plus(sum, gradient),
            None => gradient,
        };
        self.sum.register::<D>(param.id, sum);
    }
}

fn plus<const D: usize>(sum: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
    if !is_f32_on_flex(&sum) || !is_f32_on_flex(&x) {
        return sum + x;
    }
    let (mut sum, x) = (primitive(sum), primitive(x));
    // Nobody else holds the sum, so this is in place.
    add(sum.storage_mut::<f32>(), values(&x));
    Tensor::from_primitive::<Flex>(sum)
}
