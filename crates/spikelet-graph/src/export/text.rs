//! What the files of all languages share: numbers, the parts of helper files, the fingerprint.

use super::code::{Arg, Call, Code, Data, Named};
use crate::{
    graph::Graph,
    program::{Constant, Step, fixed},
};
use alloc::{collections::BTreeSet, format, string::String, string::ToString, vec::Vec};
use core::fmt::Write;

/// Numbers that helpers use, with their types in Rust.
pub(super) const NUMBERS: [(&str, i32, &str); 4] = [
    ("LIMIT", fixed::LIMIT, "i32"),
    ("TABLE_HALF", fixed::TABLE_RANGE << fixed::TABLE_IN, "i32"),
    ("TABLE_STEP", fixed::TABLE_STEP as i32, "u32"),
    ("STATE_LIFT", 1 << (fixed::STATE - fixed::TABLE_OUT), "i32"),
];

/// The parts of a helper file that are used, in its order. A part begins with `//! name: needs`.
pub(super) fn helpers(file: &str, used: &BTreeSet<&str>) -> String {
    let parts: Vec<(&str, Vec<&str>, &str)> = file
        .split("//! ")
        .skip(1)
        .map(|part| {
            let (head, body) = part.split_once('\n').unwrap_or((part, ""));
            let (name, needs) = head.split_once(':').unwrap_or((head, ""));
            (name.trim(), needs.split_whitespace().collect(), body)
        })
        .collect();
    let mut wanted: BTreeSet<&str> = used.clone();
    // What is needed comes before those who need it.
    for (name, needs, _) in parts.iter().rev() {
        if wanted.contains(name) {
            wanted.extend(needs);
        }
    }
    parts.iter().filter(|(name, ..)| wanted.contains(name)).map(|(.., body)| *body).collect()
}

/// The names of the helpers that are called, and of those that populations use.
pub(super) fn used(code: &Code) -> BTreeSet<&'static str> {
    let mut used = BTreeSet::new();
    for call in &code.calls {
        match call {
            Call::Helper { name, .. } => {
                used.insert(*name);
            }
            Call::Population { .. } if code.program.integer => {
                used.insert("scale");
            }
            Call::Population { .. } => {}
        }
    }
    used
}

/// Positions and outputs of the largest convolution of events.
pub(super) fn conv_limits(code: &Code) -> Option<[(&'static str, usize); 2]> {
    let mut most: Option<[usize; 2]> = None;
    for call in &code.calls {
        if let Call::Helper { name: "conv_i8", args } = call
            && let [_, _, Arg::Shape(conv), Arg::Unsigned(tall), ..] = args.as_slice()
        {
            let conv = &code.shapes[*conv];
            let [height, width] = conv.window.input;
            let [positions, outputs] = most.unwrap_or_default();
            let here = height * width * *tall as usize;
            most = Some([positions.max(here), outputs.max(conv.outputs)]);
        }
    }
    most.map(|[positions, outputs]| [("CONV_POSITIONS", positions), ("CONV_OUTPUTS", outputs)])
}

/// The values of a constant, separated by commas, in lines.
pub(super) fn numbers(named: &Named, float: impl Fn(f32) -> String) -> String {
    let values: Vec<String> = match &named.values {
        Data::Constant(Constant::F32(values)) => values.iter().map(|x| float(*x)).collect(),
        Data::Constant(Constant::I8(values)) => values.iter().map(ToString::to_string).collect(),
        Data::Constant(Constant::I4(values)) => values.iter().map(ToString::to_string).collect(),
        Data::Constant(Constant::I32(values)) => values.iter().map(ToString::to_string).collect(),
        Data::Places(values) | Data::U32(values) => {
            values.iter().map(ToString::to_string).collect()
        }
    };
    let mut text = String::new();
    let mut column = 0;
    for value in values {
        if column > 0 && column + value.len() > 90 {
            text.push('\n');
            column = 0;
        }
        text += if column == 0 { "    " } else { " " };
        let _ = write!(text, "{value},");
        column += value.len() + 2;
    }
    text
}

/// A number that differs between networks (FNV-1a over names, sizes and constants).
pub(super) fn fingerprint(code: &Code) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut add = |text: &str| {
        for byte in text.bytes() {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    };
    for buffer in &code.program.buffers {
        add(&format!("{} {:?} {};", buffer.name, buffer.content, buffer.len));
    }
    for constant in &code.constants {
        add(&format!("{:?}", constant.values_debug()));
    }
    hash
}

impl Named {
    fn values_debug(&self) -> String {
        numbers(self, |x| format!("{:08x}", x.to_bits()))
    }
}

/// The name of the field or variable of a buffer.
pub(super) fn field(code: &Code, buffer: usize) -> String {
    format!("{}_{buffer}", super::identifier(&code.program.buffers[buffer].name))
}

/// What the network is, for the head of files.
pub(super) fn summary(graph: &Graph, code: &Code) -> String {
    let arithmetic = match code.program.integer {
        true => "computed in integers alone",
        false => "computed in 32-bit floats",
    };
    // A name may hold anything: it must not end a comment of C.
    format!("{}, {arithmetic}. Made by `spikelet export`", graph.name.replace("*/", "* /"))
}

/// The fraction bits of the scores.
pub(super) fn score_fraction(code: &Code) -> u32 {
    code.program.outputs.first().map_or(0, |output| code.program.buffers[*output].fraction)
}

/// Names and sizes of what fires, in the order of the calls.
pub(super) fn populations(code: &Code) -> Vec<(&str, usize)> {
    let mut populations = Vec::new();
    for step in &code.program.steps {
        let (name, states) = match step {
            Step::Fire { population, .. } => (&population.name, population.v),
            Step::Egru { units, .. } => (&units.name, units.h),
            _ => continue,
        };
        populations.push((name.as_str(), code.program.buffers[states].len));
    }
    populations
}

/// Values of all outputs.
pub(super) fn outputs(code: &Code) -> usize {
    code.program.outputs.iter().map(|output| code.program.buffers[*output].len).sum()
}

/// Bytes of a saved state: fingerprint, steps, fields, checksum.
pub(super) fn saved_bytes(code: &Code) -> usize {
    let field = |buffer| {
        let buffer: &crate::program::Buffer = &code.program.buffers[buffer];
        let count = if buffer.content == crate::program::Content::Events { 4 } else { 0 };
        4 * buffer.len + count
    };
    12 + code.kept().map(field).sum::<usize>()
}
