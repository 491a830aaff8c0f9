//! Several steps of a stream together, layer by layer.
//!
//! Step by step, all weights are read once a step. What a layer without feedback does in one step
//! needs nothing of the layers after it in the step before, so a layer may do several steps before
//! the next one begins: its weights are then read once for all of them, and steps that need nothing
//! of each other run on several threads. What survives a step exists once; of what is used during a
//! step every step has its own copy.

use crate::{
    buffers::Buffer,
    plan::{Input, Instruction, Plan, ProductKind},
    state::{Memory, State, View},
    weights::{Arrival, Lane, Sums, Weights},
};
use alloc::{collections::BTreeMap, vec::Vec};
use core::ops::Range;

/// Instructions that run one after the other for all steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// They use nothing that survives a step: steps in any order. With the values and words they
    /// touch in one step.
    Free(Range<usize>, usize),
    /// A product that takes all steps as one batch.
    Batch(usize),
    /// What one of them leaves, another or itself reads in the next step.
    InOrder(Range<usize>),
}

/// Bytes of weights, used without feedback, from which on steps run together: fewer stay in a
/// cache from one step to the next.
const WEIGHTS: usize = 1 << 18;
/// Bytes that copies of what is used during a step may take, and the most steps.
const COPIES: usize = 16 << 20;
const MOST: usize = 64;
/// Values that a section must touch in all steps for threads to be worth their start.
const PARALLEL: usize = 1 << 15;

/// The sections of a plan. An instruction after the last stands for reading the outputs.
pub(crate) fn sections(plan: &Plan) -> Vec<Section> {
    let end = plan.instructions.len();
    let mut spans: BTreeMap<Buffer, (usize, usize)> = BTreeMap::new();
    let mut touch = |buffer: Buffer, at: usize| {
        if plan.places.keeps(buffer) {
            spans.entry(buffer).or_insert((at, at)).1 = at;
        }
    };
    for (at, instruction) in plan.instructions.iter().enumerate() {
        instruction.for_each_buffer(plan, |buffer| touch(buffer, at));
    }
    for output in &plan.outputs {
        output.for_each_buffer(|buffer| touch(buffer, end));
    }
    let mut spans: Vec<(usize, usize)> = spans.into_values().collect();
    spans.sort_unstable();
    let mut sections = Vec::new();
    let mut done = 0;
    for (first, last) in spans {
        match sections.last_mut() {
            Some(Section::InOrder(range)) if first < range.end => {
                range.end = range.end.max(last + 1);
            }
            _ => {
                free(plan, done..first, &mut sections);
                sections.push(Section::InOrder(first..last + 1));
            }
        }
        done = done.max(last + 1);
    }
    free(plan, done.min(end)..end, &mut sections);
    sections
}

/// Adds the sections of instructions that use nothing that survives a step.
fn free(plan: &Plan, range: Range<usize>, sections: &mut Vec<Section>) {
    let mut start = range.start;
    let add = |range: Range<usize>, sections: &mut Vec<Section>| {
        let mut touched = 0;
        for instruction in &plan.instructions[range.clone()] {
            instruction.for_each_buffer(plan, |buffer| touched += plan.places.of(buffer).len());
        }
        if !range.is_empty() {
            sections.push(Section::Free(range, touched));
        }
    };
    for at in range.clone() {
        if at == plan.sequence {
            add(start..at, sections);
            start = at;
        }
        if plan.batched(at) || plan.with_lanes(at).is_some() {
            add(start..at, sections);
            sections.push(Section::Batch(at));
            start = at + 1;
        }
    }
    add(start..range.end, sections);
}

/// How many steps run together.
pub(crate) fn steps_together(plan: &Plan) -> usize {
    let mut used = Vec::new();
    for section in &plan.sections {
        let range = match section {
            Section::Free(range, _) => range.clone(),
            Section::Batch(at) => *at..at + 1,
            Section::InOrder(_) => continue,
        };
        for instruction in &plan.instructions[range] {
            if let Instruction::Multiply { product, .. } | Instruction::Convolve { product, .. } =
                instruction
                && let ProductKind::Matrix(weights) | ProductKind::Convolution(weights, _) =
                    product.kind
            {
                used.push(weights);
            }
        }
    }
    used.sort_unstable();
    used.dedup();
    let weights: usize = used.into_iter().map(|index| plan.weights[index].bytes()).sum();
    let copy = 4 * (plan.places.values.scratch() + plan.places.words.scratch());
    match weights {
        0..WEIGHTS => 1,
        _ => (COPIES / copy.max(1)).clamp(1, MOST),
    }
}

/// Whether several streams gain by taking their steps together: their weights then come from memory
/// once.
pub(crate) fn side_by_side(plan: &Plan) -> bool {
    let bytes = |at| plan.with_lanes(at).map_or(0, |(weights, ..)| weights.bytes());
    plan.input_len > 0 && (0..plan.instructions.len()).map(bytes).sum::<usize>() >= WEIGHTS
}

impl Plan {
    /// Whether an instruction is a convolution that several steps do one after the other.
    fn batched(&self, at: usize) -> bool {
        let Instruction::Convolve { product, .. } = &self.instructions[at] else { return false };
        let ProductKind::Convolution(weights, _) = product.kind else { return false };
        self.weights[weights].takes_batches()
    }

    /// The matrix product that an instruction is, if it takes several steps as a batch.
    fn with_lanes(&self, at: usize) -> Option<(&Weights, Input, Buffer)> {
        let Instruction::Multiply { product, to } = &self.instructions[at] else { return None };
        let ProductKind::Matrix(weights) = product.kind else { return None };
        let weights = &self.weights[weights];
        weights.has_lanes(product.input).then_some((weights, product.input, *to))
    }

