//! Which edges of a loop wait a step.
//!
//! NIR describes continuous time: nothing says where in a loop a step passes. Every simulator
//! delays the way back by one step, so that a neuron sees the spikes of the step before
//! (snnTorch's `RLeaky`, `RSynaptic`). Which edge is the way back is a convention, too, when two
//! loops cross; the file's metadata may say which edges the writer meant, and only edges that are
//! part of a loop are taken from there.

use std::collections::{BTreeMap, BTreeSet};

/// The edges that wait a step, by index. `inputs` are where values enter, `holds` says of every
/// node whether it has a state, `waits` of every edge whether it waits anyway, `hints` names
/// edges that the writer meant.
pub(super) fn delayed(
    inputs: &[usize],
    holds: &[bool],
    edges: &[[usize; 2]],
    waits: &[bool],
    hints: &[usize],
) -> BTreeSet<usize> {
    let mut out = vec![Vec::new(); holds.len()];
    let mut sources = vec![Vec::new(); holds.len()];
    for (edge, [from, to]) in edges.iter().enumerate() {
        out[*from].push(edge);
        sources[*to].push(edge);
    }
    let mut delayed: BTreeSet<usize> = hints
        .iter()
        .copied()
        .filter(|&edge| !waits[edge] && reaches(&out, edges, edges[edge][1], edges[edge][0]))
        .collect();
    let mut search = Search {
        edges,
        out: &out,
        skip: (0..edges.len()).map(|edge| waits[edge] || delayed.contains(&edge)).collect(),
        state: vec![State::New; holds.len()],
        back: Vec::new(),
    };
    for start in inputs.iter().copied().chain(0..holds.len()) {
        search.from(start);
    }
    let back = search.back;
    // From the edge that closes a loop back to where its value is spiked, as long as nobody else
    // is concerned: lif -> w_rec -> lif waits before w_rec, so that a bias acts from the start.
    for mut edge in back {
        loop {
            let from = edges[edge][0];
            match (&sources[from][..], &out[from][..]) {
                (&[before], &[_]) if !holds[from] && !waits[before] => edge = before,
                _ => break,
            }
        }
        delayed.insert(edge);
    }
    delayed
}

/// Whether there is a path.
pub(super) fn reaches(
    out: &[Vec<usize>],
    edges: &[[usize; 2]],
    from: usize,
    target: usize,
) -> bool {
    let mut seen = vec![false; out.len()];
    let mut left = vec![from];
    while let Some(node) = left.pop() {
        if node == target {
            return true;
        }
        if !std::mem::replace(&mut seen[node], true) {
            left.extend(out[node].iter().map(|&edge| edges[edge][1]));
        }
    }
    false
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    OnPath,
    Done,
}

/// A search in depth; an edge to a node of its own path closes a loop.
struct Search<'a> {
    edges: &'a [[usize; 2]],
    out: &'a [Vec<usize>],
    skip: Vec<bool>,
    state: Vec<State>,
    back: Vec<usize>,
}

impl Search<'_> {
    fn from(&mut self, start: usize) {
        if self.state[start] != State::New {
            return;
        }
        self.state[start] = State::OnPath;
        // Node, and which of its edges comes next.
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.last_mut() {
            let Some(&edge) = self.out[*node].get(*next) else {
                self.state[*node] = State::Done;
                path.pop();
                continue;
            };
            *next += 1;
            if self.skip[edge] {
                continue;
            }
            let to = self.edges[edge][1];
            match self.state[to] {
                State::New => {
                    self.state[to] = State::OnPath;
                    path.push((to, 0));
                }
                State::OnPath => self.back.push(edge),
                State::Done => {}
            }
        }
    }
}

/// The positions of names among the keys of a map.
pub(super) fn positions<V>(map: &BTreeMap<String, V>) -> BTreeMap<&str, usize> {
    map.keys().enumerate().map(|(position, name)| (name.as_str(), position)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// input -> fc -> lif -> out, lif -> rec -> lif
    const EDGES: [[usize; 2]; 5] = [[0, 1], [1, 2], [2, 3], [2, 4], [4, 2]];
    const HOLDS: [bool; 5] = [false, false, true, false, false];

    #[test]
    fn a_recurrent_layer_sees_the_step_before() {
        let found = delayed(&[0], &HOLDS, &EDGES, &[false; 5], &[]);
        assert_eq!(found, [3].into());
    }

    #[test]
    fn a_loop_with_a_delay_of_its_own_waits_no_longer() {
        let mut waits = [false; 5];
        waits[4] = true;
        assert!(delayed(&[0], &HOLDS, &EDGES, &waits, &[]).is_empty());
    }

    #[test]
    fn hints_count_only_within_loops() {
        let found = delayed(&[0], &HOLDS, &EDGES, &[false; 5], &[0, 4]);
        assert_eq!(found, [4].into());
    }

    #[test]
    fn a_neuron_that_feeds_itself() {
        assert_eq!(delayed(&[0], &[false, true], &[[0, 1], [1, 1]], &[false; 2], &[]), [1].into());
    }

    #[test]
    fn a_loop_without_input_is_found() {
        assert_eq!(delayed(&[], &[true, true], &[[0, 1], [1, 0]], &[false; 2], &[]).len(), 1);
    }
}
