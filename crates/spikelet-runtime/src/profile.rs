//! Counting what a run does, as [`spikelet_graph::counts`] defines it.

use crate::{
    executor::Executor,
    observe::{Output, OutputReader, Watch},
    plan::{Mark, Plan, ProductKind},
    state::View,
    weights::Arrival,
};
use alloc::{vec, vec::Vec};
use spikelet_graph::{Counters, Layout, counters::is_ternary};

/// Counts the operations of the runs it is given to
/// ([`Executor::run_profiled`](crate::Executor::run_profiled)).
pub struct Profiler {
    counters: Counters,
    /// Non-zero weights of every row, per group of outputs, by node and product.
    nonzero: Vec<Vec<Vec<u32>>>,
    /// What the streams of a step add up to, by node.
    calls: Vec<Calls>,
    /// Steps that the present run still has to do, the one that is being done among them.
    left: usize,
    reader: OutputReader,
}

/// The layer calls of a node in one step: usually one, for a Legendre memory that of its states
/// and that of its inputs.
#[derive(Clone, Copy, Default)]
struct Calls {
    streams: u64,
    calls: [Call; 2],
}

#[derive(Clone, Copy)]
struct Call {
    effective: u64,
    ternary: bool,
}

impl Default for Call {
    fn default() -> Self {
        Self { effective: 0, ternary: true }
    }
}

impl Profiler {
    /// Counters at zero.
    pub fn new(executor: &Executor) -> Self {
        let plan = executor.plan();
        let nonzero = |kind| match kind {
            ProductKind::Matrix(weights) => row_counts(plan, weights, 1),
            ProductKind::Convolution(weights, shape) => {
                row_counts(plan, weights, plan.convolutions[shape].groups)
            }
            ProductKind::LegendreStates(memory) => {
                let legendre = &plan.legendres[memory];
                legendre.a.chunks(legendre.b.len()).map(count_nonzero).collect()
            }
            ProductKind::LegendreInputs(memory) => {
                vec![count_nonzero(&plan.legendres[memory].b)]
            }
        };
        let mut by_node = vec![Vec::new(); plan.nodes.len()];
        for mark in &plan.marks {
            by_node[mark.node] =
                mark.products.iter().map(|product| nonzero(product.kind)).collect();
        }
        Self {
            counters: Counters::new(plan.nodes.len()),
            nonzero: by_node,
            calls: vec![Calls::default(); plan.nodes.len()],
            left: 0,
            reader: OutputReader::new(plan),
        }
    }

    /// What has been counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A run of so many streams over `time` steps begins; `samples` of the streams are new.
    pub(crate) fn begin(&mut self, samples: usize, streams: usize, time: usize) {
        self.counters.samples += samples as u64;
        self.counters.steps += (time * streams) as u64;
        self.left = time;
    }
}

fn row_counts(plan: &Plan, weights: usize, groups: usize) -> Vec<u32> {
    let weights = &plan.weights[weights];
    let group = weights.outputs / groups;
    weights
        .nonzero()
        .chunks(group)
        .map(|group| group.iter().filter(|nonzero| **nonzero).count() as u32)
        .collect()
}

fn count_nonzero(values: &[f32]) -> u32 {
    values.iter().filter(|value| **value != 0.0).count() as u32
}

impl Watch for Profiler {
    const ON: bool = true;

