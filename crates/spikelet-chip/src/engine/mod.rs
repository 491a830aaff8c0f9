//! The simulation: discrete events in the order of their times, and of their making within one.
//!
//! A part of a layer works on what it reads as soon as all of that has arrived, in the step it is
//! in; when it has done so for all its reads, it updates its units and sends. A packet that ends
//! its step follows the last event of every sender, so that nobody waits for a clock. Steps enter
//! the chip when the step [`Chip::steps_in_flight`] before has left it.

mod packets;
mod waiting;

use crate::{
    cores::{Clock, Core, Item},
    error::ChipError,
    mapping::{Mapping, Part},
    network::{Network, Time},
    report::Simulation,
    trace::Trace,
    work::Work,
};
use spikelet_graph::Graph;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};
use waiting::{Listener, PartState};

/// A value that left a core or the host in a packet and was read from it again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delivery {
    /// The node it belongs to.
    pub node: usize,
    /// The step.
    pub step: usize,
    /// The element of the node.
    pub element: usize,
    /// Its value.
    pub value: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The next step enters.
    Release { step: usize },
    /// A train arrives at a station.
    Train { sender: u32, station: u32, step: u32, packets: u32, tail: Time },
    /// A train has left its last station.
    Arrived { sender: u32, station: u32, step: u32, packets: u32 },
    /// A core has finished its piece of work.
    Done { core: u32 },
}

pub(crate) struct Engine<'a, F> {
    pub(crate) mapping: &'a Mapping,
    pub(crate) network: Network,
    pub(crate) cores: Vec<Core>,
    pub(crate) now: Time,
    pub(crate) counts: Counts,
    input: &'a [f32],
    steps: usize,
    clock: Clock,
    trace: Trace,
    computed: usize,
    parts: Vec<PartState<'a>>,
    listeners: Vec<Vec<Vec<Listener>>>,
    /// The part that sends; none is the host.
    part_of: Vec<Option<usize>>,
    /// Sends data only in the last step.
    at_end: Vec<bool>,
    /// Senders whose end ends a step, and how many have, by step.
    ends_step: Vec<bool>,
    ended: BTreeMap<usize, u32>,
    events: BinaryHeap<Reverse<(Time, u64, What)>>,
    made: u64,
    dram_free: Vec<Time>,
    host_free: Time,
    longest_delay: usize,
    visit: F,
}

/// What a run counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Values in packets.
    pub(crate) events: u64,
    /// Packets sent, ends of steps among them.
    pub(crate) packets: u64,
    /// Packets times the cores (and the host) they are for.
    pub(crate) addressed: u64,
    /// Packets that arrived at cores and at the host.
    pub(crate) deliveries: u64,
    /// Events the simulation processed.
    pub(crate) processed: u64,
    /// When the last step's last packet reached the host.
    pub(crate) end: Time,
}

/// Simulates the steps of `input`, `[time, input]`, from the start of a sequence, and shows every
/// value that a packet carries to `visit`.
///
/// # Errors
/// What the runtime refuses.
pub fn simulate(
    mapping: &Mapping,
    graph: &Graph,
    input: &[f32],
    clock: Clock,
    visit: impl FnMut(Delivery),
) -> Result<Simulation, ChipError> {
    let trace = Trace::new(graph, &mapping.layers, mapping.fixed)?;
    let len = trace.input_len();
    if input.is_empty() || !input.len().is_multiple_of(len) {
        let problem = format!("{} input values are no whole steps of {len}", input.len());
        return Err(ChipError::Request(problem));
    }
    let mut engine = Engine::new(mapping, graph, input, clock, trace, visit);
    engine.run()?;
    Ok(Simulation::new(&engine))
}

