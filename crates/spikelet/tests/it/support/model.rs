//! A small spiking model and labelled data for it.

use spikelet_graph::{
    Graph, GraphBuilder, Layout, Membrane, Neuron, Param, Readout, Reset, Signal, Task, Tensor,
};
use std::{fmt::Write, fs, path::PathBuf};
use tempfile::TempDir;

/// Steps of a window.
pub const WINDOW: usize = 5;

/// Two channels in raw units (mean 10, standard deviation 2), two classes: the one whose channel
/// is above its mean spikes.
pub fn graph() -> Graph {
    let lif = || Neuron {
        membrane: Membrane::Lif { beta: Param::Shared(0.5), input_decay: false },
        threshold: Param::Shared(0.9),
        fires_at_threshold: false,
        reset: Reset::Subtract,
        reset_delayed: true,
    };
    let mut graph = GraphBuilder::new("left or right");
    graph.input("x", Signal::Dense, &[2]);
    let eye = Tensor::f32(&[2, 2], vec![1.0, 0.0, 0.0, 1.0]).expect("four values");
    graph.linear("into", "x", &eye, None, Layout::ByOutput);
    graph.neuron("hidden", &["into"], lif());
    let mixed = Tensor::f32(&[2, 2], vec![1.0, 0.01, -0.02, 1.0]).expect("four values");
    graph.linear("out", "hidden", &mixed, None, Layout::ByInput);
    graph.neuron("spikes", &["out"], lif());
    graph.readout("count", "spikes", Readout::Sum);
    graph.output("y", "count");
    graph.task(Task {
        classes: vec!["left".into(), "right".into()],
        channels: vec!["a".into(), "b".into()],
        window: WINDOW,
        mean: vec![10.0, 10.0],
        std: vec![2.0, 2.0],
        ..Task::default()
    });
    graph.finish().expect("a valid graph")
}

/// Ten windows, classes in turn; columns in another order than the model's channels.
pub fn csv() -> String {
    let mut text = "b,label,a\n".to_owned();
    for window in 0..10 {
        for _ in 0..WINDOW {
            let row = if window % 2 == 0 { "9,left,13" } else { "13,right,9" };
            writeln!(text, "{row}").expect("text");
        }
    }
    text
}

/// A folder with `model.safetensors` and `data.csv`.
pub struct Folder {
    folder: TempDir,
}

impl Folder {
    /// Writes both.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        graph().save(folder.path().join("model.safetensors")).expect("saved");
        fs::write(folder.path().join("data.csv"), csv()).expect("written");
        Folder { folder }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in it, as text.
    pub fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}
