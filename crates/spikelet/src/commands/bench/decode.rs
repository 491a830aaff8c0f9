//! SpikeGPT token by token, with random weights of the two published sizes.
//!
//! Every weight is read once a token, so the machine's memory sets the pace: a case also measures
//! how fast the same threads read memory, and gives the share of it that decoding reaches.

use super::Rows;
use crate::failure::{Failure, Result};
use spikelet_graph::{
    Graph, Task,
    compress::{Bits, halve, quantize},
};
use spikelet_kernels::{simd::dispatch, workers::Workers};
use spikelet_runtime::{Executor, Profiler, Prompt, State};
use spikelet_train::models::spikegpt::{SpikeGptConfig, untrained_graph};
use std::time::Instant;

/// Name, sizes, tokens.
type Size = (&'static str, fn() -> SpikeGptConfig, usize);

const SIZES: [Size; 2] =
    [("45m", SpikeGptConfig::m45, 5458), ("216m", SpikeGptConfig::m216, 50277)];
const PRECISIONS: [&str; 4] = ["f32", "f16", "int8", "int4"];
const THREADS: [usize; 2] = [1, 2];
/// Tokens whose operations are counted.
const COUNTED: usize = 4;
/// Tokens of a chunk of the prompt.
const CHUNK: usize = 64;
/// Seconds that each figure is measured for.
const SECONDS: f64 = 2.0;
/// Values read to measure the memory: far more than any cache holds.
const BUFFER: usize = 1 << 26;

/// `SIZE/PRECISION/THREADS`, and what a model that lies on the disk takes until its first token.
pub(super) fn cases() -> Vec<String> {
    let mut cases = Vec::new();
    for (size, ..) in SIZES {
        for precision in PRECISIONS {
            cases.extend(THREADS.map(|threads| format!("{size}/{precision}/{threads}")));
        }
    }
    cases.push("216m/int8/first".to_owned());
    cases
}

/// Runs one of [`cases`].
pub(super) fn run(case: &str) -> Result<Rows> {
    let parts: Vec<&str> = case.split('/').collect();
    let [size, precision, threads] = parts[..] else {
        return Err(Failure::usage(format!("`{case}` is no case")));
    };
    let size = SIZES.iter().find(|(name, ..)| *name == size);
    let Some((_, config, tokens)) = size else {
        return Err(Failure::usage(format!("`{case}` names no size")));
    };
    let graph = untrained_graph(&config(), *tokens, 1, Task::default())?;
    let graph = compressed(graph, precision)?;
    match threads.parse() {
        Ok(threads) => decode(&graph, threads),
        Err(_) => first_token(&graph),
    }
}

fn compressed(graph: Graph, precision: &str) -> Result<Graph> {
    Ok(match precision {
        "f16" => halve(&graph, &[])?.0,
        "int8" => quantize(&graph, Bits::Eight, &[])?.0,
        "int4" => quantize(&graph, Bits::Four, &[])?.0,
        _ => graph,
    })
}

fn decode(graph: &Graph, threads: usize) -> Result<Rows> {
    let executor = Executor::new(graph)?.with_threads(threads);
    let Some(tokens) = executor.vocabulary() else {
        return Err(Failure::input("the network reads no tokens"));
    };
    let token = |t: usize| (t * 7919 % tokens) as f32;
    let mut state = executor.state();
    let bytes = bytes_per_token(&executor, &mut state, token)?;
    let before = bandwidth(threads);
    let mut t = 0;
    let time = seconds_each(|| {
        t += 1;
        executor.step(&mut state, &[token(t)]).map(drop)
    })?;
    let chunk: Vec<u32> = (0..CHUNK).map(|t| token(t) as u32).collect();
    let mut prompt = Prompt::new(&executor)?;
    let chunk_time = seconds_each(|| prompt.read(&executor, &chunk, |_| true).map(drop))?;
    let bandwidth = before.max(bandwidth(threads));
    Ok(vec![
        ("time", 1e3 * time, "ms"),
        ("tokens", 1.0 / time, "1/s"),
        ("bytes_per_token", bytes / 1e6, "MB"),
        ("read_by_decoding", bytes / time / 1e9, "GB/s"),
        ("read_bandwidth", bandwidth / 1e9, "GB/s"),
        ("share", 100.0 * bytes / time / bandwidth, "%"),
        ("prompt_tokens", CHUNK as f64 / chunk_time, "1/s"),
        ("prompt_to_decoding", CHUNK as f64 * time / chunk_time, "x"),
    ])
}

/// Weights and scales read for a token: of `ffn.value` only the rows of active inputs.
fn bytes_per_token(
    executor: &Executor,
    state: &mut State,
    token: impl Fn(usize) -> f32,
) -> Result<f64> {
    let x: Vec<f32> = (0..COUNTED).map(token).collect();
    let mut profiler = Profiler::new(executor);
    let states = std::slice::from_mut(state);
    executor.run_profiled(states, &x, &mut Vec::new(), &mut profiler)?;
    Ok(profiler.counters().total().weight_bytes as f64 / COUNTED as f64)
}

/// Seconds a call takes, the first of which warms up: the median, which what else the machine does
/// disturbs least.
pub(super) fn seconds_each<E: Into<Failure>>(
    mut call: impl FnMut() -> std::result::Result<(), E>,
) -> Result<f64> {
    call().map_err(Into::into)?;
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed().as_secs_f64() < SECONDS || times.len() < 3 {
        let start = Instant::now();
        call().map_err(Into::into)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Bytes a second that so many threads read from memory together: the median of several passes.
fn bandwidth(threads: usize) -> f64 {
    let values = vec![1_u64; BUFFER];
    let workers = Workers::new(threads);
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut parts: Vec<(&[u64], u64)> =
            values.chunks(BUFFER / threads).map(|part| (part, 0)).collect();
        let start = Instant::now();
        workers.for_each(&mut parts, |(part, sum)| *sum = add(part));
        times.push(start.elapsed().as_secs_f64());
        assert_eq!(parts.iter().map(|(_, sum)| sum).sum::<u64>(), BUFFER as u64);
    }
    times.sort_unstable_by(f64::total_cmp);
    (8 * BUFFER) as f64 / times[times.len() / 2]
}

fn add(values: &[u64]) -> u64 {
    dispatch(
        #[inline(always)]
        || {
            let mut lanes = [0_u64; 64];
            for values in values.as_chunks::<64>().0 {
                for (lane, value) in lanes.iter_mut().zip(values) {
                    *lane += value;
                }
            }
            lanes.iter().sum()
        },
    )
}

/// From the file, which the system holds in memory, to the logits behind the first token.
fn first_token(graph: &Graph) -> Result<Rows> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.safetensors");
    graph.save(&path)?;
    let threads = rayon::current_num_threads();
    let time = seconds_each(|| {
        let executor = Executor::new(&Graph::load(&path)?)?.with_threads(threads);
        executor.step(&mut executor.state(), &[0.0])?;
        Ok::<(), Failure>(())
    })?;
    Ok(vec![("time", 1e3 * time, "ms")])
}
