//! `spikelet profile --energy paper`.

use crate::{
    failure::{Failure, Result},
    table::{Table, count},
};
use serde::Serialize;
use spikelet_data::Samples;
use spikelet_graph::{
    Counters, Graph,
    paper_energy::{Accounting, Cost, costs, total},
};

/// Which energy table, and the choices of its accounting.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// Also print the energy table of spiking-transformer papers, or of the SpikeGPT paper.
    #[arg(long, value_enum)]
    energy: Option<Energy>,
    /// Count the convolution on the image once a sample, or in every step.
    #[arg(long, value_enum, default_value_t = FirstConv::EveryStep, requires = "energy")]
    first_conv: FirstConv,
    /// Count a RepConv as one 3 x 3 convolution of spikes, or as its parts.
    #[arg(long, value_enum, default_value_t = RepConv::Fused, requires = "energy")]
    rep_conv: RepConv,
    /// Count a depthwise and the 1 x 1 convolution behind it as one of spikes, or as its parts.
    #[arg(long, value_enum, default_value_t = SepConv::Merged, requires = "energy")]
    sep_conv: SepConv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Energy {
    /// Yao et al. (2024): 4.6 pJ a MAC, 0.9 pJ an AC, dense counts times firing rates.
    Paper,
    /// Zhu et al. (2023), SpikeGPT: 4.5 pJ a MAC, 0.9 pJ an AC, by formula; what the graph does beside it.
    Spikegpt,
}

impl Options {
    /// Whether the account of the SpikeGPT paper is asked for.
    pub fn asks_for_spikegpt(&self) -> bool {
        self.energy == Some(Energy::Spikegpt)
    }

    /// Refuses to count the first convolution once where a sample gives it something else in every
    /// step.
    pub fn check(&self, samples: &Samples, index: &[usize]) -> Result<()> {
        if self.energy != Some(Energy::Paper) || self.first_conv != FirstConv::Once {
            return Ok(());
        }
        for &sample in index {
            let x = samples.sample(sample);
            let mut steps = x.chunks(samples.values().max(1));
            let first = steps.next();
            if steps.any(|step| Some(step) != first) {
                let reason =
                    "--first-conv once counts a still image, and these samples change over time";
                return Err(Failure::usage(reason)
                    .help("leave it out: the first convolution is then counted in every step"));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FirstConv {
    EveryStep,
    Once,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum RepConv {
    Fused,
    Parts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SepConv {
    Merged,
    Parts,
}

/// The table.
#[derive(Serialize)]
pub struct PaperEnergy {
    accounting: Accounting,
    layers: Vec<Cost>,
    millijoules_per_sample: f64,
}

impl PaperEnergy {
    /// The table, where one is asked for.
    pub fn new(options: Options, graph: &Graph, counters: &Counters) -> Result<Option<Self>> {
        if options.energy != Some(Energy::Paper) {
            return Ok(None);
        }
        let accounting = Accounting {
            input_once: options.first_conv == FirstConv::Once,
            rep_conv_fused: options.rep_conv == RepConv::Fused,
            sep_conv_merged: options.sep_conv == SepConv::Merged,
        };
        let layers = costs(graph, counters, accounting)?;
        let millijoules_per_sample = total(&layers) / 1e9;
        Ok(Some(PaperEnergy { accounting, layers, millijoules_per_sample }))
    }

    /// Lines for the terminal.
    pub fn text(&self) -> String {
        let mut table = Table::new(["layer", "products a step", "steps", "rate", "uJ"]);
        for cost in &self.layers {
            table.row([
                &cost.name,
                &count(cost.products.round() as u64),
                &format!("{:.1}", cost.steps),
                &cost.rate.map_or_else(|| "real".to_owned(), |rate| format!("{rate:.4}")),
                &format!("{:.3}", cost.picojoules / 1e6),
            ]);
        }
        format!(
            "\nenergy as in Yao et al. (2024), modelled: {:.4} mJ a sample\n  {}\n{}",
            self.millijoules_per_sample,
            self.accounting.describe(),
            table.text()
        )
    }
}
