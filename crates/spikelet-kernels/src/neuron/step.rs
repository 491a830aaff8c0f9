//! One step of a population at inference, with dense spikes or as an event list.

use super::dynamics::{
    BLOCK, Coefficients, Columns, Lanes, Membrane, Rule, keep, update, with_membrane,
};
use super::{Model, NeuronSpec, Params, State};
use crate::simd::dispatch;

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
    assert!(events.len() >= current.len(), "room for an event per neuron");
    run(spec, params, state, current, Events { list: events, count: 0 }).count
}

/// Where the output of a block of neurons goes.
trait Sink {
    /// Per neuron, what is kept until the block is done.
    type Value: Copy + Default;

    fn value<M: Membrane>(u: f32, fired: u32) -> Self::Value;

    /// Takes the values of the neurons from `start` on.
    fn put(&mut self, start: usize, values: &[Self::Value; BLOCK], len: usize);
}

struct Dense<'a>(&'a mut [f32]);

impl Sink for Dense<'_> {
    type Value = f32;

    #[inline(always)]
    fn value<M: Membrane>(u: f32, fired: u32) -> f32 {
        if M::LINEAR { u } else { keep(fired, 1.0) }
    }

    #[inline(always)]
    fn put(&mut self, start: usize, values: &[f32; BLOCK], len: usize) {
        self.0[start..start + len].copy_from_slice(&values[..len]);
    }
}

struct Events<'a> {
    list: &'a mut [u32],
    count: usize,
}

impl Sink for Events<'_> {
    type Value = u8;

    #[inline(always)]
    fn value<M: Membrane>(_: f32, fired: u32) -> u8 {
        fired as u8 & 1
    }

    #[inline(always)]
    fn put(&mut self, start: usize, values: &[u8; BLOCK], _: usize) {
        let mut spikes = spike_word(values);
        while spikes != 0 {
            self.list[self.count] = start as u32 + spikes.trailing_zeros();
            self.count += 1;
            spikes &= spikes - 1;
        }
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
    assert_eq!(state.v.len(), current.len(), "one potential per neuron");
    let second = if spec.has_second() { current.len() } else { 0 };
    assert_eq!(state.second.len(), second, "second state value per neuron");
    let rule = Rule::new(spec);
    let shared = Coefficients::shared(spec, params);
    let State { v, second } = state;
    with_membrane!(spec, |M, DELAYED| dispatch(
        #[inline(always)]
        || {
            let mut columns = Columns::<BLOCK>::ZERO;
            let blocks = current.chunks(BLOCK).zip(v.chunks_mut(BLOCK)).enumerate();
            for (b, (current, v)) in blocks {
                let start = b * BLOCK;
                let second = if <M as Membrane>::SECOND {
                    &mut second[start..start + v.len()]
                } else {
                    &mut []
                };
                let mut values = [S::Value::default(); BLOCK];
                if let Some(shared) = &shared {
                    block::<M, S, DELAYED>(rule, shared, v, second, current, &mut values);
                } else {
                    columns.fill(spec, params, start, v.len());
                    block::<M, S, DELAYED>(rule, &columns, v, second, current, &mut values);
                }
                sink.put(start, &values, v.len());
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
    values: &mut [S::Value; BLOCK],
) {
    let len = v.len().min(BLOCK);
    let (v, current) = (&mut v[..len], &current[..len]);
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
