//! A graph on the cores of a chip: made by [`map`], or read from a file and checked as strictly.

use crate::{
    chip::Chip,
    error::ChipError,
    layers::{Layers, Read},
    partition::Partition,
    place::{self, Traffic},
    program::{Memory, Program, values_per_packet},
    routes::{Routes, Sender},
    slice::{Extent, Slice},
    task::Task,
};
use serde::{Deserialize, Serialize};
use spikelet_graph::{Graph, Signal};
use std::collections::BTreeMap;

/// What the user decides about a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Chips there are.
    pub chips: usize,
    /// Cores to use: none more, and all of them if the layers can be divided so far. Without, as
    /// few as hold the graph.
    pub cores: Option<usize>,
    /// Compute 32-bit weights in s16.15 instead of floating point.
    pub fixed: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Wishes { chips: 1, cores: None, fixed: false }
    }
}

/// Which core holds what, as a file states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Name of the chip.
    pub chip: String,
    /// Chips there are.
    pub chips: usize,
    /// In the order of the layers.
    pub layers: Vec<Assigned>,
}

/// Where a layer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assigned {
    /// Name of the layer: of its last node.
    pub layer: String,
    /// Where its weights lie.
    pub weights: Store,
    /// Its parts.
    pub parts: Vec<AssignedPart>,
}

/// Where weights lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// In the SRAM of the cores.
    Sram,
    /// In the DRAM: rows come when an event needs them.
    Dram,
}

/// Where a part of a layer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignedPart {
    /// The core, counted over all chips.
    pub core: usize,
    /// First and end of its positions along the first of several axes.
    pub rows: [usize; 2],
    /// First and end of its positions along the last axis.
    pub channels: [usize; 2],
}

/// A part of a layer on its core.
#[derive(Clone, Debug)]
pub struct Part {
    /// The layer.
    pub layer: usize,
    /// The core.
    pub core: usize,
    /// What of the layer.
    pub slice: Slice,
    /// Its weights come from the DRAM.
    pub streams: bool,
    /// SRAM it takes.
    pub memory: Memory,
    /// Its first sender; one for every node that is sent, in their order.
    pub sender: usize,
}

/// A mapped graph.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The chip.
    pub chip: Chip,
    /// Name of the graph.
    pub graph: String,
    /// Chips there are.
    pub chips: usize,
    /// Values of 32 bits are computed in s16.15.
    pub fixed: bool,
    /// The layers.
    pub layers: Layers,
    /// What cores run for them.
    pub programs: Vec<Program>,
    /// All parts, layer after layer.
    pub parts: Vec<Part>,
    /// Who sends: the parts, then the host for every input.
    pub senders: Vec<Sender>,
    /// For every sender, the node whose values it sends.
    pub sent: Vec<usize>,
    /// Their keys and ways.
    pub routes: Routes,
}

/// Puts a graph on a chip.
///
/// # Errors
/// An invalid graph, one that does not fit, or wishes that the chip cannot meet.
pub fn map(graph: &Graph, chip: &Chip, wishes: Wishes) -> Result<Mapping, ChipError> {
    let Wishes { chips, cores, fixed } = wishes;
    check_chips(chip, chips).map_err(ChipError::Request)?;
    let there_are = chips * chip.cores();
    if let Some(wanted) = cores.filter(|&wanted| wanted == 0 || wanted > there_are) {
        let problem = format!("{wanted} cores: there are {there_are} on {chips} x {}", chip.name);
        return Err(ChipError::Request(problem));
    }
    let (layers, programs) = programs(graph, chip, fixed)?;
    let available = cores.unwrap_or(there_are);
    let partition =
        Partition { graph: &graph.name, layers: &layers, programs: &programs, chip, available };
    let (divisions, filled) = partition.divide(cores)?;
    let mut core_of = BTreeMap::new();
    for (core, parts) in filled.iter().enumerate() {
        core_of.extend(parts.iter().map(|part| (*part, core)));
    }
    let assigned = |core_at: &dyn Fn(usize) -> usize| -> Vec<Assigned> {
        let layers = layers.layers.iter().zip(&divisions).enumerate();
        layers
            .map(|(at, (layer, division))| Assigned {
                layer: layer.name.clone(),
                weights: if division.streams { Store::Dram } else { Store::Sram },
                parts: (division.slices.iter().enumerate())
                    .map(|(part, slice)| AssignedPart {
                        core: core_at(core_of[&(at, part)]),
                        rows: [slice.rows.start, slice.rows.end],
                        channels: [slice.channels.start, slice.channels.end],
                    })
                    .collect(),
            })
            .collect()
    };
    // First in the order in which cores were filled, to know who talks to whom.
    let draft = Assignment { chip: chip.name.clone(), chips, layers: assigned(&|core| core) };
    let parts = check_parts(&layers, &programs, chip, &draft)?;
    let (senders, sent) = senders(&layers, &programs, &parts);
    let traffic: Vec<Traffic> = senders
        .iter()
        .zip(&sent)
        .filter_map(|(sender, &node)| {
            let packets = expected_packets(layers.signals[node], sender.units, chip);
            Some(Traffic { from: sender.core?, packets, to: sender.to.clone() })
        })
        .collect();
    let placed = place::place(filled.len(), &traffic, chip);
    let assignment = Assignment { layers: assigned(&|core| placed[core]), ..draft };
    finish(graph, chip, layers, programs, &assignment, fixed)
}

