//! Running a compiled graph.

use crate::{
    compile::compile,
    error::Error,
    integer::IntegerOutput,
    observe::{Blind, Observation, Observer, OutputReader, Watch},
    plan::Plan,
    profile::Profiler,
    state::{Memory, State, fingerprint},
};
use alloc::{borrow::Cow, vec, vec::Vec};
use spikelet_graph::Graph;

/// A graph ready to run. It holds all weights and can be shared between threads.
#[derive(Clone, Debug)]
pub struct Executor {
    plan: Plan,
    pub(crate) fingerprint: u64,
}

/// Bytes a graph needs to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights with their scales, as they lie in memory.
    pub weights: usize,
    /// Biases, neuron parameters, Legendre matrices.
    pub constants: usize,
    /// Per stream: what survives a step.
    pub state: usize,
    /// Per stream: what is used during a step.
    pub scratch: usize,
}

/// Steps of all streams together from which on threads are worth their start: a step takes about
/// a microsecond or more.
#[cfg(feature = "std")]
const PARALLEL_STEPS: usize = 64;

/// Which results of a run are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Results {
    EveryStep,
    LastStep,
    None,
}

impl Results {
    /// How many of so many steps give a result: the last ones.
    fn of(self, time: usize) -> usize {
        match self {
            Self::EveryStep => time,
            Self::LastStep => time.min(1),
            Self::None => 0,
        }
    }
}

impl Executor {
    /// Compiles a graph.
    ///
    /// # Errors
    /// Whatever [`Graph::validate`] finds, and state in the phase that runs once.
    pub fn new(graph: &Graph) -> Result<Self, Error> {
        Self::compiled(graph, false)
    }

    /// The same with tables in the place of embeddings in front of EGRU layers: what a token adds to
    /// the gates is worked out beforehand. A table takes `3 hidden` values for every token of the
    /// vocabulary, and saves the product of every step; results differ by rounding.
    ///
    /// # Errors
    /// As [`Executor::new`].
    pub fn with_tables(graph: &Graph) -> Result<Self, Error> {
        Self::compiled(graph, true)
    }

    fn compiled(graph: &Graph, tables: bool) -> Result<Self, Error> {
        let plan = compile(graph, tables)?;
        let fingerprint = fingerprint(&plan);
        Ok(Self { plan, fingerprint })
    }

    /// The same, whose large products run on so many threads, the caller's among them. They wait
    /// actively between the products of a step, and sleep otherwise.
    #[cfg(feature = "std")]
    pub fn with_threads(mut self, count: usize) -> Self {
        self.plan.threads = crate::threads::Threads::new(count);
        self
    }

    /// The state of a new stream.
    pub fn state(&self) -> State {
        State::new(&self.plan)
    }

    /// Reads back what [`State::to_bytes`] gave.
    ///
    /// # Errors
    /// Bytes that are damaged or belong to another graph.
    pub fn restore(&self, bytes: &[u8]) -> Result<State, Error> {
        State::from_bytes(&self.plan, bytes)
    }

    /// Values of all inputs together, per step and stream, in the order of the graph's nodes as
    /// they run.
    pub fn input_len(&self) -> usize {
        self.plan.input_len
    }

    /// Values of all outputs together, per step and stream, in the order of the graph's nodes.
    pub fn output_len(&self) -> usize {
        self.plan.output_len
    }

    /// How many tokens there are, if the graph reads one a step and rates all that may follow it.
    pub fn vocabulary(&self) -> Option<usize> {
        let Plan { token_inputs, input_len: 1, output_len, .. } = &self.plan else { return None };
        token_inputs.iter().map(|&(_, _, tokens)| tokens).find(|tokens| tokens == output_len)
    }

    /// Bytes of one [`State`]: all memory a stream takes.
    pub fn state_bytes(&self) -> usize {
        let MemoryPlan { state, scratch, .. } = self.memory_plan();
        state + scratch
    }

