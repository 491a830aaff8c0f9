//! `spikelet compress --fuse`: a RepConv as one convolution, where that takes fewer operations.

use super::profile::count_operations;
use crate::{
    failure::{Failure, Result},
    labelled::{Part, Source},
};
use serde::Serialize;
use spikelet_graph::{Counters, Graph};
use std::collections::{BTreeMap, BTreeSet};

/// Samples over which firing rates are measured.
const SAMPLES: usize = 32;

/// What was decided about a RepConv.
#[derive(Serialize)]
pub struct Decision {
    /// Its last node.
    name: String,
    /// The population it reads.
    source: String,
    /// How much of that fires.
    rate: f64,
    /// Below this rate one convolution takes fewer operations.
    break_even: f64,
    fused: bool,
}

/// Fuses the RepConvs of a graph whose input fires more seldom than pays for their parts. Every
/// population fires at `rate`; where none is given the rates are measured over the training part of
/// the data.
pub fn fuse(graph: &mut Graph, rate: Option<f64>, source: &Source) -> Result<Vec<Decision>> {
    if let Some(rate) = rate.filter(|rate| !(0.0..=1.0).contains(rate)) {
        return Err(Failure::usage(format!("--fuse={rate}: a firing rate is within 0..=1")));
    }
    let found = graph.rep_convs()?;
    if found.is_empty() {
        return Err(Failure::usage(format!("{} has no RepConv to fuse", graph.name)).help(
            "a RepConv is a chain of a 1 x 1, a 3 x 3 depthwise and a 1 x 1 convolution behind \
             spikes, with weights that are no integers yet",
        ));
    }
    let measured = match rate {
        Some(_) => BTreeMap::new(),
        None => measured(graph, source)?,
    };
    let decisions: Vec<Decision> = found
        .into_iter()
        .map(|conv| {
            let rate = rate.or_else(|| measured.get(&conv.source).copied()).unwrap_or(1.0);
            let (name, source, break_even) = (conv.name, conv.source, conv.break_even);
            Decision { name, source, rate, break_even, fused: rate < break_even }
        })
        .collect();
    let chosen: BTreeSet<&str> = decisions
        .iter()
        .filter(|decision| decision.fused)
        .map(|decision| decision.name.as_str())
        .collect();
    graph.fuse_convolutions(|name| chosen.contains(name))?;
    Ok(decisions)
}

/// The share of every node's values that are not zero.
fn measured(graph: &Graph, source: &Source) -> Result<BTreeMap<String, f64>> {
    let training = Source { data: source.data.clone(), split: Some(Part::Train) };
    let labelled = training.load(graph).map_err(|failure| {
        failure.help("--fuse measures firing rates: give --data, or a rate, as in --fuse=0.1")
    })?;
    let every = labelled.index.len().div_ceil(SAMPLES);
    let index: Vec<usize> = labelled.index.iter().copied().step_by(every.max(1)).collect();
    let Counters { nodes, .. } = count_operations(graph, &labelled.samples, &index)?;
    let rates = graph.nodes.iter().zip(&nodes).map(|(node, counters)| {
        (node.name.clone(), 1.0 - counters.activation_sparsity().unwrap_or(0.0))
    });
    Ok(rates.collect())
}

/// Lines for the terminal.
pub fn text(decisions: &[Decision]) -> String {
    let fused = decisions.iter().filter(|decision| decision.fused).count();
    let mut text = format!("{fused} of {} RepConvs became one convolution\n", decisions.len());
    for Decision { name, source, rate, break_even, fused } in decisions {
        let form = if *fused { "fused" } else { "parts" };
        text += &format!(
            "{name}: {form}, {source} fires at {:.2} % (one convolution is less below {:.2} %)\n",
            100.0 * rate,
            100.0 * break_even
        );
    }
    text
}
