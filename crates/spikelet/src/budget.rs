//! A form of a graph that fits a device: fewer bits, fewer weights, another order.

use crate::{
    evaluate::evaluate,
    failure::{Failure, Result},
    labelled::{Source, largest_inputs},
    ui::Ui,
};
use serde::Serialize;
use spikelet_graph::{
    Graph, Op,
    compress::{Bits, Scope, integer_only, prune, quantize_channels},
    export::{Memory, memory},
};
use std::str::FromStr;

/// Bytes of a device.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Budget {
    flash: Option<usize>,
    ram: Option<usize>,
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let mut budget = Budget { flash: None, ram: None };
        for part in text.split(',') {
            let wrong = || format!("`{part}` is not flash=BYTES or ram=BYTES");
            let (name, size) = part.split_once('=').ok_or_else(wrong)?;
            let field = match name.trim() {
                "flash" => &mut budget.flash,
                "ram" => &mut budget.ram,
                _ => return Err(wrong()),
            };
            let size = size.trim().to_ascii_uppercase();
            let digits = size.trim_end_matches(['K', 'M']);
            let unit = match &size[digits.len()..] {
                "" => 1,
                "K" => 1 << 10,
                "M" => 1 << 20,
                _ => return Err(wrong()),
            };
            let bytes: usize = digits.parse().map_err(|_| wrong())?;
            if field.replace(bytes.checked_mul(unit).ok_or_else(wrong)?).is_some() {
                return Err(format!("`{name}` is there twice"));
            }
        }
        Ok(budget)
    }
}

impl Budget {
    fn holds(&self, memory: &Memory) -> bool {
        self.flash.is_none_or(|flash| memory.flash() <= flash)
            && self.ram.is_none_or(|ram| memory.ram() <= ram)
    }
}

/// What was done to make a graph fit.
#[derive(Clone, Debug, Serialize)]
pub struct Fit {
    bits: u32,
    pruned: f64,
    /// The nodes run in another order than the file's.
    reordered: bool,
    memory: Memory,
    /// On the part of the data that measures, where it is found.
    accuracy: Option<f64>,
    tried: usize,
}

impl Fit {
    /// In words.
    pub fn text(&self) -> String {
        let weights = match self.bits {
            32 => "as it is".to_owned(),
            bits => format!("{bits} bits, integer-only, {:.0} % pruned", 100.0 * self.pruned),
        };
        let order = if self.reordered { ", run in another order" } else { "" };
        let accuracy =
            self.accuracy.map_or_else(String::new, |a| format!(", accuracy {:.2} %", 100.0 * a));
        format!("{weights}{order}{accuracy} ({} forms tried)", self.tried)
    }
}

/// Fractions of weights that are pruned, in the order in which they are tried.
const PRUNED: [f64; 6] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95];

/// The form of a graph that loses least and fits: as it is, then 8 and then 4 bits with ever more
/// weights pruned, each in both orders.
pub fn search(graph: &Graph, budget: &Budget, source: &Source, ui: &Ui) -> Result<(Graph, Fit)> {
    let mut tried = 0;
    let mut smallest: Option<Memory> = None;
    let mut fits = |graph: &Graph, bits: u32, pruned: f64| -> Result<Option<(Graph, Fit)>> {
        let other = graph.integer.is_some().then(|| depth_first(graph)).transpose()?;
        for (reordered, graph) in [(false, Some(graph)), (true, other.as_ref())] {
            let Some(graph) = graph else { continue };
            let memory = memory(graph)?;
            tried += 1;
            let least = |m: &Memory| m.flash() + m.ram() <= memory.flash() + memory.ram();
            if !smallest.as_ref().is_some_and(least) {
                smallest = Some(memory);
            }
            if budget.holds(&memory) {
                let accuracy = None;
                let fit = Fit { bits, pruned, reordered, memory, accuracy, tried };
                return Ok(Some((graph.clone(), fit)));
            }
        }
        Ok(None)
    };
    let mut found = fits(graph, 32, 0.0).or_else(|failure| match graph.integer {
        // What floats cannot do, integers may.
        None => Ok(None),
        Some(_) => Err(failure),
    })?;
    if found.is_none() && graph.integer.is_none() {
        let largest = largest_inputs(graph, source, ui)?;
        let forms = [(Bits::Eight, 8), (Bits::Four, 4)]
            .into_iter()
            .flat_map(|(bits, name)| PRUNED.map(|pruned| (bits, name, pruned)));
        for (bits, name, pruned) in forms {
            let (small, _) = prune(graph, pruned, Scope::Layer, &[])?;
            let (small, _) = quantize_channels(&small, bits, &[])?;
            found = fits(&integer_only(&small, &largest)?, name, pruned)?;
            if found.is_some() {
                break;
            }
        }
    }
    let Some((graph, mut fit)) = found else {
        return Err(refusal(graph, budget, smallest));
    };
    fit.accuracy = accuracy(&graph, source)?;
    Ok((graph, fit))
}

