//! One training step on made-up events, to be measured.

use crate::{
    init::Init,
    loss::{Loss, LossConfig},
    lower::finish,
    model::{SequenceModel, State},
    models::{
        ModelError,
        convnet::{Convnet, ConvnetConfig},
        metaspikeformer::{self, MetaSpikeformerConfig},
    },
    optimizer::Optimizer,
    params,
    rule::LearningRule,
    trainer::targets,
};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spikelet_graph::{Graph, GraphBuilder, GraphError, Signal};

/// What a step is made of.
#[derive(Clone, Debug)]
pub struct StepConfig {
    /// The network.
    pub network: Layered,
    /// Height, width, channels of its input.
    pub input: [usize; 3],
    /// Its classes.
    pub classes: usize,
    /// Samples.
    pub batch: usize,
    /// Time steps.
    pub time: usize,
    /// How it learns.
    pub rule: LearningRule,
}

/// A network of layers.
#[derive(Clone, Debug)]
pub enum Layered {
    /// Convolutional.
    Convnet(ConvnetConfig),
    /// Meta-SpikeFormer.
    MetaSpikeformer(MetaSpikeformerConfig),
}

/// A network, an optimiser and a batch of random events (a fifth of all values is 1).
pub struct TrainingStep {
    config: StepConfig,
    model: Convnet,
    optimizer: ModuleOptimizer,
    x: Tensor<3>,
    targets: Tensor<1, Int>,
    seed: u64,
}

/// Learning rate: small, so that firing rates stay where fresh weights put them.
const LR: f64 = 1e-3;

/// Steps after which running statistics are those of the batch within 0.5 %.
const SETTLING: usize = 50;

impl TrainingStep {
    /// Fresh weights; the first step allocates the state of the optimiser.
    ///
    /// # Errors
    /// Images the network does not fit.
    pub fn new(config: StepConfig) -> Result<TrainingStep, ModelError> {
        let device = Device::flex().autodiff();
        let mut init = Init::new(1, &device);
        let (input, classes) = (config.input, config.classes);
        let model = match &config.network {
            Layered::Convnet(network) => Convnet::new(network, input, classes, &mut init)?,
            Layered::MetaSpikeformer(network) => {
                metaspikeformer::network(network, input, classes, &mut init)?
            }
        };
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let values = config.input.iter().product::<usize>();
        let events = (0..config.time * config.batch * values)
            .map(|_| if rng.random::<f32>() < 0.2 { 1.0 } else { 0.0 });
        let shape = [config.time, config.batch, values];
        let x = Tensor::from_data(TensorData::new::<f32, _>(events.collect(), shape), &device);
        let labels: Vec<u32> = (0..config.batch).map(|i| (i % config.classes) as u32).collect();
        let targets = targets(&labels, &device);
        let optimizer = Optimizer::Sgd { lr: LR, momentum: 0.9, weight_decay: 5e-4 }.init();
        Ok(TrainingStep { model: params::name_ids(model), config, optimizer, x, targets, seed: 0 })
    }

    /// Forward, backward, one step of the optimiser; returns the loss.
    pub fn run(&mut self) -> f32 {
        let loss = Loss::new(LossConfig { per_step: true, mse: 0.05, ..LossConfig::default() });
        self.seed += 1;
        let rule = &self.config.rule;
        let out =
            rule.gradients(&self.model, self.x.clone(), self.targets.clone(), &loss, self.seed);
        let stepped = self.optimizer.step(LR, self.model.clone(), out.gradients);
        self.model = stepped.learned(out.state);
        out.loss
    }

    /// Fraction of neurons that fire in a step, of the populations that fire least and most.
    pub fn firing_rates(&self) -> (f32, f32) {
        let plain = self.model.valid();
        let state = plain.training_state(self.config.batch, &self.x.device().inner(), 0);
        self.rates(&plain, state)
    }

    /// The network as a graph that reads one sample, its running statistics those of the events;
    /// fractions of neurons that fire as in [`firing_rates`](Self::firing_rates).
    ///
    /// # Errors
    /// Weights that are not finite.
    pub fn inference(&self) -> Result<(Graph, (f32, f32)), GraphError> {
        let plain = self.model.valid();
        let x: Tensor<2> = self.x.clone().inner().narrow(0, 0, 1).squeeze_dim(0);
        let mut state = plain.training_state(self.config.batch, &x.device(), 0);
        for _ in 0..SETTLING {
            state = plain.detached_step(x.clone(), state).1;
        }
        let plain = plain.learned(state);
        let rates = self.rates(&plain, plain.initial_state(self.config.batch, &x.device()));
        let mut graph = GraphBuilder::new("inference");
        graph.input("input", Signal::Binary, &self.config.input);
        let output = plain.lower(&mut graph, "input");
        graph.readout("readout", &output, plain.readout());
        graph.output("output", "readout");
        Ok((finish(graph)?, rates))
    }

    fn rates(&self, plain: &Convnet, state: State) -> (f32, f32) {
        let x = self.x.clone().inner();
        let (mut least, mut most) = (f32::MAX, 0.0_f32);
        plain.run(x.narrow(0, 0, 1), state, &mut |layer, out| {
            if layer.op.is_neurons() {
                let rate = out.clone().mean().into_scalar::<f32>();
                (least, most) = (least.min(rate), most.max(rate));
            }
        });
        (least, most)
    }
}