impl<'a, F: FnMut(Delivery)> Engine<'a, F> {
    fn new(
        mapping: &'a Mapping,
        graph: &Graph,
        input: &'a [f32],
        clock: Clock,
        trace: Trace,
        visit: F,
    ) -> Self {
        let steps = input.len() / trace.input_len();
        let every_step = graph.task.window == 0;
        let chip = &mapping.chip;
        let mut numbers: Vec<usize> = mapping.parts.iter().map(|part| part.core).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let part = |part: &Part| {
            let waits = mapping.programs[part.layer].at_end && !every_step;
            let core = numbers.binary_search(&part.core).unwrap_or(0);
            PartState::new(mapping, part, core, if waits { steps - 1 } else { 0 })
        };
        let mut part_of = vec![None; mapping.senders.len()];
        let mut ends_step = vec![false; mapping.senders.len()];
        for (at, part) in mapping.parts.iter().enumerate() {
            let layer = &mapping.layers.layers[part.layer];
            part_of[part.sender..part.sender + layer.sends.len()].fill(Some(at));
            let waits = mapping.programs[part.layer].at_end && !every_step;
            if !layer.sends.is_empty() && mapping.layers.last.contains(&part.layer) && !waits {
                ends_step[part.sender] = true;
            }
        }
        let read_each_step = |node: usize| {
            let layers = mapping.layers.layers.iter().zip(&mapping.programs);
            let mut reading = layers.filter(|(_, program)| !program.at_end);
            reading.any(|(layer, _)| {
                layer.reads.iter().flat_map(|read| &read.sources).any(|source| source.node == node)
            })
        };
        let at_end = |node: &usize| !every_step && !read_each_step(*node);
        let delays = mapping.layers.layers.iter().flat_map(|layer| &layer.reads);
        let delays = delays.flat_map(|read| &read.sources).map(|source| source.delay);
        let core = |&number: &usize| Core { number, ..Core::default() };
        let mut engine = Engine {
            network: Network::new(&mapping.routes, chip),
            cores: numbers.iter().map(core).collect(),
            now: 0,
            counts: Counts::default(),
            input,
            steps,
            clock,
            trace,
            computed: 0,
            parts: mapping.parts.iter().map(part).collect(),
            listeners: Vec::new(),
            part_of,
            at_end: mapping.sent.iter().map(at_end).collect(),
            ends_step,
            ended: BTreeMap::new(),
            events: BinaryHeap::new(),
            made: 0,
            dram_free: vec![0; mapping.chips],
            host_free: 0,
            longest_delay: delays.max().unwrap_or(0),
            visit,
            mapping,
        };
        engine.listen();
        engine
    }

    /// Steps simulated.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// What the graph returned after the last step.
    pub(crate) fn output(&self) -> &[f32] {
        &self.trace.output
    }

    fn run(&mut self) -> Result<(), ChipError> {
        for part in 0..self.parts.len() {
            self.enter_step(part)?;
        }
        for step in 0..self.steps.min(self.mapping.chip.steps_in_flight as usize) {
            self.plan_release(step);
        }
        while let Some(Reverse((time, _, what))) = self.events.pop() {
            self.now = time;
            self.counts.processed += 1;
            match what {
                What::Release { step } => self.release(step)?,
                What::Train { sender, station, step, packets, tail } => {
                    self.pass(sender, station, step, packets, tail);
                }
                What::Arrived { sender, station, step, packets } => {
                    self.arrive(sender as usize, station as usize, step as usize, packets)?;
                }
                What::Done { core } => self.finish(core as usize)?,
            }
        }
        match self.parts.iter().position(|part| part.step < self.steps) {
            None => Ok(()),
            Some(part) => {
                let layer = &self.mapping.layers.layers[self.mapping.parts[part].layer].name;
                Err(ChipError::Stuck { layer: layer.clone(), step: self.parts[part].step })
            }
        }
    }

    fn push(&mut self, time: Time, what: What) {
        self.events.push(Reverse((time, self.made, what)));
        self.made += 1;
    }

    /// The values of a step, computed when first asked for.
    fn compute(&mut self, step: usize) -> Result<(), ChipError> {
        let len = self.trace.input_len();
        while self.computed <= step {
            self.trace.advance(&self.input[self.computed * len..(self.computed + 1) * len])?;
            self.computed += 1;
        }
        Ok(())
    }

    // The host.

    /// A step enters as soon as its input is there.
    fn plan_release(&mut self, step: usize) {
        self.push(self.now.max(self.host_free), What::Release { step });
    }

    fn release(&mut self, step: usize) -> Result<(), ChipError> {
        self.compute(step)?;
        let oldest = self.parts.iter().map(|part| part.step).min().unwrap_or(0);
        self.trace.forget_before(oldest.saturating_sub(self.longest_delay + 1));
        let cycle = 1e6 / self.mapping.chip.noc_clock;
        let mut bits = 0.0;
        for sender in 0..self.mapping.senders.len() {
            if self.part_of[sender].is_some() {
                continue;
            }
            let (packets, sent) = self.pack(sender, step)?;
            bits += sent;
            let tail = self.now.saturating_add((packets as f64 * cycle) as Time);
            self.send(sender, step, packets, [self.now, tail]);
        }
        // The next step's input comes while this one is computed.
        let takes = (bits * 1e3 / self.mapping.chip.host_rate) as Time;
        self.host_free = self.now.max(self.host_free).saturating_add(takes);
        // Nobody tells the host that a step has left: the next one follows its input.
        let next = step + self.mapping.chip.steps_in_flight as usize;
        if !self.ends_step.contains(&true) && next < self.steps {
            self.plan_release(next);
        }
        Ok(())
    }

