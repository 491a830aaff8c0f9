//! Who waits for what.

use super::{Delivery, Engine};
use crate::{
    mapping::{Mapping, Part, needs},
    routes::Server,
    task::TaskCost,
};
use std::collections::{BTreeMap, VecDeque};

/// Who on a core waits for a sender.
#[derive(Clone, Copy)]
pub(super) struct Listener {
    /// The part.
    pub(super) part: usize,
    /// Its read.
    pub(super) read: usize,
    /// Steps until the value is used.
    pub(super) delay: usize,
    /// Its packets are taken in for this read.
    pub(super) takes: bool,
}

/// What a part has done and waits for.
pub(super) struct PartState<'a> {
    /// Its core, by place among those used.
    pub(super) core: usize,
    /// The step it is in.
    pub(super) step: usize,
    /// What its tasks cost.
    pub(super) costs: Vec<TaskCost<'a>>,
    /// What has arrived for them.
    pub(super) reads: Vec<ReadState>,
    /// Tasks of this step that are still to be done.
    pub(super) open: usize,
}

impl<'a> PartState<'a> {
    /// A part before its first step.
    pub(super) fn new(mapping: &'a Mapping, part: &Part, core: usize, step: usize) -> Self {
        let tasks = &mapping.programs[part.layer].tasks;
        PartState {
            core,
            step,
            costs: tasks.iter().map(|task| task.cost(&part.slice, part.streams)).collect(),
            reads: tasks.iter().map(|_| ReadState::default()).collect(),
            open: tasks.len(),
        }
    }
}

/// What has arrived for a read.
#[derive(Default)]
pub(super) struct ReadState {
    /// How many senders it waits for, by delay.
    pub(super) senders: BTreeMap<usize, u32>,
    /// Senders and packets that have arrived for this and later steps.
    pub(super) arrived: VecDeque<(u32, u64)>,
}

impl ReadState {
    /// How many senders it waits for in a step.
    pub(super) fn awaits(&self, step: usize) -> u32 {
        self.senders.range(..=step).map(|(_, senders)| senders).sum()
    }

    /// Whether all of them have arrived.
    pub(super) fn is_complete(&self, step: usize) -> bool {
        self.arrived.front().map_or(0, |arrived| arrived.0) >= self.awaits(step)
    }
}

impl<F: FnMut(Delivery)> Engine<'_, F> {
    /// Finds out who waits for whom.
    pub(super) fn listen(&mut self) {
        let mapping = self.mapping;
        for (sender, route) in mapping.routes.routes.iter().enumerate() {
            let sent = self.part_of[sender].map(|part| &mapping.parts[part].slice);
            let mut stations = vec![Vec::new(); route.stations.len()];
            for (station, listeners) in route.stations.iter().zip(&mut stations) {
                let Server::Core(core) = station.server else { continue };
                let parts = mapping.parts.iter().enumerate();
                for (at, part) in parts.filter(|(_, part)| part.core == core) {
                    let tasks = &mapping.programs[part.layer].tasks;
                    for (read, task) in tasks.iter().enumerate() {
                        let reads = &mapping.layers.layers[part.layer].reads[read];
                        if !needs(reads, task, &part.slice, sent) {
                            continue;
                        }
                        let node = mapping.sent[sender];
                        for source in reads.sources.iter().filter(|source| source.node == node) {
                            let (delay, takes) = (source.delay, listeners.is_empty());
                            listeners.push(Listener { part: at, read, delay, takes });
                            let waits = self.parts[at].reads[read].senders.entry(delay);
                            *waits.or_default() += 1;
                        }
                    }
                }
            }
            self.listeners.push(stations);
        }
    }
}
