//! Independent streams of tokens that one model writes side by side. They may come and go.

use super::Sampler;
use rand_chacha::ChaCha8Rng;
use spikelet_runtime::{Error, Executor, Prompt, State};

/// Streams that a model continues together, one token of each at a time. What a stream says does
/// not depend on those beside it.
pub struct Streams<'a> {
    executor: &'a Executor,
    states: Vec<State>,
    streams: Vec<Stream>,
    logits: Vec<f32>,
}

/// One of them; its state is at the same place among those of [`Streams`].
struct Stream {
    id: u64,
    sampler: Sampler,
    rng: ChaCha8Rng,
    /// Everything so far; the last one has not been read yet.
    tokens: Vec<u32>,
}

/// What a stream says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The stream.
    pub stream: u64,
    /// The token.
    pub token: u32,
}

impl<'a> Streams<'a> {
    /// No stream yet.
    pub fn new(executor: &'a Executor) -> Self {
        Streams { executor, states: Vec::new(), streams: Vec::new(), logits: Vec::new() }
    }

    /// Adds a stream that goes on from a prompt, which must not be empty, and draws from `rng`.
    ///
    /// # Panics
    /// If the prompt is empty.
    pub fn add(&mut self, id: u64, prompt: &Prompt, sampler: Sampler, rng: ChaCha8Rng) {
        let (state, _) = prompt.start().expect("a prompt has a token");
        self.states.push(state);
        let tokens = prompt.tokens().to_vec();
        self.streams.push(Stream { id, sampler, rng, tokens });
    }

    /// Ends a stream, if it is there.
    pub fn remove(&mut self, id: u64) {
        if let Some(place) = self.streams.iter().position(|stream| stream.id == id) {
            self.streams.swap_remove(place);
            self.states.swap_remove(place);
        }
    }

    /// Number of streams.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// One more token of every stream.
    ///
    /// # Errors
    /// States of another graph.
    pub fn advance(&mut self) -> Result<Vec<Token>, Error> {
        let x: Vec<f32> = self.streams.iter().map(|s| s.last() as f32).collect();
        self.logits.clear();
        self.executor.run(&mut self.states, &x, &mut self.logits)?;
        let rows = self.logits.chunks_exact(self.executor.output_len());
        let next = |(stream, logits): (&mut Stream, &[f32])| {
            let token = stream.sampler.choose(logits, &stream.tokens, &mut stream.rng);
            stream.tokens.push(token);
            Token { stream: stream.id, token }
        };
        Ok(self.streams.iter_mut().zip(rows).map(next).collect())
    }
}

impl Stream {
    fn last(&self) -> u32 {
        *self.tokens.last().expect("the prompt has a token")
    }
}