fn refusal(graph: &Graph, budget: &Budget, smallest: Option<Memory>) -> Failure {
    let room = |bytes: Option<usize>| bytes.map_or_else(|| "any".to_owned(), |b| b.to_string());
    let needs = smallest.map_or_else(String::new, |memory| {
        let (flash, ram) = (memory.flash(), memory.ram());
        format!(
            ": its smallest form needs {flash} bytes of flash ({} of them code) and {ram} of ram \
             ({} of them state)",
            memory.code, memory.state
        )
    });
    let help = match graph.integer {
        Some(_) => "give the graph it was made from: integer-only graphs are taken as they are",
        None => {
            "remove neurons first (spikelet compress --neurons), which makes state and weights \
                 smaller, or train a smaller network"
        }
    };
    Failure::input(format!(
        "{} does not fit flash {} and ram {}{needs}",
        graph.name,
        room(budget.flash),
        room(budget.ram)
    ))
    .help(help)
}

/// Accuracy where the data is found.
fn accuracy(graph: &Graph, source: &Source) -> Result<Option<f64>> {
    let labelled = match source.load(graph) {
        Ok(labelled) => labelled,
        Err(failure) if source.data.is_some() => return Err(failure),
        Err(_) => return Ok(None),
    };
    let evaluation = evaluate(graph, &labelled.samples, &labelled.index)?;
    Ok(Some(evaluation.accuracy()))
}

/// The same graph with its nodes in an order in which a value is used as soon as it is there, so
/// that fewer are alive at once. Only for integers, whose sums do not depend on the order.
fn depth_first(graph: &Graph) -> Result<Graph> {
    let topology = graph.validate()?;
    let mut waiting: Vec<usize> = topology
        .sources
        .iter()
        .map(|links| links.iter().filter(|link| link.delay == 0).count())
        .collect();
    // The last that became ready runs first; inputs and outputs keep the order of the file.
    let mut ready: Vec<usize> =
        (0..graph.nodes.len()).rev().filter(|node| waiting[*node] == 0).collect();
    let mut order = Vec::with_capacity(graph.nodes.len());
    while let Some(node) = ready.pop() {
        order.push(node);
        for link in topology.targets[node].iter().rev().filter(|link| link.delay == 0) {
            waiting[link.node] -= 1;
            if waiting[link.node] == 0 {
                ready.push(link.node);
            }
        }
    }
    let is_end = |node: &usize| matches!(graph.nodes[*node].op, Op::Input { .. } | Op::Output);
    let mut ends: Vec<usize> = order.iter().copied().filter(is_end).collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter();
    // Places of inputs and outputs stay, their order is that of the file.
    let order: Vec<usize> = order
        .into_iter()
        .map(|node| if is_end(&node) { ends.next().unwrap_or(node) } else { node })
        .collect();
    let mut result = graph.clone();
    result.nodes = order.into_iter().map(|node| graph.nodes[node].clone()).collect();
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read() {
        let budget: Budget = "flash=256K, ram=32k".parse().unwrap();
        assert_eq!((budget.flash, budget.ram), (Some(262_144), Some(32_768)));
        assert_eq!("ram=5".parse::<Budget>().unwrap().ram, Some(5));
        for wrong in ["", "flash", "rom=5", "ram=5G", "ram=-1", "ram=1,ram=2"] {
            assert!(wrong.parse::<Budget>().is_err(), "{wrong}");
        }
    }
}
