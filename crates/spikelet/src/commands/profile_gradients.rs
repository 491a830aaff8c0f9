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
    gradients::{Cosines, of_samples},
    lower::lower,
    model::SequenceModel,
    models::ModelConfig,
    prepare::Prepared,
    rule::LearningRule,
    session::{WithModel, with_model},
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
}

#[derive(Serialize)]
struct Setting {
    /// Of convolutional networks, whose neurons are all alike; else as configured.
    tau: Option<f32>,
    surrogate: Option<&'static str>,
    cosine: f64,
    parameters: Vec<(String, f64)>,
}

/// Scalar multiplications of the backward pass, per sample.
#[derive(Serialize)]
struct Multiplications {
    /// Through the layers, in one time step.
    spatial_per_step: u64,
    /// From one time step to the one before.
    temporal_per_step: u64,
    bptt: u64,
    sltt: u64,
    /// SLTT with one learned step.
    sltt_1: u64,
}

/// Runs the command.
pub(super) fn run(model: &Path, folder: Option<&Path>, ui: &Ui) -> Result {
    let trained = model.is_dir();
    let layers = match trained {
        true => Layers::from_file(&model.join(CONFIG_FILE))?,
        false => Layers::from_argument(&model.display().to_string())?,
    };
    let config = configuration(layers)?;
    let data = Prepared::new(&config.data, folder, config.model.steps())?;
    let initial = if trained { Some(initial_weights(model)?) } else { None };
    let index = &data.split.train[..data.split.train.len().min(SAMPLES)];
    let mut settings = Vec::new();
    for (tau, surrogate, config) in variants(&config) {
        ui.note(match (tau, surrogate) {
            (Some(tau), Some(surrogate)) => format!("tau {tau}, {surrogate}"),
            _ => "as configured".to_owned(),
        });
        let Cosines { total, parameters } =
            of_samples(&LearningRule::Sltt, &config, &data, initial.as_ref(), index)?;
        settings.push(Setting { tau, surrogate, cosine: total, parameters });
    }
    let graph = with_model(&config, &data, initial.as_ref(), Lower(&data))??;
    let steps = data.samples.time();
    let report = Report {
        model: model.display().to_string(),
        data: format!("{}, training part", data.dataset),
        samples: index.len(),
        steps,
        settings,
        multiplications: Multiplications::of(&graph, steps as u64)?,
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
        lower(&model, "profile", self.0)
    }
}

impl Multiplications {
    /// Counted densely: a product gives its input's gradient with one multiplication a synapse
    /// (none is needed for the data), and its weights' gradient with one a synapse where its
    /// input is no spikes, with additions where it is. A neuron multiplies by its surrogate, and
    /// from step to step by its decay and by the surrogate in its reset.
    fn of(graph: &Graph, steps: u64) -> Result<Multiplications> {
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
        Ok(Multiplications {
            spatial_per_step: spatial,
            temporal_per_step: temporal,
            bptt: steps * spatial + steps.saturating_sub(1) * temporal,
            sltt: steps * spatial,
            sltt_1: spatial,
        })
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!(
            "{}: gradients of SLTT against BPTT, {} samples of {}, {} steps\n\n",
            self.model, self.samples, self.data, self.steps
        );
        let mut table = Table::new(["tau", "surrogate", "cosine", "lowest", "of"]);
        for setting in &self.settings {
            let lowest = setting.parameters.iter().min_by(|a, b| a.1.total_cmp(&b.1));
            table.row([
                setting.tau.map_or("as configured".to_owned(), |tau| tau.to_string()),
                setting.surrogate.unwrap_or_default().to_owned(),
                format!("{:.4}", setting.cosine),
                lowest.map_or(String::new(), |(_, cosine)| format!("{cosine:.4}")),
                lowest.map_or(String::new(), |(name, _)| name.clone()),
            ]);
        }
        text += &table.text();
        if let Some(first) = self.settings.first() {
            let mut table = Table::new(["parameter", "cosine"]);
            for (name, cosine) in &first.parameters {
                table.row([name.clone(), format!("{cosine:.4}")]);
            }
            text += "\nby parameter, first setting\n";
            text += &table.text();
        }
        let m = &self.multiplications;
        text += &format!(
            "\nscalar multiplications of the backward pass, per sample, counted densely\n  \
             BPTT {}, SLTT {} ({:.1} %), SLTT-1 {} ({:.1} %)\n",
            count(m.bptt),
            count(m.sltt),
            100.0 * m.sltt as f64 / m.bptt.max(1) as f64,
            count(m.sltt_1),
            100.0 * m.sltt_1 as f64 / m.bptt.max(1) as f64
        );
        text
    }
}
