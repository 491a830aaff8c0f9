//! A Rust crate without the standard library: constants, helpers, one function a step.

use super::{
    File,
    code::{Arg, Call, Code, Data, Named, Place},
    population, text,
};
use crate::{
    graph::Graph,
    program::{Constant, Content, Convolution, Step},
};
use alloc::{format, string::String, string::ToString, vec::Vec};
use core::fmt::Write;

const HELPERS: &str = include_str!("helpers.rs.txt");
const EXAMPLE: &str = include_str!("example.rs.txt");
const README: &str = include_str!("readme_rust.md");

const MANIFEST: &str = "\
[package]
name = \"network\"
version = \"0.1.0\"
edition = \"2021\"

[profile.release]
opt-level = 3
lto = true

[workspace]
";

pub(super) fn files(graph: &Graph, code: &Code) -> Vec<File> {
    Vec::from([
        File { name: "Cargo.toml", content: MANIFEST.to_string() },
        File { name: "src/lib.rs", content: library(graph, code) },
        File { name: "examples/run.rs", content: EXAMPLE.to_string() },
        File { name: "README.md", content: super::readme(README, graph, code) },
    ])
}

fn number(code: &Code) -> &'static str {
    if code.program.integer { "i32" } else { "f32" }
}

fn element(content: Content) -> &'static str {
    match content {
        Content::Events => "Index",
        Content::Values => "Num",
        Content::Sums => "i32",
    }
}

fn zero(code: &Code, content: Content) -> &'static str {
    if content == Content::Values && !code.program.integer { "0.0" } else { "0" }
}

fn library(graph: &Graph, code: &Code) -> String {
    let window = match graph.task.window {
        0 => "None".to_string(),
        window => format!("Some({window})"),
    };
    let index = if code.index_bytes() == 2 { "u16" } else { "u32" };
    let mut out = format!(
        "//! {summary}.\n#![no_std]\n#![forbid(unsafe_code)]\n#![allow(clippy::all)]\n\n\
         /// Readings of a step, in the units of the sensor.\npub const INPUTS: usize = {inputs};\n\
         /// Scores.\npub const OUTPUTS: usize = {outputs};\n\
         /// Steps of a decision, after which a new state begins.\n\
         pub const WINDOW: Option<u32> = {window};\n\
         /// Scores stand for `score / 2^FRACTION`.\npub const FRACTION: u32 = {fraction};\n\
         /// Bytes of a saved state.\npub const SAVED_BYTES: usize = {saved};\n\
         /// Names of the classes.\npub const CLASSES: &[&str] = &{classes:?};\n\
         /// What fires: names and numbers of neurons.\n\
         pub const POPULATIONS: &[(&str, usize)] = &{populations:?};\n\n\
         type Num = {number};\n#[allow(dead_code)]\ntype Index = {index};\n",
        summary = text::summary(graph, code),
        inputs = code.program.inputs,
        outputs = text::outputs(code),
        fraction = text::score_fraction(code),
        saved = text::saved_bytes(code),
        classes = graph.task.classes,
        populations = text::populations(code),
        number = number(code),
    );
    if code.constants.iter().any(|constant| matches!(constant.values, Data::Places(_))) {
        let place = if code.place_bytes() == 1 { "u8" } else { "u16" };
        let _ = writeln!(out, "type Place = {place};");
    }
    let kernel = code.constants.iter().find(|constant| constant.what == "kernel");
    if let Some(Named { values: Data::Constant(values), .. }) = kernel {
        let (kernel, sum) = match values {
            Constant::I8(_) => ("i8", "i32"),
            _ => ("f32", "f32"),
        };
        let _ = writeln!(out, "type Kernel = {kernel};\ntype Sum = {sum};");
    }
    if !code.shapes.is_empty() {
        out += SHAPE;
    }
    let populations: Vec<String> = code.calls.iter().filter_map(|c| function(code, c)).collect();
    let mut used = text::used(code);
    if populations.iter().any(|text| text.contains("limited(")) {
        used.insert("limited");
    }
    if !populations.iter().any(|text| text.contains("scale(")) {
        used.remove("scale");
    }
    let helpers = text::helpers(HELPERS, &used);
    for (name, value, kind) in text::NUMBERS.iter().filter(|(name, ..)| helpers.contains(name)) {
        let _ = writeln!(out, "const {name}: {kind} = {value};");
    }
    for (name, value) in text::conv_limits(code).into_iter().flatten() {
        let _ = writeln!(out, "const {name}: usize = {value};");
    }
    out += &state(code);
    out += &step(code);
    out += &populations.concat();
    let _ = write!(out, "\n{helpers}");
    for (index, shape) in code.shapes.iter().enumerate() {
        let _ = writeln!(out, "static SHAPE_{index}: Shape = Shape {{ {} }};", fields(shape));
    }
    for constant in &code.constants {
        out += &table(constant);
    }
    out
}

