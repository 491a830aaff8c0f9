//! `spikelet profile --gradients`: what SLTT leaves out, and what that saves.

use crate::{
    config::Layers,
    failure::{Outcome, Result},
    table::{Table, count},
    training::{CONFIG_FILE, configuration, initial_weights},
    ui::Ui,
};
use serde::Serialize;
use spikelet_graph::{Graph, Op, Signal, signal::input_signals};
use spikelet_kernels::surrogate::Surrogate;
use spikelet_train::{
    config::Config,
    gradients::{Cosines, of_samples, sparsity},
    lower::lower,
    model::SequenceModel,
    models::ModelConfig,
    prepare::Prepared,
    rule::LearningRule,
    session::{WithModel, with_model},
    sparsity::Sparsity,
};
use std::path::Path;

/// Samples in the batch whose gradients are compared.
const SAMPLES: usize = 16;
/// Time constants tried; the first is the paper's.
const TAUS: [f32; 4] = [1.1, 1.3, 1.5, 2.0];
const SURROGATES: [(&str, Surrogate); 3] = [
    ("triangle", Surrogate::TRIANGLE),
    ("rectangle", Surrogate::RECTANGLE),
    ("sigmoid", Surrogate::SIGMOID),
];

#[derive(Serialize)]
struct Report {
    model: String,
    data: String,
    samples: usize,
    steps: usize,
    /// Cosines of the gradients of SLTT and BPTT, by setting.
    settings: Vec<Setting>,
    multiplications: Multiplications,
    /// Of event-based layers and populations of neurons, over the samples.
    sparsity: Vec<Sparsity>,
}

#[derive(Serialize)]
struct Setting {
    /// Of convolutional networks, whose neurons are all alike; else as configured.
    tau: Option<f32>,
    surrogate: Option<&'static str>,
    cosine: f64,
    parameters: Vec<(String, f64)>,
}

/// Scalar multiplications of the backward pass, counted densely.
#[derive(Serialize)]
struct Multiplications {
    /// Through the layers, in one time step.
    spatial_per_step: u64,
    /// From one time step to the one before.
    temporal_per_step: u64,
    rules: Vec<OfRule>,
}

#[derive(Serialize)]
struct OfRule {
    rule: LearningRule,
    per_sample: u64,
    /// The mean of the time steps.
    per_step: f64,
    of_bptt: f64,
}

/// Runs the command.
pub(super) fn run(model: &Path, folder: Option<&Path>, ui: &Ui) -> Result {
    let trained = model.is_dir();
    let layers = match trained {
        true => Layers::from_file(&model.join(CONFIG_FILE))?,
        false => Layers::from_argument(&model.display().to_string())?,
    };
    let config = configuration(layers)?;
    let data = Prepared::new(&config.data, folder, config.model.steps(), None)?;
    let initial = if trained { Some(initial_weights(model)?) } else { None };
    let index = &data.split.train[..data.split.train.len().min(SAMPLES)];
    let mut settings = Vec::new();
    let variants = variants(&config);
    let progress = ui.progress(variants.len() as u64, "settings of the neurons");
    for (tau, surrogate, config) in variants {
        let Cosines { total, parameters } =
            of_samples(&LearningRule::Sltt, &config, &data, initial.as_ref(), index)?;
        settings.push(Setting { tau, surrogate, cosine: total, parameters });
        progress.inc(1);
    }
    progress.finish_and_clear();
    let graph = with_model(&config, &data, initial.as_ref(), Lower(&data))??;
    let steps = data.samples.time();
    let report = Report {
        model: model.display().to_string(),
        data: format!("{}, training part", data.dataset),
        samples: index.len(),
        steps,
        settings,
        multiplications: Multiplications::of(&graph, steps)?,
        sparsity: sparsity(&config, &data, initial.as_ref(), index)?,
    };
    ui.print(|| report.text(), &report)?;
    Ok(Outcome::Done)
}

/// The configuration over time constants and surrogates, where it has one of each.
fn variants(config: &Config) -> Vec<(Option<f32>, Option<&'static str>, Config)> {
    let ModelConfig::Convnet(_) = &config.model else {
        return vec![(None, None, config.clone())];
    };
    let pairs = SURROGATES.iter().flat_map(|s| TAUS.map(|tau| (tau, s)));
    pairs
        .map(|(tau, (name, surrogate))| {
            let mut config = config.clone();
            if let ModelConfig::Convnet(convnet) = &mut config.model {
                (convnet.tau, convnet.surrogate) = (tau, *surrogate);
            }
            (Some(tau), Some(*name), config)
        })
        .collect()
}

struct Lower<'a>(&'a Prepared);

