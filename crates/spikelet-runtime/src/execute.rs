//! Executing instructions.

use crate::{
    buffers::{Buffer, Shift},
    plan::{Input, Instruction, Plan, Population, Product, ProductKind},
    state::View,
    weights::Arrival,
};
use core::ops::Range;
use spikelet_graph::{Function, Pooling, Readout};
use spikelet_kernels::{
    attention, cells, egru, events, interpolate, layer_norm, math, neuron, pool, token_shift, wkv,
};

impl Plan {
    /// Executes one instruction in step `steps` of a stream with the input `x`.
    #[inline]
    pub(crate) fn execute(
        &self,
        instruction: &Instruction,
        memory: &mut View,
        steps: u64,
        x: &[f32],
    ) {
        let View { values, words, sums, shift } = memory;
        let shift = *shift;
        let of = |buffer: &Buffer| self.places.moved(*buffer, shift);
        match instruction {
            Instruction::Multiply { product, to } => self.multiply(product, *to, memory),
            Instruction::Convolve { product, bias, add, to } => {
                let bias = bias.map_or(&[][..], |bias| &self.vectors[bias]);
                self.convolve(product, bias, *add, *to, memory);
            }
            Instruction::Fire { neuron, current, to } => {
                let population = &self.neurons[*neuron];
                let (second, v) = (self.second(population, shift), of(&population.v));
                let [current, v, second] = apart(values, [of(current), v, second]);
                let state = neuron::State { v, second };
                let (count, list) = room(words, of(to));
                let (spec, params) = (&population.spec, population.params());
                let spikes = match steps {
                    0 => neuron::first_step_events(spec, &params, state, current, list),
                    _ => neuron::step_events(spec, &params, state, current, list),
                };
                *count = spikes as u32;
            }
            Instruction::Integrate { neuron, current, to } => {
                let population = &self.neurons[*neuron];
                let (second, v) = (self.second(population, shift), of(&population.v));
                let [current, v, second, to] = apart(values, [of(current), v, second, of(to)]);
                let state = neuron::State { v, second };
                neuron::step(&population.spec, &population.params(), state, current, to);
            }
            Instruction::Load { from, to } => {
                let to = &mut values[of(to)];
                to.copy_from_slice(&x[*from..*from + to.len()]);
            }
            Instruction::LoadSpikes { from, len, to } => {
                let (count, list) = room(words, of(to));
                *count = events::active(&x[*from..*from + *len], list) as u32;
            }
            Instruction::Clear { to } => values[of(to)].fill(0.0),
            Instruction::SetBias { bias, to } => {
                let bias = &self.vectors[*bias];
                for to in values[of(to)].chunks_exact_mut(bias.len()) {
                    to.copy_from_slice(bias);
                }
            }
            Instruction::AddBias { bias, to } => {
                let bias = &self.vectors[*bias];
                for to in values[of(to)].chunks_exact_mut(bias.len()) {
                    to.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
                }
            }
            Instruction::Add { from, to } => self.add(*from, *to, memory),
            Instruction::Densify { from, to } => {
                events::densify(list(words, of(from)), &mut values[of(to)]);
            }
            Instruction::List { from, to } => {
                let (count, list) = room(words, of(to));
                *count = events::active(&values[of(from)], list) as u32;
            }
            Instruction::CopyChannels { from, to, widths, starts, len } => {
                let [from, to] = apart(values, [of(from), of(to)]);
                let rows = from.chunks_exact(widths[0]).zip(to.chunks_exact_mut(widths[1]));
                for (from, to) in rows {
                    to[starts[1]..starts[1] + len]
                        .copy_from_slice(&from[starts[0]..starts[0] + len]);
                }
            }
            Instruction::Pool { pooling, window, channels, from, to } => {
                let [from, to] = apart(values, [of(from), of(to)]);
                match pooling {
                    Pooling::Sum => pool::sum(window, *channels, from, to),
                    Pooling::Average => pool::average(window, *channels, from, to),
                    Pooling::Max => pool::max(window, *channels, from, to),
                }
            }
            Instruction::AdaptivePool { input, output, channels, from, to } => {
                let [from, to] = apart(values, [of(from), of(to)]);
                pool::adaptive_average(*input, *output, *channels, from, to);
            }
            Instruction::Interpolate { input, output, channels, from, to } => {
                let [from, to] = apart(values, [of(from), of(to)]);
                interpolate::bilinear(*input, *output, *channels, from, to);
            }
            Instruction::Scale { factor, shift, from, to } => {
                let [from, to] = apart(values, [of(from), of(to)]);
                let factor = &self.vectors[*factor];
                for (x, y) in from.chunks_exact(factor.len()).zip(to.chunks_exact_mut(factor.len()))
                {
                    for ((y, x), f) in y.iter_mut().zip(x).zip(factor) {
                        *y = x * f;
                    }
                    if let Some(shift) = shift {
                        y.iter_mut().zip(&self.vectors[*shift]).for_each(|(y, s)| *y += s);
                    }
                }
            }
            Instruction::Frame { value, width, from, to } => {
                let [from, to] = apart(values, [of(from), of(to)]);
                frame(from, &self.vectors[*value], *width, to);
            }
            Instruction::Attend { shape, qkv, bits, counts, to } => {
                let [q, k, v, bits, counts] =
                    apart(words, [&qkv[0], &qkv[1], &qkv[2], bits, counts].map(of));
                let [q, k, v] = [&*q, &*k, &*v].map(|list| &list[1..1 + list[0] as usize]);
                attention::pack(shape, [k, v], bits);
                attention::count(shape, bits, counts);
                attention::read(shape, q, counts, &mut values[of(to)]);
            }
            Instruction::Apply { function, from, to } => {
                let [from, to] = apart(values, [of(from), of(to)]);
                to.copy_from_slice(from);
                match function {
                    Function::Relu => to.iter_mut().for_each(|y| *y = y.max(0.0)),
                    Function::ReluSquared => to.iter_mut().for_each(|y| {
                        let x = y.max(0.0);
                        *y = x * x;
                    }),
                    Function::Tanh => math::tanh_in_place(to),
                    Function::Sigmoid => math::sigmoid_in_place(to),
                }
            }
            Instruction::Embed { table, from, to } => {
                let [from, to] = apart(values, [of(from), of(to)]);
                let table = &self.weights[*table];
                // Inputs are checked; a state that was read back may hold anything.
                let token = (from[0] as usize).min(table.rows - 1) as u32;
                to.fill(0.0);
                table.add_product(Arrival::Spikes(&[token]), to, sums, &self.threads);
            }
            Instruction::Normalize { weight, bias, from, to } => {
                let [from, to] = apart(values, [of(from), of(to)]);
                let (weight, bias) = (&self.vectors[*weight], &self.vectors[*bias]);
                let rows = from.chunks_exact(weight.len()).zip(to.chunks_exact_mut(weight.len()));
                rows.for_each(|(from, to)| layer_norm::row(from, weight, bias, to));
            }
            Instruction::Shift { mix, now, before, to } => {
                let [now, before, to] = apart(values, [of(now), of(before), of(to)]);
                let mix = &self.vectors[*mix];
                let rows = now.chunks_exact(mix.len()).zip(before.chunks_exact(mix.len()));
                for (to, (now, before)) in to.chunks_exact_mut(mix.len()).zip(rows) {
                    token_shift::step(now, before, mix, to);
                }
            }
            Instruction::Product { from, to } => {
                let [a, b, to] = apart(values, [of(&from[0]), of(&from[1]), of(to)]);
                for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
                    *to = *a * *b;
                }
            }
            Instruction::Wkv { params: [decay, first], from, state, to } => {
                let [k, v, to, p, q, o] = apart(
                    values,
                    [&from[0], &from[1], to, &state[0], &state[1], &state[2]].map(of),
                );
                if steps == 0 {
                    o.fill(wkv::NOTHING);
                }
                let params =
                    wkv::Params { decay: &self.vectors[*decay], first: &self.vectors[*first] };
                wkv::step(params, wkv::State { p, q, o }, k, v, to);
            }
            Instruction::Lstm { gates, cell, hidden } => {
                let [gates, cell, hidden] = apart(values, [of(gates), of(cell), of(hidden)]);
                cells::lstm(gates, cell, hidden);
            }
            Instruction::Gru { from_input, from_hidden, hidden } => {
                let [x, h, hidden] = apart(values, [of(from_input), of(from_hidden), of(hidden)]);
                cells::gru(x, h, hidden);
            }
            Instruction::Egru {
                gates: [from_input, from_events],
                threshold,
                share,
                restart,
                h,
                to,
            } => {
                let [x, events, h, to] = apart(values, [from_input, from_events, h, to].map(of));
                if restart.is_some_and(|after| steps.is_multiple_of(after as u64)) {
                    h.fill(0.0);
                }
                egru::step(x, events, &self.vectors[*threshold], *share, h, to);
            }
            Instruction::Accumulate { readout, from, sum, to } => {
                self.accumulate(*readout, *from, *sum, *to, memory, steps);
            }
            Instruction::Recall { ring, delay, to } => {
                let ring = &self.rings[*ring];
                let depth = ring.depth as u64;
                let slot = ((steps + depth - *delay as u64) % depth) as usize;
                let start = of(&ring.buffer).start + slot * ring.width;
                let slot = start..start + ring.width;
                if ring.spikes {
                    let [bits, to] = apart(words, [slot, of(to)]);
                    let (count, list) = to.split_at_mut(1);
                    count[0] = events::from_bits(bits, list) as u32;
                } else {
                    let [slot, to] = apart(values, [slot, of(to)]);
                    to.copy_from_slice(slot);
                }
            }
            Instruction::Remember { ring, from } => {
                let ring = &self.rings[*ring];
                let slot = (steps % ring.depth as u64) as usize;
                let start = of(&ring.buffer).start + slot * ring.width;
                let slot = start..start + ring.width;
                if ring.spikes {
                    let [bits, from] = apart(words, [slot, of(from)]);
                    events::to_bits(&from[1..1 + from[0] as usize], bits);
                } else {
                    let [slot, from] = apart(values, [slot, of(from)]);
                    slot.copy_from_slice(from);
                }
            }
        }
    }

    #[inline(always)]
    fn multiply(&self, product: &Product, to: Buffer, memory: &mut View) {
        let View { values, words, sums, shift } = memory;
        let of = |buffer: Buffer| self.places.moved(buffer, *shift);
        match product.input {
            Input::Spikes(events) => {
                let x = Arrival::Spikes(list(words, of(events)));
                self.add_product(product.kind, x, &mut values[of(to)], sums);
            }
            Input::Graded(events, from) => {
                let [from, to] = apart(values, [of(from), of(to)]);
                let x = Arrival::Graded(list(words, of(events)), from);
                self.add_product(product.kind, x, to, sums);
            }
            Input::Dense(from) => {
                let [from, to] = apart(values, [of(from), of(to)]);
                self.add_product(product.kind, Arrival::Dense(from), to, sums);
            }
        }
    }

    pub(crate) fn convolve(
        &self,
        product: &Product,
        bias: &[f32],
        add: bool,
        to: Buffer,
        memory: &mut View,
    ) {
        let View { values, words, shift, .. } = memory;
        let of = |buffer: Buffer| self.places.moved(buffer, *shift);
        let ProductKind::Convolution(weights, shape) = product.kind else {
            unreachable!("only convolutions are packed")
        };
        let (weights, shape) = (&self.weights[weights], &self.convolutions[shape]);
        match product.input {
            Input::Spikes(events) => {
                let x = Arrival::Spikes(list(words, of(events)));
                weights.convolve(shape, x, bias, add, &mut values[of(to)]);
            }
            Input::Graded(events, from) => {
                let [from, to] = apart(values, [of(from), of(to)]);
                let x = Arrival::Graded(list(words, of(events)), from);
                weights.convolve(shape, x, bias, add, to);
            }
            Input::Dense(from) => {
                let [from, to] = apart(values, [of(from), of(to)]);
                weights.convolve(shape, Arrival::Dense(from), bias, add, to);
            }
        }
    }

    fn add(&self, from: Input, to: Buffer, memory: &mut View) {
        let View { values, words, shift, .. } = memory;
        let of = |buffer: Buffer| self.places.moved(buffer, *shift);
        match from {
            Input::Spikes(events) => {
                let to = &mut values[of(to)];
                list(words, of(events)).iter().for_each(|event| to[*event as usize] += 1.0);
            }
            Input::Graded(_, from) | Input::Dense(from) => {
                let [from, to] = apart(values, [of(from), of(to)]);
                add(to, from);
            }
        }
    }

    fn accumulate(
        &self,
        readout: Readout,
        from: Input,
        sum: Buffer,
        to: Buffer,
        memory: &mut View,
        steps: u64,
    ) {
        let shift = memory.shift;
        let of = |buffer: Buffer| self.places.moved(buffer, shift);
        match readout {
            Readout::Sum => self.add(from, sum, memory),
            Readout::Mean => {
                self.add(from, sum, memory);
                let [sum, to] = apart(memory.values, [of(sum), of(to)]);
                let count = (steps + 1) as f32;
                to.iter_mut().zip(sum).for_each(|(y, s)| *y = *s / count);
            }
            Readout::Max => {
                let View { values, words, .. } = memory;
                match from {
                    Input::Spikes(events) => {
                        let to = &mut values[of(to)];
                        list(words, of(events)).iter().for_each(|event| to[*event as usize] = 1.0);
                    }
                    Input::Graded(_, from) | Input::Dense(from) => {
                        let [from, to] = apart(values, [from, to].map(of));
                        for (y, x) in to.iter_mut().zip(from) {
                            if steps == 0 || *x > *y {
                                *y = *x;
                            }
                        }
                    }
                }
            }
            // The last value needs no instruction.
            Readout::Last => {}
        }
    }

    fn second(&self, population: &Population, shift: Shift) -> Range<usize> {
        population.second.map_or(0..0, |second| self.places.moved(second, shift))
    }

    /// Values of an input.
    pub(crate) fn len_of(&self, input: Input) -> usize {
        match input {
            Input::Spikes(events) => self.places.of(events).len() - 1,
            Input::Graded(_, values) | Input::Dense(values) => self.places.of(values).len(),
        }
    }

    /// Writes what an input holds to `out`, dense.
    pub(crate) fn write_dense(&self, input: Input, memory: &View, out: &mut [f32]) {
        let of = |buffer: Buffer| self.places.moved(buffer, memory.shift);
        match input {
            Input::Spikes(events) => events::densify(list(memory.words, of(events)), out),
            Input::Graded(_, values) | Input::Dense(values) => {
                out.copy_from_slice(&memory.values[of(values)]);
            }
        }
    }

    /// What an input holds.
    pub(crate) fn arrival<'a>(&self, input: Input, view: &'a View) -> Arrival<'a> {
        let events = |buffer| list(view.words, self.places.moved(buffer, view.shift));
        let values = |buffer| &view.values[self.places.moved(buffer, view.shift)];
        match input {
            Input::Spikes(buffer) => Arrival::Spikes(events(buffer)),
            Input::Graded(list, buffer) => Arrival::Graded(events(list), values(buffer)),
            Input::Dense(buffer) => Arrival::Dense(values(buffer)),
        }
    }
}

