//! Packets: how they are made, how they go, and what their arrival means.

use super::{Delivery, Engine, What, waiting::Listener};
use crate::{
    error::ChipError,
    layers::Layers,
    mapping::Mapping,
    network::Time,
    program::{packet_bits, values_per_packet},
    routes::{Sender, Server},
    slice::Extent,
};
use spikelet_graph::Signal;

impl<F: FnMut(Delivery)> Engine<'_, F> {
    /// Makes the packets of a sender and reads them back as a receiver does: the number of packets
    /// with the one that ends the step, and their bits.
    pub(super) fn pack(&mut self, sender: usize, step: usize) -> Result<(u32, f64), ChipError> {
        let Mapping { chip, layers, routes, sent, senders, .. } = self.mapping;
        let node = sent[sender];
        let end = chip.header_bits;
        if self.at_end[sender] && step + 1 < self.steps {
            return Ok((1, end));
        }
        let signal = layers.signals[node];
        let whole;
        let (extent, slice) = match self.part_of[sender] {
            Some(part) => {
                let part = &self.mapping.parts[part];
                (self.mapping.programs[part.layer].extent, &part.slice)
            }
            None => {
                let extent = Extent { rows: 1, between: 1, channels: senders[sender].units };
                whole = extent.whole();
                (extent, &whole)
            }
        };
        let Some(values) = self.trace.values(node, Some(step)) else { return Ok((1, end)) };
        let first = routes.routes[sender].key;
        let mut events = 0_u64;
        let mut carry = |unit: usize, value: f32| -> Result<(), ChipError> {
            let found = routes.look_up(first + unit as u32);
            let Some((_, unit)) = found.filter(|(found, _)| *found == sender) else {
                return Err(ChipError::Stuck { layer: layer_of(layers, node), step });
            };
            let element = extent.element(slice, unit as usize);
            (self.visit)(Delivery { node, step, element, value });
            events += 1;
            Ok(())
        };
        let packets = match signal {
            Signal::Dense => {
                let units = extent.units(slice);
                for unit in 0..units {
                    carry(unit, values.values[extent.element(slice, unit)])?;
                }
                units.div_ceil(values_per_packet(chip))
            }
            Signal::Binary | Signal::Graded => {
                let mut at = 0;
                for element in extent.active_within(slice, &values.active) {
                    // Both ascend.
                    at += values.active[at..].partition_point(|&other| (other as usize) < element);
                    if let Some(unit) = extent.within(slice, element) {
                        carry(unit, values.values[at])?;
                    }
                }
                events as usize
            }
        };
        self.counts.events += events;
        Ok((packets as u32 + 1, packets as f64 * packet_bits(signal, chip) + end))
    }

    pub(super) fn send(
        &mut self,
        sender: usize,
        step: usize,
        packets: u32,
        [head, tail]: [Time; 2],
    ) {
        let Sender { to, to_host, .. } = &self.mapping.senders[sender];
        self.counts.packets += u64::from(packets);
        self.counts.addressed += u64::from(packets) * (to.len() as u64 + u64::from(*to_host));
        if !self.network.routes[sender].is_empty() {
            let (sender, step) = (sender as u32, step as u32);
            self.push(head, What::Train { sender, station: 0, step, packets, tail });
        }
    }

    pub(super) fn pass(&mut self, sender: u32, station: u32, step: u32, packets: u32, tail: Time) {
        let signal = self.mapping.layers.signals[self.mapping.sent[sender as usize]];
        let chip = &self.mapping.chip;
        let bits = f64::from(packets - 1) * packet_bits(signal, chip) + chip.header_bits;
        let stop = &self.network.routes[sender as usize][station as usize];
        let (server, last) = (stop.server, stop.next.is_empty());
        let [head, tail] = self.network.pass(server, u64::from(packets), bits, [self.now, tail]);
        if last {
            self.counts.deliveries += u64::from(packets);
            self.push(tail, What::Arrived { sender, station, step, packets });
            return;
        }
        for at in 0..self.network.routes[sender as usize][station as usize].next.len() {
            let station = self.network.routes[sender as usize][station as usize].next[at];
            self.push(head, What::Train { sender, station, step, packets, tail });
        }
    }

    pub(super) fn arrive(
        &mut self,
        sender: usize,
        station: usize,
        step: usize,
        packets: u32,
    ) -> Result<(), ChipError> {
        if let Server::Host = self.mapping.routes.routes[sender].stations[station].server {
            self.left(sender, step);
            return Ok(());
        }
        for at in 0..self.listeners[sender][station].len() {
            let Listener { part, read, delay, takes } = self.listeners[sender][station][at];
            let state = &mut self.parts[part];
            if takes {
                self.cores[state.core].packets[0] += u64::from(packets);
            }
            let target = step + delay;
            // What runs once ignores all but the last step.
            let Some(ahead) = target.checked_sub(state.step) else { continue };
            if target >= self.steps {
                continue;
            }
            let arrived = &mut state.reads[read].arrived;
            while arrived.len() <= ahead {
                arrived.push_back((0, 0));
            }
            arrived[ahead].0 += 1;
            arrived[ahead].1 += if takes { u64::from(packets) } else { 0 };
            if ahead == 0 && arrived[0].0 == state.reads[read].awaits(target) {
                self.queue(part, Some(read))?;
            }
        }
        Ok(())
    }

    /// The last packets of a step have left the chip.
    fn left(&mut self, sender: usize, step: usize) {
        self.counts.end = self.now;
        if !self.ends_step[sender] {
            return;
        }
        let ended = self.ended.entry(step).or_default();
        *ended += 1;
        let all = self.ends_step.iter().filter(|ends| **ends).count() as u32;
        let next = step + self.mapping.chip.steps_in_flight as usize;
        if *ended == all {
            self.ended.remove(&step);
            if next < self.steps {
                self.plan_release(next);
            }
        }
    }
}

/// The name of the layer of a node.
fn layer_of(layers: &Layers, node: usize) -> String {
    layers.of_node[node].map_or_else(|| "the host".to_owned(), |at| layers.layers[at].name.clone())
}