impl WithModel for Lower<'_> {
    type Out = std::result::Result<Graph, spikelet_graph::GraphError>;

    fn with<M: SequenceModel>(self, model: M) -> Self::Out {
        lower(&model.valid(), "profile", self.0)
    }
}

impl Multiplications {
    /// A product gives its input's gradient with one multiplication a synapse (none is needed for
    /// the data), and its weights' gradient with one a synapse where its input is no spikes, with
    /// additions where it is. A neuron multiplies by its surrogate, and from step to step by its
    /// decay and by the surrogate in its reset.
    fn of(graph: &Graph, steps: usize) -> Result<Multiplications> {
        let topology = graph.validate()?;
        let signals = graph.signals(&topology);
        let counts = graph.counts()?;
        let (mut spatial, mut temporal) = (0, 0);
        for (index, (node, counts)) in graph.nodes.iter().zip(&counts.nodes).enumerate() {
            let from_data = topology.sources[index]
                .iter()
                .all(|link| matches!(graph.nodes[link.node].op, Op::Input { .. }));
            let spikes =
                input_signals(&topology, &signals, index).iter().all(|s| *s == Signal::Binary);
            spatial += counts.dense * (u64::from(!from_data) + u64::from(!spikes));
            if matches!(node.op, Op::Neuron(_)) {
                spatial += counts.state_updates;
                temporal += 2 * counts.state_updates;
            }
        }
        let time = steps as u64;
        let bptt = time * spatial + time.saturating_sub(1) * temporal;
        // K = 1, 2, 4, ...
        let few = std::iter::successors(Some(1), |k| Some(2 * k)).take_while(|k| *k < steps);
        let few: Vec<usize> = few.collect();
        let rules = [(LearningRule::Bptt, bptt), (LearningRule::Sltt, time * spatial)]
            .into_iter()
            .chain(few.into_iter().rev().map(|k| (LearningRule::SlttK(k), k as u64 * spatial)))
            .map(|(rule, per_sample)| OfRule {
                rule,
                per_sample,
                per_step: per_sample as f64 / steps.max(1) as f64,
                of_bptt: per_sample as f64 / bptt.max(1) as f64,
            });
        let rules = rules.collect();
        Ok(Multiplications { spatial_per_step: spatial, temporal_per_step: temporal, rules })
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!(
            "{}: gradients of SLTT against BPTT, {} samples of {}, {} steps\n\n",
            self.model, self.samples, self.data, self.steps
        );
        for settings in self.settings.chunk_by(|a, b| a.surrogate == b.surrogate) {
            text += &cosines(settings);
        }
        text += "scalar multiplications of the backward pass, counted densely\n";
        let mut table = Table::new(["rule", "per sample", "per time step", "% of BPTT"]);
        for rule in &self.multiplications.rules {
            table.row([
                rule.rule.to_string(),
                count(rule.per_sample),
                count(rule.per_step.round() as u64),
                format!("{:.1}", 100.0 * rule.of_bptt),
            ]);
        }
        text += &table.text();
        if self.sparsity.is_empty() {
            return text;
        }
        text += "\nsilent units, % (backward: outside the window of the surrogate)\n";
        let mut table = Table::new(["layer", "no event", "backward", "backward, after the reset"]);
        for layer in &self.sparsity {
            let percent = |share: f64| format!("{:.1}", 100.0 * share);
            table.row([
                layer.layer.clone(),
                percent(layer.activity),
                percent(layer.backward),
                percent(layer.backward_official),
            ]);
        }
        text + &table.text()
    }
}

/// The cosines of every parameter with one surrogate: a column for every time constant.
fn cosines(settings: &[Setting]) -> String {
    let Some(first) = settings.first() else { return String::new() };
    let name =
        first.surrogate.map_or("as configured".to_owned(), |name| format!("surrogate {name}"));
    let column =
        |setting: &Setting| setting.tau.map_or("cosine".to_owned(), |tau| format!("tau {tau}"));
    let mut table = Table::new(std::iter::once(name).chain(settings.iter().map(column)));
    let of = |setting: &Setting, parameter: &str| {
        let found = setting.parameters.iter().find(|(name, _)| name == parameter);
        found.map_or(String::new(), |(_, cosine)| format!("{cosine:.4}"))
    };
    for (parameter, _) in &first.parameters {
        let cosines = settings.iter().map(|setting| of(setting, parameter));
        table.row(std::iter::once(parameter.clone()).chain(cosines));
    }
    let total = settings.iter().map(|setting| format!("{:.4}", setting.cosine));
    table.row(std::iter::once("all together".to_owned()).chain(total));
    table.text() + "\n"
}
