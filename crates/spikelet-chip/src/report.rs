//! What a simulation found.

use crate::{
    chip::{Chip, Constant},
    cores::Core,
    engine::{Delivery, Engine},
    geometry::Geometry,
    network::{Load, Time},
    routes::Server,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Where energy went, in joules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Energy {
    /// Cycles of the cores and products of their arrays.
    pub cores: f64,
    /// Data read and written in SRAM.
    pub sram: f64,
    /// Links and routers.
    pub noc: f64,
    /// The DRAM.
    pub dram: f64,
    /// What the chips and the cores that are switched on take all the time.
    pub idle: f64,
}

impl Energy {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.cores + self.sram + self.noc + self.dram + self.idle
    }
}

/// What a core did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoreLoad {
    /// Its number.
    pub core: usize,
    /// Its quad's place on the mesh.
    pub site: [usize; 2],
    /// The layers it computes.
    pub layers: Vec<String>,
    /// Bytes of data in its SRAM.
    pub memory: usize,
    /// The share of the time it worked.
    pub load: f64,
    /// Seconds it worked at the low and at the high point.
    pub seconds: [f64; 2],
    /// Changes between the points.
    pub switches: u64,
    /// Products and additions of weights.
    pub synapses: f64,
    /// Packets that arrived.
    pub packets_in: u64,
    /// Packets it sent.
    pub packets_out: u64,
    /// Joules of its cycles, array and SRAM.
    pub energy: f64,
}

/// What a link between sites, a router or a link between chips did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkLoad {
    /// What it is: `mesh`, `router`, `chip` or `host`.
    pub kind: &'static str,
    /// Its chip.
    pub chip: usize,
    /// The site it leaves from, for links of a mesh.
    pub from: Option<[usize; 2]>,
    /// The site it goes to.
    pub to: Option<[usize; 2]>,
    /// Packets.
    pub packets: u64,
    /// The share of the time it was busy.
    pub load: f64,
    /// Seconds that packets waited for it, summed over groups that were sent together.
    pub waited: f64,
}

/// What a simulation found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Simulation {
    /// Name of the chip.
    pub chip: String,
    /// Chips.
    pub chips: usize,
    /// Cores that compute.
    pub cores_used: usize,
    /// Steps.
    pub steps: usize,
    /// Seconds from the first packet of the first step to the last packet of the last, on chip.
    pub latency: f64,
    /// The same with the way from and to the host.
    pub latency_with_host: f64,
    /// Joules.
    pub energy: Energy,
    /// Joules, all parts together.
    pub energy_total: f64,
    /// Watts.
    pub power: f64,
    /// Values that packets carried.
    pub events: u64,
    /// Packets sent, with those that end a step.
    pub packets: u64,
    /// Packets times the cores (and the host) they are for.
    pub addressed: u64,
    /// Packets that arrived at a core or at the host, each counted.
    pub deliveries: u64,
    /// Links that packets passed, each counted.
    pub hops: u64,
    /// Products and additions of weights.
    pub synapses: f64,
    /// Bytes from the DRAM.
    pub dram_bytes: f64,
    /// Events that the simulation processed.
    pub processed: u64,
    /// What the graph returned after the last step.
    pub output: Vec<f32>,
    /// Every core that is used.
    pub cores: Vec<CoreLoad>,
    /// Every link that is used.
    pub links: Vec<LinkLoad>,
    /// What all of this is built on.
    pub constants: Vec<Constant>,
}

const PICO: f64 = 1e-12;

fn seconds(time: Time) -> f64 {
    time as f64 * PICO
}