    /// Bytes the graph needs to run.
    pub fn memory_plan(&self) -> MemoryPlan {
        let plan = &self.plan;
        let [state, scratch] = self.state().bytes();
        if let Some(integers) = &plan.integers {
            let [weights, constants] = integers.constant_bytes();
            return MemoryPlan { weights, constants, state, scratch };
        }
        let vectors: usize = plan.vectors.iter().map(|v| 4 * v.len()).sum();
        let legendres: usize = plan.legendres.iter().map(|l| 4 * (l.a.len() + l.b.len())).sum();
        let neurons: usize = plan
            .neurons
            .iter()
            .flat_map(|n| [&n.threshold, &n.beta, &n.second_decay, &n.gain])
            .map(|parameter| parameter.bytes())
            .sum();
        MemoryPlan {
            weights: plan.weights.iter().map(|weights| weights.bytes()).sum(),
            constants: vectors + legendres + neurons,
            state,
            scratch,
        }
    }

    /// The potentials of a population as they are stored; `None` if there is no such node, it is no
    /// population of neurons, or the graph is integer-only
    /// ([`Executor::integer_potential`]).
    pub fn potential<'a>(&self, state: &'a State, node: &str) -> Option<Cow<'a, [f32]>> {
        let facts = self.plan.nodes.iter().find(|facts| facts.name == node)?;
        let range = self.plan.places.of(facts.potential?);
        Some(match state.steps == 0 && range.end <= state.potentials {
            true => Cow::Owned(vec![0.0; range.len()]),
            false => Cow::Borrowed(&state.memory.values[range]),
        })
    }

    /// What a node of an integer-only graph gave in the last step of a stream; nothing for other
    /// graphs, and for nodes without a buffer of their own: those that only pass values on, and
    /// products that add to a sum.
    pub fn integer_output<'a>(&self, state: &'a State, node: &str) -> Option<IntegerOutput<'a>> {
        let Memory { words, integers, .. } = &state.memory;
        self.plan.integers.as_ref()?.output(words, integers, node)
    }

    /// The potentials of a population of an integer-only graph, in units of `2^-fraction`, and that
    /// fraction.
    pub fn integer_potential<'a>(&self, state: &'a State, node: &str) -> Option<(&'a [i32], u32)> {
        let (range, fraction) = self.plan.integers.as_ref()?.potential(node)?;
        Some((&state.memory.integers[range], fraction))
    }

    /// Advances one stream by one step; `x` holds the values of all inputs.
    ///
    /// # Errors
    /// Input of the wrong length, values other than 0 and 1 at a binary input, numbers that name no
    /// token at an embedding's, a state of another graph. The state is then unchanged.
    pub fn step<'a>(&self, state: &'a mut State, x: &[f32]) -> Result<&'a [f32], Error> {
        if x.len() != self.plan.input_len {
            return Err(self.wrong_length(x, 1));
        }
        self.check(core::slice::from_ref(state), x)?;
        self.advance(state, x, true, 0, &mut Blind);
        Ok(&state.output)
    }

    /// Advances streams by as many steps as `x`, `[time, stream, input]`, holds, and appends the
    /// result of every step to `out`, `[time, stream, output]`. Streams run in parallel where
    /// that pays.
    ///
    /// # Errors
    /// As [`Executor::step`].
    pub fn run(&self, states: &mut [State], x: &[f32], out: &mut Vec<f32>) -> Result<(), Error> {
        let time = self.check_chunk(states, x)?;
        self.run_chunk(states, x, time, Results::EveryStep, out);
        Ok(())
    }

    /// As [`Executor::run`], but appends only the result after the last step, `[stream, output]`:
    /// nodes that run once per sequence run once. Nothing is appended when `x` is empty.
    ///
    /// # Errors
    /// As [`Executor::step`].
    pub fn run_to_end(
        &self,
        states: &mut [State],
        x: &[f32],
        out: &mut Vec<f32>,
    ) -> Result<(), Error> {
        let time = self.check_chunk(states, x)?;
        self.run_chunk(states, x, time, Results::LastStep, out);
        Ok(())
    }

    /// Advances one stream by as many steps as `x`, `[time, input]`, holds, without a result.
    ///
    /// # Errors
    /// As [`Executor::step`].
    pub(crate) fn absorb(&self, state: &mut State, x: &[f32]) -> Result<(), Error> {
        let states = core::slice::from_mut(state);
        let time = self.check_chunk(states, x)?;
        self.run_chunk(states, x, time, Results::None, &mut Vec::new());
        Ok(())
    }

    /// As [`Executor::run`], and calls `visit` for every node, step and stream. What is seen does
    /// not change the results; streams do not run in parallel.
    ///
    /// # Errors
    /// As [`Executor::step`]; integer-only graphs, whose nodes have no floats to show.
    pub fn run_observed(
        &self,
        states: &mut [State],
        x: &[f32],
        out: &mut Vec<f32>,
        visit: impl FnMut(&Observation),
    ) -> Result<(), Error> {
        let time = self.check_watched(states, x)?;
        let mut observer = Observer { reader: OutputReader::new(&self.plan), visit };
        self.run_watched(states, x, time, out, &mut observer);
        Ok(())
    }

    /// As [`Executor::run`], and counts operations. What runs once a sequence is counted once, in
    /// the last step, as [`Executor::run_to_end`] would do it: a sequence is to be given whole.
    ///
    /// # Errors
    /// As [`Executor::run_observed`].
    pub fn run_profiled(
        &self,
        states: &mut [State],
        x: &[f32],
        out: &mut Vec<f32>,
        profiler: &mut Profiler,
    ) -> Result<(), Error> {
        let time = self.check_watched(states, x)?;
        if time > 0 {
            let samples = states.iter().filter(|state| state.steps == 0).count();
            profiler.begin(samples, states.len(), time);
        }
        self.run_watched(states, x, time, out, profiler);
        Ok(())
    }

    /// How many steps of a stream run together, layer by layer: chosen by the size of the weights,
    /// and the memory that [`State`] then takes while it runs chunks.
    pub fn steps_together(&self) -> usize {
        self.plan.together
    }

    /// The same executor with another number of [steps together](Executor::steps_together), at
    /// least one. Results do not depend on it.
    #[must_use]
    pub fn with_steps_together(mut self, steps: usize) -> Self {
        self.plan.together = steps.max(1);
        self
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    // Steps.

    /// One step of one stream; the result is only worked out if `wanted`.
    #[inline(always)]
    fn advance<W: Watch>(
        &self,
        state: &mut State,
        x: &[f32],
        wanted: bool,
        stream: usize,
        watch: &mut W,
    ) {
        let plan = &self.plan;
        if let Some(integers) = &plan.integers {
            let State { memory, steps, output, .. } = state;
            integers.advance(memory, *steps, x, output);
            *steps += 1;
            return;
        }
        let State { memory, steps, output, seen, .. } = state;
        let mut view = memory.view();
        let end = if wanted { plan.instructions.len() } else { plan.sequence };
        let mut start = 0;
        if plan.still > 0 && !W::ON && seen == x {
            start = plan.still;
        } else if plan.still > 0 {
            seen.clear();
            seen.extend_from_slice(x);
        }
        let mut marks = plan.marks.iter().peekable();
        for (index, instruction) in plan.instructions[..end].iter().enumerate().skip(start) {
            plan.execute(instruction, &mut view, *steps, x);
            if W::ON {
                while let Some(mark) = marks.next_if(|mark| mark.after == index) {
                    watch.node(plan, mark, &view, stream, *steps);
                }
            }
        }
        if wanted {
            plan.read(&view, output);
        }
        *steps += 1;
    }

    /// All steps of one stream of several; `out` gets its results.
    fn run_stream(
        &self,
        state: &mut State,
        x: &[f32],
        [stream, streams]: [usize; 2],
        results: Results,
        mut out: impl FnMut(usize, &[f32]),
    ) {
        let (plan, len) = (&self.plan, self.plan.input_len);
        let xs: Vec<&[f32]> =
            x.chunks_exact(len * streams).map(|x| &x[stream * len..(stream + 1) * len]).collect();
        let wanted = xs.len() - results.of(xs.len());
        if plan.together > 1 && plan.integers.is_none() && xs.len() > 1 {
            for (at, xs) in xs.chunks(plan.together).enumerate() {
                let first = at * plan.together;
                let wanted = wanted.saturating_sub(first).min(xs.len());
                plan.advance_together(state, xs, wanted, |t, result| out(first + t, result));
            }
            return;
        }
        for (t, x) in xs.into_iter().enumerate() {
            self.advance(state, x, t >= wanted, stream, &mut Blind);
            if t >= wanted {
                out(t, &state.output);
            }
        }
    }

    fn run_chunk(
        &self,
        states: &mut [State],
        x: &[f32],
        time: usize,
        results: Results,
        out: &mut Vec<f32>,
    ) {
        if time == 0 {
            return;
        }
        let (streams, len) = (states.len(), self.plan.output_len);
        let kept = results.of(time);
        let start = out.len();
        out.resize(start + kept * streams * len, 0.0);
        let out = &mut out[start..];
        if streams > 1 && time == 1 && self.plan.side_by_side {
            self.plan.advance_side_by_side(states, x, kept > 0);
            for (state, out) in states.iter().zip(out.chunks_exact_mut(len.max(1))) {
                out.copy_from_slice(&state.output);
            }
            return;
        }
        #[cfg(feature = "std")]
        if streams > 1 && streams * time >= PARALLEL_STEPS && rayon::current_num_threads() > 1 {
            self.run_parallel(states, x, results, kept, out);
            return;
        }
        for (stream, state) in states.iter_mut().enumerate() {
            self.run_stream(state, x, [stream, streams], results, |t, result| {
                let at = (t.min(kept - 1) * streams + stream) * len;
                out[at..at + len].copy_from_slice(result);
            });
        }
    }

    /// Streams on several threads, each with its own piece of memory for results.
    #[cfg(feature = "std")]
    fn run_parallel(
        &self,
        states: &mut [State],
        x: &[f32],
        results: Results,
        kept: usize,
        out: &mut [f32],
    ) {
        use rayon::prelude::*;
        let (streams, len) = (states.len(), self.plan.output_len);
        let pieces: Vec<Vec<f32>> = states
            .par_iter_mut()
            .enumerate()
            .map(|(stream, state)| {
                let mut piece = Vec::with_capacity(kept * len);
                self.run_stream(state, x, [stream, streams], results, |_, result| {
                    piece.extend_from_slice(result);
                });
                piece
            })
            .collect();
        for (stream, piece) in pieces.iter().enumerate() {
            for (t, result) in piece.chunks_exact(len).enumerate() {
                let at = (t * streams + stream) * len;
                out[at..at + len].copy_from_slice(result);
            }
        }
    }

    /// Step by step over all streams, as counters of whole layer calls need it.
    fn run_watched<W: Watch>(
        &self,
        states: &mut [State],
        x: &[f32],
        time: usize,
        out: &mut Vec<f32>,
        watch: &mut W,
    ) {
        let len = self.plan.input_len;
        for t in 0..time {
            for stream in 0..states.len() {
                let at = (t * states.len() + stream) * len;
                let state = &mut states[stream];
                self.advance(state, &x[at..at + len], true, stream, watch);
                out.extend_from_slice(&state.output);
            }
            watch.step_done(&self.plan);
        }
    }
}
