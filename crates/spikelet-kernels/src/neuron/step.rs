//! One step of a population at inference, with dense spikes or as an event list.

use super::dynamics::{
    BLOCK, CoefficientArrays, Coefficients, Lanes, Membrane, Rule, keep, update, with_membrane,
};
use super::{Model, NeuronSpec, Params, State};
use crate::simd::dispatch;
#[cfg(feature = "std")]
use alloc::vec::Vec;

/// Advances a population by one step and writes its output: 0 or 1 per neuron, or the potential
/// of LI.
///
/// # Panics
/// When slices differ in length, the state lacks its second value, or a per-neuron parameter is
/// empty.
pub fn step(spec: &NeuronSpec, params: &Params, state: State, current: &[f32], output: &mut [f32]) {
    assert_eq!(output.len(), current.len(), "one output per neuron");
    run(spec, params, state, current, Dense(output));
}

/// Advances a population by one step, writes the indices of the neurons that spiked, ascending,
/// to the front of `events`, and returns how many there are (none for LI).
///
/// # Panics
/// As [`step`]; `events` must have room for every neuron.
pub fn step_events(
    spec: &NeuronSpec,
    params: &Params,
    state: State,
    current: &[f32],
    events: &mut [u32],
) -> usize {
    events_of(spec, params, state, current, events, false)
}

/// [`step_events`] of a population at rest: potentials start from zero, whatever lies in the state. Of a
/// large one this spares a pass over its memory.
///
/// # Panics
/// As [`step_events`].
pub fn first_step_events(
    spec: &NeuronSpec,
    params: &Params,
    state: State,
    current: &[f32],
    events: &mut [u32],
) -> usize {
    events_of(spec, params, state, current, events, true)
}

fn events_of(
    spec: &NeuronSpec,
    params: &Params,
    state: State,
    current: &[f32],
    events: &mut [u32],
    at_rest: bool,
) -> usize {
    assert!(events.len() >= current.len(), "room for an event per neuron");
    #[cfg(feature = "std")]
    if current.len() >= PARALLEL
        && !spec.has_second()
        && Coefficients::shared(spec, params).is_some()
    {
        return parts(spec, params, state.v, current, events, at_rest);
    }
    if at_rest {
        state.v.fill(0.0);
    }
    run(spec, params, state, current, Events { list: events, count: 0, spikes: [0; BLOCK] }).count
}

/// Neurons from which on threads are worth their start.
#[cfg(feature = "std")]
const PARALLEL: usize = 1 << 15;
/// Neurons of a task, a multiple of [`BLOCK`].
#[cfg(feature = "std")]
const PART: usize = 1 << 13;

/// [`step_events`] on several threads, for neurons that share their parameters. Every part lists its
/// events in its own piece of the list; the pieces then move together.
#[cfg(feature = "std")]
fn parts(
    spec: &NeuronSpec,
    params: &Params,
    v: &mut [f32],
    current: &[f32],
    events: &mut [u32],
    at_rest: bool,
) -> usize {
    use rayon::prelude::*;
    assert_eq!(v.len(), current.len(), "one potential per neuron");
    let counts: Vec<usize> = v
        .par_chunks_mut(PART)
        .zip(current.par_chunks(PART))
        .zip(events.par_chunks_mut(PART))
        .map(|((v, current), list)| {
            if at_rest {
                v.fill(0.0);
            }
            let sink = Events { list, count: 0, spikes: [0; BLOCK] };
            run(spec, params, State { v, second: &mut [] }, current, sink).count
        })
        .collect();
    let mut total = 0;
    for (part, count) in counts.into_iter().enumerate() {
        let first = part * PART;
        for k in 0..count {
            events[total + k] = events[first + k] + first as u32;
        }
        total += count;
    }
    total
}

/// Where the output of the population goes, block by block.
trait Sink {
    type Value;

    fn value<M: Membrane>(u: f32, fired: u32) -> Self::Value;

    /// Room for the values of the neurons `start..start + len`.
    fn room(&mut self, start: usize, len: usize) -> &mut [Self::Value];

    /// The values from `start` on are written.
    fn done(&mut self, start: usize, len: usize);
}

struct Dense<'a>(&'a mut [f32]);

impl Sink for Dense<'_> {
    type Value = f32;

    #[inline(always)]
    fn value<M: Membrane>(u: f32, fired: u32) -> f32 {
        if M::LINEAR { u } else { keep(fired, 1.0) }
    }

    #[inline(always)]
    fn room(&mut self, start: usize, len: usize) -> &mut [f32] {
        &mut self.0[start..start + len]
    }

    #[inline(always)]
    fn done(&mut self, _: usize, _: usize) {}
}

struct Events<'a> {
    list: &'a mut [u32],
    count: usize,
    spikes: [u8; BLOCK],
}