const SHAPE: &str = "
#[allow(dead_code)]
struct Shape {
    input: [usize; 2],
    output: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    inputs: usize,
    outputs: usize,
    groups: usize,
}
";

fn fields(shape: &Convolution) -> String {
    let Convolution { window: w, inputs, outputs, groups } = shape;
    format!(
        "input: {:?}, output: {:?}, kernel: {:?}, stride: {:?}, padding: {:?}, dilation: {:?}, \
         inputs: {inputs}, outputs: {outputs}, groups: {groups}",
        w.input, w.output, w.kernel, w.stride, w.padding, w.dilation
    )
}

fn float(x: f32) -> String {
    format!("{x:?}")
}

fn table(constant: &Named) -> String {
    let (kind, len) = match &constant.values {
        Data::Constant(Constant::F32(values)) => ("f32", values.len()),
        Data::Constant(Constant::I8(values)) => ("i8", values.len()),
        Data::Constant(Constant::I4(values)) => ("u8", values.len()),
        Data::Constant(Constant::I32(values)) => ("i32", values.len()),
        Data::Places(places) => ("Place", places.len()),
        Data::U32(values) => ("u32", values.len()),
    };
    let (name, what) = (constant.name.to_ascii_uppercase(), &constant.what);
    let values = text::numbers(constant, float);
    format!("\n/// {what}\nstatic {name}: [{kind}; {len}] = [\n{values}\n];\n")
}

const WORDS: population::Words = population::Words {
    declare: |name, value| format!("let mut {name}: Num = {value};"),
    when: |condition, then| format!("if {condition} {{ {then} }}"),
    float,
    one: |condition, integer| match integer {
        true => format!("(i32::from({condition}) << 16)"),
        false => format!("(if {condition} {{ 1.0 }} else {{ 0.0 }})"),
    },
    list: "list[n] = j as Index; n += 1;",
    fired: |condition| format!("let fired = {condition};"),
};

/// The function of a population. Its arrays have their length in their type, so that no access
/// in the loop is checked.
fn function(code: &Code, call: &Call) -> Option<String> {
    let Call::Population { step, constants } = call else { return None };
    let (population, is_integrator) = match &code.program.steps[*step] {
        Step::Fire { population, .. } => (population, false),
        Step::Integrate { population, .. } => (population, true),
        _ => return None,
    };
    let len = code.program.buffers[population.v].len;
    let second = match population.second {
        Some(_) => format!("second: &mut [Num; {len}], "),
        None => String::new(),
    };
    let to = match is_integrator {
        true => "to: &mut [Num]".to_string(),
        false => "list: &mut [Index], count: &mut u32".to_string(),
    };
    let name = super::identifier(&population.name);
    let mut text = format!(
        "\n#[allow(unused_mut)]\nfn population_{name}_{step}(v: &mut [Num; {len}], {second}\
         current: &[Num], {to}) {{\n    let current = &current[..{len}];\n"
    );
    text += match is_integrator {
        true => "    let to = &mut to[..LEN];\n",
        false => "    let list = &mut list[..LEN];\n    let mut n = 0;\n",
    }
    .replace("LEN", &len.to_string())
    .as_str();
    let _ = writeln!(text, "    for j in 0..{len} {{");
    for line in population::body(code, *step, *constants, &WORDS) {
        let _ = writeln!(text, "        {line}");
    }
    text += "    }\n";
    if !is_integrator {
        text += "    *count = n as u32;\n";
    }
    Some(text + "}\n")
}

