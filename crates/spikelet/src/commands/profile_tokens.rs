//! What `spikelet profile` has for language models: tokens to count with where there is no text,
//! and the energy account of the SpikeGPT paper beside what the graph does.

use crate::{
    failure::{Failure, Result},
    table::Table,
};
use serde::Serialize;
use spikelet_data::split::rng;
use spikelet_graph::{
    Counters, Graph, Membrane, Op,
    energy_spikegpt::{AC_PJ, MAC_PJ, Part, parts, rate_for, ratio},
};
use spikelet_runtime::{Executor, Profiler};

/// Streams and steps of random tokens.
const STREAMS: usize = 4;
const STEPS: usize = 128;
/// Tokens of a sequence in the published models.
const CONTEXT: usize = 1024;
/// The ratios the paper's versions claim.
const PUBLISHED: [f64; 2] = [20.0, 32.2];

/// Counts over random tokens, for a language model that names no text it was trained on.
pub fn count_random(graph: &Graph) -> Result<Option<Counters>> {
    use rand::RngExt;
    if graph.task.dataset.is_some() {
        return Ok(None);
    }
    let executor = Executor::new(graph)?;
    let Some(tokens) = executor.vocabulary() else { return Ok(None) };
    let mut random = rng(0, 0);
    let x: Vec<f32> = (0..STREAMS * STEPS).map(|_| random.random_range(0..tokens) as f32).collect();
    let mut states: Vec<_> = (0..STREAMS).map(|_| executor.state()).collect();
    let mut profiler = Profiler::new(&executor);
    executor.run_profiled(&mut states, &x, &mut Vec::new(), &mut profiler)?;
    Ok(Some(profiler.counters().clone()))
}

/// The paper's account at the firing rate of a graph, and what the graph does instead.
#[derive(Serialize)]
pub struct Account {
    tokens: usize,
    width: usize,
    layers: usize,
    /// Spikes a neuron and token, over all populations.
    firing_rate: f64,
    /// Of one layer over `tokens` tokens.
    parts: [Part; 5],
    /// GPT over SpikeGPT at this firing rate, as the paper counts.
    claimed_ratio: f64,
    /// Firing rates at which the paper's account gives its published ratios.
    rates_of_published: [(f64, Option<f64>); 2],
    /// What the matrices of one layer of this graph did, at the paper's constants.
    computed_pj: f64,
    /// Pairs of a non-zero input and weight in the layers' matrices a token, with real inputs and
    /// with spikes.
    macs_a_token: f64,
    acs_a_token: f64,
    /// GPT over what the graph did.
    computed_ratio: f64,
}

impl Account {
    /// The account of a graph that has run.
    pub fn of(graph: &Graph, counters: &Counters) -> Result<Self> {
        let width = graph.nodes.iter().find_map(|node| match node.op {
            Op::Wkv { .. } => node.shape.last().copied(),
            _ => None,
        });
        let layers = graph.nodes.iter().filter(|n| matches!(n.op, Op::Wkv { .. })).count();
        let Some(width) = width else {
            return Err(Failure::usage("--energy spikegpt is about networks with WKV nodes")
                .help("leave it out: the general energy models are printed for every network"));
        };
        let outputs: Vec<&str> = graph
            .edges
            .iter()
            .filter(|e| is_result(graph, &e.to))
            .map(|e| e.from.as_str())
            .collect();
        let (mut macs, mut acs, mut spikes, mut neurons) = (0, 0, 0, 0);
        for (node, counted) in graph.nodes.iter().zip(&counters.nodes) {
            match &node.op {
                Op::Neuron(neuron) if !matches!(neuron.membrane, Membrane::Li { .. }) => {
                    spikes += counted.activation_nonzeros;
                    neurons += counted.activation_elements;
                }
                // The head belongs to no layer.
                _ if outputs.contains(&node.name.as_str()) => {}
                _ => {
                    macs += counted.effective_macs;
                    acs += counted.effective_acs;
                }
            }
        }
        let steps = counters.steps.max(1) as f64;
        let rate = spikes as f64 / neurons.max(1) as f64;
        let tokens = if graph.task.window > 0 { graph.task.window } else { CONTEXT };
        let (t, d) = (tokens as f64, width as f64);
        let parts = parts(t, d, rate);
        let gpt: f64 = parts.iter().map(|part| part.gpt_pj).sum();
        let (macs_a_token, acs_a_token) = (macs as f64 / steps, acs as f64 / steps);
        let a_token = (MAC_PJ * macs_a_token + AC_PJ * acs_a_token) / layers as f64;
        // WKV counts as in the paper: seven operations a channel.
        let computed_pj = t * a_token + MAC_PJ * 7.0 * t * d;
        Ok(Account {
            tokens,
            width,
            layers,
            firing_rate: rate,
            parts,
            claimed_ratio: ratio(t, d, rate),
            rates_of_published: PUBLISHED.map(|ratio| (ratio, rate_for(ratio, t, d))),
            computed_pj,
            macs_a_token,
            acs_a_token,
            computed_ratio: gpt / computed_pj,
        })
    }

