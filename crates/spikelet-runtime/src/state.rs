//! What a stream carries from step to step.

use crate::{
    buffers::{Places, Shift},
    error::Error,
    plan::Plan,
    weights::Sums,
};
use alloc::{format, string::String, vec, vec::Vec};
use spikelet_graph::program::fixed;

/// The state of one stream of data. What survives a step never grows; what is used during a step
/// exists as often as steps run together ([`Executor::steps_together`](crate::Executor::steps_together)).
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) memory: Memory,
    /// Steps since the start of the sequence.
    pub(crate) steps: u64,
    /// Result of the last step.
    pub(crate) output: Vec<f32>,
    /// The input whose still part ([`Plan::still`]) is in the memory; empty if there is none.
    pub(crate) seen: Vec<f32>,
    fingerprint: u64,
    kept: [usize; 3],
    /// So many values in front are potentials, which are zero before the first step whatever lies in
    /// their memory.
    pub(crate) potentials: usize,
}

/// The buffers of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) values: Vec<f32>,
    /// Event lists (their length, then indices) and bits.
    pub(crate) words: Vec<u32>,
    /// Values of an integer-only graph.
    pub(crate) integers: Vec<i32>,
    /// One for every step that runs at once.
    pub(crate) sums: Vec<Sums>,
}

/// Buffers that an instruction works on.
pub(crate) struct View<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) words: &'a mut [u32],
    pub(crate) sums: &'a mut Sums,
    /// Where in them what is used during a step lies.
    pub(crate) shift: Shift,
}

impl Memory {
    pub(crate) fn view(&mut self) -> View<'_> {
        let Self { values, words, sums, .. } = self;
        View { values, words, sums: &mut sums[0], shift: Shift::default() }
    }

    /// Makes room for copies of what is used during a step.
    pub(crate) fn grow(&mut self, plan: &Plan, copies: usize) {
        let Places { values, words, .. } = &plan.places;
        let values = values.kept + copies * values.scratch();
        let words = words.kept + copies * words.scratch();
        self.values.resize(self.values.len().max(values), 0.0);
        self.words.resize(self.words.len().max(words), 0);
        self.sums.resize(self.sums.len().max(copies), Sums::new(plan.longest_sum));
    }

    /// What survives a step, with one of the copies of what does not.
    pub(crate) fn copy(&mut self, plan: &Plan, copy: usize) -> View<'_> {
        let Places { values, words, .. } = &plan.places;
        let shift = Shift { values: copy * values.scratch(), words: copy * words.scratch() };
        View { shift, ..self.view() }
    }

    /// The copies of what is used during a step, without what survives it.
    pub(crate) fn copies(&mut self, plan: &Plan, copies: usize) -> impl Iterator<Item = View<'_>> {
        let Places { values: v, words: w, .. } = &plan.places;
        let shift =
            Shift { values: 0_usize.wrapping_sub(v.kept), words: 0_usize.wrapping_sub(w.kept) };
        let (size, length) = (v.scratch(), w.scratch());
        let (mut values, mut words) = (&mut self.values[v.kept..], &mut self.words[w.kept..]);
        self.sums[..copies].iter_mut().map(move |sums| {
            let (one, rest) = core::mem::take(&mut values).split_at_mut(size);
            values = rest;
            let (two, rest) = core::mem::take(&mut words).split_at_mut(length);
            words = rest;
            View { values: one, words: two, sums, shift }
        })
    }
}

const MAGIC: &[u8; 8] = b"SPKSTAT2";
/// Magic, fingerprint, steps.
const HEADER: usize = 24;

impl State {
    pub(crate) fn new(plan: &Plan) -> Self {
        let [values, words, integers] = plan.banks();
        Self {
            memory: Memory {
                values: vec![0.0; values.total],
                words: vec![0; words.total],
                integers: vec![0; integers.total],
                sums: vec![Sums::new(plan.longest_sum)],
            },
            steps: 0,
            output: vec![0.0; plan.output_len],
            seen: Vec::with_capacity(if plan.still > 0 { plan.input_len } else { 0 }),
            fingerprint: fingerprint(plan),
            kept: [values.kept, words.kept, integers.kept],
            potentials: plan.places.potentials,
        }
    }

    /// Back to the start of a sequence.
    pub fn reset(&mut self) {
        let [values, words, integers] = self.kept;
        self.memory.values[self.potentials..values].fill(0.0);
        self.memory.words[..words].fill(0);
        self.memory.integers[..integers].fill(0);
        self.output.fill(0.0);
        self.seen.clear();
        self.steps = 0;
    }