    fn node(&mut self, plan: &Plan, mark: &Mark, view: &View, _: usize, _: u64) {
        let facts = &plan.nodes[mark.node];
        if facts.once && self.left > 1 {
            return;
        }
        let counters = &mut self.counters.nodes[mark.node];
        for input in &mark.inputs {
            counters.events_in += match plan.arrival(*input, view) {
                Arrival::Spikes(events) => events.len() as u64,
                Arrival::Graded(_, x) | Arrival::Dense(x) => u64::from(count_nonzero(x)),
            };
        }
        counters.activation_elements += facts.len as u64;
        counters.activation_nonzeros += match self.reader.read(plan, mark, view) {
            Output::Spikes(events) => events.len() as u64,
            Output::Dense(values) => u64::from(count_nonzero(values)),
        };
        counters.state_updates += facts.operations.state_updates;
        counters.gate_multiplies += facts.operations.gate_multiplies;
        counters.elementwise += facts.operations.elementwise;
        counters.weight_bytes += facts.row_bytes as u64;

        let calls = &mut self.calls[mark.node];
        calls.streams += 1;
        // The two products of a recurrent cell are one call.
        let one_call = facts.operations.gate_multiplies > 0;
        for (k, product) in mark.products.iter().enumerate() {
            let x = plan.arrival(product.input, view);
            let call = &mut calls.calls[if one_call { 0 } else { k.min(1) }];
            if let Arrival::Graded(_, x) | Arrival::Dense(x) = x {
                call.ternary &= is_ternary(x);
            }
            let rows = &self.nonzero[mark.node][k];
            let (effective, bytes) = count_product(plan, product.kind, x, rows);
            call.effective += effective;
            counters.weight_bytes += bytes;
        }
    }

    fn step_done(&mut self, plan: &Plan) {
        for ((node, calls), counters) in
            plan.nodes.iter().zip(&mut self.calls).zip(&mut self.counters.nodes)
        {
            let [first, second] = calls.calls;
            let dense = node.operations.dense * calls.streams;
            counters.synapses(first.effective, dense, first.ternary);
            counters.synapses(second.effective, 0, second.ternary);
            *calls = Calls::default();
        }
        self.left -= 1;
    }
}

/// Pairs of non-zero input and weight, and bytes of weights read.
fn count_product(plan: &Plan, kind: ProductKind, x: Arrival, rows: &[u32]) -> (u64, u64) {
    let (mut effective, mut visits) = (0, 0_u64);
    match kind {
        ProductKind::Matrix(weights) => {
            for_each_active(x, |input| {
                effective += u64::from(rows[input as usize]);
                visits += 1;
            });
            let weights = &plan.weights[weights];
            let reads_all = matches!(x, Arrival::Dense(_));
            let bytes = if reads_all {
                weights.bytes()
            } else {
                visits as usize * weights.row_bytes() + weights.fixed_bytes()
            };
            (effective, bytes as u64)
        }
        ProductKind::Convolution(weights, shape) => {
            let (weights, shape) = (&plan.weights[weights], &plan.convolutions[shape]);
            let (groups, length) = (shape.groups, shape.outputs / shape.groups);
            for_each_active(x, |input| {
                shape.for_each_row(input, |row, start, _, _| {
                    effective += u64::from(rows[row * groups + start / length]);
                    visits += 1;
                });
            });
            let bytes = match weights.layout {
                Layout::ByOutput => weights.bytes(),
                Layout::ByInput => {
                    visits as usize * weights.row_bytes() / groups + weights.scale_bytes()
                }
            };
            (effective, bytes as u64)
        }
        ProductKind::LegendreStates(_) => {
            let order = rows.len();
            for_each_active(x, |state| {
                effective += u64::from(rows[state as usize % order]);
                visits += 1;
            });
            (effective, visits * 4 * order as u64)
        }
        ProductKind::LegendreInputs(memory) => {
            for_each_active(x, |_| {
                effective += u64::from(rows[0]);
                visits += 1;
            });
            (effective, visits * 4 * plan.legendres[memory].b.len() as u64)
        }
    }
}

fn for_each_active(x: Arrival, mut visit: impl FnMut(u32)) {
    match x {
        Arrival::Spikes(events) => events.iter().for_each(|event| visit(*event)),
        Arrival::Graded(_, x) | Arrival::Dense(x) => {
            for (index, value) in x.iter().enumerate() {
                if *value != 0.0 {
                    visit(index as u32);
                }
            }
        }
    }
}
