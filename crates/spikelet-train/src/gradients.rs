//! How far the gradients of two learning rules point the same way.

use crate::{
    config::Config,
    loss::Loss,
    model::SequenceModel,
    params,
    prepare::Prepared,
    rule::LearningRule,
    session::{Initial, SessionError, WithModel, with_model},
    sparsity::Sparsity,
    trainer::targets,
};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use std::collections::BTreeMap;

/// Gradients by the names of their parameters.
pub type Gradients = BTreeMap<String, Vec<f32>>;

/// Copies gradients out; parameters that none reached are left out.
pub fn collect<M: Module>(model: &M, gradients: &GradientsParams) -> Gradients {
    struct Collect<'a> {
        path: Vec<String>,
        gradients: &'a GradientsParams,
        found: Gradients,
    }
    impl ModuleVisitor for Collect<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                self.found.insert(self.path.join("."), params::values(gradient));
            }
        }
    }
    let mut collect = Collect { path: vec![], gradients, found: Gradients::new() };
    model.visit(&mut collect);
    collect.found
}

/// The cosines between two gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Cosines {
    /// Over all parameters together.
    pub total: f64,
    /// By parameter, without those whose gradient is nothing but rounding.
    pub parameters: Vec<(String, f64)>,
}

/// The cosines of `a` and `b`; a gradient one of them lacks is zero.
pub fn cosines(a: &Gradients, b: &Gradients) -> Cosines {
    // Products a b, a a, b b.
    let products = |a: &[f32], b: &[f32]| -> [f64; 3] {
        let dot = |x: &[f32], y: &[f32]| -> f64 {
            x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
        };
        [dot(a, b), dot(a, a), dot(b, b)]
    };
    let cosine = |[ab, aa, bb]: [f64; 3]| ab / (aa * bb).sqrt().max(f64::MIN_POSITIVE);
    let mut total = [0.0; 3];
    let mut single = Vec::new();
    for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
        let of = |g: &'_ Gradients| g.get(name).cloned().unwrap_or_default();
        let found = products(&of(a), &of(b));
        total.iter_mut().zip(found).for_each(|(sum, p)| *sum += p);
        single.push((name.clone(), found));
    }
    // A bias before a normalisation has no gradient but rounding.
    let counts = |[_, aa, bb]: [f64; 3]| aa > 1e-10 * total[1] && bb > 1e-10 * total[2];
    let parameters = single.into_iter().filter(|(_, p)| counts(*p)).map(|(n, p)| (n, cosine(p)));
    Cosines { total: cosine(total), parameters: parameters.collect() }
}

/// The cosines between the gradients of a rule and those of BPTT for one batch.
pub fn against_bptt<M: SequenceModel>(
    rule: &LearningRule,
    model: &M,
    x: Tensor<3>,
    targets: Tensor<1, Int>,
    loss: &Loss,
) -> Cosines {
    // SLTT minimises the mean loss of the steps, so BPTT is asked for the same.
    let mut loss = loss.clone();
    loss.config.per_step = true;
    let of = |rule: &LearningRule| {
        let out = rule.gradients(model, x.clone(), targets.clone(), &loss, 0);
        collect(model, &out.gradients)
    };
    cosines(&of(rule), &of(&LearningRule::Bptt))
}

/// The same for the model of a configuration and some samples of its training part.
///
/// # Errors
/// Settings no model can be made of, weights of another model.
pub fn of_samples(
    rule: &LearningRule,
    config: &Config,
    data: &Prepared,
    initial: Option<&Initial>,
    index: &[usize],
) -> Result<Cosines, SessionError> {
    struct Compare<'a> {
        rule: &'a LearningRule,
        config: &'a Config,
        data: &'a Prepared,
        index: &'a [usize],
    }
    impl WithModel for Compare<'_> {
        type Out = Cosines;

        fn with<M: SequenceModel>(self, model: M) -> Cosines {
            let device = Device::flex().autodiff();
            let x = self.data.batch(self.index, &device);
            let targets = targets(&self.data.samples.labels_of(self.index), &device);
            let train = &self.config.train;
            let loss = Loss {
                config: train.loss,
                logit_scale: train.logit_scale,
                class_weights: train.class_weights.then(|| self.data.class_weights()),
                teacher: None,
            };
            against_bptt(self.rule, &params::name_ids(model), x, targets, &loss)
        }
    }
    with_model(config, data, initial, Compare { rule, config, data, index })
}

/// How much of each event-based layer is silent over some samples; nothing for other models.
///
/// # Errors
/// Settings no model can be made of, weights of another model.
pub fn sparsity(
    config: &Config,
    data: &Prepared,
    initial: Option<&Initial>,
    index: &[usize],
) -> Result<Vec<Sparsity>, SessionError> {
    struct Silent<'a>(&'a Prepared, &'a [usize]);
    impl WithModel for Silent<'_> {
        type Out = Vec<Sparsity>;

        fn with<M: SequenceModel>(self, model: M) -> Vec<Sparsity> {
            model.valid().sparsity(self.0.batch(self.1, &Device::flex()))
        }
    }
    with_model(config, data, initial, Silent(data, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_by_parameter_and_over_all() {
        let gradients = |a: &[f32], b: &[f32]| {
            Gradients::from([("a".to_owned(), a.to_vec()), ("b".to_owned(), b.to_vec())])
        };
        let found = cosines(&gradients(&[1.0, 0.0], &[2.0]), &gradients(&[0.0, 3.0], &[1.0]));
        assert_eq!(found.parameters[0].1, 0.0);
        assert!((found.parameters[1].1 - 1.0).abs() < 1e-12);
        assert!((found.total - 2.0 / (5.0_f64 * 10.0).sqrt()).abs() < 1e-12);
    }
}