/// An image of this width with one position more on every side.
fn frame(from: &[f32], value: &[f32], width: usize, to: &mut [f32]) {
    let channels = value.len();
    let (line, framed) = (width * channels, (width + 2) * channels);
    let fill = |to: &mut [f32]| {
        to.chunks_exact_mut(channels).for_each(|to| to.copy_from_slice(value));
    };
    let (first, rest) = to.split_at_mut(framed);
    let (inner, last) = rest.split_at_mut(rest.len() - framed);
    fill(first);
    fill(last);
    for (from, to) in from.chunks_exact(line).zip(inner.chunks_exact_mut(framed)) {
        to[..channels].copy_from_slice(value);
        to[channels..channels + line].copy_from_slice(from);
        to[channels + line..].copy_from_slice(value);
    }
}

/// Values from which on a sum is worth several threads.
#[cfg(feature = "std")]
const PARALLEL: usize = 1 << 16;

/// `to += from`.
fn add(to: &mut [f32], from: &[f32]) {
    #[cfg(feature = "std")]
    if to.len() >= PARALLEL {
        use rayon::prelude::*;
        let parts = to.par_chunks_mut(PARALLEL / 2).zip(from.par_chunks(PARALLEL / 2));
        parts.for_each(|(to, from)| to.iter_mut().zip(from).for_each(|(y, x)| *y += *x));
        return;
    }
    to.iter_mut().zip(from).for_each(|(y, x)| *y += *x);
}

/// The events of a list.
#[inline(always)]
fn list(words: &[u32], range: Range<usize>) -> &[u32] {
    let buffer = &words[range];
    &buffer[1..1 + buffer[0] as usize]
}

/// A list to be written: its length, and room for events.
#[inline(always)]
fn room(words: &mut [u32], range: Range<usize>) -> (&mut u32, &mut [u32]) {
    let (count, list) = words[range].split_at_mut(1);
    (&mut count[0], list)
}

/// Several buffers of one memory at once.
#[inline(always)]
fn apart<T, const N: usize>(memory: &mut [T], ranges: [Range<usize>; N]) -> [&mut [T]; N] {
    memory.get_disjoint_mut(ranges).expect("the plan keeps the buffers of an instruction apart")
}
