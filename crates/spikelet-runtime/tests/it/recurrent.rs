//! LSTM, GRU and EGRU cells and activation functions against the reference, within rounding.

use crate::support::random::{self, Random};
use crate::support::reference::Reference;
use spikelet_graph::{
    Function, Graph, GraphBuilder, Layout, Op, Signal, Tensor, Values, Weight, int4,
};
use spikelet_runtime::Executor;

const INPUTS: usize = 11;
const HIDDEN: usize = 9;
const STEPS: usize = 20;

/// A pseudo-random value in -1..1.
fn noise(i: usize) -> f32 {
    ((i * 7919 + 13) % 997) as f32 / 498.5 - 1.0
}

#[derive(Clone, Copy, Debug)]
enum Precision {
    F32,
    I8,
    I4,
}

fn matrix(
    graph: &mut GraphBuilder,
    name: &str,
    [outputs, inputs]: [usize; 2],
    layout: Layout,
    precision: Precision,
) -> Weight {
    let shape = match layout {
        Layout::ByInput => [inputs, outputs],
        Layout::ByOutput => [outputs, inputs],
    };
    let len = inputs * outputs;
    let integers = |limit: f32| (0..len).map(|i| (noise(i) * limit) as i8).collect::<Vec<_>>();
    let (values, step) = match precision {
        Precision::F32 => (Values::F32((0..len).map(noise).collect()), None),
        Precision::I8 => (Values::I8(integers(127.0).into()), Some(1.0 / 127.0)),
        Precision::I4 => (Values::I4(int4::pack(&integers(7.9), shape[1]).into()), Some(1.0 / 7.0)),
    };
    let scale = step.map(|step| {
        let scales = (0..outputs).map(|o| step * (1.0 + o as f32 / 10.0)).collect();
        graph.tensor(&format!("{name}.scale"), Tensor::f32(&[outputs], scales).unwrap())
    });
    let tensor = graph.tensor(name, Tensor::new(&shape, values).unwrap());
    Weight { tensor, scale, layout }
}

fn vector(graph: &mut GraphBuilder, name: &str, len: usize) -> String {
    let values = (0..len).map(|i| noise(3 * i + 1)).collect();
    graph.tensor(name, Tensor::f32(&[len], values).unwrap())
}

/// An LSTM, a GRU behind it, and behind that an EGRU and both functions.
fn graph(signal: Signal, layout: Layout, precision: Precision) -> Graph {
    let mut graph = GraphBuilder::new("cells");
    graph.input("x", signal, &[INPUTS]);
    let weight_input = matrix(&mut graph, "lstm.x", [4 * HIDDEN, INPUTS], layout, precision);
    let weight_hidden = matrix(&mut graph, "lstm.h", [4 * HIDDEN, HIDDEN], layout, precision);
    let bias = vector(&mut graph, "lstm.b", 4 * HIDDEN);
    graph.node("lstm", Op::Lstm { weight_input, weight_hidden, bias });
    graph.edge("x", "lstm", 0);
    let weight_input = matrix(&mut graph, "gru.x", [3 * HIDDEN, HIDDEN], layout, precision);
    let weight_hidden = matrix(&mut graph, "gru.h", [3 * HIDDEN, HIDDEN], layout, precision);
    let bias_input = vector(&mut graph, "gru.bx", 3 * HIDDEN);
    let bias_hidden = vector(&mut graph, "gru.bh", 3 * HIDDEN);
    graph.node("gru", Op::Gru { weight_input, weight_hidden, bias_input, bias_hidden });
    graph.edge("lstm", "gru", 0);
    let weight_input = matrix(&mut graph, "egru.x", [3 * HIDDEN, HIDDEN], layout, precision);
    let weight_hidden = matrix(&mut graph, "egru.h", [3 * HIDDEN, HIDDEN], layout, precision);
    let bias_input = vector(&mut graph, "egru.bx", 3 * HIDDEN);
    let bias_hidden = vector(&mut graph, "egru.bh", 3 * HIDDEN);
    let threshold = vector(&mut graph, "egru.threshold", HIDDEN);
    let (zoneout, restart) = (0.25, Some(7));
    let op = Op::Egru {
        weight_input,
        weight_hidden,
        bias_input,
        bias_hidden,
        threshold,
        zoneout,
        restart,
    };
    graph.node("egru", op);
    graph.edge("gru", "egru", 0);
    graph.edge(("egru", 1), "egru", 1);
    graph.node("sigmoid", Op::Activation { function: Function::Sigmoid });
    graph.edge("gru", "sigmoid", 0);
    graph.node("tanh", Op::Activation { function: Function::Tanh });
    graph.edge(("sigmoid", 2), "tanh", 0);
    graph.output("y", "tanh");
    graph.output("y2", "gru");
    graph.output("y3", "egru");
    graph.finish().unwrap()
}

