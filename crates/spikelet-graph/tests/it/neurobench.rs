//! Static counts of the published Braille network against NeuroBench's own figures
//! (`tests/golden-extra/neurobench_braille.json`).

use crate::common::{BRAILLE, l2mu};
use serde_json::Value;
use spikelet_graph::{Graph, Layout, Membrane, Op, Param, Tensor};
use std::{fs, path::PathBuf};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The published checkpoint as a graph.
fn published() -> Graph {
    let golden = std::env::var_os("SPIKELET_GOLDEN")
        .map_or_else(|| repository().join("tests/golden"), PathBuf::from);
    let path = golden.join("l2mu_braille/l2mu_braille7_best.safetensors");
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f32> {
        let data = file.tensor(&format!("model.l2mu_cell.{name}")).unwrap().data().to_vec();
        data.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let mut graph = l2mu(BRAILLE, 1).finish().unwrap();
    for (node, name) in [
        ("e_x", "e_x"),
        ("e_h", "e_h"),
        ("e_m", "e_m"),
        ("w_x", "W_x"),
        ("w_h", "W_h"),
        ("w_m", "W_m"),
        ("out", "output_transformation"),
    ] {
        let stored = graph.tensors.get_mut(&format!("{node}.weight")).unwrap();
        let shape = [stored.shape[1], stored.shape[0]];
        let weight = Tensor::f32(&shape, values(&format!("{name}.weight"))).unwrap();
        *stored = weight.permuted(&[1, 0]).unwrap();
    }
    for (tensor, name) in [
        ("memory.a", "A.weight"),
        ("memory.b", "B.weight"),
        ("out.bias", "output_transformation.bias"),
    ] {
        let stored = graph.tensors.get_mut(tensor).unwrap();
        *stored = Tensor::f32(&stored.shape, values(name)).unwrap();
    }
    for (name, population) in [("u", "u"), ("m", "m"), ("h", "h"), ("spikes", "output")] {
        let node = graph.nodes.iter_mut().find(|node| node.name == name).unwrap();
        let Op::Neuron(neuron) = &mut node.op else { panic!("a population") };
        let value = |field: &str| Param::Shared(values(&format!("spk_{population}.{field}"))[0]);
        neuron.membrane = Membrane::Lif { beta: value("beta"), input_decay: false };
        neuron.threshold = value("threshold");
    }
    graph.validate().unwrap();
    graph
}

#[test]
fn static_counts_equal_neurobench() {
    let path = repository().join("tests/golden-extra/neurobench_braille.json");
    let figures: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let expected = &figures["neurobench"];
    let counts = published().counts().unwrap();
    assert_eq!(counts.parameters, expected["ParameterCount"].as_u64().unwrap());
    assert_eq!(counts.connections, figures["weights"]["total"].as_u64().unwrap());
    assert_eq!(counts.zero_connections, figures["weights"]["zero"].as_u64().unwrap());
    assert_eq!(counts.connection_sparsity(), expected["ConnectionSparsity"].as_f64().unwrap());
    let steps = figures["steps"].as_u64().unwrap();
    let dense = expected["SynapticOperations"]["Dense"].as_f64().unwrap();
    assert_eq!((counts.dense * steps) as f64, dense);
    // Each of the four populations has two buffers that only PyTorch keeps: a factor of spikes
    // (4 bytes) and the kind of reset (8 bytes).
    assert_eq!(counts.bytes + 4 * (4 + 8), expected["Footprint"].as_u64().unwrap());
    // Per connection, over all samples.
    let samples = figures["samples"].as_u64().unwrap();
    let connections = &figures["sums_over_all_samples"]["connections"];
    let per_step = |name: &str| connections[name]["dense"].as_u64().unwrap() / (samples * steps);
    let node = |name: &str| counts.nodes.iter().find(|node| node.name == name).unwrap().dense;
    assert_eq!(node("w_m"), per_step("W_m"));
    assert_eq!(node("out"), per_step("output_transformation"));
    assert_eq!(node("memory"), per_step("A") + per_step("B"));
}

#[test]
fn the_published_network_survives_the_file_in_either_layout() {
    let mut graph = published();
    for node in &mut graph.nodes {
        if let ("out", Op::Linear { weight, .. }) = (node.name.as_str(), &mut node.op) {
            weight.layout = Layout::ByOutput;
        }
    }
    let turned = graph.tensors["out.weight"].permuted(&[1, 0]).unwrap();
    graph.tensors.insert("out.weight".into(), turned);
    let read = Graph::from_bytes(&graph.to_bytes().unwrap()).unwrap();
    assert_eq!(read, graph);
    assert_eq!(read.counts().unwrap().connection_sparsity(), 0.2058);
}
