//! Executing an integer-only graph: its [`Program`], step by step, in 32-bit integers.

use crate::{buffers::Bank, state::Memory};
use alloc::{vec, vec::Vec};
use core::ops::Range;
use spikelet_graph::{
    Function, Pooling, Program, Readout, int4,
    neuron::Reset,
    program::{
        BufferId, Constant, Content, Convolution, Factor, Model, Population, Source, Step, Units,
        Weights, Window, fixed as format,
    },
};
use spikelet_kernels::{conv, fixed, gather, neuron, window};

/// A program with a place for every buffer.
#[derive(Clone, Debug)]
pub(crate) struct Integers {
    pub(crate) program: Program,
    /// Where a buffer lies: event lists in the words of a stream, values in its integers.
    places: Vec<Range<usize>>,
    /// Event lists that survive a step.
    pub(crate) kept_events: Vec<Range<usize>>,
    pub(crate) words: Bank,
    pub(crate) integers: Bank,
    /// Shapes of convolutions, by step.
    shapes: Vec<Option<conv::Conv>>,
    /// Tables of tanh and sigmoid; empty if there is none.
    tables: [Vec<i32>; 2],
}

/// What a node of an integer-only graph gave in the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntegerOutput<'a> {
    /// The indices of what spiked, ascending.
    Spikes(&'a [u32]),
    /// Values in units of `2^-fraction`.
    Values(&'a [i32], u32),
}

impl Integers {
    pub(crate) fn new(program: Program) -> Self {
        let mut places = vec![0..0; program.buffers.len()];
        let mut kept_events = Vec::new();
        let [mut words, mut integers] = [Bank::default(); 2];
        // What survives a step comes first.
        for kept in [true, false] {
            for (place, buffer) in places.iter_mut().zip(&program.buffers) {
                if buffer.kept != kept {
                    continue;
                }
                let (bank, len) = match buffer.content {
                    Content::Events => (&mut words, buffer.len + 1),
                    Content::Values | Content::Sums => (&mut integers, buffer.len),
                };
                *place = bank.total..bank.total + len;
                bank.total += len;
                if kept {
                    bank.kept = bank.total;
                    if buffer.content == Content::Events {
                        kept_events.push(place.clone());
                    }
                }
            }
        }
        let shape = |step: &Step| match step {
            Step::Convolve { shape, .. } => Some(convolution(shape)),
            _ => None,
        };
        let shapes = program.steps.iter().map(shape).collect();
        let table = |wanted: Function| {
            let used = program.steps.iter().any(|step| match step {
                Step::Apply { function, .. } => *function == wanted,
                Step::Egru { .. } => true,
                _ => false,
            });
            if used { format::table(wanted == Function::Tanh) } else { Vec::new() }
        };
        let tables = [table(Function::Tanh), table(Function::Sigmoid)];
        let mut result = Integers { program, places, kept_events, words, integers, shapes, tables };
        result.unpack();
        result
    }

    /// 4-bit weights as 8-bit ones: small devices keep them packed, a host has the room.
    fn unpack(&mut self) {
        for step in &mut self.program.steps {
            if let Step::Matrix { weights: Weights { values, outputs, .. }, .. } = step
                && let Constant::I4(packed) = values
            {
                *values = Constant::I8(int4::unpack(packed, *outputs));
            }
        }
    }

    /// Bytes of weights and of other constants.
    pub(crate) fn constant_bytes(&self) -> [usize; 2] {
        let (mut weights, mut others) = (0, self.tables.iter().map(|table| 4 * table.len()).sum());
        for step in &self.program.steps {
            let bytes = step.constant_bytes();
            match step {
                Step::Matrix { .. } | Step::Convolve { .. } => weights += bytes,
                _ => others += bytes,
            }
        }
        [weights, others]
    }

    /// Values of all outputs together.
    pub(crate) fn output_len(&self) -> usize {
        self.program.outputs.iter().map(|buffer| self.program.buffers[*buffer].len).sum()
    }

    /// The potentials of a population, and their fraction bits.
    pub(crate) fn potential(&self, node: &str) -> Option<(Range<usize>, u32)> {
        self.program.steps.iter().find_map(|step| match step {
            Step::Fire { population, .. } | Step::Integrate { population, .. }
                if population.name == node =>
            {
                Some((self.of(population.v), self.fraction(population.v)))
            }
            Step::Egru { units, .. } if units.name == node => {
                Some((self.of(units.h), self.fraction(units.h)))
            }
            _ => None,
        })
    }

    /// What a node gave in the last step; nothing if it has no buffer of its own, because it only
    /// passes values on or adds to a sum of another.
    pub(crate) fn output<'a>(
        &self,
        words: &'a [u32],
        integers: &'a [i32],
        node: &str,
    ) -> Option<IntegerOutput<'a>> {
        let mine = |buffer: &spikelet_graph::program::Buffer| {
            buffer.name == node && buffer.content != Content::Sums
        };
        let at = self.program.buffers.iter().position(mine)?;
        Some(match self.program.buffers[at].content {
            Content::Events => IntegerOutput::Spikes(list(words, self.of(at))),
            _ => IntegerOutput::Values(&integers[self.of(at)], self.fraction(at)),
        })
    }

    /// Advances a stream by one step.
    pub(crate) fn advance(&self, memory: &mut Memory, steps: u64, x: &[f32], output: &mut [f32]) {
        let Memory { words, integers, .. } = memory;
        for (step, shape) in self.program.steps.iter().zip(&self.shapes) {
            self.execute(step, shape.as_ref(), words, integers, steps, x);
        }
        let mut rest = output;
        for &buffer in &self.program.outputs {
            let values = &integers[self.of(buffer)];
            let unit = format::power(-(self.fraction(buffer) as i32)) as f32;
            let (to, others) = rest.split_at_mut(values.len());
            to.iter_mut().zip(values).for_each(|(y, n)| *y = *n as f32 * unit);
            rest = others;
        }
    }

    fn of(&self, buffer: BufferId) -> Range<usize> {
        self.places[buffer].clone()
    }

    fn fraction(&self, buffer: BufferId) -> u32 {
        self.program.buffers[buffer].fraction
    }

    /// Of tanh and of the logistic function.
    fn tables(&self) -> [fixed::Table<'_>; 2] {
        [0, 1].map(|k| fixed::Table { values: &self.tables[k], step: format::TABLE_STEP })
    }

    fn units<'a>(&'a self, units: &'a Units, to: BufferId) -> fixed::Units<'a> {
        fixed::Units {
            threshold: units.threshold.integers(),
            share: units.share,
            tables: self.tables(),
            lift: format::STATE - format::TABLE_OUT,
            drop: format::STATE - self.fraction(to),
        }
    }

    fn execute(
        &self,
        step: &Step,
        shape: Option<&conv::Conv>,
        words: &mut [u32],
        integers: &mut [i32],
        steps: u64,
        x: &[f32],
    ) {
        let pair = |integers, from, to| -> [&mut [i32]; 2] {
            <[i32]>::get_disjoint_mut(integers, [self.of(from), self.of(to)]).expect(APART)
        };
        match step {
            Step::Load { start, to } => {
                let fraction = self.fraction(*to);
                for (n, x) in integers[self.of(*to)].iter_mut().zip(&x[*start..]) {
                    *n = fixed::quantize(*x, fraction, format::INPUT_LIMIT);
                }
            }
            Step::LoadEvents { start, to } => {
                let mut list = List::new(&mut words[self.of(*to)]);
                let len = self.program.buffers[*to].len;
                let active = x[*start..*start + len].iter().enumerate().filter(|(_, x)| **x != 0.0);
                active.for_each(|(index, _)| list.push(index));
            }
            Step::Begin { bias, to } => {
                let to = &mut integers[self.of(*to)];
                match bias {
                    None => to.fill(0),
                    Some(bias) => repeat(to, bias, |y, b| *y = b),
                }
            }
            Step::AddBias { bias, to } => {
                repeat(&mut integers[self.of(*to)], bias, |y, b| *y = y.wrapping_add(b));
            }
            Step::Matrix { weights, from, to } => {
                let rows = bytes(&weights.values);
                match from {
                    Source::Events(from) => {
                        let events = list(words, self.of(*from));
                        gather::add_rows_i8(&mut integers[self.of(*to)], rows, events);
                    }
                    Source::Values(from) => {
                        let [from, to] = pair(integers, *from, *to);
                        fixed::add_rows_graded(to, rows, from);
                    }
                }
            }
            Step::Convolve { weights, from, to, .. } => {
                let (rows, shape) = (bytes(&weights.values), shape.expect("it has a shape"));
                match from {
                    Source::Events(from) => {
                        let events = list(words, self.of(*from));
                        conv::add_events_i8(shape, &mut integers[self.of(*to)], rows, events);
                    }
                    Source::Values(from) => {
                        let [from, to] = pair(integers, *from, *to);
                        fixed::convolve_graded(shape, to, rows, from);
                    }
                }
            }
            Step::Finish { factor, from, to } => {
                let [from, to] = pair(integers, *from, *to);
                fixed::add_scaled(to, from, factor.values.integers(), factor.shift);
            }
            Step::LegendreStates { a, order, from, to } => {
                let (a, to) = (a.integers(), &mut integers[self.of(*to)]);
                for event in spikes(words, self, *from) {
                    let (memory, state) = (*event as usize / order, *event as usize % order);
                    let column = &a[state * order..(state + 1) * order];
                    add(&mut to[memory * order..(memory + 1) * order], column);
                }
            }
            Step::LegendreInputs { b, from, to } => {
                let (b, to) = (b.integers(), &mut integers[self.of(*to)]);
                for event in spikes(words, self, *from) {
                    let first = *event as usize * b.len();
                    add(&mut to[first..first + b.len()], b);
                }
            }
            Step::Add { from, shift, to } => match from {
                Source::Events(from) => {
                    let to = &mut integers[self.of(*to)];
                    let one = fixed::shifted(1, *shift);
                    list(words, self.of(*from)).iter().for_each(|e| to[*e as usize] += one);
                }
                Source::Values(from) => {
                    let [from, to] = pair(integers, *from, *to);
                    for (y, x) in to.iter_mut().zip(from) {
                        *y += fixed::shifted(*x, *shift);
                    }
                }
            },
            Step::Densify { from, to } => {
                let to = &mut integers[self.of(*to)];
                to.fill(0);
                list(words, self.of(*from)).iter().for_each(|e| to[*e as usize] = 1);
            }
            Step::List { from, to } => {
                let mut list = List::new(&mut words[self.of(*to)]);
                let active = integers[self.of(*from)].iter().enumerate().filter(|(_, x)| **x != 0);
                active.for_each(|(index, _)| list.push(index));
            }
            Step::Pool { pooling, window, channels, factor, from, to } => {
                let [from, to] = pair(integers, *from, *to);
                pool(*pooling, &sliding(window), *channels, from, to);
                if let Some(Factor { values, shift }) = factor {
                    let factor = values.integers()[0];
                    to.iter_mut().for_each(|y| *y = fixed::scale(*y, factor, *shift));
                }
            }
            Step::Scale { factor, offset, from, to } => {
                let [from, to] = pair(integers, *from, *to);
                match offset {
                    None => to.fill(0),
                    Some(offset) => repeat(to, offset, |y, b| *y = b),
                }
                fixed::add_scaled(to, from, factor.values.integers(), factor.shift);
            }
            Step::Apply { function, from, to } => {
                let [from, to] = pair(integers, *from, *to);
                let values = to.iter_mut().zip(from);
                match function {
                    Function::Tanh => {
                        let [table, _] = self.tables();
                        values.for_each(|(y, x)| *y = table.look_up(*x));
                    }
                    Function::Sigmoid => {
                        let [_, table] = self.tables();
                        values.for_each(|(y, x)| *y = table.look_up(*x));
                    }
                    Function::Relu | Function::ReluSquared => {
                        values.for_each(|(y, x)| *y = (*x).max(0));
                    }
                }
            }
            Step::Fire { population, current, to } => {
                let second = population.second.map_or(0..0, |second| self.of(second));
                let ranges = [self.of(*current), self.of(population.v), second];
                let [current, v, second] = integers.get_disjoint_mut(ranges).expect(APART);
                let mut list = List::new(&mut words[self.of(*to)]);
                fixed::step(&kernel(population), v, second, current, |index| list.push(index));
            }
            Step::Integrate { population, current, to } => {
                let ranges = [self.of(*current), self.of(population.v), self.of(*to)];
                let [current, v, to] = integers.get_disjoint_mut(ranges).expect(APART);
                fixed::integrate(&kernel(population), v, current, to);
            }
            Step::Egru { units, gates: [a, b], to } => {
                let ranges = [self.of(*a), self.of(*b), self.of(units.h), self.of(*to)];
                let [a, b, h, y] = integers.get_disjoint_mut(ranges).expect(APART);
                if units.restart.is_some_and(|after| steps.is_multiple_of(after as u64)) {
                    h.fill(0);
                }
                fixed::egru(&self.units(units, *to), a, b, h, y);
            }
            Step::Reduce { readout, from, sum, to } => {
                self.reduce(*readout, *from, *sum, *to, words, integers, steps);
            }
            Step::Keep { from, to } => match self.program.buffers[*to].content {
                Content::Events => words.copy_within(self.of(*from), self.of(*to).start),
                Content::Values | Content::Sums => {
                    integers.copy_within(self.of(*from), self.of(*to).start);
                }
            },
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a stream's memory")]
    fn reduce(
        &self,
        readout: Readout,
        from: Source,
        sum: BufferId,
        to: BufferId,
        words: &[u32],
        integers: &mut [i32],
        steps: u64,
    ) {
        let limited = |x: i32| x.clamp(-format::LIMIT, format::LIMIT);
        let target = if readout == Readout::Max { to } else { sum };
        match from {
            Source::Events(from) => {
                let target = &mut integers[self.of(target)];
                for event in list(words, self.of(from)) {
                    let y = &mut target[*event as usize];
                    *y = if readout == Readout::Max { 1 } else { limited(*y + 1) };
                }
            }
            Source::Values(from) => {
                let ranges = [self.of(from), self.of(target)];
                let [from, target] = integers.get_disjoint_mut(ranges).expect(APART);
                for (y, x) in target.iter_mut().zip(from) {
                    *y = match readout {
                        Readout::Max if steps == 0 => *x,
                        Readout::Max => (*y).max(*x),
                        _ => limited(*y + *x),
                    };
                }
            }
        }
        if readout == Readout::Mean {
            let shift = self.fraction(to) as i32 - self.fraction(sum) as i32;
            let ranges = [self.of(sum), self.of(to)];
            let [sum, to] = integers.get_disjoint_mut(ranges).expect(APART);
            for (y, sum) in to.iter_mut().zip(sum) {
                *y = mean(*sum, shift, steps + 1);
            }
        }
    }
}

const APART: &str = "the buffers of a step are apart";

/// `sum 2^shift / count`, rounded to the nearest integer, half up.
fn mean(sum: i32, shift: i32, count: u64) -> i32 {
    // Shifted first, as far as 64 bits go: the sum has 30 bits.
    let (up, down) = (shift.max(0), (-shift).max(0));
    let count = (count.min(1 << 31) as i64) << down;
    ((2 * (i64::from(sum) << up) + count).div_euclid(2 * count)) as i32
}

/// An event list that is being written.
struct List<'a> {
    count: &'a mut u32,
    room: &'a mut [u32],
}