    /// Steps since the start of the sequence.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What the next step depends on, as bytes; the executor that made the state reads them back
    /// ([`Executor::restore`](crate::Executor::restore)).
    pub fn to_bytes(&self) -> Vec<u8> {
        let [values, words, integers] = self.kept;
        let mut bytes = Vec::with_capacity(HEADER + 4 * (values + words + integers));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.fingerprint.to_le_bytes());
        bytes.extend_from_slice(&self.steps.to_le_bytes());
        for (at, value) in self.memory.values[..values].iter().enumerate() {
            let at_rest = self.steps == 0 && at < self.potentials;
            bytes.extend_from_slice(&if at_rest { 0.0 } else { *value }.to_le_bytes());
        }
        for word in &self.memory.words[..words] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for integer in &self.memory.integers[..integers] {
            bytes.extend_from_slice(&integer.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(plan: &Plan, bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |problem: String| Err(Error::SavedState { graph: plan.name.clone(), problem });
        let mut state = Self::new(plan);
        let [values, words, integers] = state.kept;
        let expected = HEADER + 4 * (values + words + integers);
        let Some((magic, rest)) = bytes.split_first_chunk::<8>() else {
            return wrong(format!("{} bytes are too few", bytes.len()));
        };
        if magic != MAGIC {
            return wrong(String::from("offset 0 does not hold the mark of a saved state"));
        }
        if bytes.len() != expected {
            return wrong(format!("it has {} bytes instead of {expected}", bytes.len()));
        }
        let (header, body) = rest.split_at(HEADER - 8);
        let number =
            |at: usize| header[at..at + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        if number(0) != state.fingerprint {
            return wrong(String::from("it was saved by another graph"));
        }
        state.steps = number(8);
        let (chunks, _) = body.as_chunks::<4>();
        let (saved_values, rest) = chunks.split_at(values);
        let (saved_words, saved_integers) = rest.split_at(words);
        for (value, bytes) in state.memory.values.iter_mut().zip(saved_values) {
            *value = f32::from_le_bytes(*bytes);
        }
        for (word, bytes) in state.memory.words.iter_mut().zip(saved_words) {
            *word = u32::from_le_bytes(*bytes);
        }
        for (integer, bytes) in state.memory.integers.iter_mut().zip(saved_integers) {
            // What a damaged state holds must not overflow what is added to it.
            *integer = i32::from_le_bytes(*bytes).clamp(-fixed::LIMIT, fixed::LIMIT);
        }
        for range in plan.kept_events() {
            let list = &state.memory.words[range.clone()];
            let room = list.len() - 1;
            let count = list[0] as usize;
            if count > room || list[1..].iter().take(count).any(|e| *e as usize >= room) {
                let offset = HEADER + 4 * (values + range.start);
                return wrong(format!("the event list at offset {offset} is damaged"));
            }
        }
        for ring in plan.rings.iter().filter(|ring| ring.spikes) {
            let spare = ring.width * 32 - ring.neurons;
            let range = plan.places.of(ring.buffer);
            let damaged = state.memory.words[range.clone()]
                .chunks(ring.width)
                .any(|step| step.last().is_some_and(|last| last.leading_zeros() < spare as u32));
            if damaged {
                let offset = HEADER + 4 * (values + range.start);
                return wrong(format!(
                    "the spikes at offset {offset} name neurons that do not exist"
                ));
            }
        }
        Ok(state)
    }

    pub(crate) fn belongs_to(&self, plan_fingerprint: u64) -> bool {
        self.fingerprint == plan_fingerprint
    }

    /// Bytes in memory: what survives a step, and what is used during one.
    pub(crate) fn bytes(&self) -> [usize; 2] {
        let all = 4
            * (self.memory.values.len()
                + self.memory.words.len()
                + self.memory.integers.len()
                + self.memory.sums.iter().map(Sums::len).sum::<usize>()
                + self.output.len()
                + self.seen.capacity());
        let kept = 4 * self.kept.iter().sum::<usize>();
        [kept, all - kept]
    }
}

/// A number that differs between graphs whose states differ (FNV-1a over names and sizes).
pub(crate) fn fingerprint(plan: &Plan) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for node in &plan.nodes {
        add(node.name.as_bytes());
        for size in &node.shape {
            add(&(*size as u64).to_le_bytes());
        }
    }
    let [values, words, integers] = plan.banks();
    for size in [values.kept, words.kept, plan.instructions.len(), integers.kept] {
        add(&(size as u64).to_le_bytes());
    }
    hash
}
