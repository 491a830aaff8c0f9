//! What the executor promises beyond results: clear errors, saved states, threads, phases.

use spikelet_graph::{
    Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Phase, Readout, Reset, Signal, Tensor,
};
use spikelet_runtime::{Error, Executor, Profiler};

fn lif() -> Neuron {
    Neuron {
        membrane: Membrane::Lif { beta: Param::Shared(0.75), input_decay: false },
        threshold: Param::Shared(0.5),
        fires_at_threshold: false,
        reset: Reset::Subtract,
        reset_delayed: true,
    }
}

/// Spiking neurons with a delayed path, and a read-out.
fn graph(name: &str) -> GraphBuilder {
    let mut graph = GraphBuilder::new(name);
    let weights = |rows: usize, columns: usize| {
        let values = (0..rows * columns).map(|i| (i * 37 % 17) as f32 / 16.0 - 0.4).collect();
        Tensor::f32(&[rows, columns], values).unwrap()
    };
    graph.input("x", Signal::Binary, &[5]);
    graph.linear("w", "x", &weights(40, 5), None, Layout::ByInput);
    graph.linear("late", ("n", 3), &weights(40, 40), None, Layout::ByInput);
    graph.linear("back", ("n", 1), &weights(40, 40), None, Layout::ByInput);
    graph.neuron("n", &["w", "late", "back"], lif());
    graph.readout("rate", "n", Readout::Mean);
    graph
}

fn plain() -> Graph {
    let mut graph = graph("plain");
    graph.output("y", "rate");
    graph.finish().unwrap()
}

fn spikes(steps: usize, streams: usize) -> Vec<f32> {
    (0..steps * streams * 5).map(|i| f32::from(i * i % 7 < 3)).collect()
}

#[test]
fn input_of_the_wrong_length_is_refused() {
    let executor = Executor::new(&plain()).unwrap();
    let mut states = [executor.state(), executor.state()];
    let before = states[0].to_bytes();
    let error = executor.run(&mut states, &[0.0; 15], &mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::InputLength { found: 15, expected: 10, .. }), "{error}");
    assert!(executor.step(&mut states[0], &[0.0; 4]).is_err());
    assert!(executor.run(&mut [], &[0.0; 5], &mut Vec::new()).is_err());
    executor.run(&mut [], &[], &mut Vec::new()).unwrap();
    assert_eq!(states[0].to_bytes(), before);
}

#[test]
fn values_that_are_no_spikes_are_refused() {
    let executor = Executor::new(&plain()).unwrap();
    let mut states = [executor.state(), executor.state()];
    let mut x = spikes(3, 2);
    for value in [0.5, -1.0, f32::NAN] {
        x[17] = value;
        let mut out = Vec::new();
        let error = executor.run(&mut states, &x, &mut out).unwrap_err();
        assert!(matches!(&error, Error::NotBinary { node, index: 17, .. } if node == "x"));
        assert!(out.is_empty() && states[0].steps() == 0);
    }
}

#[test]
fn states_of_other_graphs_are_refused() {
    let mut other = graph("plain");
    other.readout("count", "n", Readout::Sum);
    other.output("y", "count");
    let other = Executor::new(&other.finish().unwrap()).unwrap();
    let executor = Executor::new(&plain()).unwrap();
    let error = executor.step(&mut other.state(), &[0.0; 5]).unwrap_err();
    assert!(matches!(error, Error::ForeignState { .. }), "{error}");
    assert!(executor.restore(&other.state().to_bytes()).is_err());
}