impl Sink for Events<'_> {
    type Value = u8;

    #[inline(always)]
    fn value<M: Membrane>(_: f32, fired: u32) -> u8 {
        fired as u8 & 1
    }

    #[inline(always)]
    fn room(&mut self, _: usize, len: usize) -> &mut [u8] {
        &mut self.spikes[..len]
    }

    #[inline(always)]
    fn done(&mut self, start: usize, len: usize) {
        // the rest of the last block holds spikes of the block before
        let mut left = spike_word(&self.spikes) & (u64::MAX >> (BLOCK - len));
        // Copies, which the compiler keeps in registers.
        let (list, mut count) = (&mut *self.list, self.count);
        while left != 0 {
            list[count] = start as u32 + left.trailing_zeros();
            count += 1;
            left &= left - 1;
        }
        self.count = count;
    }
}

/// Packs bytes that are 0 or 1 into bits, the first byte lowest.
#[inline(always)]
fn spike_word(values: &[u8; BLOCK]) -> u64 {
    let mut word = 0;
    for (i, bytes) in values.as_chunks::<8>().0.iter().enumerate() {
        // The product collects bit 0 of byte k as bit 56 + k.
        let bits = u64::from_le_bytes(*bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        word |= bits << (8 * i);
    }
    word
}

fn run<S: Sink>(
    spec: &NeuronSpec,
    params: &Params,
    state: State,
    current: &[f32],
    mut sink: S,
) -> S {
    if current.is_empty() {
        return sink;
    }
    assert_eq!(state.v.len(), current.len(), "one potential per neuron");
    spec.check(state.v.len(), state.second.len(), current.len());
    let rule = Rule::new(spec);
    let shared = Coefficients::shared(spec, params);
    let State { v, second } = state;
    with_membrane!(spec, |M, DELAYED| dispatch(
        #[inline(always)]
        || {
            let mut columns = CoefficientArrays::<BLOCK>::ZERO;
            let blocks = current.chunks(BLOCK).zip(v.chunks_mut(BLOCK)).enumerate();
            for (b, (current, v)) in blocks {
                let start = b * BLOCK;
                let second = if <M as Membrane>::SECOND {
                    &mut second[start..start + v.len()]
                } else {
                    &mut []
                };
                let values = sink.room(start, v.len());
                if let Some(shared) = &shared {
                    block::<M, S, DELAYED>(rule, shared, v, second, current, values);
                } else {
                    columns.fill(spec, params, start, v.len());
                    block::<M, S, DELAYED>(rule, &columns, v, second, current, values);
                }
                sink.done(start, v.len());
            }
        },
    ));
    sink
}

/// Advances up to [`BLOCK`] neurons.
#[inline(always)]
fn block<M: Membrane, S: Sink, const DELAYED: bool>(
    rule: Rule,
    lanes: &impl Lanes,
    v: &mut [f32],
    second: &mut [f32],
    current: &[f32],
    values: &mut [S::Value],
) {
    let len = v.len().min(BLOCK);
    let (v, current, values) = (&mut v[..len], &current[..len], &mut values[..len]);
    let second = if M::SECOND { &mut second[..len] } else { &mut [] };
    for j in 0..len {
        let x = if M::SECOND { second[j] } else { 0.0 };
        let new = update::<M, DELAYED>(rule, lanes.at(j), v[j], x, current[j]);
        v[j] = new.v;
        if M::SECOND {
            second[j] = new.second;
        }
        values[j] = S::value::<M>(new.u, new.fired);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Param, Reset};
    use super::*;
    use alloc::{vec, vec::Vec};

    #[test]
    fn parts_give_the_events_of_the_whole() {
        let n = PARALLEL + PART + 77;
        let current: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin() * 1.5).collect();
        let model = Model::Lif { input_decay: false };
        let spec = NeuronSpec {
            model,
            reset: Reset::Subtract,
            reset_delayed: false,
            fires_at_threshold: true,
        };
        let params = Params::lif(Param::Shared(0.5), Param::Shared(1.0));
        let (mut v, mut same, mut events) = (vec![0.25; n], vec![0.25; n], vec![0; n]);
        let mut spikes = vec![0.0; n];
        step(&spec, &params, State { v: &mut v, second: &mut [] }, &current, &mut spikes);
        let state = State { v: &mut same, second: &mut [] };
        let count = step_events(&spec, &params, state, &current, &mut events);
        let want: Vec<u32> = (0..n as u32).filter(|i| spikes[*i as usize] == 1.0).collect();
        assert!(count > n / 10 && events[..count] == want);
        assert_eq!(v, same);

        v.fill(0.0);
        step(&spec, &params, State { v: &mut v, second: &mut [] }, &current, &mut spikes);
        let state = State { v: &mut same, second: &mut [] };
        let count = first_step_events(&spec, &params, state, &current, &mut events);
        let want: Vec<u32> = (0..n as u32).filter(|i| spikes[*i as usize] == 1.0).collect();
        assert!(count > n / 10 && events[..count] == want);
        assert_eq!(v, same);
    }
}