impl<'a> List<'a> {
    fn new(words: &'a mut [u32]) -> Self {
        let (count, room) = words.split_at_mut(1);
        count[0] = 0;
        List { count: &mut count[0], room }
    }

    fn push(&mut self, index: usize) {
        self.room[*self.count as usize] = index as u32;
        *self.count += 1;
    }
}

fn list(words: &[u32], range: Range<usize>) -> &[u32] {
    let buffer = &words[range];
    &buffer[1..1 + buffer[0] as usize]
}

/// The events of a source that has no values.
fn spikes<'a>(words: &'a [u32], integers: &Integers, from: Source) -> &'a [u32] {
    match from {
        Source::Events(from) => list(words, integers.of(from)),
        Source::Values(_) => unreachable!("integer Legendre memories take spikes"),
    }
}

fn add(to: &mut [i32], values: &[i32]) {
    to.iter_mut().zip(values).for_each(|(y, x)| *y += *x);
}

fn repeat(to: &mut [i32], values: &Constant, set: impl Fn(&mut i32, i32)) {
    let values = values.integers();
    for to in to.chunks_mut(values.len()) {
        to.iter_mut().zip(values).for_each(|(y, b)| set(y, *b));
    }
}

fn bytes(constant: &Constant) -> &[i8] {
    match constant {
        Constant::I8(values) => values,
        _ => unreachable!("weights of integer-only graphs are unpacked to 8 bits"),
    }
}

