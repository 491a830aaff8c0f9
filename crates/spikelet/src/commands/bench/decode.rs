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
/// Rounds in which the figures of a case are measured in turn: whatever else the machine does then
/// disturbs all of them.
const ROUNDS: usize = 4;
/// Passes over memory in a round.
const PASSES: usize = 3;
/// Values read to measure the memory, far more than any cache holds, and how many parts of them a
/// thread reads.
const BUFFER: usize = 1 << 26;
const PARTS: usize = 4;

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
    let chunk: Vec<u32> = (0..CHUNK).map(|t| token(t) as u32).collect();
    let mut prompt = Prompt::new(&executor)?;
    let mut memory = Memory::new(threads);
    let [mut reads, mut steps, mut chunks] = [const { Vec::new() }; 3];
    let (mut t, each) = (0, SECONDS / ROUNDS as f64);
    for _ in 0..ROUNDS {
        reads.extend((0..PASSES).map(|_| memory.pass()));
        steps.extend(times(each, || {
            t += 1;
            executor.step(&mut state, &[token(t)]).map(drop)
        })?);
        chunks.extend(times(each, || prompt.read(&executor, &chunk, |_| true).map(drop))?);
    }
    let [read, step, chunk] = [reads, steps, chunks].map(Figures::of);
    let speed = |bytes: f64, seconds: f64| bytes / seconds / 1e9;
    let size = memory.bytes() as f64;
    let share = |step: f64, read: f64| 100.0 * bytes / step * read / size;
    Ok(vec![
        ("time", 1e3 * step.median, "ms"),
        ("fastest", 1e3 * step.fastest, "ms"),
        ("tokens", 1.0 / step.median, "1/s"),
        ("tokens_fastest", 1.0 / step.fastest, "1/s"),
        ("bytes_per_token", bytes / 1e6, "MB"),
        ("read_by_decoding", speed(bytes, step.fastest), "GB/s"),
        ("read_bandwidth", speed(size, read.fastest), "GB/s"),
        ("share", share(step.median, read.median), "%"),
        ("share_fastest", share(step.fastest, read.fastest), "%"),
        ("prompt_tokens", CHUNK as f64 / chunk.median, "1/s"),
        ("prompt_tokens_fastest", CHUNK as f64 / chunk.fastest, "1/s"),
        ("prompt_to_decoding", CHUNK as f64 * step.fastest / chunk.fastest, "x"),
    ])
}

/// Seconds that something took.
struct Figures {
    median: f64,
    fastest: f64,
}

impl Figures {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        Figures { median: times[times.len() / 2], fastest: times[0] }
    }
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

/// Seconds a call takes: the median, which what else the machine does disturbs least.
pub(super) fn seconds_each<E: Into<Failure>>(
    call: impl FnMut() -> std::result::Result<(), E>,
) -> Result<f64> {
    Ok(Figures::of(times(SECONDS, call)?).median)
}

/// Seconds that calls take, for so long, after one that warms up.
fn times<E: Into<Failure>>(
    seconds: f64,
    mut call: impl FnMut() -> std::result::Result<(), E>,
) -> Result<Vec<f64>> {
    call().map_err(Into::into)?;
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed().as_secs_f64() < seconds || times.len() < 3 {
        let start = Instant::now();
        call().map_err(Into::into)?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// What is read to measure how fast threads read memory together.
struct Memory {
    values: Vec<u64>,
    workers: Workers,
}

impl Memory {
    fn new(threads: usize) -> Self {
        Memory { values: vec![1; BUFFER], workers: Workers::new(threads) }
    }

    fn bytes(&self) -> usize {
        8 * self.values.len()
    }

    /// Seconds of a pass.
    fn pass(&mut self) -> f64 {
        let size = BUFFER / (PARTS * self.workers.count());
        let mut parts: Vec<(&[u64], u64)> =
            self.values.chunks(size).map(|part| (part, 0)).collect();
        let start = Instant::now();
        self.workers.for_each(&mut parts, |(part, sum)| *sum = add(part));
        let time = start.elapsed().as_secs_f64();
        assert_eq!(parts.iter().map(|(_, sum)| sum).sum::<u64>(), BUFFER as u64);
        time
    }
}

/// Reads four quarters side by side: that is fastest, as it is for products.
fn add(values: &[u64]) -> u64 {
    let quarters: [&[[u64; 16]]; 4] = {
        let (lines, rest) = values.as_chunks::<16>();
        let (quarter, more) = (lines.len() / 4, lines.len() % 4);
        assert!(rest.is_empty() && more == 0, "parts of whole lines");
        [0, 1, 2, 3].map(|k| &lines[k * quarter..(k + 1) * quarter])
    };
    dispatch(
        #[inline(always)]
        || {
            let mut sums = [0_u64; 16];
            for k in 0..quarters[0].len() {
                for quarter in quarters {
                    for (sum, value) in sums.iter_mut().zip(&quarter[k]) {
                        *sum += value;
                    }
                }
            }
            sums.iter().sum()
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
