//! What every node gives, step by step: the arithmetic of the cores.
//!
//! In 32-bit floats it is the runtime's: the cores compute the same sums in the same order, which
//! is why the published network uses floats. In fixed point, weights, biases and parameters are
//! rounded to s16.15 first; see [`rounded`].

use crate::{error::ChipError, layers::Layers};
use spikelet_graph::{Graph, Membrane, Op, Param, Signal, Values as TensorValues};
use spikelet_runtime::{Executor, Output, State};
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
    executor: Executor,
    states: [State; 1],
    wanted: Vec<Option<Signal>>,
    /// Of the steps from [`Trace::first`] on, by node.
    steps: VecDeque<Vec<Values>>,
    first: usize,
    /// What the graph returned after the last step.
    pub output: Vec<f32>,
}

impl Trace {
    /// A trace from the start of a sequence.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub fn new(graph: &Graph, layers: &Layers) -> Result<Self, ChipError> {
        let executor = Executor::new(graph)?;
        let mut wanted = vec![None; graph.nodes.len()];
        let reads = layers.layers.iter().flat_map(|layer| &layer.reads);
        let read = reads.flat_map(|read| read.from.iter().chain(&read.sources));
        let nodes = read.map(|source| source.node).chain(layers.outputs.iter().copied());
        let sent = layers.layers.iter().flat_map(|layer| layer.sends.iter().copied());
        for node in nodes.chain(sent).chain(layers.inputs.iter().copied()) {
            wanted[node] = Some(layers.signals[node]);
        }
        let states = [executor.state()];
        let (steps, output) = (VecDeque::new(), Vec::new());
        Ok(Trace { executor, states, wanted, steps, first: 0, output })
    }

    /// Values of all inputs together in a step.
    pub fn input_len(&self) -> usize {
        self.executor.input_len()
    }

    /// Computes the next step.
    ///
    /// # Errors
    /// As [`Executor::step`].
    pub fn advance(&mut self, x: &[f32]) -> Result<(), ChipError> {
        let mut nodes = vec![Values::default(); self.wanted.len()];
        let wanted = &self.wanted;
        self.output.clear();
        self.executor.run_observed(&mut self.states, x, &mut self.output, |seen| {
            if let Some(signal) = wanted[seen.node] {
                nodes[seen.node] = Values::of(seen.output, signal);
            }
        })?;
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
    fn of(output: Output, signal: Signal) -> Self {
        match output {
            Output::Spikes(events) => {
                Values { active: events.to_vec(), values: vec![1.0; events.len()] }
            }
            Output::Dense(values) => {
                let active: Vec<u32> =
                    (0..values.len() as u32).filter(|&at| values[at as usize] != 0.0).collect();
                let values = match signal {
                    Signal::Dense => values.to_vec(),
                    _ => active.iter().map(|&at| values[at as usize]).collect(),
                };
                Values { active, values }
            }
        }
    }
}

/// The graph with all 32-bit values rounded to s16.15, the chip's fixed point, except the scales of
/// integers. Sums of such values are exact in 32-bit floats up to 2^9, as they are in the chip's
/// registers; products of states with decays are not rounded again, which the chip would do.
pub fn rounded(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let weights = graph.nodes.iter().flat_map(|node| node.op.weights());
    let scales: Vec<String> = weights.filter_map(|weight| weight.scale.clone()).collect();
    for (name, tensor) in &mut graph.tensors {
        if let TensorValues::F32(values) = &mut tensor.values
            && !scales.contains(name)
        {
            values.iter_mut().for_each(round);
        }
    }
    for node in &mut graph.nodes {
        let Op::Neuron(neuron) = &mut node.op else { continue };
        let shared = |param: &mut Param| {
            if let Param::Shared(value) = param {
                round(value);
            }
        };
        shared(&mut neuron.threshold);
        match &mut neuron.membrane {
            Membrane::If => {}
            Membrane::Lif { beta, .. } | Membrane::Li { beta } => shared(beta),
            Membrane::CubaLif { alpha, beta } => [alpha, beta].into_iter().for_each(shared),
            Membrane::AdaptiveLif { beta, rho, gain } => {
                [beta, rho, gain].into_iter().for_each(shared);
            }
        }
    }
    graph
}

/// To the nearest multiple of 2^-15 within 17 bits before the point.
fn round(value: &mut f32) {
    let steps = (*value * 32768.0).round();
    *value = steps.clamp(i32::MIN as f32, i32::MAX as f32) / 32768.0;
}