fn argument(code: &Code, arg: &Arg) -> String {
    let place = |buffer: usize| match code.places[buffer] {
        Place::State => format!("state.{}", text::field(code, buffer)),
        Place::Slot(slot) => format!("slot_{slot}"),
    };
    let count = |buffer: usize| match code.places[buffer] {
        Place::State => format!("state.{}_count", text::field(code, buffer)),
        Place::Slot(_) => format!("count_{buffer}"),
    };
    let len = |buffer: usize| code.program.buffers[buffer].len;
    let constant = |index: usize| format!("&{}", code.constants[index].name.to_ascii_uppercase());
    match *arg {
        Arg::To(b) | Arg::Into(b) => format!("&mut {}[..{}]", place(b), len(b)),
        Arg::From(b) | Arg::Read(b) => format!("&{}[..{}]", place(b), len(b)),
        Arg::ToEvents(b) => format!("&mut {}[..{}], &mut {}", place(b), len(b), count(b)),
        Arg::Events(b) => format!("&{}[..{} as usize]", place(b), count(b)),
        Arg::Input(start, len) => format!("&x[{start}..{}]", start + len),
        Arg::Constant(c) | Arg::Channels(c) => constant(c),
        Arg::Shape(index) => format!("&SHAPE_{index}"),
        Arg::Unsigned(n) => n.to_string(),
        Arg::Signed(n) => n.to_string(),
        Arg::Float(x) => float(x),
        Arg::Flag(flag) => flag.to_string(),
        Arg::Steps { with_this: true } => "state.steps + 1".into(),
        Arg::Steps { with_this: false } => "state.steps".into(),
        Arg::Nothing | Arg::NoChannels => "&[]".into(),
    }
}

/// The state with its saved form.
fn state(code: &Code) -> String {
    let [mut fields, mut new, mut save, mut restore] = [const { String::new() }; 4];
    for buffer in code.kept() {
        let b = &code.program.buffers[buffer];
        let (name, len, kind) = (text::field(code, buffer), b.len, element(b.content));
        let _ = writeln!(fields, "    {name}: [{kind}; {len}],");
        let _ = writeln!(new, "            {name}: [{}; {len}],", zero(code, b.content));
        match b.content {
            Content::Events => {
                let _ = writeln!(fields, "    {name}_count: u32,");
                let _ = writeln!(new, "            {name}_count: 0,");
                let _ = writeln!(save, "        put(&mut bytes, &mut at, self.{name}_count);");
                let _ = writeln!(
                    save,
                    "        for (i, x) in self.{name}.iter().enumerate() {{\n            \
                     let used = (i as u32) < self.{name}_count;\n            \
                     put(&mut bytes, &mut at, if used {{ u32::from(*x) }} else {{ 0 }});\n        }}"
                );
                let _ = writeln!(
                    restore,
                    "        state.{name}_count = get(bytes, &mut at);\n        \
                     ok &= state.{name}_count <= {len};\n        \
                     for x in &mut state.{name} {{\n            \
                     let word = get(bytes, &mut at);\n            ok &= word < {len};\n            \
                     *x = word as Index;\n        }}"
                );
            }
            Content::Values | Content::Sums => {
                let is_float = b.content == Content::Values && !code.program.integer;
                let [to, from] = match is_float {
                    true => ["x.to_bits()", "f32::from_bits(get(bytes, &mut at))"],
                    false => ["*x as u32", "get(bytes, &mut at) as i32"],
                };
                let _ = writeln!(
                    save,
                    "        for x in &self.{name} {{ put(&mut bytes, &mut at, {to}); }}"
                );
                let _ = writeln!(restore, "        for x in &mut state.{name} {{ *x = {from}; }}");
            }
        }
    }
    let fingerprint = text::fingerprint(code);
    format!(
        "
/// What a network carries from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct State {{
    steps: u32,
{fields}}}

/// What a step gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output {{
    /// One a class.
    pub scores: [Num; OUTPUTS],
    /// The first of the largest scores.
    pub decision: usize,
}}

impl Default for State {{
    fn default() -> Self {{
        Self::new()
    }}
}}

impl State {{
    /// The start of a sequence.
    pub const fn new() -> Self {{
        State {{
            steps: 0,
{new}        }}
    }}

    /// For memory that keeps its content without power.
    pub fn to_bytes(&self) -> [u8; SAVED_BYTES] {{
        let mut bytes = [0; SAVED_BYTES];
        let mut at = 0;
        put(&mut bytes, &mut at, {fingerprint});
        put(&mut bytes, &mut at, self.steps);
{save}        let sum = checksum(&bytes);
        put(&mut bytes, &mut at, sum);
        bytes
    }}

    /// `None` if the bytes are damaged or from another network.
    pub fn from_bytes(bytes: &[u8; SAVED_BYTES]) -> Option<Self> {{
        let mut state = Self::new();
        let mut at = 0;
        let mut ok = get(bytes, &mut at) == {fingerprint};
        state.steps = get(bytes, &mut at);
{restore}        ok &= get(bytes, &mut at) == checksum(bytes);
        if ok {{ Some(state) }} else {{ None }}
    }}
}}

