//! The energy tables of papers, against sums done by hand.

use crate::common::{Numbers, lif};
use spikelet_graph::{
    Counters, Graph, GraphBuilder, Layout, Op, Phase, Readout, Signal,
    paper_energy::{Accounting, Cost, costs, total},
};

/// Steps of a sample.
const STEPS: u64 = 2;
/// Samples counted.
const SAMPLES: u64 = 3;

/// A convolution of `shape` `[out, in / groups, k, k]` over images of 4 x 4.
fn conv(graph: &mut GraphBuilder, name: &str, from: &str, shape: [usize; 4], padding: usize) {
    let groups = if shape[1] == 1 { shape[0] } else { 1 };
    let weight = Numbers(7).tensor(&shape);
    graph.conv2d(name, from, &weight, None, Layout::ByInput, [1, 1], [padding; 2], groups);
}

/// A first convolution, an attention whose queries come from a RepConv, and a separable convolution.
fn network() -> Graph {
    let mut graph = GraphBuilder::new("all kinds");
    graph.input("x", Signal::Dense, &[4, 4, 3]);
    conv(&mut graph, "stem", "x", [2, 3, 3, 3], 1);
    graph.neuron("s", &["stem"], lif(0.5, 1.0));
    conv(&mut graph, "rep.0", "s", [2, 2, 1, 1], 0);
    let zeros = spikelet_graph::Tensor::f32(&[2], vec![0.0; 2]).unwrap();
    graph.border("rep.border", "rep.0", zeros);
    conv(&mut graph, "rep.1", "rep.border", [2, 1, 3, 3], 0);
    conv(&mut graph, "rep.2", "rep.1", [2, 2, 1, 1], 0);
    graph.neuron("q", &["rep.2"], lif(0.5, 1.0));
    for (name, neurons) in [("key", "k"), ("value", "v")] {
        conv(&mut graph, name, "s", [2, 2, 1, 1], 0);
        graph.neuron(neurons, &[name], lif(0.5, 1.0));
    }
    graph.attention("attention", ["q", "k", "v"], 1, 0.125);
    graph.neuron("o", &["attention"], lif(0.5, 1.0));
    conv(&mut graph, "sep.0", "o", [4, 2, 1, 1], 0);
    graph.neuron("m", &["sep.0"], lif(0.5, 1.0));
    conv(&mut graph, "sep.1", "m", [4, 1, 7, 7], 3);
    conv(&mut graph, "sep.2", "sep.1", [2, 4, 1, 1], 0);
    graph.output("y", "sep.2");
    graph.finish().unwrap()
}

/// What a run would have counted in which so many percent of these neurons fired.
fn counters(graph: &Graph, rates: &[(&str, f64)]) -> Counters {
    let mut counters = Counters::new(graph.nodes.len());
    (counters.steps, counters.samples) = (STEPS * SAMPLES, SAMPLES);
    for (name, rate) in rates {
        let at = graph.nodes.iter().position(|node| node.name == *name).unwrap();
        // Counted often enough for whole numbers of spikes.
        counters.nodes[at].activation_elements = 1600;
        counters.nodes[at].activation_nonzeros = (1600.0 * rate) as u64;
    }
    counters
}

fn picojoules(costs: &[Cost], name: &str) -> Option<f64> {
    costs.iter().find(|cost| cost.name == name).map(|cost| cost.picojoules)
}

fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-9 * expected, "{what}: {found}, by hand {expected}");
}

#[test]
fn every_choice_of_the_accounting_agrees_with_sums_by_hand() {
    let graph = network();
    let rates = [("s", 0.25), ("q", 0.5), ("k", 0.125), ("v", 0.375), ("o", 0.75), ("m", 0.0625)];
    let counters = counters(&graph, &rates);
    // 16 positions; in a step 16 * 2 * 3 * 9 = 864 products of the first convolution, 4.6 pJ each.
    let stem = |once| 4.6 * 864.0 * if once { 1.0 } else { 2.0 };
    // As one: 16 * 2 * 2 * 9 = 576 additions, of which a quarter happens, in 2 steps. As parts: 64
    // additions of spikes, 288 products of the depthwise and 64 of the last part.
    let rep = |fused| match fused {
        true => 0.9 * 576.0 * 0.25 * 2.0,
        false => 0.9 * 64.0 * 0.25 * 2.0 + 4.6 * (288.0 + 64.0) * 2.0,
    };
    // As one: 16 * 2 * 4 * 49 = 6272. As parts: 16 * 4 * 49 = 3136 of spikes, 128 products.
    let sep = |merged| match merged {
        true => 0.9 * 6272.0 * 0.0625 * 2.0,
        false => 0.9 * 3136.0 * 0.0625 * 2.0 + 4.6 * 128.0 * 2.0,
    };
    // Keys and values 64 each; both products of the attention 64, at the mean rate of q and k.
    let rest =
        2.0 * (0.9 * 64.0 * 0.25 * 2.0) + 0.9 * 128.0 * 0.3125 * 2.0 + 0.9 * 128.0 * 0.75 * 2.0;
    let mut sums = Vec::new();
    for choice in 0..8 {
        let [once, fused, merged] = [choice & 1, choice & 2, choice & 4].map(|bit| bit != 0);
        let accounting =
            Accounting { input_once: once, rep_conv_fused: fused, sep_conv_merged: merged };
        let found = costs(&graph, &counters, accounting).unwrap();
        let expected = stem(once) + rep(fused) + sep(merged) + rest;
        close(total(&found), expected, &accounting.describe());
        close(picojoules(&found, "stem").unwrap(), stem(once), "stem");
        assert_eq!(picojoules(&found, "rep.0").is_none(), fused);
        assert_eq!(picojoules(&found, "sep.1").is_none(), merged);
        close(picojoules(&found, "attention").unwrap(), 72.0, "attention");
        sums.push((total(&found) * 1e3) as u64);
    }
    sums.sort_unstable();
    sums.dedup();
    assert_eq!(sums.len(), 8, "every choice changes the sum");
    let paper = costs(&graph, &counters, Accounting::PAPER).unwrap();
    close(total(&paper), 4.6 * 1728.0 + 259.2 + 705.6 + 57.6 + 72.0 + 172.8, "as in the paper");
}

/// Neck and head of a segmenting network run once for all steps.
#[test]
fn what_runs_once_a_sequence_costs_once() {
    let mut graph = GraphBuilder::new("once");
    graph.input("x", Signal::Dense, &[4, 4, 3]);
    conv(&mut graph, "stem", "x", [2, 3, 3, 3], 1);
    graph.readout("mean", "stem", Readout::Mean);
    graph.phase(Phase::Sequence);
    conv(&mut graph, "lateral", "mean", [5, 2, 1, 1], 0);
    graph.neuron("spikes", &["lateral"], lif(0.5, 1.0));
    conv(&mut graph, "head", "spikes", [4, 5, 1, 1], 0);
    graph.output("y", "head");
    let graph = graph.finish().unwrap();
    assert!(matches!(graph.nodes[2].op, Op::Readout { .. }));
    let counters = counters(&graph, &[("spikes", 0.25)]);
    let found = costs(&graph, &counters, Accounting::PAPER).unwrap();
    close(picojoules(&found, "stem").unwrap(), 4.6 * 864.0 * 2.0, "stem");
    close(picojoules(&found, "lateral").unwrap(), 4.6 * 160.0, "lateral");
    close(picojoules(&found, "head").unwrap(), 0.9 * 320.0 * 0.25, "head");
    assert_eq!(found.iter().map(|cost| cost.steps).collect::<Vec<_>>(), [2.0, 1.0, 1.0]);
}