    /// Lines for the terminal.
    pub fn text(&self) -> String {
        let mut table = Table::new(["part of a layer", "GPT, uJ", "SpikeGPT as claimed, uJ"]);
        let micro = |pj: f64| format!("{:.3}", pj / 1e6);
        for part in &self.parts {
            table.row([part.name.to_owned(), micro(part.gpt_pj), micro(part.claimed_pj)]);
        }
        let sum = |of: fn(&Part) -> f64| micro(self.parts.iter().map(of).sum());
        table.row(["all".to_owned(), sum(|p| p.gpt_pj), sum(|p| p.claimed_pj)]);
        let mut text = format!(
            "\nenergy by the account of the SpikeGPT paper (MAC {MAC_PJ} pJ, AC {AC_PJ} pJ), {} tokens, \
             {} channels,\nspikes a neuron and token as counted: {:.4}\n{}",
            self.tokens,
            self.width,
            self.firing_rate,
            table.text()
        );
        text += &format!("ratio as claimed at this rate: {:.1}\n", self.claimed_ratio);
        for (ratio, rate) in self.rates_of_published {
            let rate =
                rate.map_or("at no rate".to_owned(), |rate| format!("at a rate of {rate:.3}"));
            text += &format!("the published ratio of {ratio} follows {rate}\n");
        }
        text + &format!(
            "what the graph computes: {:.3} uJ a layer, ratio {:.2}\n  every matrix reads real values: \
             {:.0} effective MACs and {:.0} ACs a token in {} layers;\n  spikes only enter the residual \
             stream. Modelled, not measured; memory is left out\n",
            self.computed_pj / 1e6,
            self.computed_ratio,
            self.macs_a_token,
            self.acs_a_token,
            self.layers
        )
    }
}

/// Whether a node is the output, or only hands values on to it.
fn is_result(graph: &Graph, name: &str) -> bool {
    graph
        .nodes
        .iter()
        .any(|node| node.name == name && matches!(node.op, Op::Output | Op::Readout { .. }))
}

#[cfg(all(test, feature = "train"))]
mod tests {
    use super::*;
    use spikelet_graph::Task;
    use spikelet_train::models::spikegpt::{SpikeGptConfig, untrained_graph};

    /// A block of `width` channels and what it counted in two steps, if `active` of the 4 `width` values behind `relu^2`
    /// are not zero and three neurons of all fire.
    fn counted(width: usize, active: u64) -> (Graph, Counters) {
        let config = SpikeGptConfig::new(1, width);
        let graph = untrained_graph(&config, 2, 0, Task::default()).unwrap();
        let d = width as u64;
        let mut counters = Counters { steps: 2, ..Counters::default() };
        for node in &graph.nodes {
            let mut counted = spikelet_graph::NodeCounters::default();
            match node.name.as_str() {
                "0.att.key" | "0.att.value" | "0.att.receptance" | "0.att.output"
                | "0.ffn.receptance" => counted.effective_macs = 2 * d * d,
                "0.ffn.key" => counted.effective_macs = 2 * 4 * d * d,
                "0.ffn.value" => counted.effective_macs = 2 * active * d,
                // It belongs to no layer.
                "head" => counted.effective_macs = 1 << 40,
                "0.att.lif" => {
                    (counted.activation_nonzeros, counted.activation_elements) = (3, 2 * d)
                }
                "0.ffn.lif" => counted.activation_elements = 2 * d,
                _ => {}
            }
            counters.nodes.push(counted);
        }
        (graph, counters)
    }

    #[test]
    fn an_account_worked_out_by_hand() {
        let (mut graph, counters) = counted(4, 8);
        graph.task.window = 10;
        let account = Account::of(&graph, &counters).unwrap();
        assert_eq!((account.tokens, account.width, account.layers), (10, 4, 1));
        // 3 spikes of 16; 5 matrices of 16 weights, one of 64, 8 rows of one of 64.
        assert_eq!(account.firing_rate, 3.0 / 16.0);
        assert_eq!((account.macs_a_token, account.acs_a_token), (80.0 + 64.0 + 32.0, 0.0));
        // 4.5 pJ each, over 10 tokens, and 7 for each of 4 channels of the scan.
        assert_eq!(account.computed_pj, 10.0 * 4.5 * (176.0 + 28.0));
        // GPT: 10 times 12 matrices of 16, and 2 T^2 d + 3 T^2 of attention.
        let gpt = 4.5 * (1920.0 + 800.0 + 300.0);
        assert!((account.computed_ratio - gpt / 9180.0).abs() < 1e-12);
        let claimed = 0.9 * 3.0 / 16.0 * 1920.0 + 4.5 * 280.0;
        assert!((account.claimed_ratio - gpt / claimed).abs() < 1e-12);
        let text = account.text();
        assert!(text.contains("ratio 1.48") && text.contains("176 effective MACs"), "{text}");
        graph.nodes.retain(|node| !matches!(node.op, Op::Wkv { .. }));
        assert!(Account::of(&graph, &counters).is_err());
    }

    /// What `docs/performance.md` says of the published sizes.
    #[test]
    fn what_the_published_sizes_compute() {
        for (active, expected) in [(4 * 768, "1.13"), (2 * 768, "1.33")] {
            let (graph, counters) = counted(768, active);
            let account = Account::of(&graph, &counters).unwrap();
            assert_eq!(account.tokens, 1024);
            assert_eq!(format!("{:.2}", account.computed_ratio), expected);
        }
    }
}
