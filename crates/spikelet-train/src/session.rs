//! One training run from configuration to graph, whatever the model.

use crate::{
    config::Config,
    evaluate::Evaluation,
    init::Init,
    lower::lower,
    model::SequenceModel,
    models::{
        ModelConfig, ModelError, convnet::Convnet, gru::Gru, l2mu::L2mu, lmu::Lmu, lstm::Lstm,
    },
    params::{self, LoadError},
    prepare::Prepared,
    raise::RaiseError,
    run::Position,
    trainer::{End, Observer, TrainError, train},
};
use burn::tensor::Device;
use spikelet_graph::{Graph, GraphError};
use std::path::Path;

/// A run that ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The best model, lowered.
    pub graph: Graph,
    /// Learned parameters of the model.
    pub parameters: usize,
    /// Where the run stands.
    pub position: Position,
    /// Why it ended.
    pub end: End,
    /// Result of the best model on the test part, or on the validation part where there is none;
    /// nothing if the run was interrupted.
    pub result: Option<Evaluation>,
}

/// A run that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No such model.
    #[error("model: {0}")]
    Model(#[from] ModelError),
    /// The graph to start from is of another model.
    #[error("initial weights: {0}")]
    Raise(#[from] RaiseError),
    /// The graph to start from has other sizes.
    #[error("initial weights: {0}")]
    Load(#[from] LoadError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The trained model does not form a graph.
    #[error("lowering: {0}")]
    Lower(#[from] GraphError),
}

/// Trains in the folder `run`, which exists, going on from a checkpoint found there. `initial` is
/// a graph whose weights take the place of fresh ones.
///
/// # Errors
/// Settings no model can be made of, files that cannot be used, a loss that diverges.
pub fn run(
    config: &Config,
    data: &Prepared,
    initial: Option<&Graph>,
    run: &Path,
    observer: &mut dyn Observer,
) -> Result<Outcome, SessionError> {
    let mut init = Init::new(config.train.seed, &Device::flex().autodiff());
    let inputs = data.sequences.channels;
    let classes = data.sequences.classes.len();
    let go = Run { config, data, initial, run };
    match &config.model {
        ModelConfig::L2mu(c) => go.with(L2mu::new(c, inputs, classes, &mut init)?, observer),
        ModelConfig::Lmu(c) => go.with(Lmu::new(c, inputs, classes, &mut init)?, observer),
        ModelConfig::Lstm(c) => go.with(Lstm::new(c, inputs, classes, &mut init), observer),
        ModelConfig::Gru(c) => go.with(Gru::new(c, inputs, classes, &mut init), observer),
        ModelConfig::Convnet(c) => {
            // Sequences without a spatial shape are images of one position.
            go.with(Convnet::new(c, [1, 1, inputs], classes, &mut init)?, observer)
        }
    }
}

struct Run<'a> {
    config: &'a Config,
    data: &'a Prepared,
    initial: Option<&'a Graph>,
    run: &'a Path,
}

impl Run<'_> {
    fn with<M: SequenceModel>(
        self,
        fresh: M,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, SessionError> {
        let model = match self.initial {
            None => fresh,
            Some(graph) => {
                let given = M::from_graph(graph, &Device::flex())?;
                params::load(fresh, &params::collect(&given))?
            }
        };
        let parameters = model.num_params();
        let trained = train(self.config, model, self.data, self.run, observer)?;
        let graph = lower(&trained.best, self.config.model.kind(), self.data)?;
        let (position, end, result) = (trained.position, trained.end, trained.result);
        Ok(Outcome { graph, parameters, position, end, result })
    }
}
