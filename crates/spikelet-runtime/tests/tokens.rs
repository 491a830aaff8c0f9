//! Operations of language models against the reference, within rounding.

#[path = "support/random.rs"]
#[allow(dead_code, reason = "nothing is made at random here")]
mod random;
#[path = "support/reference.rs"]
#[allow(dead_code, reason = "operations are not counted here")]
mod reference;

use reference::Reference;
use spikelet_graph::compress::{Bits, quantize};
use spikelet_graph::{Function, Graph, GraphBuilder, Layout, Op, Signal, Tensor};
use spikelet_runtime::{Error, Executor, Profiler};

const TOKENS: usize = 13;
const CHANNELS: usize = 11;
const STEPS: usize = 30;

/// A pseudo-random value in -1..1.
fn noise(i: usize) -> f32 {
    ((i * 7919 + 13) % 997) as f32 / 498.5 - 1.0
}

fn tensor(shape: &[usize], seed: usize) -> Tensor {
    let len: usize = shape.iter().product();
    Tensor::f32(shape, (0..len).map(|i| noise(i * 3 + seed * 101)).collect()).unwrap()
}

/// A small block of a language model, and every operation in unusual places behind it.
fn graph() -> Graph {
    let mut graph = GraphBuilder::new("tokens");
    let vector = |seed| tensor(&[CHANNELS], seed);
    graph.input("token", Signal::Dense, &[1]);
    graph.embedding("emb", "token", tensor(&[TOKENS, CHANNELS], 1));
    graph.layer_norm("norm", "emb", vector(2), vector(3));
    for (k, name) in ["k", "v", "r"].into_iter().enumerate() {
        let shift = format!("shift_{name}");
        graph.token_shift(&shift, "norm", vector(4 + k));
        let weight = tensor(&[CHANNELS, CHANNELS], 7 + k);
        graph.linear(name, &shift, &weight, None, Layout::ByOutput);
    }
    let decay = (0..CHANNELS).map(|c| -noise(c).abs() * 3.0).collect();
    let decay = Tensor::f32(&[CHANNELS], decay).unwrap();
    graph.wkv("wkv", ["k", "v"], decay.clone(), vector(10));
    graph.activation("gate", "r", Function::Sigmoid);
    graph.multiply("gated", ["gate", "wkv"]);
    graph.activation("squared", "gated", Function::ReluSquared);
    let weight = tensor(&[5, CHANNELS], 11);
    graph.linear("mixed", "squared", &weight, None, Layout::ByInput);
    graph.output("y", "mixed");
    // One node at both ports, more than two factors, a mix of the same step.
    graph.wkv("same", ["k", "k"], decay, vector(12));
    graph.node("cubed", Op::Multiply);
    for (port, from) in ["v", "v", "gate"].into_iter().enumerate() {
        graph.edge(from, "cubed", port);
    }
    let mix = graph.tensor("mix", vector(13));
    graph.node("unshifted", Op::TokenShift { mix });
    graph.edge("same", "unshifted", 0);
    graph.edge("same", "unshifted", 1);
    graph.node("sum", Op::Add);
    graph.edge("unshifted", "sum", 0);
    graph.edge(("cubed", 2), "sum", 0);
    graph.output("z", "sum");
    graph.finish().unwrap()
}

fn tokens() -> Vec<f32> {
    (0..STEPS).map(|t| (t * t % TOKENS) as f32).collect()
}

#[test]
fn operations_follow_their_definitions() {
    for bits in [None, Some(Bits::Eight), Some(Bits::Four)] {
        let graph = match bits {
            Some(bits) => quantize(&graph(), bits, &[]).unwrap().0,
            None => graph(),
        };
        let executor = Executor::new(&graph).unwrap();
        let mut state = executor.state();
        let mut reference = Reference::new(&graph);
        let outputs =
            ["y", "z"].map(|name| graph.nodes.iter().position(|n| n.name == name).unwrap());
        for (t, token) in tokens().into_iter().enumerate() {
            reference.step(&[token]);
            let got = executor.step(&mut state, &[token]).unwrap();
            let want = outputs.iter().flat_map(|node| &reference.history[t][*node]);
            for (c, (got, want)) in got.iter().zip(want).enumerate() {
                let error = (f64::from(*got) - want).abs();
                assert!(error < 2e-5 * (1.0 + want.abs()), "{bits:?} step {t}, {c}: {got} {want}");
            }
        }
    }
}

#[test]
fn chunks_steps_and_restored_states_agree() {
    let executor = Executor::new(&graph()).unwrap();
    let (tokens, mut whole) = (tokens(), Vec::new());
    executor.run(&mut [executor.state()], &tokens, &mut whole).unwrap();
    let (mut parts, mut state) = (Vec::new(), executor.state());
    for chunk in tokens.chunks(7) {
        executor.run(core::slice::from_mut(&mut state), chunk, &mut parts).unwrap();
        state = executor.restore(&state.to_bytes()).unwrap();
    }
    assert_eq!(parts, whole);
    state.reset();
    let first = executor.step(&mut state, &tokens[..1]).unwrap().to_vec();
    assert_eq!(first, whole[..first.len()], "a state that was reset starts anew");
}

#[test]
fn numbers_that_name_no_token_are_refused() {
    let executor = Executor::new(&graph()).unwrap();
    let mut state = executor.state();
    for wrong in [-1.0, 0.5, TOKENS as f32, f32::NAN, f32::INFINITY] {
        let error = executor.step(&mut state, &[wrong]).unwrap_err();
        assert!(matches!(error, Error::NotToken { tokens: TOKENS, .. }), "{wrong}: {error}");
    }
    assert_eq!(state.steps(), 0);
    executor.step(&mut state, &[TOKENS as f32 - 1.0]).unwrap();
}

#[test]
fn counters_read_one_row_of_a_table() {
    let graph = graph();
    let executor = Executor::new(&graph).unwrap();
    let mut profiler = Profiler::new(&executor);
    let mut out = Vec::new();
    executor.run_profiled(&mut [executor.state()], &tokens(), &mut out, &mut profiler).unwrap();
    let of = |name: &str| {
        let index = graph.nodes.iter().position(|node| node.name == name).unwrap();
        &profiler.counters().nodes[index]
    };
    let (steps, channels) = (STEPS as u64, CHANNELS as u64);
    assert_eq!(of("emb").weight_bytes, steps * 4 * channels);
    assert_eq!(of("norm").elementwise, steps * 7 * channels);
    assert_eq!(of("shift_k").elementwise, steps * 3 * channels);
    assert_eq!(of("wkv").elementwise, steps * 18 * channels);
    assert_eq!(of("wkv").state_updates, steps * channels);
    assert_eq!(of("gated").gate_multiplies, steps * channels);
    assert_eq!(of("cubed").gate_multiplies, steps * 2 * channels);
    // Only the rows of what the rectifier let through are read.
    assert!(of("mixed").weight_bytes < steps * 4 * 5 * channels);
}
