//! The arithmetics of the cores: s16.15 near 32-bit floats for every operation and exact where both
//! are, integers of integer-only graphs the runtime's to the bit.

use spikelet_chip::{Chip, ChipError, Clock, Delivery, Wishes, made_up_input, map, simulate};
use spikelet_graph::{
    Function, Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Pooling, Readout, Reset,
    Signal, Tensor, Weight,
    compress::{Bits, integer_only, quantize},
};
use spikelet_runtime::{Executor, IntegerOutput};
use std::collections::BTreeMap;

const FIXED: Wishes = Wishes { chips: 1, cores: None, fixed: true };

/// A pseudo-random value from -1 to 1.
fn noise(at: usize) -> f32 {
    ((at * 7919 + 13) % 997) as f32 / 498.5 - 1.0
}

fn tensor(shape: &[usize], seed: usize) -> Tensor {
    let len: usize = shape.iter().product();
    Tensor::f32(shape, (0..len).map(|at| noise(at * 3 + seed * 101)).collect()).unwrap()
}

fn lif(threshold: f32) -> Neuron {
    Neuron {
        membrane: Membrane::Lif { beta: Param::Shared(0.5), input_decay: false },
        threshold: Param::Shared(threshold),
        fires_at_threshold: true,
        reset: Reset::Subtract,
        reset_delayed: false,
    }
}

/// The result of a simulation and everything that arrived.
fn simulated(graph: &Graph, x: &[f32], wishes: Wishes) -> (Vec<f32>, Vec<Delivery>) {
    let mapping = map(graph, &Chip::spinnaker2().unwrap(), wishes).unwrap();
    let mut arrived = Vec::new();
    let found = simulate(&mapping, graph, x, Clock::High, |delivery| arrived.push(delivery));
    (found.unwrap().output, arrived)
}

fn floats(graph: &Graph, x: &[f32]) -> Vec<f32> {
    let (executor, mut out) = (Executor::new(graph).unwrap(), Vec::new());
    executor.run(&mut [executor.state()], x, &mut out).unwrap();
    out[out.len() - executor.output_len()..].to_vec()
}

/// Smooth operations: what s16.15 gives is what floats give, up to a few last bits for each layer.
#[test]
fn fixed_point_is_near_floats() {
    let n = 6;
    let mut graph = GraphBuilder::new("values");
    graph.input("token", Signal::Dense, &[1]);
    graph.embedding("embedding", "token", tensor(&[9, n], 1));
    graph.layer_norm("norm", "embedding", tensor(&[n], 2), tensor(&[n], 3));
    graph.token_shift("shift", "norm", tensor(&[n], 4));
    for (at, name) in ["k", "v", "r"].into_iter().enumerate() {
        graph.linear(name, "shift", &tensor(&[n, n], 5 + at), None, Layout::ByOutput);
    }
    let decay = Tensor::f32(&[n], (0..n).map(|at| -noise(at).abs()).collect()).unwrap();
    graph.wkv("wkv", ["k", "v"], decay, tensor(&[n], 9));
    graph.activation("gate", "r", Function::Sigmoid);
    graph.multiply("gated", ["gate", "wkv"]);
    let cell = |graph: &mut GraphBuilder, name: &str, gates: usize| {
        let mut named = |end: &str, shape: &[usize], seed| {
            graph.tensor(&format!("{name}.{end}"), tensor(shape, seed))
        };
        let by_input = Layout::ByInput;
        let weights = [
            named("input", &[n, gates * n], 10 + gates),
            named("hidden", &[n, gates * n], 20 + gates),
        ];
        let weights = weights.map(|tensor| Weight { tensor, scale: None, layout: by_input });
        (weights, named("bias", &[gates * n], 30))
    };
    let ([weight_input, weight_hidden], bias) = cell(&mut graph, "lstm", 4);
    graph.node("lstm", Op::Lstm { weight_input, weight_hidden, bias });
    graph.edge("gated", "lstm", 0);
    let ([weight_input, weight_hidden], bias_input) = cell(&mut graph, "gru", 3);
    let bias_hidden = graph.tensor("gru.bias_hidden", tensor(&[3 * n], 31));
    graph.node("gru", Op::Gru { weight_input, weight_hidden, bias_input, bias_hidden });
    graph.edge("lstm", "gru", 0);
    graph.activation("tanh", "gru", Function::Tanh);
    graph.legendre("memory", "tanh", ("memory", 1), n, tensor(&[2, 2], 40), tensor(&[2], 41));
    graph.readout("mean", "memory", Readout::Mean);
    graph.output("y", "mean");
    let graph = graph.finish().unwrap();
    let x: Vec<f32> = (0..20).map(|at| (at * at % 9) as f32).collect();
    let (found, wanted) = (simulated(&graph, &x, FIXED).0, floats(&graph, &x));
    let largest = wanted.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    assert!(largest > 0.05, "{wanted:?}");
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!((found - wanted).abs() < 100.0 / 32768.0, "{found} is not {wanted}");
        assert_eq!((found * 32768.0).fract(), 0.0, "a number of s16.15");
    }
    assert!(found != wanted, "rounding shows");
    let error = map(&graph, &Chip::spinnaker2().unwrap(), FIXED)
        .and_then(|mapping| simulate(&mapping, &graph, &[9.0], Clock::High, |_| {}).map(|_| ()));
    assert!(error.unwrap_err().to_string().contains("token"));
}