/// As [`map`] on a chip, and where that does not hold the graph on twice as many, and so on up to a
/// board of them. `wishes.chips` is where to begin.
///
/// # Errors
/// As [`map`]; what does not fit a board either.
pub fn map_on_enough(graph: &Graph, chip: &Chip, wishes: Wishes) -> Result<Mapping, ChipError> {
    let most = chip.link_chips as usize;
    let mut chips = wishes.chips;
    loop {
        match map(graph, chip, Wishes { chips, ..wishes }) {
            // More chips do not help those who say how many cores are used.
            Err(ChipError::DoesNotFit { .. }) if wishes.cores.is_none() && chips < most => {
                chips = most.min(2 * chips);
            }
            result => return result,
        }
    }
}

impl Mapping {
    /// The mapping a file states.
    ///
    /// # Errors
    /// As [`map`]; and whatever of the file does not fit graph and chip.
    pub fn read(graph: &Graph, chip: &Chip, text: &str, fixed: bool) -> Result<Self, ChipError> {
        let assignment: Assignment = serde_json::from_str(text)
            .map_err(|error| wrong("the file", format!("is no mapping: {error}")))?;
        let (layers, programs) = programs(graph, chip, fixed)?;
        finish(graph, chip, layers, programs, &assignment, fixed)
    }

    /// What a file states.
    pub fn assignment(&self) -> Assignment {
        let layers = self.layers.layers.iter().enumerate();
        let assigned = layers.map(|(at, layer)| {
            let parts: Vec<&Part> = self.parts.iter().filter(|part| part.layer == at).collect();
            Assigned {
                layer: layer.name.clone(),
                weights: match parts.iter().any(|part| part.streams) {
                    true => Store::Dram,
                    false => Store::Sram,
                },
                parts: (parts.into_iter())
                    .map(|part| AssignedPart {
                        core: part.core,
                        rows: [part.slice.rows.start, part.slice.rows.end],
                        channels: [part.slice.channels.start, part.slice.channels.end],
                    })
                    .collect(),
            }
        });
        let layers = assigned.collect();
        Assignment { chip: self.chip.name.clone(), chips: self.chips, layers }
    }

    /// Bytes of weights in the DRAM.
    pub fn dram_bytes(&self) -> usize {
        dram_bytes(&self.parts, &self.programs, &self.chip)
    }

    /// Bytes taken on every core that is used.
    pub fn core_memory(&self) -> BTreeMap<usize, usize> {
        let mut memory = BTreeMap::new();
        for part in &self.parts {
            *memory.entry(part.core).or_default() += part.memory.total();
        }
        memory
    }
}

fn wrong(place: impl Into<String>, problem: String) -> ChipError {
    ChipError::Mapping { place: place.into(), problem }
}

fn check_chips(chip: &Chip, chips: usize) -> Result<(), String> {
    match chips {
        0 => Err("there must be at least one chip".to_owned()),
        _ if chips as f64 > chip.link_chips => {
            Err(format!("{chips} chips: a board has {}", chip.link_chips))
        }
        _ => Ok(()),
    }
}

