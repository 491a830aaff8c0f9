//! How fast the simulator is: twenty million neural events in a convolutional network, and twelve
//! million events of the simulation itself where 150 cores all talk to each other.
//!
//! Run with `cargo run --release -p spikelet-chip --example events`.

use spikelet_chip::{Chip, ChipError, Clock, Wishes, made_up_input, map, simulate};
use spikelet_graph::{Graph, GraphBuilder, Layout, Membrane, Neuron, Param, Reset, Signal, Tensor};
use std::time::Instant;

fn main() -> Result<(), ChipError> {
    let measure = |name: &str, graph: &Graph, cores, steps| -> Result<(), ChipError> {
        let wishes = Wishes { cores, ..Wishes::default() };
        let mapping = map(graph, &Chip::spinnaker2()?, wishes)?;
        let x = made_up_input(graph, steps, 0)?;
        let start = Instant::now();
        let found = simulate(&mapping, graph, &x, Clock::High, |_| {})?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{name}: {} neural events, {} packets delivered, {} events of the simulation in \
             {seconds:.2} s ({steps} steps, {} cores)",
            found.events, found.deliveries, found.processed, found.cores_used
        );
        Ok(())
    };
    measure("convolutions", &convolutions()?, None, 1860)?;
    measure("all to all", &all_to_all()?, Some(150), 230)
}

fn lif(threshold: f32) -> Neuron {
    Neuron {
        membrane: Membrane::Lif { beta: Param::Shared(0.5), input_decay: false },
        threshold: Param::Shared(threshold),
        fires_at_threshold: false,
        reset: Reset::Subtract,
        reset_delayed: false,
    }
}

/// Weights around zero, the same every time.
fn weights(shape: &[usize]) -> Result<Tensor, ChipError> {
    let values =
        (0..shape.iter().product()).map(|at: usize| (at * 7919 % 257) as f32 / 128.0 - 1.0);
    Ok(Tensor::f32(shape, values.collect())?)
}

/// Six layers of 64 x 64 neurons with 8 channels.
fn convolutions() -> Result<Graph, ChipError> {
    let mut graph = GraphBuilder::new("convolutions");
    graph.input("x", Signal::Binary, &[64, 64, 8]);
    let mut from = "x".to_owned();
    for at in 0..6 {
        let (conv, spikes) = (format!("conv{at}"), format!("spikes{at}"));
        let weight = weights(&[8, 8, 3, 3])?;
        graph.conv2d(&conv, &from, &weight, None, Layout::ByInput, [1, 1], [1, 1], 1);
        graph.neuron(&spikes, &[&conv], lif(2.0));
        from = spikes;
    }
    graph.output("y", &from);
    Ok(graph.finish()?)
}

/// 1350 neurons, each connected with all.
fn all_to_all() -> Result<Graph, ChipError> {
    let mut graph = GraphBuilder::new("all to all");
    graph.input("x", Signal::Binary, &[100]);
    graph.linear("w", "x", &weights(&[1350, 100])?, None, Layout::ByInput);
    graph.linear("r", ("spikes", 1), &weights(&[1350, 1350])?, None, Layout::ByInput);
    graph.neuron("spikes", &["w", "r"], lif(5.0));
    graph.output("y", "spikes");
    Ok(graph.finish()?)
}
