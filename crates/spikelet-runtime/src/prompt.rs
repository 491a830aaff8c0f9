//! What a language model has read: a state that can be kept, copied and gone on from.

use crate::{error::Error, executor::Executor, state::State};
use alloc::{format, string::String, vec::Vec};

/// Tokens given to the runtime at once while a prompt is read.
const CHUNK: usize = 64;

const MAGIC: &[u8; 8] = b"SPKPRMT1";
/// Magic, number of tokens.
const HEADER: usize = 16;

/// Tokens a model has read. The last one waits: reading it gives the logits of the next, so that a
/// prompt that was saved goes on without being read again.
#[derive(Clone, Debug)]
pub struct Prompt {
    tokens: Vec<u32>,
    /// Has read all tokens but the last.
    state: State,
}

impl Prompt {
    /// Nothing read yet.
    ///
    /// # Errors
    /// A graph that does not read one token a step and rate all that may follow it.
    pub fn new(executor: &Executor) -> Result<Self, Error> {
        match executor.vocabulary() {
            Some(_) => Ok(Self { tokens: Vec::new(), state: executor.state() }),
            None => Err(Error::NoLanguageModel { graph: executor.plan().name.clone() }),
        }
    }

    /// Everything read, in order.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Reads on, a chunk at a time; `go_on` is told how many of `tokens` have been read and says
    /// whether to read more. Returns how many were read.
    ///
    /// # Errors
    /// Numbers that name no token; what came before their chunk has been read.
    pub fn read(
        &mut self,
        executor: &Executor,
        tokens: &[u32],
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Result<usize, Error> {
        let mut done = 0;
        for chunk in tokens.chunks(CHUNK) {
            let waiting = self.tokens.last();
            let x: Vec<f32> = waiting.into_iter().chain(chunk).map(|token| *token as f32).collect();
            // The last one is checked with the others, but waits.
            executor.check_tokens(&x)?;
            executor.absorb(&mut self.state, &x[..x.len() - 1])?;
            self.tokens.extend_from_slice(chunk);
            done += chunk.len();
            if !go_on(done) {
                break;
            }
        }
        Ok(done)
    }

    /// The state that has read all tokens but the last, and the last; nothing if there is none.
    pub fn start(&self) -> Option<(State, u32)> {
        Some((self.state.clone(), *self.tokens.last()?))
    }

    /// The prompt as bytes, to be read back by the executor of the same graph.
    pub fn to_bytes(&self) -> Vec<u8> {
        let state = self.state.to_bytes();
        let mut bytes = Vec::with_capacity(HEADER + 4 * self.tokens.len() + state.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(self.tokens.len() as u64).to_le_bytes());
        self.tokens.iter().for_each(|token| bytes.extend_from_slice(&token.to_le_bytes()));
        bytes.extend_from_slice(&state);
        bytes
    }

    /// Reads back what [`Prompt::to_bytes`] gave.
    ///
    /// # Errors
    /// Bytes that are damaged or belong to another graph.
    pub fn from_bytes(executor: &Executor, bytes: &[u8]) -> Result<Self, Error> {
        let graph = || executor.plan().name.clone();
        let wrong = |problem: String| Error::SavedState { graph: graph(), problem };
        let Some(vocabulary) = executor.vocabulary() else {
            return Err(Error::NoLanguageModel { graph: graph() });
        };
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(wrong(format!("{} bytes are too few", bytes.len())));
        };
        let (magic, count) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(wrong(String::from("offset 0 does not hold the mark of a saved prompt")));
        }
        let count = count.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
        let size = usize::try_from(count).ok().and_then(|count| count.checked_mul(4));
        let Some((tokens, state)) = size.and_then(|size| rest.split_at_checked(size)) else {
            let (found, at) = (rest.len(), MAGIC.len());
            let problem = format!("{count} tokens (offset {at}) do not fit {found} bytes");
            return Err(wrong(problem));
        };
        let (tokens, _) = tokens.as_chunks::<4>();
        let tokens: Vec<u32> = tokens.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        if let Some(place) = tokens.iter().position(|token| *token as usize >= vocabulary) {
            let problem = format!(
                "offset {} names token {}, and there are {vocabulary}",
                HEADER + 4 * place,
                tokens[place]
            );
            return Err(wrong(problem));
        }
        let state = executor.restore(state)?;
        if state.steps() != tokens.len().saturating_sub(1) as u64 {
            let problem = format!("it holds {} tokens, its state {}", tokens.len(), state.steps());
            return Err(wrong(problem));
        }
        Ok(Self { tokens, state })
    }
}
