//! Looking at nodes while a graph runs.

use crate::{
    plan::{Mark, MarkOutput, Plan},
    state::View,
    weights::{Arrival, Sums},
};
use alloc::{vec, vec::Vec};

/// What a node gave in one step of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The node's place in the graph.
    pub node: usize,
    /// Its name.
    pub name: &'a str,
    /// Shape of its output.
    pub shape: &'a [usize],
    /// The stream.
    pub stream: usize,
    /// Steps of that stream before this one.
    pub step: u64,
    /// Its output.
    pub output: Output<'a>,
    /// The input current of a population of neurons.
    pub current: Option<&'a [f32]>,
    /// The potentials of a population as they are stored, after the step.
    pub potential: Option<&'a [f32]>,
}

/// The output of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output<'a> {
    /// The indices of the active neurons, ascending.
    Spikes(&'a [u32]),
    /// One value per element.
    Dense(&'a [f32]),
}

/// Something that looks at every node of every step.
pub(crate) trait Watch {
    /// Without it, looking costs nothing.
    const ON: bool;

    /// A node has run.
    fn node(&mut self, plan: &Plan, mark: &Mark, view: &View, stream: usize, step: u64);

    /// All streams have done a step.
    fn step_done(&mut self, plan: &Plan);
}

/// Looks at nothing.
pub(crate) struct Blind;

impl Watch for Blind {
    const ON: bool = false;

    fn node(&mut self, _: &Plan, _: &Mark, _: &View, _: usize, _: u64) {}

    fn step_done(&mut self, _: &Plan) {}
}

/// The output of a node that may be part of a sum, made again if so.
pub(crate) struct OutputReader {
    values: Vec<f32>,
    sums: Sums,
}

impl OutputReader {
    pub(crate) fn new(plan: &Plan) -> Self {
        let longest = plan.nodes.iter().map(|node| node.len).max().unwrap_or(0);
        let sums = Sums::new(plan.longest_sum);
        Self { values: vec![0.0; longest], sums }
    }

    pub(crate) fn read<'a>(
        &'a mut self,
        plan: &Plan,
        mark: &Mark,
        view: &'a View<'a>,
    ) -> Output<'a> {
        match mark.output {
            MarkOutput::Own(input) => match plan.arrival(input, view) {
                Arrival::Spikes(events) => Output::Spikes(events),
                Arrival::Graded(_, values) | Arrival::Dense(values) => Output::Dense(values),
            },
            MarkOutput::Summed { bias } => {
                let out = &mut self.values[..plan.nodes[mark.node].len];
                out.fill(0.0);
                if let Some(bias) = bias {
                    let bias = &plan.vectors[bias];
                    out.chunks_exact_mut(bias.len()).for_each(|out| out.copy_from_slice(bias));
                }
                for product in &mark.products {
                    let x = plan.arrival(product.input, view);
                    plan.add_product(product.kind, x, out, &mut self.sums);
                }
                Output::Dense(out)
            }
        }
    }
}

/// Calls a function for every node of every step.
pub(crate) struct Observer<F> {
    pub(crate) reader: OutputReader,
    pub(crate) visit: F,
}

impl<F: FnMut(&Observation)> Watch for Observer<F> {
    const ON: bool = true;

    fn node(&mut self, plan: &Plan, mark: &Mark, view: &View, stream: usize, step: u64) {
        let facts = &plan.nodes[mark.node];
        let buffer = |buffer| &view.values[plan.places.of(buffer)];
        let observation = Observation {
            node: mark.node,
            name: &facts.name,
            shape: &facts.shape,
            stream,
            step,
            output: self.reader.read(plan, mark, view),
            current: mark.current.map(buffer),
            potential: facts.potential.map(buffer),
        };
        (self.visit)(&observation);
    }

    fn step_done(&mut self, _: &Plan) {}
}
