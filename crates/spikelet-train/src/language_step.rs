//! One training step of a language model on made-up tokens, to be measured.

use crate::{
    init::Init,
    loss::{Loss, LossConfig},
    models::{
        ModelError,
        spikegpt::{SpikeGpt, SpikeGptConfig},
    },
    optimizer::{Optimizer, clip_norm},
    params,
    rule::LearningRule,
    trainer::targets,
};
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A SpikeGPT, an optimiser and a batch of random tokens, with the official optimiser, loss and
/// clipping.
pub struct LanguageStep {
    model: SpikeGpt,
    optimizer: ModuleOptimizer,
    x: Tensor<3>,
    targets: Tensor<1, Int>,
    seed: u64,
}

/// The official learning rate.
const LR: f64 = 6e-4;

impl LanguageStep {
    /// Fresh weights for a batch of windows of `time` tokens; the first step allocates the state
    /// of the optimiser.
    ///
    /// # Errors
    /// Sizes no network can be made of.
    pub fn new(
        config: &SpikeGptConfig,
        vocabulary: usize,
        batch: usize,
        time: usize,
    ) -> Result<LanguageStep, ModelError> {
        let device = Device::flex().autodiff();
        let model = SpikeGpt::new(config, vocabulary, &mut Init::new(1, &device))?;
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut tokens = || -> Vec<u32> {
            (0..time * batch).map(|_| rng.random_range(0..vocabulary as u32)).collect()
        };
        let x: Vec<f32> = tokens().into_iter().map(|token| token as f32).collect();
        let x = Tensor::from_data(TensorData::new(x, [time, batch, 1]), &device);
        let targets = targets(&tokens(), &device);
        let optimizer =
            Optimizer::Adam { lr: LR, beta_1: 0.9, beta_2: 0.99, epsilon: 4e-9, weight_decay: 0.0 };
        let (model, optimizer) = (params::name_ids(model), optimizer.init());
        Ok(LanguageStep { model, optimizer, x, targets, seed: 0 })
    }

    /// Forward, backward, clipping, one step of the optimiser; returns the loss.
    pub fn run(&mut self) -> f32 {
        let loss = Loss::new(LossConfig { l2_wrap: true, ..LossConfig::default() });
        self.seed += 1;
        let (x, targets) = (self.x.clone(), self.targets.clone());
        let out = LearningRule::Bptt.gradients(&self.model, x, targets, &loss, self.seed);
        let (gradients, _) = clip_norm(&self.model, out.gradients, 1.0);
        self.model = self.optimizer.step(LR, self.model.clone(), gradients);
        out.loss
    }
}