#[test]
fn damaged_saved_states_are_refused_or_harmless() {
    let executor = Executor::new(&plain()).unwrap();
    let mut state = executor.state();
    for x in spikes(20, 1).chunks(5) {
        executor.step(&mut state, x).unwrap();
    }
    let bytes = state.to_bytes();
    for len in 0..bytes.len() {
        assert!(executor.restore(&bytes[..len]).is_err(), "{len} bytes");
    }
    let mut refused = 0;
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            match executor.restore(&damaged) {
                Ok(mut state) => {
                    executor.step(&mut state, &[1.0; 5]).unwrap();
                }
                Err(error) => {
                    assert!(matches!(error, Error::SavedState { .. }), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 3 * 16, "only {refused} damaged states were noticed");
}

#[test]
fn a_stream_takes_the_same_memory_for_ever() {
    let executor = Executor::new(&plain()).unwrap();
    let mut state = executor.state();
    let saved = state.to_bytes().len();
    for _ in 0..100 {
        for x in spikes(20, 1).chunks(5) {
            executor.step(&mut state, x).unwrap();
        }
    }
    assert_eq!((state.to_bytes().len(), state.steps()), (saved, 2000));
    assert!(saved <= executor.memory_plan().state + 64);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let executor = Executor::new(&plain()).unwrap();
    let x = spikes(50, 33);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut states = vec![executor.state(); 33];
        let mut out = Vec::new();
        pool.install(|| executor.run(&mut states, &x, &mut out)).unwrap();
        (out, states.iter().map(|state| state.to_bytes()).collect::<Vec<_>>())
    };
    let one = run(1);
    assert!(one.0.iter().any(|y| *y > 0.0));
    assert_eq!(run(2), one);
    assert_eq!(run(5), one);
}

/// The graph with a classifier that runs once.
fn classifier(op: Op, name: &str) -> Graph {
    let mut graph = graph("classifier");
    graph.node(name, op);
    graph.edge("rate", name, 0);
    graph.output("y", name);
    let mut graph = graph.finish().unwrap();
    for node in graph.nodes.iter_mut().filter(|node| node.name == name || node.name == "y") {
        node.phase = Phase::Sequence;
    }
    graph
}

#[test]
fn the_sequence_phase_follows_the_last_step() {
    let relu = Op::Activation { function: spikelet_graph::Function::Relu };
    let executor = Executor::new(&classifier(relu, "relu")).unwrap();
    let plain = Executor::new(&plain()).unwrap();
    let x = spikes(9, 2);
    let (mut every, mut last, mut want) = (Vec::new(), Vec::new(), Vec::new());
    executor.run(&mut [executor.state(), executor.state()], &x, &mut every).unwrap();
    executor.run_to_end(&mut [executor.state(), executor.state()], &x, &mut last).unwrap();
    plain.run(&mut [plain.state(), plain.state()], &x, &mut want).unwrap();
    assert_eq!(every, want);
    assert_eq!(last, want[want.len() - 80..]);
}

#[test]
fn the_sequence_phase_is_counted_once() {
    let relu = Op::Activation { function: spikelet_graph::Function::Relu };
    let graph = classifier(relu, "relu");
    let executor = Executor::new(&graph).unwrap();
    let mut profiler = Profiler::new(&executor);
    let (x, mut out) = (spikes(9, 2), Vec::new());
    // Two samples of nine steps, and two more.
    for _ in 0..2 {
        let mut states = [executor.state(), executor.state()];
        executor.run_profiled(&mut states, &x, &mut out, &mut profiler).unwrap();
    }
    let counters = profiler.counters();
    assert_eq!((counters.samples, counters.steps), (4, 36));
    for (node, counters) in graph.nodes.iter().zip(&counters.nodes) {
        let times = if node.phase == Phase::Sequence { 4 } else { 36 };
        assert_eq!(counters.activation_elements, times * node.len() as u64, "{}", node.name);
    }
    let at = graph.nodes.iter().position(|node| node.name == "relu").unwrap();
    assert_eq!(counters.nodes[at].elementwise, 4 * graph.nodes[at].len() as u64);
    assert!(counters.nodes[at].events_in > 0);
}

#[test]
fn state_in_the_sequence_phase_is_refused() {
    let refused = |neuron| {
        let error = Executor::new(&classifier(Op::Neuron(neuron), "neurons")).unwrap_err();
        assert!(error.to_string().contains("`neurons`"), "{error}");
    };
    refused(lif());
    let membrane = Membrane::Lif { beta: Param::Shared(0.0), input_decay: false };
    refused(Neuron { membrane, ..lif() });
}

#[test]
fn neurons_that_forget_may_run_once() {
    let plain = Executor::new(&plain()).unwrap();
    let x = spikes(9, 2);
    let mut rates = Vec::new();
    plain.run_to_end(&mut [plain.state(), plain.state()], &x, &mut rates).unwrap();
    let largest = rates.iter().copied().fold(f32::MIN, f32::max);
    let middle = 0.5 * (largest + rates.iter().copied().fold(f32::MAX, f32::min));
    let membrane = Membrane::Lif { beta: Param::Shared(0.0), input_decay: false };
    let threshold = Param::Shared(middle);
    let neuron = Neuron { membrane, threshold, reset_delayed: false, ..lif() };
    let executor = Executor::new(&classifier(Op::Neuron(neuron), "neurons")).unwrap();
    let mut last = Vec::new();
    let mut states = [executor.state(), executor.state()];
    executor.run_to_end(&mut states, &x, &mut last).unwrap();
    let fires = |rate: &f32| if *rate > middle { 1.0 } else { 0.0 };
    let expected: Vec<f32> = rates.iter().map(fires).collect();
    assert_eq!(last, expected);
    assert!(last.contains(&1.0) && last.contains(&0.0));
}