/// On numbers that both hold exactly, spikes and values are the same.
#[test]
fn fixed_point_is_floats_where_both_are_exact() {
    let eighths = |shape: &[usize], seed: usize| {
        let len: usize = shape.iter().product();
        let value = |at: usize| ((at * 37 + seed * 11) % 17) as f32 / 8.0 - 1.0;
        Tensor::f32(shape, (0..len).map(value).collect()).unwrap()
    };
    let mut graph = GraphBuilder::new("spikes");
    graph.input("x", Signal::Binary, &[4, 4, 2]);
    graph.border("border", "x", eighths(&[2], 9));
    let (by, bias) = (Layout::ByInput, Some(eighths(&[4], 8)));
    graph.conv2d("conv", "border", &eighths(&[4, 2, 3, 3], 1), bias, by, [1, 1], [1, 1], 1);
    graph.neuron("spikes", &["conv"], lif(0.5));
    for (at, name) in ["q", "k", "v"].into_iter().enumerate() {
        let matrix = format!("{name}.conv");
        let weight = eighths(&[4, 4, 1, 1], 2 + at);
        graph.conv2d(&matrix, "spikes", &weight, None, by, [1, 1], [0, 0], 1);
        graph.neuron(name, &[&matrix], lif(0.25));
    }
    graph.attention("attention", ["q", "k", "v"], 2, 0.125);
    let (pooling, kernel, stride) = (Pooling::Average, [2, 2], [2, 2]);
    graph.node("pool", Op::Pool2d { pooling, kernel, stride, padding: [0, 0] });
    graph.edge("attention", "pool", 0);
    graph.node("adaptive", Op::AdaptivePool2d { size: [3, 3] });
    graph.edge("spikes", "adaptive", 0);
    graph.output("z", "adaptive");
    graph.node("larger", Op::Interpolate2d { size: [12, 12] });
    graph.edge("spikes", "larger", 0);
    graph.output("l", "larger");
    graph.node("flat", Op::Flatten);
    graph.edge("pool", "flat", 0);
    graph.linear("w", "flat", &eighths(&[5, 36], 6), None, by);
    graph.linear("r", ("n", 1), &eighths(&[5, 5], 7), None, by);
    let membrane = Membrane::CubaLif { alpha: Param::Shared(0.5), beta: Param::Shared(0.5) };
    graph.neuron("n", &["w", "r"], Neuron { membrane, ..lif(1.0) });
    graph.readout("sum", "n", Readout::Sum);
    graph.output("y", "sum");
    let graph = graph.finish().unwrap();
    let x: Vec<f32> = (0..3 * 32).map(|at| f32::from(at * at % 5 < 2)).collect();
    let arrived = |wishes| {
        let (out, mut arrived) = simulated(&graph, &x, wishes);
        arrived.sort_by_key(|d| (d.node, d.step, d.element));
        (out, arrived)
    };
    let (fixed, floats) = (arrived(FIXED), arrived(Wishes::default()));
    assert!(floats.0.iter().any(|spikes| *spikes > 0.0), "{:?}", floats.0);
    assert_eq!(fixed, floats);
}