fn programs(graph: &Graph, chip: &Chip, fixed: bool) -> Result<(Layers, Vec<Program>), ChipError> {
    let layers = Layers::new(graph)?;
    let counts = graph.counts()?.nodes;
    let program = |layer| Program::new(graph, &layers, layer, &counts, chip, fixed);
    let programs = layers.layers.iter().map(program).collect::<Result<_, _>>()?;
    Ok((layers, programs))
}

fn finish(
    graph: &Graph,
    chip: &Chip,
    layers: Layers,
    programs: Vec<Program>,
    assignment: &Assignment,
    fixed: bool,
) -> Result<Mapping, ChipError> {
    let parts = check_parts(&layers, &programs, chip, assignment)?;
    let (mut senders, mut sent) = senders(&layers, &programs, &parts);
    host_senders(graph, &layers, &parts, &mut senders, &mut sent);
    let routes = Routes::new(&graph.name, &senders, chip)?;
    Ok(Mapping {
        chip: chip.clone(),
        graph: graph.name.clone(),
        chips: assignment.chips,
        fixed,
        layers,
        programs,
        parts,
        senders,
        sent,
        routes,
    })
}

/// Everything that must hold of an assignment, whoever made it.
fn check_parts(
    layers: &Layers,
    programs: &[Program],
    chip: &Chip,
    assignment: &Assignment,
) -> Result<Vec<Part>, ChipError> {
    if assignment.chip != chip.name {
        let problem = format!("`{}` is not `{}`", assignment.chip, chip.name);
        return Err(wrong("chip", problem));
    }
    check_chips(chip, assignment.chips).map_err(|problem| wrong("chips", problem))?;
    if assignment.layers.len() != layers.layers.len() {
        let (found, needed) = (assignment.layers.len(), layers.layers.len());
        return Err(wrong("layers", format!("{found} layers where the graph has {needed}")));
    }
    let cores = assignment.chips * chip.cores();
    let mut parts = Vec::new();
    let mut sender = 0;
    for (at, (assigned, layer)) in assignment.layers.iter().zip(&layers.layers).enumerate() {
        let place = format!("layer `{}`", layer.name);
        if assigned.layer != layer.name {
            return Err(wrong(place, format!("is called `{}` in the file", assigned.layer)));
        }
        let program = &programs[at];
        if assigned.parts.len() > cores {
            let problem = format!("{} parts are more than {cores} cores", assigned.parts.len());
            return Err(wrong(place, problem));
        }
        check_cover(program, assigned).map_err(|problem| wrong(&place, problem))?;
        for part in &assigned.parts {
            if part.core >= cores {
                let problem = format!("core {} does not exist: there are {cores}", part.core);
                return Err(wrong(place, problem));
            }
            let slice = slice_of(part);
            let streams = assigned.weights == Store::Dram;
            let memory = program.memory(&slice, streams, chip);
            parts.push(Part { layer: at, core: part.core, slice, streams, memory, sender });
            sender += layer.sends.len();
        }
    }
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    for part in &parts {
        let taken = taken.entry(part.core).or_default();
        *taken += part.memory.total();
        if *taken > chip.data_bytes() {
            let place = format!("layer `{}`", layers.layers[part.layer].name);
            let room = chip.data_bytes();
            let problem = format!("core {} needs {taken} bytes of {room}", part.core);
            return Err(wrong(place, problem));
        }
    }
    let in_dram = dram_bytes(&parts, programs, chip);
    if in_dram as f64 > chip.dram_bytes * assignment.chips as f64 {
        return Err(wrong("weights", format!("{in_dram} bytes do not fit the DRAM")));
    }
    Ok(parts)
}

fn dram_bytes(parts: &[Part], programs: &[Program], chip: &Chip) -> usize {
    let streamed = parts.iter().filter(|part| part.streams);
    streamed.map(|part| programs[part.layer].streamed_bytes(&part.slice, chip)).sum()
}

fn slice_of(part: &AssignedPart) -> Slice {
    Slice { rows: part.rows[0]..part.rows[1], channels: part.channels[0]..part.channels[1] }
}

