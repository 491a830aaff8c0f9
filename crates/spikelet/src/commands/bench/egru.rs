//! EGRU layers of the published language model (750 / 1350 x 3): a step at batch 1 by activity, with
//! and without the decoder, and a training step.

use super::Rows;
use crate::failure::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spikelet_graph::{Graph, GraphBuilder, GraphError, Layout, Op, Signal, Tensor, Weight};
use spikelet_runtime::{Executor, Output};
use spikelet_train::egru_step::EgruStep;
use std::time::Instant;

/// Inputs, and units of the layers.
const SIZES: [usize; 4] = [750, 1350, 1350, 750];
/// Tokens of the vocabulary where there is a table.
const TOKENS: usize = 1000;
/// Tokens that the decoder has a score for: as many as the Penn Treebank has words.
const WORDS: usize = 10_000;
/// Fraction of the weights that pruning leaves.
const LEFT: f32 = 0.05;
/// Steps of a stream that are timed, after some to warm up.
const STEPS: usize = 200;
const WARM_UP: usize = 20;
/// Steps and sequences of a training step, and how often it is run.
const TIME: usize = 70;
const BATCH: usize = 64;
const RUNS: usize = 3;
/// Fraction of units with an event in a training step, of every layer, here and in the peer.
const TRAINED_ACTIVITY: f64 = 0.2;

/// Activities in per cent.
const ACTIVITIES: [u32; 6] = [1, 5, 10, 20, 50, 100];

/// All cases. Both of `train` are the same step: they differ in what the peer does.
pub(super) fn cases() -> Vec<String> {
    let steps = ACTIVITIES.map(|activity| format!("step/activity-{activity}"));
    let others = ["step/table", "step/pruned", "step/decoder", "train/egru-loop", "train/gru"];
    steps.into_iter().chain(others.map(str::to_owned)).collect()
}

/// Runs one of [`cases`].
pub(super) fn run(case: &str) -> Result<Rows> {
    match case {
        "step/table" => step(&Layers { table: true, ..TENTH }),
        "step/pruned" => step(&Layers { left: LEFT, ..TENTH }),
        "step/decoder" => step(&Layers { decoder: true, ..TENTH }),
        "train/egru-loop" | "train/gru" => Ok(train()),
        _ => {
            let percent = case.rsplit('-').next().and_then(|text| text.parse().ok());
            step(&Layers { percent: percent.unwrap_or(TENTH.percent), ..TENTH })
        }
    }
}

/// What is timed.
struct Layers {
    /// Units with an event in every step.
    percent: u32,
    /// Whether the first layer reads tokens, whose products are looked up.
    table: bool,
    /// Fraction of the weights that is not zero.
    left: f32,
    /// Whether there is a decoder behind the last layer.
    decoder: bool,
}

/// One unit in ten, all weights, no decoder.
const TENTH: Layers = Layers { percent: 10, table: false, left: 1.0, decoder: false };