    /// Advances a stream by the steps of `xs`; `out` gets the results of those from `wanted` on.
    pub(crate) fn advance_together(
        &self,
        state: &mut State,
        xs: &[&[f32]],
        wanted: usize,
        mut out: impl FnMut(usize, &[f32]),
    ) {
        state.memory.grow(self, xs.len());
        state.seen.clear();
        let (first, end) = (state.steps, self.instructions.len());
        let mut read = false;
        for section in &self.sections {
            match section {
                Section::Free(range, touched) => {
                    let skipped = if range.start >= self.sequence { wanted } else { 0 };
                    let run = |(t, mut view): (usize, View)| {
                        for instruction in &self.instructions[range.clone()] {
                            self.execute(instruction, &mut view, first + t as u64, xs[t]);
                        }
                    };
                    let copies = state.memory.copies(self, xs.len()).enumerate().skip(skipped);
                    self.threads.for_each(copies, touched * xs.len() >= PARALLEL, run);
                }
                Section::Batch(at) => {
                    let skipped = if *at >= self.sequence { wanted } else { 0 };
                    self.batch(&mut state.memory, skipped..xs.len(), *at);
                }
                Section::InOrder(range) => {
                    for (t, x) in xs.iter().enumerate() {
                        let last = if t < wanted { self.sequence } else { end };
                        let mut view = state.memory.copy(self, t);
                        // A step of which nothing is wanted ends before this section may begin.
                        let stop = range.end.min(last).max(range.start);
                        for instruction in &self.instructions[range.start..stop] {
                            self.execute(instruction, &mut view, first + t as u64, x);
                        }
                        if range.end > end && t >= wanted {
                            self.read(&view, &mut state.output);
                            out(t, &state.output);
                        }
                    }
                    read |= range.end > end;
                }
            }
        }
        if !read {
            for t in wanted..xs.len() {
                self.read(&state.memory.copy(self, t), &mut state.output);
                out(t, &state.output);
            }
        }
        state.steps += xs.len() as u64;
    }

    /// Writes the values of all outputs.
    pub(crate) fn read(&self, view: &View, out: &mut [f32]) {
        let mut start = 0;
        for input in &self.outputs {
            let len = self.len_of(*input);
            self.write_dense(*input, view, &mut out[start..start + len]);
            start += len;
        }
    }

    /// A product of several steps at once.
    fn batch(&self, memory: &mut Memory, steps: Range<usize>, at: usize) {
        let copies = memory.copies(self, steps.end).skip(steps.start);
        if let Some((weights, input, to)) = self.with_lanes(at) {
            return self.multiply_lanes(weights, copies.collect(), input, to);
        }
        let Instruction::Convolve { product, bias, add, to } = &self.instructions[at] else {
            return;
        };
        let bias = bias.map_or(&[][..], |bias| &self.vectors[bias]);
        copies.for_each(|mut view| self.convolve(product, bias, *add, *to, &mut view));
    }
}

impl Plan {
    /// Advances every stream by one step, `x` `[stream, input]`: weights are read once for all of
    /// them. Each gets its result.
    pub(crate) fn advance_side_by_side(&self, states: &mut [State], x: &[f32], wanted: bool) {
        let end = if wanted { self.instructions.len() } else { self.sequence };
        for state in &mut *states {
            state.seen.clear();
        }
        for (at, instruction) in self.instructions[..end].iter().enumerate() {
            if let Some((weights, input, to)) = self.with_lanes(at) {
                let views = states.iter_mut().map(|state| state.memory.view()).collect();
                self.multiply_lanes(weights, views, input, to);
                continue;
            }
            for (state, x) in states.iter_mut().zip(x.chunks_exact(self.input_len)) {
                self.execute(instruction, &mut state.memory.view(), state.steps, x);
            }
        }
        for state in states {
            if wanted {
                let State { memory, output, .. } = state;
                self.read(&memory.view(), output);
            }
            state.steps += 1;
        }
    }

    /// One product of several steps, or of several streams.
    fn multiply_lanes(&self, weights: &Weights, views: Vec<View>, input: Input, to: Buffer) {
        let mut sources: Vec<Source> =
            views.into_iter().map(|view| self.source(view, input, to)).collect();
        let rounds = weights.rounds() && weights.rows * sources.len() >= PARALLEL;
        self.threads.for_each(sources.iter_mut(), rounds, |source| {
            weights.prepare(source.x, source.sums);
        });
        let lane = |Source { x, sums, out }| Lane { x, rounded: &sums.rounded, out };
        weights.add_products(sources.into_iter().map(lane).collect(), &self.threads);
    }

    /// Input and output of a product of one of several steps.
    fn source<'a>(&self, view: View<'a>, input: Input, to: Buffer) -> Source<'a> {
        let View { values, words, sums, shift } = view;
        let place = |buffer: Buffer| self.places.moved(buffer, shift);
        let (events, from) = match input {
            Input::Spikes(_) => unreachable!("spikes have no lanes"),
            Input::Graded(events, from) => (Some(place(events)), from),
            Input::Dense(from) => (None, from),
        };
        let [from, out] = values
            .get_disjoint_mut([place(from), place(to)])
            .expect("the plan keeps the buffers of an instruction apart");
        let x = match events {
            Some(range) => {
                let list = &words[range];
                Arrival::Graded(&list[1..1 + list[0] as usize], from)
            }
            None => Arrival::Dense(from),
        };
        Source { x, sums, out }
    }
}

/// A [`Lane`] before its input has been rounded.
struct Source<'a> {
    x: Arrival<'a>,
    sums: &'a mut Sums,
    out: &'a mut [f32],
}