/// Parts must hold every element once, in no more pieces than the layer can be cut into.
fn check_cover(program: &Program, assigned: &Assigned) -> Result<(), String> {
    let extent = program.extent;
    let [most_rows, most_channels] = program.most_parts;
    let mut units = 0;
    for (at, part) in assigned.parts.iter().enumerate() {
        let Slice { rows, channels } = slice_of(part);
        let inside = rows.start < rows.end
            && rows.end <= extent.rows
            && channels.start < channels.end
            && channels.end <= extent.channels;
        if !inside {
            return Err(format!(
                "part {at}: rows {rows:?} and channels {channels:?} are not within {} and {}",
                extent.rows, extent.channels
            ));
        }
        if most_rows < extent.rows && rows.len() < extent.rows
            || most_channels < extent.channels && channels.len() < extent.channels
        {
            return Err(format!("part {at}: this layer cannot be cut there"));
        }
        units += extent.units(&slice_of(part));
    }
    // Of the right size together and without a common element, they cover it.
    let mut sorted: Vec<&AssignedPart> = assigned.parts.iter().collect();
    sorted.sort_by_key(|part| (part.rows, part.channels));
    for (at, part) in sorted.iter().enumerate() {
        let slice = slice_of(part);
        let after = sorted[at + 1..].iter().take_while(|other| other.rows[0] < part.rows[1]);
        for other in after {
            if slice.meets(&slice_of(other)) {
                return Err(format!("parts on cores {} and {} overlap", part.core, other.core));
            }
        }
    }
    if units != extent.len() {
        return Err(format!("its parts hold {units} of {} values", extent.len()));
    }
    Ok(())
}

/// Packets a sender is expected to send in a step.
fn expected_packets(signal: Signal, units: usize, chip: &Chip) -> f64 {
    match signal {
        Signal::Binary | Signal::Graded => units as f64 / chip.one_event_in,
        Signal::Dense => units.div_ceil(values_per_packet(chip)) as f64,
    }
}

/// Whether a part of a layer needs what a part of another one (or the host) sends for a read.
pub fn needs(read: &Read, task: &Task, slice: &Slice, sent: Option<&Slice>) -> bool {
    sent.is_none_or(|sent| !read.direct || task.needs(slice).meets(sent))
}

/// What the parts of layers send: one sender for every part and node that is read.
fn senders(layers: &Layers, programs: &[Program], parts: &[Part]) -> (Vec<Sender>, Vec<usize>) {
    let mut senders = Vec::new();
    let mut sent = Vec::new();
    for part in parts {
        let layer = &layers.layers[part.layer];
        let ends_step = layers.last.contains(&part.layer);
        for (at, &node) in layer.sends.iter().enumerate() {
            let listens = |other: &&Part| {
                let tasks =
                    layers.layers[other.layer].reads.iter().zip(&programs[other.layer].tasks);
                tasks.into_iter().any(|(read, task)| {
                    let reads = read.sources.iter().any(|source| source.node == node);
                    reads && needs(read, task, &other.slice, Some(&part.slice))
                })
            };
            let to = sorted(parts.iter().filter(listens).map(|part| part.core));
            let to_host = layers.outputs.contains(&node) || (ends_step && at == 0);
            let units = programs[part.layer].extent.units(&part.slice);
            senders.push(Sender { core: Some(part.core), units, to, to_host });
            sent.push(node);
        }
    }
    (senders, sent)
}

/// The host sends the inputs.
fn host_senders(
    graph: &Graph,
    layers: &Layers,
    parts: &[Part],
    senders: &mut Vec<Sender>,
    sent: &mut Vec<usize>,
) {
    for &node in &layers.inputs {
        let listens = |part: &&Part| {
            let reads = layers.layers[part.layer].reads.iter();
            reads.flat_map(|read| &read.sources).any(|source| source.node == node)
        };
        let to = sorted(parts.iter().filter(listens).map(|part| part.core));
        let units = Extent::of(&graph.nodes[node].shape).len();
        senders.push(Sender { core: None, units, to, to_host: false });
        sent.push(node);
    }
}

/// In ascending order, each once.
fn sorted(cores: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut cores: Vec<usize> = cores.collect();
    cores.sort_unstable();
    cores.dedup();
    cores
}