/// Milliseconds of a step at batch 1 on one thread: the median over a stream.
fn step(layers: &Layers) -> Result<Rows> {
    let graph = graph(layers)?;
    let table = layers.table;
    let executor = match table {
        true => Executor::with_tables(&graph)?,
        false => Executor::new(&graph)?,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut state = executor.state();
    let (mut times, mut events, mut units) = (Vec::new(), 0, 0);
    let (mut out, nodes) = (Vec::new(), &graph.nodes);
    for t in 0..WARM_UP + STEPS {
        let x: Vec<f32> = match table {
            true => vec![rng.random_range(0..TOKENS) as f32],
            false => (0..SIZES[0]).map(|_| rng.random::<f32>() - 0.5).collect(),
        };
        let start = Instant::now();
        executor.step(&mut state, &x)?;
        if t >= WARM_UP {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    // Looking takes time: the steps after those that are timed are counted.
    for _ in 0..WARM_UP {
        let x: Vec<f32> = match table {
            true => vec![rng.random_range(0..TOKENS) as f32],
            false => (0..SIZES[0]).map(|_| rng.random::<f32>() - 0.5).collect(),
        };
        let states = std::slice::from_mut(&mut state);
        executor.run_observed(states, &x, &mut out, |o| {
            if let (Op::Egru { .. }, Output::Dense(y)) = (&nodes[o.node].op, o.output) {
                events += y.iter().filter(|y| **y != 0.0).count();
                units += y.len();
            }
        })?;
    }
    times.sort_by(f64::total_cmp);
    let activity = 100.0 * events as f64 / units as f64;
    Ok(vec![("time", times[STEPS / 2] * 1e3, "ms"), ("activity", activity, "%")])
}

/// The layers with random weights. Thresholds decide which units have an event in every step: below
/// anything a state can be, or above.
fn graph(layers: &Layers) -> Result<Graph> {
    let &Layers { percent, table, left, decoder } = layers;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut values = |n: usize, scale: f32, left: f32| -> Vec<f32> {
        let mut draw = || (rng.random::<f32>() * 2.0 - 1.0) * scale;
        (0..n)
            .map(|_| draw())
            .map(|w| if w.abs() < scale * (1.0 - left) { 0.0 } else { w })
            .collect()
    };
    let mut graph = GraphBuilder::new("egru");
    let mut last = "input".to_owned();
    if table {
        graph.input("input", Signal::Dense, &[1]);
        let rows = Tensor::f32(&[TOKENS, SIZES[0]], values(TOKENS * SIZES[0], 0.5, 1.0))?;
        graph.embedding("embedding", "input", rows);
        last = "embedding".to_owned();
    } else {
        graph.input("input", Signal::Dense, &[SIZES[0]]);
    }
    for (layer, pair) in SIZES.windows(2).enumerate() {
        let (inputs, units, name) = (pair[0], pair[1], format!("layer{layer}"));
        let sparse = layer > 0;
        let mut weight = |end: &str, rows: usize, layout: Layout, graph: &mut GraphBuilder| {
            let shape = match layout {
                Layout::ByInput => [rows, 3 * units],
                Layout::ByOutput => [3 * units, rows],
            };
            let scale = 1.0 / (rows as f32).sqrt();
            let tensor = Tensor::f32(&shape, values(rows * 3 * units, scale, left))?;
            let tensor = graph.tensor(&format!("{name}.{end}"), tensor);
            Ok::<Weight, GraphError>(Weight { tensor, scale: None, layout })
        };
        let layout = if sparse { Layout::ByInput } else { Layout::ByOutput };
        let weight_input = weight("kernel", inputs, layout, &mut graph)?;
        let weight_hidden = weight("recurrent", units, Layout::ByInput, &mut graph)?;
        let mut vector = |end: &str, values: Vec<f32>| {
            let tensor = Tensor::f32(&[values.len()], values)?;
            Ok::<String, GraphError>(graph.tensor(&format!("{name}.{end}"), tensor))
        };
        // A state lies between -1 and what the reset left: below -1 a threshold holds, and the reset
        // adds little.
        let active = |unit: usize| (unit * 37 % 100) < percent as usize;
        let threshold = (0..units).map(|unit| if active(unit) { -1.01 } else { 8.0 }).collect();
        let op = Op::Egru {
            weight_input,
            weight_hidden,
            bias_input: vector("bias", vec![0.5; 3 * units])?,
            bias_hidden: vector("recurrent_bias", vec![0.0; 3 * units])?,
            threshold: vector("threshold", threshold)?,
            zoneout: 0.0,
            restart: None,
        };
        graph.node(&name, op);
        graph.edge(last.as_str(), &name, 0);
        graph.edge((name.as_str(), 1), &name, 1);
        last = name;
    }
    if decoder {
        let inputs = SIZES[SIZES.len() - 1];
        let scale = 1.0 / (inputs as f32).sqrt();
        let weight = Tensor::f32(&[WORDS, inputs], values(WORDS * inputs, scale, 1.0))?;
        let bias = Some(Tensor::f32(&[WORDS], vec![0.0; WORDS])?);
        graph.linear("decoder", last.as_str(), &weight, bias, Layout::ByInput);
        last = "decoder".to_owned();
    }
    graph.output("output", &last);
    Ok(graph.finish()?)
}

/// Seconds of the fastest training step: forward and backward over 70 steps of 64 sequences.
fn train() -> Rows {
    let step = EgruStep::new(&SIZES, TIME, BATCH, TRAINED_ACTIVITY);
    let (mut fastest, mut activity) = (f64::MAX, 0.0);
    for _ in 0..RUNS {
        let start = Instant::now();
        activity = step.run();
        fastest = start.elapsed().as_secs_f64().min(fastest);
    }
    vec![("time", fastest, "s"), ("activity", 100.0 * activity, "%")]
}
