//! What must hold of every graph on every chip: cores receive what the runtime computes, nothing
//! exceeds a core, everything sent arrives, energy adds up, a second run gives the same bits.

use super::random::Random;
use proptest::prelude::*;
use spikelet_chip::{Chip, ChipError, Clock, Mapping, Simulation, Wishes, map, simulate};
use spikelet_graph::Graph;
use spikelet_runtime::{Executor, Output};
use std::collections::BTreeMap;

/// Steps of an input.
pub const STEPS: usize = 6;

/// A node's values that are not zero, by node, step and element, as bits.
pub type Events = BTreeMap<(usize, usize, usize), u32>;

pub fn runtime_events(graph: &Graph, x: &[f32]) -> Events {
    let executor = Executor::new(graph).unwrap();
    let mut events = Events::new();
    let mut add = |node, step: u64, element: usize, value: f32| {
        if value != 0.0 {
            events.insert((node, step as usize, element), value.to_bits());
        }
    };
    let mut out = Vec::new();
    let visit = |seen: &spikelet_runtime::Observation| match seen.output {
        Output::Spikes(spikes) => {
            spikes.iter().for_each(|&spike| add(seen.node, seen.step, spike as usize, 1.0));
        }
        Output::Dense(values) => {
            let values = values.iter().enumerate();
            values.for_each(|(element, &value)| add(seen.node, seen.step, element, value));
        }
    };
    executor.run_observed(&mut [executor.state()], x, &mut out, visit).unwrap();
    events
}

pub fn simulated(
    mapping: &Mapping,
    graph: &Graph,
    x: &[f32],
    clock: Clock,
) -> (Simulation, Events) {
    let mut events = Events::new();
    let simulation = simulate(mapping, graph, x, clock, |delivery| {
        let key = (delivery.node, delivery.step, delivery.element);
        if delivery.value != 0.0 {
            let twice = events.insert(key, delivery.value.to_bits());
            assert!(twice.is_none(), "{key:?} came twice");
        }
    })
    .unwrap();
    (simulation, events)
}

/// A chip whose cores hold so many bytes of data.
fn chip(data: usize, in_flight: usize) -> Chip {
    let chip = Chip::spinnaker2().unwrap();
    let other = chip.program + chip.stack + chip.fifo;
    let chip = chip.with("core.sram", other + data as f64).unwrap();
    chip.with("core.steps_in_flight", in_flight as f64).unwrap()
}

/// Whether a graph fits a chip of random size; then all must hold for its input of [`STEPS`] steps.
pub fn check(graph: &Graph, x: &[f32], random: &mut Random) -> Result<bool, TestCaseError> {
    let chip = chip(400 + random.below(8000), 1 + random.below(3));
    let cores = random.chance(50).then(|| 1 + random.below(60));
    let wishes = Wishes { chips: 1 + random.below(3), cores, fixed: false };
    let mapping = match map(graph, &chip, wishes) {
        Ok(mapping) => mapping,
        Err(ChipError::DoesNotFit { .. }) => return Ok(false),
        Err(error) => return Err(TestCaseError::fail(error.to_string())),
    };
    let used = mapping.core_memory();
    prop_assert!(used.values().all(|&bytes| bytes <= chip.data_bytes()));
    prop_assert!(cores.is_none_or(|cores| used.len() <= cores));

    let clock = [Clock::Low, Clock::High, Clock::Adaptive][random.below(3)];
    let (simulation, events) = simulated(&mapping, graph, x, clock);
    // Nodes that only move values are not sent: what they show is that of others.
    let sent: Vec<usize> = mapping.sent.clone();
    let mut wanted = runtime_events(graph, x);
    wanted.retain(|(node, ..), _| sent.contains(node));
    let last_only = |key: &(usize, usize, usize)| key.1 + 1 == STEPS || events.contains_key(key);
    wanted.retain(|key, _| graph.task.window == 0 || last_only(key));
    prop_assert_eq!(&events, &wanted);

    // Everything sent arrives at everyone it is for.
    let arrived: u64 = simulation.cores.iter().map(|core| core.packets_in).sum();
    let host: u64 = simulation.links.iter().filter(|l| l.kind == "host").map(|l| l.packets).sum();
    prop_assert_eq!(simulation.addressed, simulation.deliveries);
    prop_assert_eq!(arrived + host, simulation.deliveries);
    prop_assert!(simulation.events <= 4 * simulation.packets);

    let energy = simulation.energy;
    let parts = [energy.cores, energy.sram, energy.noc, energy.dram, energy.idle];
    prop_assert!(parts.iter().all(|part| *part >= 0.0));
    let whole = parts.iter().sum::<f64>();
    prop_assert!((whole - simulation.energy_total).abs() <= 1e-9 * whole);
    let by_core: f64 = simulation.cores.iter().map(|core| core.energy).sum();
    prop_assert!((by_core - energy.cores - energy.sram).abs() <= 1e-9 * whole);
    prop_assert!(simulation.cores.iter().all(|core| (0.0..=1.0 + 1e-9).contains(&core.load)));

    // A second run, from the mapping as a file states it, gives the same bits.
    let text = serde_json::to_string(&mapping.assignment()).unwrap();
    let again = Mapping::read(graph, &chip, &text, false).unwrap();
    let (second, _) = simulated(&again, graph, x, clock);
    prop_assert_eq!(second, simulation);
    Ok(true)
}