impl Simulation {
    pub(crate) fn new<F: FnMut(Delivery)>(engine: &Engine<F>) -> Self {
        let chip = &engine.mapping.chip;
        let latency = seconds(engine.counts.end.max(engine.now));
        let cores = &engine.cores;
        let sum = |of: &dyn Fn(&Core) -> f64| cores.iter().map(of).sum::<f64>();
        let loads = &engine.network.loads;
        let mesh = |load: &&Load| matches!(load.server, Server::Mesh(..));
        let bits = |of: &dyn Fn(&Server) -> bool| {
            loads.iter().filter(|load| of(&load.server)).map(|load| load.bits).sum::<f64>()
        };
        let lookups = loads.iter().filter(|load| matches!(load.server, Server::Router(_)));
        let lookups: u64 = lookups.map(|load| load.packets).sum();
        let watts =
            engine.mapping.chips as f64 * chip.idle_chip + cores.len() as f64 * chip.idle_core;
        let energy = Energy {
            cores: PICO * sum(&|core| core.energy(chip)),
            sram: PICO * sum(&|core| core.sram) * chip.sram_byte,
            noc: PICO
                * (bits(&|server| matches!(server, Server::Mesh(..))) * chip.noc_bit
                    + bits(&|server| matches!(server, Server::Chip(..))) * chip.link_bit
                    + lookups as f64 * chip.router_lookup),
            dram: PICO * sum(&|core| core.dram) * chip.dram_byte,
            idle: watts * latency,
        };
        let counts = engine.counts;
        Simulation {
            chip: chip.name.clone(),
            chips: engine.mapping.chips,
            cores_used: cores.len(),
            steps: engine.steps(),
            latency,
            latency_with_host: latency + 2e-6 * chip.host_latency,
            energy,
            energy_total: energy.total(),
            power: energy.total() / latency.max(PICO),
            events: counts.events,
            packets: counts.packets,
            addressed: counts.addressed,
            deliveries: counts.deliveries,
            hops: loads.iter().filter(mesh).map(|load| load.packets).sum(),
            synapses: sum(&|core| core.synapses),
            dram_bytes: sum(&|core| core.dram),
            processed: counts.processed,
            output: engine.output().to_vec(),
            cores: core_loads(engine, latency),
            links: loads.iter().filter_map(|load| LinkLoad::of(load, chip, latency)).collect(),
            constants: chip.constants.clone(),
        }
    }
}

fn core_loads<F: FnMut(Delivery)>(engine: &Engine<F>, latency: f64) -> Vec<CoreLoad> {
    let mapping = engine.mapping;
    let chip = &mapping.chip;
    let memory = mapping.core_memory();
    let mut layers: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for part in &mapping.parts {
        let name = mapping.layers.layers[part.layer].name.clone();
        layers.entry(part.core).or_default().push(name);
    }
    let load = |core: &Core| CoreLoad {
        core: core.number,
        site: site_of(core.number, chip),
        layers: layers.get(&core.number).cloned().unwrap_or_default(),
        memory: memory.get(&core.number).copied().unwrap_or(0),
        load: seconds(core.busy()) / latency.max(PICO),
        seconds: core.done.map(|done| seconds(done.time)),
        switches: core.switches,
        synapses: core.synapses,
        packets_in: core.packets[0],
        packets_out: core.packets[1],
        energy: PICO * (core.energy(chip) + core.sram * chip.sram_byte),
    };
    engine.cores.iter().map(load).collect()
}

/// The place of a core's quad on the mesh of its chip.
pub(crate) fn site_of(core: usize, chip: &Chip) -> [usize; 2] {
    let geometry = Geometry::new(chip);
    let quad = core % chip.cores() / chip.cores_per_quad as usize;
    let (x, y) = geometry.place(geometry.quad(quad));
    [x, y]
}

impl LinkLoad {
    fn of(load: &Load, chip: &Chip, latency: f64) -> Option<Self> {
        let geometry = Geometry::new(chip);
        let (kind, number, from, to) = match load.server {
            Server::Mesh(chip, site, way) => {
                let (x, y) = geometry.place(site);
                let (dx, dy) = crate::geometry::WAYS[way];
                let to = [x.wrapping_add_signed(dx), y.wrapping_add_signed(dy)];
                ("mesh", chip, Some([x, y]), Some(to))
            }
            Server::Router(chip) => ("router", chip, None, None),
            Server::Chip(chip, _) => ("chip", chip, None, None),
            Server::Host => ("host", 0, None, None),
            Server::Core(_) => return None,
        };
        Some(LinkLoad {
            kind,
            chip: number,
            from,
            to,
            packets: load.packets,
            load: seconds(load.busy) / latency.max(PICO),
            waited: seconds(load.waited),
        })
    }
}