fn put(bytes: &mut [u8; SAVED_BYTES], at: &mut usize, word: u32) {{
    bytes[*at..*at + 4].copy_from_slice(&word.to_le_bytes());
    *at += 4;
}}

fn get(bytes: &[u8; SAVED_BYTES], at: &mut usize) -> u32 {{
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[*at..*at + 4]);
    *at += 4;
    u32::from_le_bytes(word)
}}

/// FNV-1a over all but the last four bytes.
fn checksum(bytes: &[u8; SAVED_BYTES]) -> u32 {{
    let mut hash: u32 = 0x811C_9DC5;
    for byte in &bytes[..SAVED_BYTES - 4] {{
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }}
    hash
}}
"
    )
}

const STEP: &str = "
/// One time step.
pub fn step(state: &mut State, x: &[f32; INPUTS]) -> Output {
    step_watched(state, x, |_, _| {})
}

/// One time step; `spike` is told the population and the neuron of everything that fires.
#[allow(unused_mut, unused_variables)]
pub fn step_watched(
    state: &mut State,
    x: &[f32; INPUTS],
    mut spike: impl FnMut(usize, usize),
) -> Output {
";

fn step(code: &Code) -> String {
    let mut text = String::from(STEP);
    for (slot, (content, len)) in code.slots.iter().enumerate() {
        let (kind, zero) = (element(*content), zero(code, *content));
        let _ = writeln!(text, "    let mut slot_{slot}: [{kind}; {len}] = [{zero}; {len}];");
    }
    for (index, buffer) in code.program.buffers.iter().enumerate() {
        if buffer.content == Content::Events && matches!(code.places[index], Place::Slot(_)) {
            let _ = writeln!(text, "    let mut count_{index} = 0;");
        }
    }
    let mut watched = 0;
    for call in &code.calls {
        match call {
            Call::Helper { name, args } => {
                let words: Vec<String> = args.iter().map(|arg| argument(code, arg)).collect();
                let _ = writeln!(text, "    {name}({});", words.join(", "));
                if let ("egru", Some(Arg::To(events))) = (*name, args.first()) {
                    let events = argument(code, &Arg::Read(*events));
                    let _ = writeln!(
                        text,
                        "    for (neuron, y) in ({events}).iter().enumerate() {{\n        \
                         if *y != 0 {{\n            spike({watched}, neuron);\n        }}\n    }}"
                    );
                    watched += 1;
                }
            }
            Call::Population { step, .. } => {
                let _ = writeln!(text, "    {}", population_call(code, *step));
                if let Step::Fire { to, .. } = &code.program.steps[*step] {
                    let list = argument(code, &Arg::Events(*to));
                    let _ = writeln!(
                        text,
                        "    ({list}).iter().for_each(|neuron| spike({watched}, *neuron as usize));"
                    );
                    watched += 1;
                }
            }
        }
    }
    let zero = zero(code, Content::Values);
    let _ = writeln!(text, "    let mut scores: [Num; OUTPUTS] = [{zero}; OUTPUTS];");
    let mut start = 0;
    for output in &code.program.outputs {
        let (from, len) = (argument(code, &Arg::Read(*output)), code.program.buffers[*output].len);
        let _ = writeln!(text, "    scores[{start}..{}].copy_from_slice({from});", start + len);
        start += len;
    }
    text + "    let mut decision = 0;\n    for (i, score) in scores.iter().enumerate() {\n        \
            if *score > scores[decision] {\n            decision = i;\n        }\n    }\n    \
            // Enough to count means; the count stays there.\n    \
            state.steps = (state.steps + 1).min(u32::MAX - 1);\n    Output { scores, decision }\n}\n"
}

fn population_call(code: &Code, step: usize) -> String {
    let (population, current, to) = match &code.program.steps[step] {
        Step::Fire { population, current, to } => (population, *current, Arg::ToEvents(*to)),
        Step::Integrate { population, current, to } => (population, *current, Arg::Into(*to)),
        _ => return String::new(),
    };
    let whole = |buffer| format!("&mut state.{}", text::field(code, buffer));
    let args = [Some(whole(population.v)), population.second.map(whole)]
        .into_iter()
        .flatten()
        .chain([argument(code, &Arg::Read(current)), argument(code, &to)]);
    let args: Vec<String> = args.collect();
    format!("population_{}_{step}({});", super::identifier(&population.name), args.join(", "))
}
