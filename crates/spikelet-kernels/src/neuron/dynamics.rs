//! The equations of one neuron and one step: the single place where they stand as code.
//!
//! Written without branches on data, so that a loop over neurons vectorises. A spike is a mask,
//! all ones or all zeros.

use super::{Model, NeuronSpec, Param, Params, Reset};
use crate::columns::repeat;

/// Neurons a loop works on at once, also one machine word of spikes.
pub(super) const BLOCK: usize = 64;

/// A membrane model, as a type: loops are compiled once for each.
pub(super) trait Membrane {
    /// The second value is a synaptic current.
    const CURRENT: bool = false;
    /// The second value is an adaptation of the threshold.
    const ADAPTATION: bool = false;
    /// The output is the potential, and there are no spikes.
    const LINEAR: bool = false;
    /// There is a second value.
    const SECOND: bool = Self::CURRENT || Self::ADAPTATION;
}

/// IF and LIF: without leak `beta` is 1, with decayed input `drive` is `1 - beta`.
pub(super) struct Lif;
pub(super) struct CubaLif;
pub(super) struct AdaptiveLif;
pub(super) struct Li;

impl Membrane for Lif {}
impl Membrane for CubaLif {
    const CURRENT: bool = true;
}
impl Membrane for AdaptiveLif {
    const ADAPTATION: bool = true;
}
impl Membrane for Li {
    const LINEAR: bool = true;
}

/// Calls `$body` with `$membrane` and `$delayed` bound to the type and constant of a spec.
macro_rules! with_membrane {
    ($spec:expr, |$membrane:ident, $delayed:ident| $body:expr) => {{
        macro_rules! with {
            ($type:ident, $value:literal) => {{
                type $membrane = $crate::neuron::dynamics::$type;
                const $delayed: bool = $value;
                $body
            }};
        }
        match ($spec.model, $spec.delayed()) {
            (Model::If | Model::Lif { .. }, false) => with!(Lif, false),
            (Model::If | Model::Lif { .. }, true) => with!(Lif, true),
            (Model::CubaLif, false) => with!(CubaLif, false),
            (Model::CubaLif, true) => with!(CubaLif, true),
            (Model::AdaptiveLif, false) => with!(AdaptiveLif, false),
            (Model::AdaptiveLif, true) => with!(AdaptiveLif, true),
            (Model::Li, _) => with!(Li, false),
        }
    }};
}
pub(super) use with_membrane;

/// When a neuron fires and what its potential is afterwards, as masks.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    at_threshold: u32,
    subtract: u32,
    zero: u32,
}

#[inline(always)]
pub(super) fn mask(condition: bool) -> u32 {
    u32::from(condition).wrapping_neg()
}

/// `value` where the mask is set, else 0.
#[inline(always)]
pub(super) fn keep(mask: u32, value: f32) -> f32 {
    f32::from_bits(mask & value.to_bits())
}

impl Rule {
    pub(super) fn new(spec: &NeuronSpec) -> Self {
        Self {
            at_threshold: mask(spec.fires_at_threshold),
            subtract: mask(spec.reset == Reset::Subtract),
            zero: mask(spec.reset == Reset::Zero),
        }
    }

    /// Whether a neuron whose potential exceeds its threshold by `excess` fires.
    #[inline(always)]
    pub(super) fn fires(self, excess: f32) -> u32 {
        mask(excess > 0.0) | (mask(excess == 0.0) & self.at_threshold)
    }

    /// `v` after the reset, where `fired`.
    #[inline(always)]
    pub(super) fn reset(self, v: f32, fired: u32, threshold: f32) -> f32 {
        keep(!(fired & self.zero), v - keep(fired & self.subtract, threshold))
    }
}

/// The parameters of one neuron, ready for use.
#[derive(Clone, Copy)]
pub(super) struct Coefficients {
    pub(super) beta: f32,
    /// Factor of the input current.
    pub(super) drive: f32,
    pub(super) threshold: f32,
    pub(super) second_decay: f32,
    pub(super) gain: f32,
}

impl Coefficients {
    /// Those of a population whose parameters are all shared.
    pub(super) fn shared(spec: &NeuronSpec, params: &Params) -> Option<Self> {
        let all = [params.threshold, params.beta, params.second_decay, params.gain];
        if all.iter().any(|param| matches!(param, Param::PerNeuron(_))) {
            return None;
        }
        let mut columns = CoefficientArrays::<1>::ZERO;
        columns.fill(spec, params, 0, 1);
        Some(columns.at(0))
    }
}