    // Cores.

    /// A part begins a step: what has arrived for it can be worked on.
    fn enter_step(&mut self, part: usize) -> Result<(), ChipError> {
        let state = &mut self.parts[part];
        if state.step >= self.steps {
            return Ok(());
        }
        state.open = state.reads.len();
        if state.open == 0 {
            return self.queue(part, None);
        }
        for read in 0..self.parts[part].reads.len() {
            if self.parts[part].reads[read].is_complete(self.parts[part].step) {
                self.queue(part, Some(read))?;
            }
        }
        Ok(())
    }

    fn queue(&mut self, part: usize, read: Option<usize>) -> Result<(), ChipError> {
        let core = self.parts[part].core;
        self.cores[core].waiting.push_back(Item { part, read });
        self.begin(core)
    }

    /// Begins the next piece of work, if the core is free.
    fn begin(&mut self, core: usize) -> Result<(), ChipError> {
        if self.cores[core].now.is_some() {
            return Ok(());
        }
        let Some(item) = self.cores[core].waiting.pop_front() else { return Ok(()) };
        self.cores[core].now = Some(item);
        let step = self.parts[item.part].step;
        self.compute(step)?;
        let end = match item.read {
            Some(read) => self.read(core, item.part, read),
            None => self.update(core, item.part)?,
        };
        self.push(end, What::Done { core: core as u32 });
        Ok(())
    }

    /// Works on what arrived for a read; gives the end of it.
    fn read(&mut self, core: usize, part: usize, read: usize) -> Time {
        let chip = &self.mapping.chip;
        let state = &self.parts[part];
        let from = &self.mapping.layers.layers[self.mapping.parts[part].layer].reads[read].from;
        let cost = &state.costs[read];
        let mut work = match from[..] {
            [source] => {
                let step = state.step.checked_sub(source.delay);
                let active = self.trace.values(source.node, step).map(|values| &values.active[..]);
                cost.work(Some(active.unwrap_or(&[])), chip)
            }
            // Several values add up before they are used.
            _ => cost.work(None, chip),
        };
        let packets = state.reads[read].arrived.front().map_or(0, |arrived| arrived.1) as f64;
        work.cycles += packets * chip.packet_in;
        work.sram += packets * chip.sram_packet;
        let time = self.cores[core].work(work, self.clock, chip);
        if work.dram == 0.0 {
            return self.now.saturating_add(time);
        }
        // Rows come while the core works on those before.
        let free = &mut self.dram_free[self.cores[core].number / chip.cores()];
        let takes = work.dram * 1e3 / (chip.dram_rate * chip.dram_use);
        *free = (*free).max(self.now).saturating_add(takes as Time);
        let there = free.saturating_add((chip.dram_latency * 1e6) as Time);
        self.now.saturating_add(time).max(there)
    }

    /// Updates the units of a part and sends; gives the end of it.
    fn update(&mut self, core: usize, part: usize) -> Result<Time, ChipError> {
        let mapping = self.mapping;
        let placed = &mapping.parts[part];
        let step = self.parts[part].step;
        let mut work: Work = mapping.programs[placed.layer].update(&placed.slice, &mapping.chip);
        let sends = mapping.layers.layers[placed.layer].sends.len();
        let mut trains = Vec::with_capacity(sends);
        for sender in placed.sender..placed.sender + sends {
            let (packets, _) = self.pack(sender, step)?;
            work.cycles += f64::from(packets) * mapping.chip.packet_out;
            work.sram += f64::from(packets) * mapping.chip.sram_packet;
            trains.push((sender, packets));
        }
        let time = self.cores[core].work(work, self.clock, &mapping.chip);
        let end = self.now.saturating_add(time);
        for (sender, packets) in trains {
            self.cores[core].packets[1] += u64::from(packets);
            // Units send as they are updated, the end of the step comes last.
            let head = self.now.saturating_add(time / u64::from(packets));
            self.send(sender, step, packets, [head, end]);
        }
        Ok(end)
    }

    fn finish(&mut self, core: usize) -> Result<(), ChipError> {
        if let Some(Item { part, read }) = self.cores[core].now.take() {
            let state = &mut self.parts[part];
            match read {
                Some(_) => {
                    state.open -= 1;
                    if state.open == 0 {
                        self.cores[core].waiting.push_back(Item { part, read: None });
                    }
                }
                None => {
                    for read in &mut state.reads {
                        read.arrived.pop_front();
                    }
                    state.step += 1;
                    self.enter_step(part)?;
                }
            }
        }
        self.begin(core)
    }
}
