//! Time and memory of a token after a context of so many: SpikeGPT, whose state does not grow, and
//! an attention network of the same sizes, which keeps keys and values of every token.

use super::{Rows, decode::seconds_each};
use crate::failure::{Failure, Result};
use spikelet_data::split::rng;
use spikelet_graph::Task;
use spikelet_kernels::{dense, layer_norm, math};
use spikelet_runtime::{Executor, Prompt};
use spikelet_train::models::spikegpt::{SpikeGptConfig, untrained_graph};

/// The contexts, in thousands of tokens.
const CONTEXTS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const KINDS: [&str; 2] = ["spikegpt", "attention"];
const TOKENS: usize = 5458;
/// Channels of an attention head, as in GPT-2.
const HEAD: usize = 64;

pub(super) fn cases() -> Vec<String> {
    KINDS.iter().flat_map(|kind| CONTEXTS.map(|k| format!("{kind}/{k}k"))).collect()
}

/// Runs one of [`cases`].
pub(super) fn run(case: &str) -> Result<Rows> {
    let parsed = case.split_once('/').and_then(|(kind, context)| {
        Some((kind, 1024 * context.strip_suffix('k')?.parse::<usize>().ok()?))
    });
    match parsed {
        Some(("spikegpt", context)) => spikegpt(context),
        Some((_, context)) => Ok(attention(context)),
        None => Err(Failure::usage(format!("`{case}` is no case"))),
    }
}

/// The context is read, in chunks.
fn spikegpt(context: usize) -> Result<Rows> {
    let graph = untrained_graph(&SpikeGptConfig::m45(), TOKENS, 1, Task::default())?;
    let executor = Executor::new(&graph)?.with_threads(rayon::current_num_threads());
    let mut prompt = Prompt::new(&executor)?;
    let tokens: Vec<u32> = (0..context).map(|t| (t * 7919 % TOKENS) as u32).collect();
    prompt.read(&executor, &tokens, |_| true)?;
    let kept = executor.memory_plan().state;
    let Some((mut state, last)) = prompt.start() else {
        return Err(Failure::input("the context is empty"));
    };
    let time = seconds_each(|| executor.step(&mut state, &[last as f32]).map(drop))?;
    Ok(rows(time, kept))
}

fn rows(time: f64, kept: usize) -> Rows {
    vec![("time", 1e3 * time, "ms"), ("state", kept as f64 / 1024.0, "KiB")]
}

/// The context is random keys and values: what they are does not change the time.
fn attention(context: usize) -> Rows {
    let config = SpikeGptConfig::m45();
    let twin = Attention::new(config.layers, config.width, context);
    let mut x = vec![0.1; config.width];
    let time = seconds_each(|| {
        twin.step(&mut x);
        Ok::<(), Failure>(())
    });
    rows(time.unwrap_or(f64::NAN), 8 * context * config.layers * config.width)
}

/// A pre-norm transformer with as many weights a layer as SpikeGPT has: projections of `4 d^2`, a
/// feed-forward part of `9 d^2`. Its cache is full: a step reads all of it and adds nothing.
struct Attention {
    width: usize,
    layers: Vec<Layer>,
    head: Vec<f32>,
    ones: Vec<f32>,
    zeros: Vec<f32>,
}

struct Layer {
    /// Query, key, value, output: `[d, d]` each.
    projections: [Vec<f32>; 4],
    /// `[hidden, d]` and `[d, hidden]`.
    feed_forward: [Vec<f32>; 2],
    /// Keys and values, `[head, context, HEAD]`.
    cache: [Vec<f32>; 2],
}

impl Attention {
    fn new(layers: usize, width: usize, context: usize) -> Self {
        use rand::RngExt;
        let mut random = rng(1, 0);
        let mut values = |n: usize| -> Vec<f32> {
            (0..n).map(|_| 0.05 * (random.random::<f32>() - 0.5)).collect()
        };
        let hidden = 9 * width / 2;
        let layer = |values: &mut dyn FnMut(usize) -> Vec<f32>| Layer {
            projections: std::array::from_fn(|_| values(width * width)),
            feed_forward: std::array::from_fn(|_| values(hidden * width)),
            cache: std::array::from_fn(|_| values(context * width)),
        };
        Attention {
            width,
            layers: (0..layers).map(|_| layer(&mut values)).collect(),
            head: values(TOKENS * width),
            ones: vec![1.0; width],
            zeros: vec![0.0; width],
        }
    }

    fn step(&self, x: &mut [f32]) -> Vec<f32> {
        for layer in &self.layers {
            let normed = self.normed(x);
            let [query, key, value, output] = layer.projections.each_ref();
            // This token's key and value would join the cache; they cost the same.
            let (_key, _value) = (product(key, &normed), product(value, &normed));
            let mixed = layer.attend(&product(query, &normed));
            dense::add_by_output(x, output, &mixed);
            let [up, down] = layer.feed_forward.each_ref();
            let mut hidden = product(up, &self.normed(x));
            hidden.iter_mut().for_each(|h| *h = h.max(0.0));
            dense::add_by_output(x, down, &hidden);
        }
        product(&self.head, &self.normed(x))
    }

    fn normed(&self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.width];
        layer_norm::row(x, &self.ones, &self.zeros, &mut out);
        out
    }
}

impl Layer {
    /// Attention of all heads over the cache: heads on all threads.
    fn attend(&self, query: &[f32]) -> Vec<f32> {
        use rayon::prelude::*;
        let of_head = self.cache[0].len() / query.len() * HEAD;
        let [keys, values] = self.cache.each_ref().map(|cache| cache.par_chunks_exact(of_head));
        let mut out = vec![0.0; query.len()];
        let heads = out.par_chunks_mut(HEAD).zip(query.par_chunks(HEAD)).zip(keys.zip(values));
        heads.for_each(|((out, query), (keys, values))| {
            let mut shares = vec![0.0; keys.len() / HEAD];
            dense::add_by_output(&mut shares, keys, query);
            let largest = shares.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let scale = 1.0 / (HEAD as f32).sqrt();
            shares.iter_mut().for_each(|share| *share = math::exp(scale * (*share - largest)));
            dense::add_by_input(out, values, &shares);
            let sum: f32 = shares.iter().sum();
            out.iter_mut().for_each(|out| *out /= sum);
        });
        out
    }
}

/// `W x` on all threads.
fn product(weights: &[f32], x: &[f32]) -> Vec<f32> {
    use rayon::prelude::*;
    let mut out = vec![0.0; weights.len() / x.len()];
    let part = out.len().div_ceil(rayon::current_num_threads());
    let parts = out.par_chunks_mut(part).zip(weights.par_chunks(part * x.len()));
    parts.for_each(|(out, weights)| dense::add_by_output(out, weights, x));
    out
}
