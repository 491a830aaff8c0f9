//! One training run from configuration to graph, whatever the model.

use crate::{
    config::Config,
    evaluate::Evaluation,
    init::Init,
    lower::lower,
    model::SequenceModel,
    models::{
        ModelConfig, ModelError,
        bag_of_words::BagOfWords,
        classifier::{Body, Classifier},
        convnet::Convnet,
        egru::Egru,
        egru_lm::EgruLm,
        gru::Gru,
        l2mu::L2mu,
        lmu::Lmu,
        lstm::Lstm,
        lstm_lm::LstmLm,
        metaspikeformer,
        rnn_lm::{Cell, GruLm, LstmTiedLm},
        spikegpt::SpikeGpt,
    },
    params::{self, LoadError, Tensors},
    prepare::Prepared,
    raise::RaiseError,
    rule::LearningRule,
    run::Position,
    sparsity::Sparsity,
    trainer::{End, Observer, TrainError, Trained, train},
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
    /// How much of its event-based layers is silent, on the part of the result.
    pub sparsity: Vec<Sparsity>,
    /// Fraction of the weights of its pruned matrices that is zero.
    pub pruned: Option<f64>,
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
    /// A model of values and text, or one of tokens and values.
    #[error(
        "`model.kind = \"{model}\"` cannot learn from `{data}`: text is for models that read tokens \
         (spikegpt, lstm-lm, rnn-lm, egru-lm, of sentences also bag-of-words), everything else for those that read values"
    )]
    Tokens {
        /// The kind of the model.
        model: &'static str,
        /// The data set.
        data: String,
    },
    /// A segmenting network and other data, or images with masks and another model.
    #[error(
        "`model.kind = \"{model}\"` cannot learn from `{data}`: images with masks are for models that give every \
         pixel a class (spike-segmenter), and these for nothing else"
    )]
    Masks {
        /// The kind of the model.
        model: &'static str,
        /// The data set.
        data: String,
    },
    /// A second head that learns from nothing, or a share that is none.
    #[error("`train.distill`: {0}")]
    Distill(&'static str),
    /// A rule that takes steps apart where the mean over all of them is needed.
    #[error(
        "`train.rule = \"{rule}\"`: a segmenting network learns from the mean over time, use \"bptt\""
    )]
    Rule {
        /// As written.
        rule: String,
    },
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The trained model does not form a graph.
    #[error("lowering: {0}")]
    Lower(#[from] GraphError),
}

/// Weights in the place of fresh ones.
pub enum Initial {
    /// Those of a graph of the same model.
    Graph(Box<Graph>),
    /// Those of a run of the same model, by name.
    Weights(Tensors),
}

/// Trains in the folder `run`, which exists, going on from a checkpoint found there.
///
/// # Errors
/// Settings no model can be made of, files that cannot be used, a loss that diverges.
pub fn run(
    config: &Config,
    data: &Prepared,
    initial: Option<&Initial>,
    run: &Path,
    observer: &mut dyn Observer,
) -> Result<Outcome, SessionError> {
    with_model(config, data, initial, Run { config, data, run, observer })?
}

/// What is done with a model, whatever it is.
pub trait WithModel {
    /// What it gives.
    type Out;

    /// Does it; the model is on an autodiff device.
    fn with<M: SequenceModel>(self, model: M) -> Self::Out;
}

