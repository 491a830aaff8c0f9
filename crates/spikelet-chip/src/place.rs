//! Placing cores on the chip so that routes are short.
//!
//! Parts of one layer fill quads together: they receive the same packets, and a quad gets one
//! copy. Then pairs of quads change places as long as that shortens the way of all packets.

use crate::{chip::Chip, geometry::Geometry};

/// What a core sends a step: packets, to which cores. Cores are numbered as they were filled.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The core.
    pub from: usize,
    /// Expected packets of a step.
    pub packets: f64,
    /// Where they go.
    pub to: Vec<usize>,
}

/// The most rounds of exchanges.
const ROUNDS: usize = 8;

/// For every core as it was filled, its number on the chips.
pub fn place(cores: usize, traffic: &[Traffic], chip: &Chip) -> Vec<usize> {
    let per_chip = chip.cores();
    let mut placed = Vec::with_capacity(cores);
    for (number, start) in (0..cores).step_by(per_chip).enumerate() {
        let end = (start + per_chip).min(cores);
        let quads = Quads::new(start..end, traffic, chip);
        placed.extend(quads.settled().into_iter().map(|core| number * per_chip + core));
    }
    placed
}

/// The quads of one chip and what they send each other.
struct Quads {
    geometry: Geometry,
    per_quad: usize,
    cores: usize,
    quads: usize,
    /// Sending quad, packets, receiving quads.
    flows: Vec<(usize, f64, Vec<usize>)>,
}

impl Quads {
    fn new(cores: std::ops::Range<usize>, traffic: &[Traffic], chip: &Chip) -> Self {
        let per_quad = chip.cores_per_quad as usize;
        let quad = |core: &usize| (core - cores.start) / per_quad;
        let flows = traffic
            .iter()
            .filter(|flow| cores.contains(&flow.from))
            .map(|flow| {
                let mut to: Vec<usize> =
                    flow.to.iter().filter(|core| cores.contains(core)).map(quad).collect();
                to.sort_unstable();
                to.dedup();
                (quad(&flow.from), flow.packets, to)
            })
            .collect();
        let quads = chip.quads as usize;
        Quads { geometry: Geometry::new(chip), per_quad, cores: cores.len(), quads, flows }
    }

    /// Hops of all packets when every quad is where `places` says.
    fn hops(&self, places: &[usize]) -> f64 {
        let router = self.geometry.router();
        let mut sites = Vec::new();
        let flow = |(from, packets, to): &(usize, f64, Vec<usize>)| {
            sites.clear();
            sites.extend(to.iter().map(|&quad| self.geometry.quad(places[quad])));
            let (x, y) = self.geometry.place(self.geometry.quad(places[*from]));
            let (rx, ry) = self.geometry.place(router);
            let there = x.abs_diff(rx) + y.abs_diff(ry);
            packets * (there + self.geometry.tree_links(&sites)) as f64
        };
        self.flows.iter().map(flow).sum()
    }

    /// The core numbers after all exchanges.
    fn settled(&self) -> Vec<usize> {
        // The quads nearest to the router are filled first.
        let mut places: Vec<usize> = (0..self.quads).collect();
        let (rx, ry) = self.geometry.place(self.geometry.router());
        places.sort_by_key(|&quad| {
            let (x, y) = self.geometry.place(self.geometry.quad(quad));
            (x.abs_diff(rx) + y.abs_diff(ry), quad)
        });
        let filled = self.cores.div_ceil(self.per_quad);
        let mut least = self.hops(&places);
        for _ in 0..ROUNDS {
            let before = least;
            for a in 0..filled {
                for b in a + 1..self.quads {
                    places.swap(a, b);
                    let hops = self.hops(&places);
                    if hops < least {
                        least = hops;
                    } else {
                        places.swap(a, b);
                    }
                }
            }
            if least >= before {
                break;
            }
        }
        (0..self.cores)
            .map(|core| places[core / self.per_quad] * self.per_quad + core % self.per_quad)
            .collect()
    }
}
