//! Operations of language models against the reference, within rounding.

use crate::support::reference::Reference;
use spikelet_graph::compress::{Bits, halve, quantize};
use spikelet_graph::{
    Function, Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Reset, Signal, Tensor,
};
use spikelet_runtime::{Error, Executor, Observation, Output, Profiler, Prompt};

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

const WIDE: usize = 256;

/// A block of a language model whose matrices are large enough to be divided among threads, read
/// for several tokens at once, and to have scales per group.
fn wide() -> Graph {
    let mut graph = GraphBuilder::new("wide");
    let vector = |seed| tensor(&[WIDE], seed);
    let matrix = |rows, columns, seed| {
        let values = tensor(&[rows, columns], seed).to_f32();
        Tensor::f32(&[rows, columns], values.iter().map(|w| w / 8.0).collect()).unwrap()
    };
    graph.input("token", Signal::Dense, &[1]);
    graph.embedding("emb", "token", tensor(&[TOKENS, WIDE], 1));
    graph.layer_norm("norm", "emb", vector(2), vector(3));
    graph.token_shift("shift", "norm", vector(4));
    graph.linear("k", "shift", &matrix(2 * WIDE, WIDE, 5), None, Layout::ByOutput);
    graph.activation("squared", "k", Function::ReluSquared);
    graph.linear("v", "squared", &matrix(WIDE, 2 * WIDE, 6), None, Layout::ByInput);
    graph.neuron("spikes", &["v"], lif());
    graph.wkv("wkv", ["norm", "v"], vector(7), vector(8));
    graph.node("sum", Op::Add);
    graph.edge("spikes", "sum", 0);
    graph.edge("wkv", "sum", 0);
    graph.linear("head", "sum", &matrix(TOKENS, WIDE, 9), None, Layout::ByOutput);
    graph.output("logits", "head");
    graph.finish().unwrap()
}

fn lif() -> Neuron {
    Neuron {
        membrane: Membrane::Lif { beta: Param::Shared(0.5), input_decay: true },
        threshold: Param::Shared(1.0),
        fires_at_threshold: true,
        reset: Reset::Zero,
        reset_delayed: false,
    }
}

