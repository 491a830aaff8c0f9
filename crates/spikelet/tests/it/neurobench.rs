//! The operations of the published Braille network, counted while it runs, are NeuroBench's to
//! the last one (`tests/golden-extra/neurobench_braille.json`).

use serde_json::Value;
use spikelet::convert;
use spikelet_data::{braille, checkpoint::Checkpoint, find};
use spikelet_runtime::{Executor, Profiler};
use std::path::Path;

#[test]
fn every_layer_and_population_counts_as_neurobench_does() {
    let Some(folder) = find::for_test("braille") else { return };
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text =
        std::fs::read_to_string(repository.join("tests/golden-extra/neurobench_braille.json"));
    let golden: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let checkpoint = golden["checkpoint"].as_str().unwrap();
    let checkpoint = repository.join("tests/golden/l2mu_braille").join(checkpoint);
    let checkpoint = Checkpoint::open(&checkpoint).unwrap();
    let (graph, _) = convert::convert(&checkpoint, Some("l2mu")).unwrap();

    let braille = braille::load(&folder).unwrap();
    let index = &braille.val_index[golden["split"].as_u64().unwrap() as usize];
    let mut x = Vec::new();
    braille.sequences.batch(index, &mut x);
    let executor = Executor::new(&graph).unwrap();
    let mut states: Vec<_> = index.iter().map(|_| executor.state()).collect();
    let mut profiler = Profiler::new(&executor);
    executor.run_profiled(&mut states, &x, &mut Vec::new(), &mut profiler).unwrap();
    let counters = profiler.counters();
    let node = |name: &str| {
        let place = graph.nodes.iter().position(|node| node.name == name).unwrap();
        &counters.nodes[place]
    };

    let sums = &golden["sums_over_all_samples"];
    let connections = [
        ("e_x", vec!["e_x"]),
        ("e_h", vec!["e_h"]),
        ("e_m", vec!["e_m"]),
        ("legendre", vec!["A", "B"]),
        ("w_x", vec!["W_x"]),
        ("w_h", vec!["W_h"]),
        ("w_m", vec!["W_m"]),
        ("w_o", vec!["output_transformation"]),
    ];
    for (ours, theirs) in connections {
        let sum = |key: &str| -> u64 {
            theirs.iter().map(|name| sums["connections"][name][key].as_u64().unwrap()).sum()
        };
        let found = node(ours);
        assert_eq!(found.effective_acs, sum("effective_acs"), "{ours}: effective ACs");
        assert_eq!(found.effective_macs, sum("effective_macs"), "{ours}: effective MACs");
        assert_eq!(found.dense, sum("dense"), "{ours}: dense");
    }
    for (ours, theirs) in [("u", "spk_u"), ("m", "spk_m"), ("h", "spk_h"), ("out", "spk_output")] {
        let golden = &sums["populations"][theirs];
        let found = node(ours);
        assert_eq!(found.activation_nonzeros, golden["spikes"].as_u64().unwrap(), "{ours}: spikes");
        let steps = golden["neuron_steps"].as_u64().unwrap();
        assert_eq!(found.activation_elements, steps, "{ours}: neuron steps");
    }
    let total = counters.total();
    let per_sample = &golden["neurobench"]["SynapticOperations"];
    let samples = counters.samples as f64;
    let close = |found: u64, key: &str| {
        let expected = per_sample[key].as_f64().unwrap();
        assert!((found as f64 / samples - expected).abs() < 1e-6 * expected.max(1.0), "{key}");
    };
    close(total.effective_acs, "Effective_ACs");
    close(total.effective_macs, "Effective_MACs");
    close(total.dense, "Dense");
    let sparsity = golden["neurobench"]["ActivationSparsity"].as_f64().unwrap();
    assert!((counters.activation_sparsity(&graph) - sparsity).abs() < 1e-9, "activation sparsity");
}