/// Every value of an integer-only graph that arrives is the integer of the runtime.
#[test]
fn integer_only_graphs_are_the_runtimes() {
    let mut graph = GraphBuilder::new("integers");
    graph.input("x", Signal::Dense, &[6, 6, 2]);
    let by = Layout::ByInput;
    graph.conv2d("c1", "x", &tensor(&[4, 2, 3, 3], 1), None, by, [1, 1], [1, 1], 1);
    graph.neuron("s1", &["c1"], lif(0.5));
    graph.node("flat", Op::Flatten);
    graph.edge("s1", "flat", 0);
    graph.linear("w", "flat", &tensor(&[8, 144], 2), Some(tensor(&[8], 3)), by);
    graph.linear("r", ("s2", 1), &tensor(&[8, 8], 4), None, by);
    graph.neuron("s2", &["w", "r"], lif(1.0));
    graph.linear("o", "s2", &tensor(&[3, 8], 5), None, by);
    graph.readout("sum", "o", Readout::Sum);
    graph.output("y", "sum");
    integers_are_the_runtimes(&graph.finish().unwrap());

    // An EGRU, whose gates are integers too.
    let mut graph = GraphBuilder::new("integer EGRU");
    graph.input("x", Signal::Dense, &[5]);
    let mut weight = |name: &str, shape: &[usize], seed| {
        let tensor = graph.tensor(name, tensor(shape, seed));
        Weight { tensor, scale: None, layout: Layout::ByInput }
    };
    let (weight_input, weight_hidden) =
        (weight("x.weight", &[5, 90], 6), weight("h.weight", &[30, 90], 7));
    let op = Op::Egru {
        weight_input,
        weight_hidden,
        bias_input: graph.tensor("x.bias", tensor(&[90], 8)),
        bias_hidden: graph.tensor("h.bias", tensor(&[90], 9)),
        threshold: graph.tensor("threshold", Tensor::f32(&[30], vec![0.05; 30]).unwrap()),
        zoneout: 0.0,
        restart: None,
    };
    graph.node("egru", op);
    graph.edge("x", "egru", 0);
    graph.edge(("egru", 1), "egru", 1);
    graph.linear("o", "egru", &tensor(&[3, 30], 10), None, by);
    graph.readout("sum", "o", Readout::Sum);
    graph.output("y", "sum");
    integers_are_the_runtimes(&graph.finish().unwrap());
}

fn integers_are_the_runtimes(graph: &Graph) {
    let (quantized, _) = quantize(graph, Bits::Eight, &[]).unwrap();
    let largest = BTreeMap::from([("x".to_owned(), 1.0)]);
    let graph = integer_only(&quantized, &largest).unwrap();
    let x = made_up_input(&graph, 5, 3).unwrap();
    let (out, arrived) = simulated(&graph, &x, Wishes::default());
    let executor = Executor::new(&graph).unwrap();
    let (mut state, mut last) = (executor.state(), Vec::new());
    let mut compared = 0;
    for (step, x) in x.chunks(executor.input_len()).enumerate() {
        last = executor.step(&mut state, x).unwrap().to_vec();
        for delivery in arrived.iter().filter(|delivery| delivery.step == step) {
            let name = &graph.nodes[delivery.node].name;
            let wanted = match executor.integer_output(&state, name).unwrap() {
                IntegerOutput::Spikes(events) => {
                    f32::from(events.contains(&(delivery.element as u32)))
                }
                IntegerOutput::Values(values, fraction) => {
                    values[delivery.element] as f32 / (1_u32 << fraction) as f32
                }
            };
            assert_eq!(delivery.value, wanted, "`{name}` {} in step {step}", delivery.element);
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
    assert_eq!(out, last);
    assert!(last.iter().any(|value| *value != 0.0));
}

/// Integers that meet graded events are products of the core; those that meet spikes go to the array.
#[test]
fn the_array_takes_integers_only() {
    let graph = |signal| {
        let mut graph = GraphBuilder::new("array");
        graph.input("x", signal, &[64]);
        graph.linear("w", "x", &tensor(&[64, 64], 1), None, Layout::ByOutput);
        graph.output("y", "w");
        quantize(&graph.finish().unwrap(), Bits::Eight, &[]).unwrap().0
    };
    let chip = Chip::spinnaker2().unwrap();
    let run = |graph: &Graph, chip: &Chip| -> Result<_, ChipError> {
        let mapping = map(graph, chip, Wishes::default())?;
        let x = made_up_input(graph, 5, 1)?;
        simulate(&mapping, graph, &x, Clock::High, |_| {})
    };
    let free = chip.with("array.start", 0.0).unwrap().with("high.mac", 0.0).unwrap();
    let [spikes, graded] = [Signal::Binary, Signal::Graded].map(|signal| {
        let graph = graph(signal);
        let [paid, free] = [&chip, &free].map(|chip| run(&graph, chip).unwrap().energy.cores);
        paid - free
    });
    assert!(spikes > 0.0 && graded == 0.0, "{spikes} {graded}");
}
