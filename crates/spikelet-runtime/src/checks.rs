//! Whether a graph can read what it is given.

use crate::{error::Error, executor::Executor, state::State};

impl Executor {
    /// The number of steps in a chunk.
    pub(crate) fn check_chunk(&self, states: &[State], x: &[f32]) -> Result<usize, Error> {
        let step = self.plan().input_len * states.len();
        if (step == 0 && !x.is_empty()) || (step > 0 && !x.len().is_multiple_of(step)) {
            return Err(self.wrong_length(x, states.len()));
        }
        self.check(states, x)?;
        Ok(x.len().checked_div(step).unwrap_or(0))
    }

    /// As [`Executor::check_chunk`], for runs that are observed node by node.
    pub(crate) fn check_watched(&self, states: &[State], x: &[f32]) -> Result<usize, Error> {
        if self.plan().integers.is_some() {
            return Err(Error::IntegerOnly { graph: self.plan().name.clone() });
        }
        self.check_chunk(states, x)
    }

    pub(crate) fn wrong_length(&self, x: &[f32], streams: usize) -> Error {
        let per_step = self.plan().input_len;
        Error::InputLength { found: x.len(), expected: per_step * streams, per_step, streams }
    }

    pub(crate) fn check(&self, states: &[State], x: &[f32]) -> Result<(), Error> {
        if !states.iter().all(|state| state.belongs_to(self.fingerprint)) {
            return Err(Error::ForeignState { graph: self.plan().name.clone() });
        }
        self.check_spikes(x)?;
        self.check_tokens(x)
    }

    fn check_spikes(&self, x: &[f32]) -> Result<(), Error> {
        for (node, range) in &self.plan().spike_inputs {
            for (step, x) in x.chunks(self.plan().input_len).enumerate() {
                let other = |x: &f32| *x != 0.0 && *x != 1.0;
                if let Some(at) = x[range.clone()].iter().position(other) {
                    let at = range.start + at;
                    return Err(Error::NotBinary {
                        node: self.plan().nodes[*node].name.clone(),
                        index: step * self.plan().input_len + at,
                        value: x[at],
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether all numbers at the inputs of embeddings name tokens.
    pub(crate) fn check_tokens(&self, x: &[f32]) -> Result<(), Error> {
        for &(node, at, tokens) in &self.plan().token_inputs {
            for (step, x) in x.chunks(self.plan().input_len).enumerate() {
                let whole = x[at] >= 0.0 && (x[at] as u32) as f32 == x[at];
                if !(whole && x[at] < tokens as f32) {
                    return Err(Error::NotToken {
                        node: self.plan().nodes[node].name.clone(),
                        index: step * self.plan().input_len + at,
                        value: x[at],
                        tokens,
                    });
                }
            }
        }
        Ok(())
    }
}
