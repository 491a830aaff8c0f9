//! Random graphs against the plain meaning of a graph.

use crate::support::random::{self, Random};
use crate::support::reference::{Call, Reference};
use proptest::prelude::*;
use spikelet_graph::{Graph, NodeCounters, Op, Readout};
use spikelet_runtime::{Executor, Output, Profiler, State};

const STEPS: usize = 6;
const STREAMS: usize = 3;

struct Case {
    graph: Graph,
    /// `[time, stream, input]`.
    x: Vec<f32>,
    /// What the reference gave: by stream, step and node.
    histories: Vec<Vec<Vec<Vec<f64>>>>,
    /// Synaptic operations of every node.
    counts: Vec<NodeCounters>,
}

/// A random case; `None` where sums are not exact in 32-bit floats.
fn case(seed: u64) -> Option<Case> {
    let (graph, signal) = random::graph(seed);
    let len = graph.node("x").unwrap().len();
    let x = random::input(&mut Random::new(seed ^ 0x5eed), signal, STEPS * STREAMS * len);
    let mut streams: Vec<Reference> = (0..STREAMS).map(|_| Reference::new(&graph)).collect();
    for x in x.chunks(STREAMS * len) {
        for (stream, x) in streams.iter_mut().zip(x.chunks(len)) {
            stream.step(x);
        }
    }
    if !streams.iter().all(|stream| stream.exact) {
        return None;
    }
    let counts = (0..graph.nodes.len()).map(|node| count(&streams, node)).collect();
    let histories = streams.into_iter().map(|stream| stream.history).collect();
    Some(Case { graph, x, histories, counts })
}

/// Synaptic operations of a node: a call covers all streams of a step.
fn count(streams: &[Reference], node: usize) -> NodeCounters {
    let mut counters = NodeCounters::default();
    for step in 0..STEPS {
        for call in 0..streams[0].calls[step][node].len() {
            let calls: Vec<Call> = streams.iter().map(|s| s.calls[step][node][call]).collect();
            let ternary = calls.iter().all(|call| call.ternary);
            let sum = |field: fn(&Call) -> u64| calls.iter().map(field).sum();
            counters.synapses(sum(|call| call.effective), sum(|call| call.dense), ternary);
        }
    }
    counters
}

fn outputs(graph: &Graph) -> Vec<usize> {
    (0..graph.nodes.len()).filter(|node| matches!(graph.nodes[*node].op, Op::Output)).collect()
}

fn run(executor: &Executor, states: &mut [State], x: &[f32]) -> Vec<f32> {
    let mut out = Vec::new();
    executor.run(states, x, &mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        max_global_rejects: 4000,
        // A seed does not shrink to a smaller graph.
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn results_and_all_nodes_agree_with_the_reference(seed in any::<u64>()) {
        let Some(Case { graph, x, histories, counts }) = case(seed) else {
            return Err(TestCaseError::reject("sums are not exact"));
        };
        let executor = Executor::new(&graph).unwrap();
        let fresh = || vec![executor.state(); STREAMS];

        let mut want = Vec::new();
        for step in 0..STEPS {
            for history in &histories {
                for node in outputs(&graph) {
                    want.extend(history[step][node].iter().map(|v| *v as f32));
                }
            }
        }
        let out = run(&executor, &mut fresh(), &x);
        prop_assert_eq!(&out, &want);

        // Every node, as an observer sees it.
        let mut wrong = Vec::new();
        let mut observed = Vec::new();
        executor.run_observed(&mut fresh(), &x, &mut observed, |seen| {
            let want = &histories[seen.stream][seen.step as usize][seen.node];
            let got: Vec<f64> = match seen.output {
                Output::Dense(values) => values.iter().map(|v| f64::from(*v)).collect(),
                Output::Spikes(events) => {
                    let mut values = vec![0.0; want.len()];
                    events.iter().for_each(|event| values[*event as usize] = 1.0);
                    values
                }
            };
            let mean = matches!(graph.nodes[seen.node].op, Op::Readout { readout: Readout::Mean } | Op::Output);
            let close = |a: f64, b: f64| if mean { (a - b).abs() < 1e-4 } else { a == b };
            if !got.iter().zip(want).all(|(a, b)| close(*a, *b)) {
                wrong.push((seen.name.to_string(), seen.step, got, want.clone()));
            }
        }).unwrap();
        prop_assert!(wrong.is_empty(), "{:?}", wrong.first());
        prop_assert_eq!(&observed, &want);

        // Operation counts.
        let mut profiler = Profiler::new(&executor);
        let mut profiled = Vec::new();
        executor.run_profiled(&mut fresh(), &x, &mut profiled, &mut profiler).unwrap();
        prop_assert_eq!(&profiled, &want);
        for (node, (got, want)) in graph.nodes.iter().zip(profiler.counters().nodes.iter().zip(&counts)) {
            prop_assert_eq!(got.effective_acs, want.effective_acs, "{}", &node.name);
            prop_assert_eq!(got.effective_macs, want.effective_macs, "{}", &node.name);
            prop_assert_eq!(got.dense, want.dense, "{}", &node.name);
        }
    }

    #[test]
    fn chunks_steps_batches_and_saved_states_give_the_same_bits(seed in any::<u64>()) {
        let (graph, signal) = random::graph(seed);
        let len = graph.node("x").unwrap().len();
        let x = random::input(&mut Random::new(seed ^ 0x5eed), signal, STEPS * STREAMS * len);
        let executor = Executor::new(&graph).unwrap();
        let mut states = vec![executor.state(); STREAMS];
        let whole = run(&executor, &mut states, &x);

        let cut = (seed % STEPS as u64) as usize * STREAMS * len;
        let mut states = vec![executor.state(); STREAMS];
        let mut chunked = run(&executor, &mut states, &x[..cut]);
        let mut restored: Vec<State> =
            states.iter().map(|state| executor.restore(&state.to_bytes()).unwrap()).collect();
        chunked.extend(run(&executor, &mut restored, &x[cut..]));
        prop_assert_eq!(&chunked, &whole);
        states.iter_mut().for_each(State::reset);
        prop_assert_eq!(&run(&executor, &mut states, &x), &whole);

        let width = executor.output_len();
        let mut state = executor.state();
        for t in 0..STEPS {
            for stream in 0..STREAMS {
                let at = t * STREAMS + stream;
                if stream == 1 {
                    let got = executor.step(&mut state, &x[at * len..(at + 1) * len]).unwrap();
                    prop_assert_eq!(got, &whole[at * width..(at + 1) * width]);
                }
            }
        }
        for together in [1, 2, 3, STEPS] {
            let executor = executor.clone().with_steps_together(together);
            let mut states = vec![executor.state(); STREAMS];
            prop_assert_eq!(&run(&executor, &mut states, &x), &whole);
            let mut last = Vec::new();
            executor.run_to_end(&mut vec![executor.state(); STREAMS], &x, &mut last).unwrap();
            prop_assert_eq!(&last[..], &whole[whole.len() - STREAMS * width..]);
            // What a chunk leaves is what steps leave.
            states.iter_mut().for_each(State::reset);
            let mut mixed = run(&executor, &mut states, &x[..cut]);
            mixed.extend(run(&executor.clone().with_steps_together(1), &mut states, &x[cut..]));
            prop_assert_eq!(&mixed, &whole);
        }
    }
}
