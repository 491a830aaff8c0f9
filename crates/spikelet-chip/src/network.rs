//! Links, routers and ports as servers: each passes packets on one after the other.
//!
//! The packets that a core sends in a step along one route are simulated as a train: it has a
//! first and a last packet, and takes its number of packets of every server's time. A server that
//! is still busy with earlier trains makes it wait.

use crate::{
    chip::Chip,
    routes::{Routes, Server},
};
use std::collections::BTreeMap;

/// Picoseconds.
pub type Time = u64;

/// What a server is and what went through it.
#[derive(Clone, Debug)]
pub struct Load {
    /// Which.
    pub server: Server,
    /// Packets.
    pub packets: u64,
    /// Bits.
    pub bits: f64,
    /// Time it was busy.
    pub busy: Time,
    /// Time that trains waited for it, together.
    pub waited: Time,
    /// From the arrival of a packet to its departure.
    latency: Time,
    /// Of one packet; links to other chips and the host take it a bit.
    packet: f64,
    bit: f64,
    free: Time,
}

/// A station of a route, with its server resolved.
#[derive(Clone, Debug)]
pub struct Stop {
    /// The server's number.
    pub server: u32,
    /// The stations after it.
    pub next: Vec<u32>,
}

/// All servers and routes.
pub struct Network {
    /// What went through.
    pub loads: Vec<Load>,
    /// The stations of every sender.
    pub routes: Vec<Vec<Stop>>,
}

impl Network {
    /// The servers that the routes use, idle.
    pub fn new(routes: &Routes, chip: &Chip) -> Self {
        let mut numbers = BTreeMap::new();
        let stations = routes.routes.iter().flat_map(|route| &route.stations);
        for station in stations {
            numbers.insert(station.server, 0);
        }
        for (number, place) in numbers.values_mut().enumerate() {
            *place = number as u32;
        }
        let loads = numbers.keys().map(|&server| Load::idle(server, chip)).collect();
        let stop = |station: &crate::routes::Station| Stop {
            server: numbers[&station.server],
            next: station.next.clone(),
        };
        let routes = routes.routes.iter().map(|r| r.stations.iter().map(stop).collect()).collect();
        Network { loads, routes }
    }

    /// A train whose packets arrive from `head` to `tail`; gives when its first and last packets
    /// have passed.
    pub fn pass(
        &mut self,
        server: u32,
        packets: u64,
        bits: f64,
        [head, tail]: [Time; 2],
    ) -> [Time; 2] {
        let load = &mut self.loads[server as usize];
        let takes = (packets as f64 * load.packet + bits * load.bit).round() as Time;
        let start = head.max(load.free);
        load.free = start.saturating_add(takes);
        load.packets += packets;
        load.bits += bits;
        load.busy = load.busy.saturating_add(takes);
        load.waited = load.waited.saturating_add(start - head);
        let one = takes / packets.max(1);
        let first = start.saturating_add(one);
        let last = tail.saturating_add(one).max(load.free);
        [first, last].map(|time| time.saturating_add(load.latency))
    }
}

impl Load {
    fn idle(server: Server, chip: &Chip) -> Self {
        let cycle = |mhz: f64| 1e6 / mhz;
        let (latency, packet, bit) = match server {
            Server::Mesh(..) => {
                let cycle = cycle(chip.noc_clock);
                (chip.hop_cycles * cycle, cycle, 0.0)
            }
            Server::Router(_) => {
                let cycle = cycle(chip.router_clock);
                (chip.router_latency * cycle, cycle / chip.router_engines, 0.0)
            }
            Server::Chip(..) => (chip.link_latency * 1e6, 0.0, 1e3 / chip.link_rate),
            Server::Core(_) => (0.0, cycle(chip.noc_clock), 0.0),
            Server::Host => (0.0, 0.0, 1e3 / chip.host_rate),
        };
        let latency = latency.round() as Time;
        Load { server, packets: 0, bits: 0.0, busy: 0, waited: 0, latency, packet, bit, free: 0 }
    }
}
