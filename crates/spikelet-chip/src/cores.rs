//! What a core does with its time.

use crate::{chip::Chip, network::Time, work::Work};
use std::collections::VecDeque;

/// At which of its two points of voltage and frequency a core works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Always at the low one.
    Low,
    /// Always at the high one.
    #[default]
    High,
    /// At the high one for work of more cycles than [`Chip::switching_threshold`].
    Adaptive,
}

/// A piece of work: of a part, for one of its reads or (none) the update of its units.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// The part.
    pub part: usize,
    /// The read.
    pub read: Option<usize>,
}

/// What a core did, by point.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Time it worked.
    pub time: Time,
    /// Cycles it worked without the array.
    pub cycles: f64,
    /// Products of the array.
    pub macs: f64,
}

/// A core.
#[derive(Clone, Debug, Default)]
pub struct Core {
    /// Its number.
    pub number: usize,
    /// What waits.
    pub waiting: VecDeque<Item>,
    /// What it works on.
    pub now: Option<Item>,
    /// At the low and at the high point.
    pub done: [Done; 2],
    /// Bytes of data through its SRAM.
    pub sram: f64,
    /// Bytes that came from the DRAM.
    pub dram: f64,
    /// Products and additions of weights.
    pub synapses: f64,
    /// Packets received and sent.
    pub packets: [u64; 2],
    /// Changes of the point.
    pub switches: u64,
    /// 0: low, 1: high.
    pub point: usize,
}

impl Core {
    /// The time a piece of work takes, without waiting for the DRAM; counts it.
    pub fn work(&mut self, work: Work, clock: Clock, chip: &Chip) -> Time {
        let cycles = work.cycles + work.array;
        let point = match clock {
            Clock::Low => 0,
            Clock::High => 1,
            Clock::Adaptive => usize::from(cycles > chip.switching_threshold),
        };
        let mut time = (cycles * 1e6 / [chip.low_clock, chip.high_clock][point]).ceil() as Time;
        if clock == Clock::Adaptive && point != self.point {
            self.point = point;
            self.switches += 1;
            time = time.saturating_add((chip.switching_time * 1e6) as Time);
        }
        let done = &mut self.done[point];
        done.time = done.time.saturating_add(time);
        done.cycles += work.cycles;
        done.macs += work.macs;
        self.sram += work.sram;
        self.dram += work.dram;
        self.synapses += work.synapses;
        time
    }

    /// Picojoules of its cycles and array.
    pub fn energy(&self, chip: &Chip) -> f64 {
        let [low, high] = &self.done;
        low.cycles * chip.low_cycle
            + high.cycles * chip.high_cycle
            + low.macs * chip.low_mac
            + high.macs * chip.high_mac
    }

    /// Time it worked.
    pub fn busy(&self) -> Time {
        self.done[0].time.saturating_add(self.done[1].time)
    }
}
