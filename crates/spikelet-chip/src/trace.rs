//! What every node gives, step by step: the arithmetic of the cores.
//!
//! In 32-bit floats it is the runtime's: the cores compute the same sums in the same order, which
//! is why the published network uses floats. Integer-only graphs are integers on the cores too, so
//! that the runtime's are theirs. Fixed point is computed by [`FixedRun`].

use crate::{
    error::ChipError,
    fixed::{self, FixedRun},
    layers::Layers,
};
use spikelet_graph::{Graph, Signal, Topology};
use spikelet_runtime::{Executor, IntegerOutput, Output, State};
use std::collections::VecDeque;

/// What a node gave in a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// The elements that are not zero, ascending.
    pub active: Vec<u32>,
    /// Their values; for dense signals those of all elements.
    pub values: Vec<f32>,
}

/// Runs a graph a step at a time and keeps what later steps read.
pub struct Trace {
    arithmetic: Arithmetic,
    input_len: usize,
    wanted: Vec<Option<Signal>>,
    /// Of the steps from [`Trace::first`] on, by node.
    steps: VecDeque<Vec<Values>>,
    first: usize,
    /// What the graph returned after the last step.
    pub output: Vec<f32>,
}

/// What computes.
enum Arithmetic {
    /// 32-bit floats.
    Float { executor: Executor, states: [State; 1] },
    /// The integers of an integer-only graph, and the names of its nodes.
    Integer { executor: Executor, state: State, names: Vec<String>, topology: Topology },
    /// s16.15.
    Fixed(FixedRun),
}

impl Trace {
    /// A trace from the start of a sequence. With `fixed`, what is no integer-only graph is computed
    /// in s16.15.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub fn new(graph: &Graph, layers: &Layers, fixed: bool) -> Result<Self, ChipError> {
        let executor = Executor::new(graph)?;
        let input_len = executor.input_len();
        let mut wanted = vec![None; graph.nodes.len()];
        let reads = layers.layers.iter().flat_map(|layer| &layer.reads);
        let read = reads.flat_map(|read| read.from.iter().chain(&read.sources));
        let nodes = read.map(|source| source.node).chain(layers.outputs.iter().copied());
        let sent = layers.layers.iter().flat_map(|layer| layer.sends.iter().copied());
        for node in nodes.chain(sent).chain(layers.inputs.iter().copied()) {
            wanted[node] = Some(layers.signals[node]);
        }
        let arithmetic = if graph.integer.is_some() {
            let state = executor.state();
            let names = graph.nodes.iter().map(|node| node.name.clone()).collect();
            let topology = graph.validate()?;
            // What others pass on is wanted too.
            for &node in topology.order.iter().rev() {
                if let ([link], Some(_)) = (&topology.sources[node][..], wanted[node]) {
                    wanted[link.node] = Some(layers.signals[link.node]);
                }
            }
            Arithmetic::Integer { executor, state, names, topology }
        } else if fixed {
            Arithmetic::Fixed(FixedRun::new(graph)?)
        } else {
            let states = [executor.state()];
            Arithmetic::Float { executor, states }
        };
        let (steps, output) = (VecDeque::new(), Vec::new());
        Ok(Trace { arithmetic, input_len, wanted, steps, first: 0, output })
    }

    /// Values of all inputs together in a step.
    pub fn input_len(&self) -> usize {
        self.input_len
    }

    /// Computes the next step.
    ///
    /// # Errors
    /// As [`Executor::step`].
    pub fn advance(&mut self, x: &[f32]) -> Result<(), ChipError> {
        let mut nodes = vec![Values::default(); self.wanted.len()];
        let wanted = &self.wanted;
        self.output.clear();
        match &mut self.arithmetic {
            Arithmetic::Float { executor, states } => {
                executor.run_observed(states, x, &mut self.output, |seen| {
                    if let Some(signal) = wanted[seen.node] {
                        nodes[seen.node] = match seen.output {
                            Output::Spikes(events) => Values::spikes(events),
                            Output::Dense(values) => Values::of(values.iter().copied(), signal),
                        };
                    }
                })?;
            }
            Arithmetic::Integer { executor, state, names, topology } => {
                self.output.extend_from_slice(executor.step(state, x)?);
                for &node in &topology.order {
                    let Some(signal) = wanted[node] else { continue };
                    nodes[node] = match executor.integer_output(state, &names[node]) {
                        Some(IntegerOutput::Spikes(events)) => Values::spikes(events),
                        Some(IntegerOutput::Values(integers, fraction)) => {
                            let unit = 0.5_f32.powi(fraction as i32);
                            Values::of(integers.iter().map(|n| *n as f32 * unit), signal)
                        }
                        // It passes on what one other node gave.
                        None => match topology.sources[node][..] {
                            [link] if link.delay == 0 => nodes[link.node].clone(),
                            [link] => self
                                .steps
                                .len()
                                .checked_sub(link.delay)
                                .map(|at| self.steps[at][link.node].clone())
                                .unwrap_or_default(),
                            _ => Values::default(),
                        },
                    };
                }
            }
            Arithmetic::Fixed(run) => {
                let all = run.step(x)?.iter().zip(wanted).zip(&mut nodes);
                for ((numbers, signal), values) in all {
                    if let Some(signal) = *signal {
                        let floats = numbers.iter().map(|n| fixed::value(*n) as f32);
                        *values = Values::of(floats, signal);
                    }
                }
                self.output = run.results();
            }
        }
        self.steps.push_back(nodes);
        Ok(())
    }

    /// Forgets the steps before one.
    pub fn forget_before(&mut self, step: usize) {
        while self.first < step && self.steps.len() > 1 {
            self.steps.pop_front();
            self.first += 1;
        }
    }

    /// What a node gave; nothing before the first step.
    pub fn values(&self, node: usize, step: Option<usize>) -> Option<&Values> {
        let at = step?.checked_sub(self.first)?;
        self.steps.get(at).map(|nodes| &nodes[node])
    }
}

impl Values {
    fn spikes(events: &[u32]) -> Self {
        Values { active: events.to_vec(), values: vec![1.0; events.len()] }
    }

    fn of(values: impl ExactSizeIterator<Item = f32>, signal: Signal) -> Self {
        let mut all = Values::default();
        for (at, value) in values.enumerate() {
            if value != 0.0 {
                all.active.push(at as u32);
            }
            if value != 0.0 || signal == Signal::Dense {
                all.values.push(value);
            }
        }
        all
    }
}