/// Writes the values of the neurons from `start` on.
fn spread(param: Param, start: usize, out: &mut [f32]) {
    match param {
        Param::Shared(value) => out.fill(value),
        Param::PerNeuron(values) => repeat(values, start, out),
    }
}

/// The coefficients of a run of neurons, shared by all or one set for each.
pub(super) trait Lanes {
    fn at(&self, j: usize) -> Coefficients;
}

impl Lanes for Coefficients {
    #[inline(always)]
    fn at(&self, _: usize) -> Coefficients {
        *self
    }
}

/// The coefficients of up to `N` neurons, one array a coefficient.
pub(super) struct CoefficientArrays<const N: usize> {
    pub(super) beta: [f32; N],
    pub(super) drive: [f32; N],
    pub(super) threshold: [f32; N],
    pub(super) second_decay: [f32; N],
    pub(super) gain: [f32; N],
}

impl<const N: usize> CoefficientArrays<N> {
    pub(super) const ZERO: Self = Self {
        beta: [0.0; N],
        drive: [0.0; N],
        threshold: [0.0; N],
        second_decay: [0.0; N],
        gain: [0.0; N],
    };

    /// Takes those of the neurons `start..start + len`.
    pub(super) fn fill(&mut self, spec: &NeuronSpec, params: &Params, start: usize, len: usize) {
        let clamp = |decays: &mut [f32]| decays.iter_mut().for_each(|d| *d = d.clamp(0.0, 1.0));
        spread(params.threshold, start, &mut self.threshold[..len]);
        if spec.model == Model::If {
            self.beta[..len].fill(1.0);
        } else {
            spread(params.beta, start, &mut self.beta[..len]);
            clamp(&mut self.beta[..len]);
        }
        if spec.model == (Model::Lif { input_decay: true }) {
            for (drive, beta) in self.drive[..len].iter_mut().zip(&self.beta) {
                *drive = 1.0 - beta;
            }
        } else {
            self.drive[..len].fill(1.0);
        }
        if spec.has_second() {
            spread(params.second_decay, start, &mut self.second_decay[..len]);
            clamp(&mut self.second_decay[..len]);
            spread(params.gain, start, &mut self.gain[..len]);
        }
    }
}

impl<const N: usize> Lanes for CoefficientArrays<N> {
    #[inline(always)]
    fn at(&self, j: usize) -> Coefficients {
        Coefficients {
            beta: self.beta[j],
            drive: self.drive[j],
            threshold: self.threshold[j],
            second_decay: self.second_decay[j],
            gain: self.gain[j],
        }
    }
}

/// What one step makes of a neuron.
pub(super) struct Update {
    /// The potential that is compared with the threshold.
    pub(super) u: f32,
    /// The adaptation that was part of the threshold, or the synaptic current.
    pub(super) used: f32,
    /// The state to store.
    pub(super) v: f32,
    pub(super) second: f32,
    pub(super) fired: u32,
}

/// One step of one neuron.
#[inline(always)]
pub(super) fn update<M: Membrane, const DELAYED: bool>(
    rule: Rule,
    c: Coefficients,
    v: f32,
    second: f32,
    current: f32,
) -> Update {
    let drive = if M::CURRENT { c.second_decay * second + current } else { c.drive * current };
    let threshold = |a: f32| if M::ADAPTATION { c.threshold + c.gain * a } else { c.threshold };
    let adapt = |a: f32, fired: u32| c.second_decay * a + keep(fired, 1.0);
    let w = c.beta * v + drive;
    if M::LINEAR {
        return Update { u: w, used: 0.0, v: w, second: 0.0, fired: 0 };
    }
    if DELAYED {
        let before = threshold(second);
        let reset = rule.fires(v - before);
        let used = match (M::CURRENT, M::ADAPTATION) {
            (true, _) => drive,
            (_, true) => adapt(second, reset),
            _ => 0.0,
        };
        let u = rule.reset(w, reset, before);
        let fired = rule.fires(u - threshold(used));
        Update { u, used, v: u, second: used, fired }
    } else {
        let th = threshold(second);
        let fired = rule.fires(w - th);
        let v = rule.reset(w, fired, th);
        let (used, second) = match (M::CURRENT, M::ADAPTATION) {
            (true, _) => (drive, drive),
            (_, true) => (second, adapt(second, fired)),
            _ => (0.0, 0.0),
        };
        Update { u: w, used, v, second, fired }
    }
}