/// [`wide`] in every precision, and by how much its products may be off.
fn precisions() -> [(Graph, f64); 4] {
    let quantized = |bits| quantize(&wide(), bits, &[]).unwrap().0;
    [
        (wide(), 2e-5),
        (halve(&wide(), &[]).unwrap().0, 2e-5),
        (quantized(Bits::Eight), 0.03),
        (quantized(Bits::Four), 0.03),
    ]
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn products_of_every_precision_follow_their_definition() {
    for (graph, bound) in precisions() {
        let kinds: Vec<&str> = graph.tensors.values().map(Tensor::data_type).collect();
        let executor = Executor::new(&graph).unwrap();
        let (mut state, mut reference) = (executor.state(), Reference::new(&graph));
        let node = graph.nodes.iter().position(|node| node.name == "v").unwrap();
        // The first token only: spikes that differ by rounding would change all that follows.
        reference.step(&[3.0]);
        let mut found = Vec::new();
        let see = |seen: &Observation| {
            if let (true, Output::Dense(values)) = (seen.node == node, seen.output) {
                found = values.to_vec();
            }
        };
        let states = core::slice::from_mut(&mut state);
        executor.run_observed(states, &[3.0], &mut Vec::new(), see).unwrap();
        let want = &reference.history[0][node];
        let largest = want.iter().fold(0.0_f64, |m, w| m.max(w.abs()));
        assert!(largest > 1.0, "{largest} says nothing");
        for (got, want) in found.iter().zip(want) {
            let error = (f64::from(*got) - want).abs();
            assert!(error < bound * largest, "{kinds:?}: {got} is not {want}");
        }
    }
}

#[test]
fn threads_chunks_and_streams_change_no_bit() {
    for (graph, _) in precisions() {
        let executor = Executor::new(&graph).unwrap();
        let threaded = executor.clone().with_threads(3);
        let sequences = [0, 5, 9].map(|shift| -> Vec<f32> {
            (0..70).map(|t| ((t * t + shift) % TOKENS) as f32).collect()
        });
        let step_by_step = |tokens: &[f32]| {
            let mut state = executor.state();
            let step = |token: &f32| executor.step(&mut state, &[*token]).unwrap().to_vec();
            let all: Vec<f32> = tokens.iter().flat_map(step).collect();
            (all, state.to_bytes())
        };
        let alone = sequences.each_ref().map(|tokens| step_by_step(tokens));
        assert!(alone[0].0.iter().any(|logit| *logit != 0.0));
        for executor in [&executor, &threaded] {
            // One stream in chunks of different lengths.
            let (mut state, mut out) = (executor.state(), Vec::new());
            for chunk in [&sequences[0][..1], &sequences[0][1..4], &sequences[0][4..]] {
                executor.run(core::slice::from_mut(&mut state), chunk, &mut out).unwrap();
            }
            assert_eq!(bits(&out), bits(&alone[0].0));
            assert_eq!(state.to_bytes(), alone[0].1);
            // Streams side by side.
            let mut states = [(); 3].map(|()| executor.state());
            let side_by_side: Vec<f32> =
                (0..70).flat_map(|t| sequences.each_ref().map(|tokens| tokens[t])).collect();
            let mut out = Vec::new();
            executor.run(&mut states, &side_by_side, &mut out).unwrap();
            for (s, (want, state)) in alone.iter().enumerate() {
                let rows = out.chunks_exact(TOKENS).skip(s).step_by(3);
                let got: Vec<f32> = rows.flatten().copied().collect();
                assert_eq!(bits(&got), bits(want), "stream {s}");
                assert_eq!(&states[s].to_bytes(), state, "stream {s}");
            }
            // Only the last result.
            let (mut states, mut out) = ([executor.state()], Vec::new());
            executor.run_to_end(&mut states, &sequences[0], &mut out).unwrap();
            assert_eq!(bits(&out), bits(&alone[0].0[69 * TOKENS..]));
            assert_eq!(states[0].to_bytes(), alone[0].1);
        }
    }
}

#[test]
fn prompts_go_on_where_they_were() {
    let executor = Executor::new(&wide()).unwrap();
    let tokens: Vec<u32> = (0..150).map(|t| t * 7 % TOKENS as u32).collect();
    let mut whole = Prompt::new(&executor).unwrap();
    assert_eq!(whole.read(&executor, &tokens, |_| true).unwrap(), 150);
    let mut parts = Prompt::new(&executor).unwrap();
    for part in [&tokens[..1], &tokens[1..90]] {
        parts.read(&executor, part, |_| true).unwrap();
    }
    let bytes = parts.to_bytes();
    let mut parts = Prompt::from_bytes(&executor, &bytes).unwrap();
    parts.read(&executor, &tokens[90..], |_| true).unwrap();
    assert_eq!(parts.tokens(), tokens);
    assert_eq!(parts.to_bytes(), whole.to_bytes());
    let (state, last) = whole.start().unwrap();
    assert_eq!((state.steps(), last), (149, tokens[149]));
    // Interrupted after a chunk.
    let mut some = Prompt::new(&executor).unwrap();
    assert_eq!(some.read(&executor, &tokens, |_| false).unwrap(), some.tokens().len());
    // Damage.
    for cut in 0..bytes.len().min(60) {
        assert!(Prompt::from_bytes(&executor, &bytes[..cut]).is_err());
    }
    let mut wrong = bytes.clone();
    wrong[16..20].fill(0xff);
    let error = Prompt::from_bytes(&executor, &wrong).unwrap_err().to_string();
    assert!(error.contains("offset 16"), "{error}");
    wrong = bytes;
    wrong[8..16].fill(0xff);
    assert!(Prompt::from_bytes(&executor, &wrong).is_err());
    assert!(matches!(
        some.read(&executor, &[TOKENS as u32], |_| true),
        Err(Error::NotToken { .. })
    ));
}
