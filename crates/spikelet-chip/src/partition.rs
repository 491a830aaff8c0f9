//! Dividing layers into parts that fit a core.
//!
//! Every layer gets the fewest parts that fit. If that takes more cores than there are, small
//! parts share a core; if it still does, the layer that takes most cores keeps its weights in the
//! DRAM, and so on. Spare cores that the user asks for go where they shorten a step most.

use crate::{
    chip::Chip, error::ChipError, layers::Layers, program::Program, slice::Slice, work::Work,
};
use spikelet_graph::Signal;

/// A layer's parts.
#[derive(Clone, Debug)]
pub struct Division {
    /// The parts.
    pub slices: Vec<Slice>,
    /// Its weights lie in the DRAM.
    pub streams: bool,
}

/// Which cores hold which parts: a layer and the number of its part.
pub type Cores = Vec<Vec<(usize, usize)>>;

/// What is divided, and for which cores.
pub struct Partition<'a> {
    /// Name of the graph.
    pub graph: &'a str,
    /// Its layers.
    pub layers: &'a Layers,
    /// Their programs.
    pub programs: &'a [Program],
    /// The chip.
    pub chip: &'a Chip,
    /// Cores there are.
    pub available: usize,
}

impl Partition<'_> {
    /// Divides all layers and puts the parts on cores. With `wanted` cores, more than needed are
    /// used.
    ///
    /// # Errors
    /// [`ChipError::DoesNotFit`], with what does not.
    pub fn divide(&self, wanted: Option<usize>) -> Result<(Vec<Division>, Cores), ChipError> {
        let mut divisions = Vec::new();
        for at in 0..self.programs.len() {
            let fits = self.fewest(at, false).map(|slices| Division { slices, streams: false });
            divisions.push(match fits {
                Some(division) => division,
                None => self.streamed(at)?,
            });
        }
        loop {
            self.check_dram(&divisions)?;
            if let Some(wanted) = wanted {
                self.spread(&mut divisions, wanted);
            }
            if let Some(cores) = self.pack(&divisions) {
                return Ok((divisions, cores));
            }
            // The layer that frees most cores.
            let candidates = (0..divisions.len()).filter(|&at| {
                !divisions[at].streams
                    && self.programs[at].tasks.iter().any(|task| task.can_stream())
            });
            let largest =
                candidates.max_by_key(|&at| (divisions[at].slices.len(), usize::MAX - at));
            match largest {
                Some(at) if divisions[at].slices.len() > 1 => divisions[at] = self.streamed(at)?,
                _ => return Err(self.too_many(&divisions)),
            }
        }
    }

    fn streamed(&self, at: usize) -> Result<Division, ChipError> {
        match self.fewest(at, true) {
            Some(slices) => Ok(Division { slices, streams: true }),
            None => Err(self.too_large(at)),
        }
    }

    /// The fewest parts that fit.
    fn fewest(&self, at: usize, streams: bool) -> Option<Vec<Slice>> {
        let program = &self.programs[at];
        let whole = program.memory(&program.extent.whole(), streams, self.chip).total();
        let [rows, channels] = program.most_parts;
        let most = self.available.min(rows.saturating_mul(channels));
        let least = whole.div_ceil(self.chip.data_bytes()).max(1);
        (least..=most).find_map(|parts| self.cut(at, streams, parts))
    }

    /// That many parts, or a few less, if they fit; cut so that the largest is smallest.
    fn cut(&self, at: usize, streams: bool, parts: usize) -> Option<Vec<Slice>> {
        let program = &self.programs[at];
        let [most_rows, most_channels] = program.most_parts;
        let mut best: Option<(usize, Vec<Slice>)> = None;
        let mut before = 0;
        for rows in 1..=parts.min(most_rows) {
            let channels = (parts / rows).min(most_channels);
            // More rows with as many channels only add parts.
            if channels == before && channels != most_channels {
                continue;
            }
            before = channels;
            let slices = program.extent.cut(rows, channels);
            let memory = |slice: &Slice| program.memory(slice, streams, self.chip).total();
            let largest = slices.iter().map(memory).max().unwrap_or(0);
            if best.as_ref().is_none_or(|(least, _)| largest < *least) {
                best = Some((largest, slices));
            }
        }
        best.filter(|(largest, _)| *largest <= self.chip.data_bytes()).map(|(_, slices)| slices)
    }

    /// Gives layers more parts until all wanted cores are used.
    fn spread(&self, divisions: &mut [Division], wanted: usize) {
        let work: Vec<f64> = (0..divisions.len()).map(|at| self.expected_work(at)).collect();
        let mut full = vec![false; divisions.len()];
        loop {
            let used: usize = divisions.iter().map(|division| division.slices.len()).sum();
            if used >= wanted {
                return;
            }
            let gain = |at: &usize| {
                let parts = divisions[*at].slices.len() as f64;
                work[*at] / (parts * (parts + 1.0))
            };
            let open = (0..divisions.len()).filter(|&at| !full[at]);
            let Some(at) = open.max_by(|a, b| gain(a).total_cmp(&gain(b)).then(b.cmp(a))) else {
                return;
            };
            let parts = divisions[at].slices.len();
            let more = (parts + 1..=parts + wanted - used)
                .filter_map(|parts| self.cut(at, divisions[at].streams, parts))
                .find(|slices| slices.len() > parts);
            match more {
                Some(slices) => divisions[at].slices = slices,
                None => full[at] = true,
            }
        }
    }

    /// Cycles of a step of a whole layer at the expected activity.
    fn expected_work(&self, at: usize) -> f64 {
        let program = &self.programs[at];
        let one_in = self.chip.one_event_in as usize;
        let whole = program.extent.whole();
        let mut work: Work = program.update(&whole, self.chip);
        for task in &program.tasks {
            let events: Vec<u32> = (0..task.from.len() as u32).step_by(one_in).collect();
            let active = (task.signal != Signal::Dense).then_some(&events[..]);
            work.add(task.cost(&whole, false).work(active, self.chip));
        }
        work.cycles
    }

    /// Puts parts on cores: each on its own, or, where there are too few, several on one.
    fn pack(&self, divisions: &[Division]) -> Option<Cores> {
        let parts = divisions.iter().enumerate().flat_map(|(layer, division)| {
            (0..division.slices.len()).map(move |part| (layer, part))
        });
        let count: usize = divisions.iter().map(|division| division.slices.len()).sum();
        if count <= self.available {
            return Some(parts.map(|part| vec![part]).collect());
        }
        let mut cores: Cores = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        for (layer, part) in parts {
            let division = &divisions[layer];
            let memory = self.programs[layer]
                .memory(&division.slices[part], division.streams, self.chip)
                .total();
            // Parts of one layer run at the same time: they do not share a core.
            let takes = |core: &usize| {
                free[*core] >= memory && cores[*core].iter().all(|(other, _)| *other != layer)
            };
            match (0..cores.len()).find(takes) {
                Some(core) => {
                    cores[core].push((layer, part));
                    free[core] -= memory;
                }
                None if cores.len() < self.available => {
                    cores.push(vec![(layer, part)]);
                    free.push(self.chip.data_bytes() - memory);
                }
                None => return None,
            }
        }
        Some(cores)
    }

    fn check_dram(&self, divisions: &[Division]) -> Result<(), ChipError> {
        let bytes: usize = divisions
            .iter()
            .zip(self.programs)
            .filter(|(division, _)| division.streams)
            .flat_map(|(division, program)| {
                division.slices.iter().map(|slice| program.streamed_bytes(slice, self.chip))
            })
            .sum();
        let chips = self.available.div_ceil(self.chip.cores());
        if bytes as f64 > self.chip.dram_bytes * chips as f64 {
            return Err(self.refuse(format!(
                "{bytes} bytes of weights do not fit {} bytes of DRAM: use more chips, prune, or \
                 use integers (spikelet compress)",
                self.chip.dram_bytes * chips as f64
            )));
        }
        Ok(())
    }

    fn refuse(&self, problem: String) -> ChipError {
        ChipError::DoesNotFit { graph: self.graph.to_owned(), problem }
    }

    fn too_large(&self, at: usize) -> ChipError {
        let program = &self.programs[at];
        let [rows, channels] = program.most_parts;
        let parts = rows.saturating_mul(channels);
        let row_parts = rows.min(self.available);
        let smallest = &program.extent.cut(row_parts, channels.min(self.available / row_parts))[0];
        let memory = program.memory(smallest, true, self.chip);
        let room = self.chip.data_bytes();
        let cut = match parts {
            1 => "it cannot be divided".to_owned(),
            _ => format!("it can be divided into {} parts here", parts.min(self.available)),
        };
        self.refuse(format!(
            "layer `{}` needs {} bytes on a core even with its weights in the DRAM ({} for weights, \
             {} for constants, {} for state and sums, {} for what arrives), a core has {room}; \
             {cut}. Use more cores or chips, or smaller layers",
            self.layers.layers[at].name,
            memory.total(),
            memory.weights,
            memory.constants,
            memory.state,
            memory.buffers,
        ))
    }

    fn too_many(&self, divisions: &[Division]) -> ChipError {
        let count: usize = divisions.iter().map(|division| division.slices.len()).sum();
        let mut largest: Vec<usize> = (0..divisions.len()).collect();
        largest.sort_by_key(|&at| (usize::MAX - divisions[at].slices.len(), at));
        let named: Vec<String> = largest
            .iter()
            .take(3)
            .map(|&at| format!("`{}` {}", self.layers.layers[at].name, divisions[at].slices.len()))
            .collect();
        self.refuse(format!(
            "it takes {count} parts with all weights in the DRAM, and {} cores do not hold them; \
             most are for {}. Use more cores or chips",
            self.available,
            named.join(", ")
        ))
    }
}