/// A table of tokens in front of an EGRU with matrices large enough to be kept sparse, if most of
/// them is zero.
fn language(zeros: bool) -> Graph {
    let (tokens, units) = (13, 80);
    let matrix = |rows: usize, seed: usize| {
        let kept = |i: usize| if zeros && !(i + seed).is_multiple_of(9) { 0.0 } else { 0.3 };
        let values = (0..rows * 3 * units).map(|i| kept(i) * noise(i + seed)).collect();
        Tensor::f32(&[rows, 3 * units], values).unwrap()
    };
    let mut graph = GraphBuilder::new("language");
    graph.input("token", Signal::Dense, &[1]);
    let rows = (0..tokens * 70).map(|i| 2.0 * noise(i)).collect();
    graph.embedding("emb", "token", Tensor::f32(&[tokens, 70], rows).unwrap());
    let mut weight = |name: &str, tensor: Tensor, layout: Layout| {
        let stored = match layout {
            Layout::ByInput => tensor,
            Layout::ByOutput => tensor.permuted(&[1, 0]).unwrap(),
        };
        Weight { tensor: graph.tensor(name, stored), scale: None, layout }
    };
    let weight_input = weight("x", matrix(70, 1), Layout::ByOutput);
    let weight_hidden = weight("h", matrix(units, 2), Layout::ByInput);
    let bias_input = vector(&mut graph, "bx", 3 * units);
    let bias_hidden = vector(&mut graph, "bh", 3 * units);
    let threshold = vector(&mut graph, "threshold", units);
    let (zoneout, restart) = (0.0, None);
    let op = Op::Egru {
        weight_input,
        weight_hidden,
        bias_input,
        bias_hidden,
        threshold,
        zoneout,
        restart,
    };
    graph.node("egru", op);
    graph.edge("emb", "egru", 0);
    graph.edge(("egru", 1), "egru", 1);
    graph.output("y", "egru");
    graph.finish().unwrap()
}

#[test]
fn sparse_matrices_and_tables_give_the_same() {
    for zeros in [false, true] {
        let graph = language(zeros);
        let dense = 4 * graph.tensors["x"].len() + 4 * graph.tensors["h"].len();
        let plain = Executor::new(&graph).unwrap();
        assert_eq!(plain.memory_plan().weights < dense, zeros, "only what is not zero is kept");
        for executor in [plain, Executor::with_tables(&graph).unwrap()] {
            let (mut state, mut reference) = (executor.state(), Reference::new(&graph));
            for t in 0..STEPS {
                let x = [(t * t % 13) as f32];
                reference.step(&x);
                let got = executor.step(&mut state, &x).unwrap();
                for (got, want) in got.iter().zip(reference.history[t].last().unwrap()) {
                    let error = (f64::from(*got) - want).abs();
                    assert!(error < 1e-5, "zeros {zeros}, step {t}: {error}");
                }
            }
        }
    }
}

#[test]
fn cells_follow_their_equations() {
    for signal in [Signal::Binary, Signal::Graded, Signal::Dense] {
        for layout in [Layout::ByInput, Layout::ByOutput] {
            for precision in [Precision::F32, Precision::I8, Precision::I4] {
                let graph = graph(signal, layout, precision);
                let executor = Executor::new(&graph).unwrap();
                let mut state = executor.state();
                let mut reference = Reference::new(&graph);
                let x = random::input(&mut Random::new(5), signal, STEPS * INPUTS);
                for (t, x) in x.chunks(INPUTS).enumerate() {
                    reference.step(x);
                    let got = executor.step(&mut state, x).unwrap();
                    let history = &reference.history[t];
                    let want = history[history.len() - 3..].iter().flatten();
                    for (got, want) in got.iter().zip(want) {
                        let error = (f64::from(*got) - want).abs();
                        assert!(error < 1e-5, "{signal:?} {layout:?} {precision:?} {t}: {error}");
                    }
                }
            }
        }
    }
}