/// Makes the model of a configuration for its data, with given weights or fresh ones.
///
/// # Errors
/// Settings no model can be made of, weights of another model.
pub fn with_model<W: WithModel>(
    config: &Config,
    data: &Prepared,
    initial: Option<&Initial>,
    task: W,
) -> Result<W::Out, SessionError> {
    let mut init = Init::new(config.train.seed, &Device::flex().autodiff());
    let inputs = data.samples.values();
    let classes = data.samples.classes().len();
    let tokens = data.samples.vocabulary_size();
    let sentences = tokens.filter(|_| data.samples.text().is_none());
    let predicts = !matches!(config.model, ModelConfig::BagOfWords(_));
    let classifies = !matches!(config.model, ModelConfig::EgruLm(_) | ModelConfig::RnnLm(_));
    let fits = if sentences.is_some() { classifies } else { predicts };
    if config.model.reads_tokens() != tokens.is_some() || !fits {
        let (model, data) = (config.model.kind(), data.dataset.clone());
        return Err(SessionError::Tokens { model, data });
    }
    let masked = data.samples.masked().is_some();
    if masked != config.model.segments() {
        let (model, data) = (config.model.kind(), data.dataset.clone());
        return Err(SessionError::Masks { model, data });
    }
    if masked && config.train.rule != LearningRule::Bptt {
        return Err(SessionError::Rule { rule: config.train.rule.to_string() });
    }
    if let ModelConfig::MetaSpikeformer(c) = &config.model
        && c.distilled != config.train.distill.is_some()
    {
        return Err(SessionError::Distill(
            "a teacher and the second head (`model.distilled = true`) go together",
        ));
    }
    if config.train.distill.as_ref().is_some_and(|d| !(0.0..=1.0).contains(&d.share)) {
        return Err(SessionError::Distill("`share` is 0 to 1"));
    }
    match &config.model {
        ModelConfig::L2mu(c) => start(L2mu::new(c, inputs, classes, &mut init)?, initial, task),
        ModelConfig::Lmu(c) => start(Lmu::new(c, inputs, classes, &mut init)?, initial, task),
        ModelConfig::Lstm(c) => start(Lstm::new(c, inputs, classes, &mut init), initial, task),
        ModelConfig::Gru(c) => start(Gru::new(c, inputs, classes, &mut init), initial, task),
        ModelConfig::Convnet(c) => {
            // Values without a spatial shape are an image of one position.
            let shape = data.samples.shape().try_into().unwrap_or([1, 1, inputs]);
            start(Convnet::new(c, shape, classes, &mut init)?, initial, task)
        }
        ModelConfig::Egru(c) => {
            let shape = data.samples.shape();
            start(Egru::new(c, &shape, classes, &mut init)?, initial, task)
        }
        ModelConfig::EgruLm(c) => {
            let window = data.samples.time();
            start(EgruLm::new(c, classes, window, &mut init)?, initial, task)
        }
        ModelConfig::MetaSpikeformer(c) => {
            let shape = data.samples.shape().try_into().unwrap_or([1, 1, inputs]);
            let fresh = metaspikeformer::network(c, shape, classes, &mut init)?;
            match initial {
                Some(Initial::Weights(weights))
                    if c.distilled && !metaspikeformer::has_second_head(weights) =>
                {
                    Ok(task.with(metaspikeformer::with_second_head(fresh, weights)?))
                }
                _ => start(fresh, initial, task),
            }
        }
        ModelConfig::SpikeSegmenter(c) => {
            let shape = data.samples.shape().try_into().unwrap_or([1, 1, inputs]);
            let fresh = metaspikeformer::segmentation(c, shape, classes, &mut init)?;
            match initial {
                Some(Initial::Weights(weights))
                    if !weights.keys().any(|name| name.starts_with("backbone.")) =>
                {
                    Ok(task.with(metaspikeformer::with_backbone(fresh, weights)?))
                }
                _ => start(fresh, initial, task),
            }
        }
        ModelConfig::Spikegpt(c) => match sentences {
            None => start(SpikeGpt::new(c, classes, &mut init)?, initial, task),
            Some(tokens) => {
                let body = SpikeGpt::new(c, tokens, &mut init)?;
                start_classifier(
                    Classifier::new(body, c.pooling, classes, &mut init),
                    initial,
                    task,
                )
            }
        },
        ModelConfig::LstmLm(c) => match sentences {
            None => start(LstmLm::new(c, classes, &mut init)?, initial, task),
            Some(tokens) => {
                let body = LstmLm::new(c, tokens, &mut init)?;
                start_classifier(
                    Classifier::new(body, c.pooling, classes, &mut init),
                    initial,
                    task,
                )
            }
        },
        ModelConfig::RnnLm(c) => {
            let window = data.samples.time();
            match c.cell {
                Cell::Lstm => start(LstmTiedLm::new(c, classes, window, &mut init)?, initial, task),
                Cell::Gru => start(GruLm::new(c, classes, window, &mut init)?, initial, task),
            }
        }
        ModelConfig::BagOfWords(_) => {
            start(BagOfWords::new(tokens.unwrap_or_default(), classes, &init), initial, task)
        }
    }
}

fn start<M: SequenceModel, W: WithModel>(
    fresh: M,
    initial: Option<&Initial>,
    task: W,
) -> Result<W::Out, SessionError> {
    let model = match initial {
        None => fresh,
        Some(Initial::Weights(weights)) => params::load(fresh, weights)?,
        Some(Initial::Graph(graph)) => {
            let given = M::from_graph(graph, &Device::flex())?;
            params::load(fresh, &params::collect(&given))?
        }
    };
    Ok(task.with(model))
}

/// Weights of a language model go into the body of a classifier, whose head stays fresh.
fn start_classifier<B: Body + SequenceModel, W: WithModel>(
    fresh: Classifier<B>,
    initial: Option<&Initial>,
    task: W,
) -> Result<W::Out, SessionError> {
    match initial {
        Some(Initial::Weights(weights))
            if !weights.keys().any(|name| name.starts_with("body.")) =>
        {
            let body = params::load(fresh.body, weights)?;
            Ok(task.with(Classifier { body, ..fresh }))
        }
        Some(Initial::Graph(graph)) if graph.node("head").is_ok() => {
            let given = B::from_graph(graph, &Device::flex())?;
            let body = params::load(fresh.body, &params::collect(&given))?;
            Ok(task.with(Classifier { body, ..fresh }))
        }
        _ => start(fresh, initial, task),
    }
}

struct Run<'a> {
    config: &'a Config,
    data: &'a Prepared,
    run: &'a Path,
    observer: &'a mut dyn Observer,
}

impl WithModel for Run<'_> {
    type Out = Result<Outcome, SessionError>;

    fn with<M: SequenceModel>(self, model: M) -> Self::Out {
        let parameters = model.num_params();
        let trained = train(self.config, model, self.data, self.run, self.observer)?;
        let graph = lower(&trained.best, self.config.model.kind(), self.data)?;
        let Trained { position, end, result, sparsity, pruned, .. } = trained;
        Ok(Outcome { graph, parameters, position, end, result, sparsity, pruned })
    }
}
