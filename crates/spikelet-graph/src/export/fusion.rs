//! Steps that exported code does at once: products whose sums are finished before they are stored,
//! and pooled spikes that no one pools.

use super::products::sparse;
use crate::{
    op::Pooling,
    program::{BufferId, Constant, Factor, Program, Source, Step, Window},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

/// Values that are multiplied without asking which are zero: as many as sensors give.
const FEW: usize = 16;
/// Values of a window that are copied before they are multiplied.
pub(super) const WINDOW: usize = 64;

/// What is done at once, by the index of its first step.
#[derive(Default)]
pub(super) struct Fusion {
    pub(super) first: BTreeMap<usize, Fused>,
    /// Steps that are not done.
    pub(super) gone: BTreeSet<usize>,
}

/// Three steps (begin, multiply, finish) whose sums need no room.
#[derive(Clone, Copy)]
pub(super) enum Fused {
    /// A matrix product.
    Matrix,
    /// A convolution of values of which a window sees few.
    Window,
    /// A convolution of events, pooled or not.
    Events(Pooled),
}

/// Where the events of a convolution come from.
#[derive(Clone, Copy)]
pub(super) struct Pooled {
    pub(super) list: BufferId,
    /// Windows that tile the map of which the events are.
    pub(super) window: Option<Window>,
    /// An event counts `2^up`.
    up: u32,
    /// The steps that make values of the events and pool them.
    steps: Option<[usize; 2]>,
}

impl Fused {
    /// The bits that a factor shifts by when sums count events.
    pub(super) fn shift(self, factor: &Factor) -> u32 {
        match self {
            Fused::Events(pooled) => factor.shift - pooled.up,
            _ => factor.shift,
        }
    }
}

impl Fusion {
    pub(super) fn new(program: &Program) -> Self {
        let mut fusion = Fusion::default();
        if !program.integer {
            return fusion;
        }
        for (index, steps) in program.steps.windows(3).enumerate() {
            if let [
                Step::Begin { bias: None, to: begun },
                product,
                Step::Finish { from: sums, factor, .. },
            ] = steps
                && begun == sums
                && let Some((fused, to)) = fused(program, index, product, factor)
                && to == *sums
            {
                fusion.first.insert(index, fused);
            }
        }
        for fused in fusion.first.values() {
            if let Fused::Events(Pooled { steps: Some(steps), .. }) = fused {
                fusion.gone.extend(steps);
            }
        }
        fusion
    }

    /// When every buffer is first and last used.
    pub(super) fn lives(&self, program: &Program) -> Vec<Option<[usize; 2]>> {
        let mut lives: Vec<Option<[usize; 2]>> = program.buffers.iter().map(|_| None).collect();
        for (time, step) in program.steps.iter().enumerate() {
            if self.gone.contains(&time) {
                continue;
            }
            let mut visit = |buffer: BufferId| {
                let life = lives[buffer].get_or_insert([time, time]);
                life[1] = time;
            };
            step.for_each_buffer(&mut visit);
            if let Some(Fused::Events(pooled)) = self.first.get(&time) {
                // The product is the next step.
                visit(pooled.list);
                lives[pooled.list].as_mut().expect("visited just now")[1] = time + 1;
            }
        }
        for first in self.first.keys() {
            if let Step::Begin { to, .. } = &program.steps[*first] {
                lives[*to] = None;
            }
        }
        for step in self.gone.iter().filter_map(|step| written(&program.steps[*step])) {
            lives[step] = None;
        }
        for output in &program.outputs {
            if let Some(life) = &mut lives[*output] {
                life[1] = program.steps.len();
            }
        }
        lives
    }
}

/// How the step after `index` is done with its neighbours, and where its sums are.
fn fused(
    program: &Program,
    index: usize,
    product: &Step,
    factor: &Factor,
) -> Option<(Fused, BufferId)> {
    match product {
        Step::Matrix { weights, from, to } => {
            let Constant::I8(values) = &weights.values else { return None };
            let is_short = matches!(from, Source::Events(_)) || weights.rows <= FEW;
            let is_dense = sparse(values, weights.outputs).is_none();
            (is_short && is_dense).then_some((Fused::Matrix, *to))
        }
        Step::Convolve { weights, shape, from, to } => {
            let is_plain = shape.groups == 1
                && shape.window.dilation == [1, 1]
                && matches!(weights.values, Constant::I8(_));
            let fused = match from {
                Source::Events(list) => {
                    Some(Fused::Events(Pooled { list: *list, window: None, up: 0, steps: None }))
                }
                Source::Values(from) => match pooled(program, index, *from) {
                    Some(pooled) => Some(Fused::Events(pooled)),
                    None => (weights.rows <= WINDOW).then_some(Fused::Window),
                },
            };
            let fits = |fused: &Fused| match fused {
                // Counts and rows are indices too; a shift of nothing is none.
                Fused::Events(p) => {
                    let len = program.buffers[p.list].len;
                    len < 1 << 16 && weights.rows < 1 << 16 && factor.shift > p.up
                }
                _ => true,
            };
            fused.filter(|fused| is_plain && fits(fused)).map(|fused| (fused, *to))
        }
        _ => None,
    }
}

/// The events of which the values in a buffer are sums over windows that tile, if they are and are
/// still there at a step.
fn pooled(program: &Program, at: usize, values: BufferId) -> Option<Pooled> {
    let last = |buffer: BufferId| {
        program.steps[..at].iter().rposition(|step| written(step) == Some(buffer))
    };
    let pool = last(values)?;
    let Step::Pool { pooling, window, factor, from, .. } = &program.steps[pool] else {
        return None;
    };
    let densify = last(*from)?;
    let Step::Densify { from: list, .. } = program.steps[densify] else { return None };
    let is_tiled = window.kernel == window.stride
        && window.padding == [0, 0]
        && window.dilation == [1, 1]
        && *pooling != Pooling::Max;
    // Only the pooling reads the events (which change in place), and only this product what it makes.
    let uses = |buffer: BufferId| {
        let mut uses = 0;
        for step in &program.steps {
            step.for_each_buffer(|used| uses += usize::from(used == buffer));
        }
        uses + usize::from(program.buffers[buffer].kept || program.outputs.contains(&buffer))
    };
    let is_alone = [list, *from, values].map(uses) == [2, 2, 2];
    let up = match factor {
        None => 0,
        Some(factor) => exponent(factor, window.kernel[0] * window.kernel[1])?,
    };
    let steps = Some([densify, pool]);
    let window = Some(*window);
    (is_tiled && is_alone).then_some(Pooled { list, window, up, steps })
}

/// `up` if a factor makes `n 2^up` of every number up to `most`.
fn exponent(factor: &Factor, most: usize) -> Option<u32> {
    let factor_ = i64::from(*factor.values.integers().first()?);
    let scaled = |n: i64| (n * factor_ + (1 << (factor.shift - 1))) >> factor.shift;
    let unit = scaled(1);
    let is_power = unit > 0 && unit & (unit - 1) == 0;
    let is_exact = (0..=most as i64).all(|n| scaled(n) == n * unit);
    (is_power && is_exact).then(|| unit.trailing_zeros())
}

/// The buffer in which a step leaves events or values.
fn written(step: &Step) -> Option<BufferId> {
    match step {
        Step::Load { to, .. }
        | Step::LoadEvents { to, .. }
        | Step::Densify { to, .. }
        | Step::List { to, .. }
        | Step::Pool { to, .. }
        | Step::Fire { to, .. }
        | Step::Keep { to, .. } => Some(*to),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_counts_events_only_where_it_is_exact() {
        let factor =
            |value: i32, shift: u32| Factor { values: Constant::I32([value].into()), shift };
        // A quarter in units of 2^-16, a ninth in the same.
        assert_eq!(exponent(&factor(1 << 29, 15), 4), Some(14));
        assert_eq!(exponent(&factor(477_218_588, 16), 9), None);
        assert_eq!(exponent(&factor(1 << 20, 20), 4), Some(0));
    }
}
