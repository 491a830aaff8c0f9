//! The loop over a population: one function a population, in the words that C and Rust share.

use super::code::{Code, Named};
use crate::{
    neuron::Reset,
    program::{Constant, Model, Population, Step},
};
use alloc::{format, string::String, string::ToString, vec::Vec};

/// Where languages differ.
pub(super) struct Words {
    /// `let mut NAME: TYPE = VALUE;` or `TYPE NAME = VALUE;`.
    pub(super) declare: fn(&str, &str) -> String,
    /// A condition and what it guards.
    pub(super) when: fn(&str, &str) -> String,
    /// A float.
    pub(super) float: fn(f32) -> String,
    /// 1 or 0 of a condition, as a number of the network.
    pub(super) one: fn(&str, bool) -> String,
    /// Adds the neuron to the list.
    pub(super) list: &'static str,
    /// Declares that a neuron fired.
    pub(super) fired: fn(&str) -> String,
}

/// The body of the loop over neurons `j`, line by line.
pub(super) fn body(
    code: &Code,
    step: usize,
    constants: [Option<usize>; 5],
    words: &Words,
) -> Vec<String> {
    let (Step::Fire { population, .. } | Step::Integrate { population, .. }) =
        &code.program.steps[step]
    else {
        return Vec::new();
    };
    let writer = Writer { code, population, constants, words };
    match population.model {
        Model::Li => writer.integrate(),
        _ => writer.fire(),
    }
}

/// What `lif_neon` of C is given of a population besides its buffers: neurons, whether the reset comes a
/// step later, whether a potential of the threshold fires, decay, threshold. `None` where its loop is another one.
pub(super) fn fours(code: &Code, step: usize, constants: [Option<usize>; 5]) -> Option<String> {
    let Step::Fire { population: p, .. } = &code.program.steps[step] else { return None };
    let neurons = code.program.buffers[p.v].len;
    let fits = code.program.integer
        && p.model == Model::Lif
        && p.reset == Reset::Subtract
        && !p.saturates
        && p.drive.is_empty();
    let pair = |which: usize, values: &Constant| match (constants[which], values) {
        (Some(constant), _) if values.len() == neurons => {
            Some(format!("0, {}", code.constants[constant].name.to_ascii_uppercase()))
        }
        (None, Constant::I32(values)) => values.first().map(|value| format!("{value}, 0")),
        _ => None,
    };
    let (decay, threshold) = (pair(1, &p.beta)?, pair(0, &p.threshold)?);
    let [is_late, equal] = [p.reset_delayed, p.fires_at_threshold].map(u8::from);
    fits.then(|| format!("{neurons}u, {is_late}, {equal}, {decay}, {threshold}"))
}

struct Writer<'a> {
    code: &'a Code,
    population: &'a Population,
    constants: [Option<usize>; 5],
    words: &'a Words,
}

impl Writer<'_> {
    fn integer(&self) -> bool {
        self.code.program.integer
    }

    /// Parameter `which` of neuron `j`; `None` where the model has none.
    fn param(&self, which: usize) -> Option<String> {
        let p = self.population;
        let values = [&p.threshold, &p.beta, &p.drive, &p.second_decay, &p.gain][which];
        if let Some(constant) = self.constants[which] {
            let Named { name, .. } = &self.code.constants[constant];
            let neurons = self.code.program.buffers[p.v].len;
            let len = values.len();
            let index = if len == neurons { "j".into() } else { format!("j % {len}") };
            return Some(format!("{}[{index}]", name.to_ascii_uppercase()));
        }
        match values {
            Constant::I32(values) => values.first().map(ToString::to_string),
            Constant::F32(values) => values.first().map(|value| (self.words.float)(*value)),
            Constant::I8(_) | Constant::I4(_) => None,
        }
    }

    /// `x` times parameter `which`, or `x` where there is none.
    fn times(&self, x: &str, which: usize) -> String {
        match (self.param(which), self.integer()) {
            (None, _) => x.into(),
            (Some(factor), true) => format!("scale({x}, {factor}, 16)"),
            (Some(factor), false) => format!("{factor} * {x}"),
        }
    }

    fn limited(&self, x: String) -> String {
        match self.integer() && self.population.saturates {
            true => format!("limited({x})"),
            false => x,
        }
    }

    /// Declares `name` as a product plus `more`; in two statements, so that no compiler makes one
    /// operation of them.
    fn sum(&self, lines: &mut Vec<String>, name: &str, product: &str, more: &str) {
        lines.push((self.words.declare)(name, product));
        let sum = self.limited(format!("{name} + {more}"));
        lines.push(format!("{name} = {sum};"));
    }

    fn integrate(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.sum(&mut lines, "w", &self.times("v[j]", 1), "current[j]");
        lines.push("v[j] = w;".into());
        lines.push("to[j] = w;".into());
        lines
    }

    fn threshold(&self, lines: &mut Vec<String>, name: &str) -> String {
        let base = self.param(0).unwrap_or_default();
        if self.param(4).is_none() {
            return base;
        }
        lines.push((self.words.declare)(name, &self.times("second[j]", 4)));
        lines.push(format!("{name} = {base} + {name};"));
        name.into()
    }

    fn fire(&self) -> Vec<String> {
        let p = self.population;
        let mut lines = Vec::new();
        let mut drive = self.times("current[j]", 2);
        if p.model == Model::CubaLif {
            self.sum(&mut lines, "i", &self.times("second[j]", 3), &drive);
            lines.push("second[j] = i;".into());
            drive = "i".into();
        } else if drive != "current[j]" {
            lines.push((self.words.declare)("i", &drive));
            drive = "i".into();
        }
        self.sum(&mut lines, "w", &self.times("v[j]", 1), &drive);
        let over = if p.fires_at_threshold { ">=" } else { ">" };
        let delayed = p.reset_delayed && p.reset != Reset::None;
        let adapts = p.model == Model::AdaptiveLif;
        let threshold = self.threshold(&mut lines, "th");
        let compared = if delayed { "v[j]" } else { "w" };
        lines.push((self.words.fired)(&format!("{compared} {over} {threshold}")));
        let reset = match p.reset {
            Reset::None => None,
            Reset::Subtract => Some(format!("w -= {threshold};")),
            Reset::Zero => Some(format!("w = {};", if self.integer() { "0" } else { "0.0" })),
        };
        if let Some(reset) = reset {
            lines.push((self.words.when)("fired", &reset));
        }
        lines.push("v[j] = w;".into());
        if adapts {
            let one = (self.words.one)("fired", self.integer());
            self.sum(&mut lines, "a", &self.times("second[j]", 3), &one);
            lines.push("second[j] = a;".into());
        }
        if delayed {
            let threshold = self.threshold(&mut lines, "th_now");
            let now = format!("w {over} {threshold}");
            lines.push((self.words.when)(&now, self.words.list));
        } else {
            lines.push((self.words.when)("fired", self.words.list));
        }
        lines
    }
}