fn pool(pooling: Pooling, window: &window::Window, channels: usize, from: &[i32], to: &mut [i32]) {
    let is_max = pooling == Pooling::Max;
    to.fill(if is_max { i32::MIN } else { 0 });
    for (position, to) in to.chunks_exact_mut(channels).enumerate() {
        window.for_each_source(position, |_, source| {
            for (y, x) in to.iter_mut().zip(&from[source * channels..]) {
                *y = if is_max { (*y).max(*x) } else { *y + *x };
            }
        });
    }
}

fn sliding(window: &Window) -> window::Window {
    let Window { input, output, kernel, stride, padding, dilation } = *window;
    window::Window { input, output, kernel, stride, padding, dilation }
}

fn convolution(shape: &Convolution) -> conv::Conv {
    let Convolution { window, inputs, outputs, groups } = shape;
    conv::Conv { window: sliding(window), inputs: *inputs, outputs: *outputs, groups: *groups }
}

fn kernel(population: &Population) -> fixed::Population<'_> {
    fixed::Population {
        reset: match population.reset {
            Reset::None => neuron::Reset::None,
            Reset::Subtract => neuron::Reset::Subtract,
            Reset::Zero => neuron::Reset::Zero,
        },
        reset_delayed: population.reset_delayed,
        fires_at_threshold: population.fires_at_threshold,
        has_current: population.model == Model::CubaLif,
        threshold: population.threshold.integers(),
        beta: population.beta.integers(),
        drive: population.drive.integers(),
        second_decay: population.second_decay.integers(),
        gain: population.gain.integers(),
        limit: format::LIMIT,
    }
}
