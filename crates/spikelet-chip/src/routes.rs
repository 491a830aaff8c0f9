//! Keys, routing tables, and the trees along which packets go.

use crate::{chip::Chip, error::ChipError, geometry::Geometry};
use std::collections::BTreeMap;

/// Who sends, and to whom.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The core; none is the host.
    pub core: Option<usize>,
    /// Values it may send in a step.
    pub units: usize,
    /// The cores that listen.
    pub to: Vec<usize>,
    /// The host listens.
    pub to_host: bool,
}

/// Something that serves packets one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// A link between sites: chip, site, way.
    Mesh(usize, usize, usize),
    /// The event router of a chip.
    Router(usize),
    /// A link between chips: chip, way.
    Chip(usize, usize),
    /// The port of a core.
    Core(usize),
    /// The way to the host.
    Host,
}

/// A station of a tree of routes.
#[derive(Clone, Debug)]
pub struct Station {
    /// What serves packets there.
    pub server: Server,
    /// The stations after it.
    pub next: Vec<u32>,
}

/// The tree of one sender.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its first key; the keys of its units follow, and that of the end of a step.
    pub key: u32,
    /// The bits of a key that name the sender.
    pub mask: u32,
    /// Stations; the first is the root.
    pub stations: Vec<Station>,
}

/// The routes of all senders.
#[derive(Clone, Debug)]
pub struct Routes {
    /// In the order of the senders.
    pub routes: Vec<Route>,
    /// First keys with the sender, sorted: what the routers look up.
    table: Vec<(u32, usize)>,
    /// Entries in the table of every chip.
    pub entries: BTreeMap<usize, usize>,
}

impl Routes {
    /// Gives every sender its keys and its tree.
    ///
    /// # Errors
    /// More keys than 32 bits hold, or more entries than a router has.
    pub fn new(graph: &str, senders: &[Sender], chip: &Chip) -> Result<Self, ChipError> {
        let refuse = |problem| ChipError::DoesNotFit { graph: graph.to_owned(), problem };
        let mut order: Vec<usize> = (0..senders.len()).collect();
        // Blocks of a power of two from the largest down leave no gaps.
        let size = |at: usize| (senders[at].units as u64 + 1).next_power_of_two();
        order.sort_by_key(|&at| (u64::MAX - size(at), at));
        let mut routes: Vec<Option<Route>> = vec![None; senders.len()];
        let mut table = Vec::new();
        let mut next = 0_u64;
        let mut entries = BTreeMap::new();
        let geometry = Geometry::new(chip);
        for at in order {
            let key = u32::try_from(next).ok();
            next += size(at);
            let Some(key) = key.filter(|_| next <= 1 << 32) else {
                return Err(refuse(format!(
                    "{} senders need more keys than 32 bits hold: use fewer or smaller layers",
                    senders.len()
                )));
            };
            let mask = !((size(at) - 1) as u32);
            let stations = tree(&senders[at], &geometry, chip);
            for station in &stations {
                if let Server::Router(chip) = station.server {
                    *entries.entry(chip).or_default() += 1;
                }
            }
            table.push((key, at));
            routes[at] = Some(Route { key, mask, stations });
        }
        if let Some((number, entries)) =
            entries.iter().find(|(_, entries)| **entries as f64 > chip.router_entries)
        {
            return Err(refuse(format!(
                "chip {number} needs {entries} routing entries of {}: use fewer parts (--cores)",
                chip.router_entries
            )));
        }
        table.sort_unstable();
        Ok(Routes { routes: routes.into_iter().flatten().collect(), table, entries })
    }

    /// Looks a key up as a router does: the sender and the unit, or what comes after the last unit
    /// at the end of a step.
    pub fn look_up(&self, key: u32) -> Option<(usize, u32)> {
        let at = self.table.partition_point(|(first, _)| *first <= key).checked_sub(1)?;
        let (first, sender) = self.table[at];
        (key & self.routes[sender].mask == first).then_some((sender, key - first))
    }
}

/// The tree from a sender to all that listen.
fn tree(sender: &Sender, geometry: &Geometry, chip: &Chip) -> Vec<Station> {
    let per_chip = chip.cores();
    let site = |core: usize| geometry.quad(core % per_chip / chip.cores_per_quad as usize);
    let (home, start) = match sender.core {
        Some(core) => (core / per_chip, site(core)),
        None => (0, geometry.host()),
    };
    let mesh = |chip: usize, path: Vec<(usize, usize)>| {
        path.into_iter().map(move |(site, way)| Server::Mesh(chip, site, way))
    };
    let mut trunk: Vec<Server> = mesh(home, geometry.path(start, geometry.router())).collect();
    trunk.push(Server::Router(home));
    let mut stations: Vec<Station> = Vec::new();
    let mut paths = |end_chip: usize, end_site: usize, end: Server| {
        let mut path = trunk.clone();
        let mut hops = geometry.chip_path(home, end_chip).into_iter().peekable();
        while let Some((chip, way)) = hops.next() {
            path.push(Server::Chip(chip, way));
            path.push(Server::Router(hops.peek().map_or(end_chip, |next| next.0)));
        }
        path.extend(mesh(end_chip, geometry.path(geometry.router(), end_site)));
        path.push(end);
        insert(&mut stations, &path);
    };
    for &core in &sender.to {
        paths(core / per_chip, site(core), Server::Core(core));
    }
    if sender.to_host {
        paths(0, geometry.host(), Server::Host);
    }
    stations
}

/// Adds a path from the root of a tree.
fn insert(stations: &mut Vec<Station>, path: &[Server]) {
    let Some((root, rest)) = path.split_first() else { return };
    if stations.is_empty() {
        stations.push(Station { server: *root, next: Vec::new() });
    }
    let mut at = 0;
    for server in rest {
        let found =
            stations[at].next.iter().find(|next| stations[**next as usize].server == *server);
        at = match found {
            Some(next) => *next as usize,
            None => {
                stations.push(Station { server: *server, next: Vec::new() });
                let new = stations.len() - 1;
                stations[at].next.push(new as u32);
                new
            }
        };
    }
}
