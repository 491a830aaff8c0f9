//! The published L2MU network for Braille reading, built by hand from its checkpoint, and data
//! for it.

use safetensors::{SafeTensors, tensor::TensorView};
use spikelet_graph::{
    Graph, GraphBuilder, Layout, Membrane, Neuron, Param, Readout, Reset, Signal, Tensor,
};
use std::path::{Path, PathBuf};

pub const STEPS: usize = 256;
pub const CHANNELS: usize = 12;

/// The folder of golden files.
pub fn golden() -> PathBuf {
    let root = std::env::var_os("SPIKELET_GOLDEN").map(PathBuf::from);
    root.unwrap_or_else(|| repository().join("tests/golden")).join("l2mu_braille")
}

/// The data file; `None`, with a printed reason, without data.
pub fn data_file() -> Option<Vec<u8>> {
    let given = std::env::var_os("SPIKELET_DATA").map(PathBuf::from);
    let places =
        [given, Some(repository().join("data")), Some(repository().join("../shared/data"))];
    let file = places
        .into_iter()
        .flatten()
        .map(|folder| folder.join("braille/braille7.safetensors"))
        .find(|file| file.exists());
    let Some(file) = file else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "Braille data is missing");
        println!("skipped: no braille/braille7.safetensors in $SPIKELET_DATA or data/");
        return None;
    };
    Some(read(&file))
}

/// Events of all samples, `[sample, step, channel]`.
pub fn events() -> Option<Vec<Vec<f32>>> {
    let bytes = data_file()?;
    let tensors = parse(&bytes);
    let packed = tensors.tensor("events_packed").unwrap();
    let bits = |bytes: &[u8]| {
        (0..STEPS * CHANNELS).map(|i| f32::from(bytes[i / 8] >> (i % 8) & 1)).collect()
    };
    Some(packed.data().chunks(STEPS * CHANNELS / 8).map(bits).collect())
}

pub fn read(file: &Path) -> Vec<u8> {
    std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

pub fn parse(bytes: &[u8]) -> SafeTensors<'_> {
    SafeTensors::deserialize(bytes).unwrap()
}

/// The values of a tensor of 32-bit numbers.
pub fn numbers<T>(view: &TensorView, from: fn([u8; 4]) -> T) -> Vec<T> {
    view.data().as_chunks::<4>().0.iter().map(|bytes| from(*bytes)).collect()
}

/// The network of a checkpoint, with readable node names.
pub fn network(checkpoint: &str) -> Graph {
    let bytes = read(&golden().join(checkpoint));
    let tensors = parse(&bytes);
    let values = |name: &str| {
        let view = tensors.tensor(&format!("model.l2mu_cell.{name}")).unwrap();
        (view.shape().to_vec(), numbers(&view, f32::from_le_bytes))
    };
    let tensor = |name: &str| {
        let (shape, values) = values(name);
        Tensor::f32(&shape, values).unwrap()
    };
    let lif = |name: &str| {
        let scalar = |field: &str| Param::Shared(values(&format!("spk_{name}.{field}")).1[0]);
        Neuron {
            membrane: Membrane::Lif { beta: scalar("beta"), input_decay: false },
            threshold: scalar("threshold"),
            fires_at_threshold: false,
            reset: Reset::Subtract,
            reset_delayed: true,
        }
    };
    let by_input = Layout::ByInput;
    let mut graph = GraphBuilder::new("L2MU Braille");
    graph.input("x", Signal::Binary, &[CHANNELS]);
    graph.linear("e_x", "x", &tensor("e_x.weight"), None, by_input);
    graph.linear("e_h", ("h", 1), &tensor("e_h.weight"), None, by_input);
    graph.linear("e_m", ("m", 1), &tensor("e_m.weight"), None, by_input);
    graph.neuron("u", &["e_x", "e_h", "e_m"], lif("u"));
    let (_, b) = values("B.weight");
    let b = Tensor::f32(&[b.len()], b).unwrap();
    graph.legendre("memory", "u", ("m", 1), 70, tensor("A.weight"), b);
    graph.neuron("m", &["memory"], lif("m"));
    graph.linear("w_x", "x", &tensor("W_x.weight"), None, by_input);
    graph.linear("w_h", ("h", 1), &tensor("W_h.weight"), None, by_input);
    graph.linear("w_m", "m", &tensor("W_m.weight"), None, by_input);
    graph.neuron("h", &["w_x", "w_h", "w_m"], lif("h"));
    let bias = tensor("output_transformation.bias");
    graph.linear("w_out", "h", &tensor("output_transformation.weight"), Some(bias), by_input);
    graph.neuron("out", &["w_out"], lif("output"));
    graph.readout("count", "out", Readout::Sum);
    graph.output("y", "count");
    graph.finish().unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
