//! C99: one header, one source file, an example, a makefile.

use super::{
    File,
    code::{Arg, Call, Code, Data, Named, Place},
    memory, population, text,
};
use crate::{
    graph::Graph,
    program::{Constant, Content, Convolution, Step},
};
use alloc::{format, string::String, string::ToString, vec::Vec};
use core::fmt::Write;

const HELPERS: &str = include_str!("helpers.c");
const EXAMPLE: &str = include_str!("example.c");
const README: &str = include_str!("readme_c99.md");

const MAKEFILE: &str = "\
CFLAGS = -std=c99 -O2 -Wall -Wextra

example: example.o network.o
\t$(CC) $(CFLAGS) -o $@ example.o network.o

network.o: network.c network.h
example.o: example.c network.h
";

pub(super) fn files(graph: &Graph, code: &Code) -> Vec<File> {
    let kind = if code.program.integer { "%ld" } else { "%.9g" };
    let cast = if code.program.integer { "(long)" } else { "(double)" };
    let example = EXAMPLE.replace("FORMAT", kind).replace("CAST", cast);
    Vec::from([
        File { name: "network.h", content: header(graph, code) },
        File { name: "network.c", content: source(graph, code) },
        File { name: "example.c", content: example },
        File { name: "Makefile", content: MAKEFILE.to_string() },
        File { name: "README.md", content: super::readme(README, graph, code) },
    ])
}

fn index_type(code: &Code) -> &'static str {
    if code.index_bytes() == 2 { "uint16_t" } else { "uint32_t" }
}

fn number(code: &Code) -> &'static str {
    if code.program.integer { "int32_t" } else { "float" }
}

/// The C type of a buffer's elements.
fn element(code: &Code, content: Content) -> &'static str {
    match content {
        Content::Events => index_type(code),
        Content::Values => number(code),
        Content::Sums => "int32_t",
    }
}

fn header(graph: &Graph, code: &Code) -> String {
    let mut fields = String::from("    uint32_t steps;\n");
    for buffer in code.kept() {
        let name = text::field(code, buffer);
        let b = &code.program.buffers[buffer];
        let _ = writeln!(fields, "    {} {name}[{}];", element(code, b.content), b.len);
        if b.content == Content::Events {
            let _ = writeln!(fields, "    uint32_t {name}_count;");
        }
    }
    let mut classes = String::new();
    for (index, class) in graph.task.classes.iter().enumerate() {
        // The name of a class may hold anything: it must not end the comment.
        let class = class.replace("*/", "* /");
        let _ = writeln!(classes, "/* class {index}: {class} */");
    }
    format!(
        "/* {summary}. */\n\
         #ifndef NETWORK_H\n#define NETWORK_H\n\n#include <stdint.h>\n\n\
         /* Readings of a step, in the units of the sensor. */\n#define NETWORK_INPUTS {inputs}\n\
         #define NETWORK_OUTPUTS {outputs}\n\
         /* Steps of a decision, after which network_reset is called; 0: none. */\n\
         #define NETWORK_WINDOW {window}u\n\
         /* Scores stand for score / 2^NETWORK_FRACTION. */\n#define NETWORK_FRACTION {fraction}\n\
         #define NETWORK_SAVED_BYTES {saved}u\n{classes}\n\
         typedef struct {{\n{fields}}} network_state;\n\n\
         typedef struct {{\n    {number} scores[NETWORK_OUTPUTS];\n    \
         /* The first of the largest scores. */\n    uint32_t decision;\n}} network_output;\n\n\
         /* To the start of a sequence. */\nvoid network_reset(network_state *state);\n\
         /* One time step. */\n\
         void network_step(network_state *state, const float x[NETWORK_INPUTS], \
         network_output *output);\n\
         /* For memory that keeps its content without power. */\n\
         void network_save(const network_state *state, uint8_t bytes[NETWORK_SAVED_BYTES]);\n\
         /* 1; or 0, and a reset state, if the bytes are damaged or from another network. */\n\
         int network_restore(network_state *state, const uint8_t bytes[NETWORK_SAVED_BYTES]);\n\n\
         #endif\n",
        summary = text::summary(graph, code),
        inputs = code.program.inputs,
        outputs = text::outputs(code),
        window = graph.task.window,
        fraction = text::score_fraction(code),
        saved = text::saved_bytes(code),
        number = number(code),
    )
}

fn source(graph: &Graph, code: &Code) -> String {
    let mut out = format!("/* {}. */\n#include \"network.h\"\n\n", text::summary(graph, code));
    if !code.program.integer {
        out += "#if defined(__GNUC__) && !defined(__clang__) && !defined(__STRICT_ANSI__)\n\
                #error \"compile with -std=c99: elsewhere GCC fuses products and sums\"\n#endif\n\n";
    }
    let kernel = code.constants.iter().find_map(|constant| match &constant.values {
        Data::Constant(Constant::I8(_)) if constant.what == "kernel" => Some("int8_t"),
        Data::Constant(Constant::F32(_)) if constant.what == "kernel" => Some("float"),
        _ => None,
    });
    let _ =
        writeln!(out, "typedef {} num;\ntypedef {} index_type;", number(code), index_type(code));
    out += "typedef index_type *event_list;\n";
    if code.constants.iter().any(|constant| matches!(constant.values, Data::Places(_))) {
        let place = if code.place_bytes() == 1 { "uint8_t" } else { "uint16_t" };
        let _ = writeln!(out, "typedef {place} place_type;");
    }
    if let Some(kernel) = kernel {
        let sum = if kernel == "float" { "float" } else { "int32_t" };
        let _ = writeln!(out, "typedef {kernel} weight_type;\ntypedef {sum} sum_type;");
    }
    if !code.shapes.is_empty() {
        out += SHAPE;
    }
    let populations: Vec<String> = code.calls.iter().filter_map(|c| function(code, c)).collect();
    let mut used = text::used(code);
    if populations.iter().any(|text| text.contains("limited(")) {
        used.insert("limited");
    }
    if used.contains("scale") && !populations.iter().any(|text| text.contains("scale(")) {
        used.remove("scale");
    }
    if populations.iter().any(|text| text.contains("lif_neon(")) {
        used.insert("lif_neon");
    }
    let helpers = text::helpers(HELPERS, &used);
    if helpers.contains("NEON") {
        out += NEON;
    }
    if helpers.contains("ALONE") || !populations.is_empty() {
        out += ALONE;
    }
    if helpers.contains("SIMD32") {
        out += SIMD32;
    }
    for (name, value, _) in text::NUMBERS.iter().filter(|(name, ..)| helpers.contains(name)) {
        let _ = writeln!(out, "#define {name} {value}");
    }
    for (name, value) in text::conv_limits(code).into_iter().flatten() {
        let _ = writeln!(out, "#define {name} {value}u");
    }
    for constant in &code.constants {
        out += &table(code, constant);
    }
    for (index, shape) in code.shapes.iter().enumerate() {
        let _ = writeln!(out, "static const conv_shape SHAPE_{index} = {{{}}};", fields(shape));
    }
    let _ = write!(out, "\n{helpers}");
    out += &populations.concat();
    out += &step(code);
    out + &saving(code)
}

/// Sixteen weights an instruction: compilers do not find the way themselves.
const NEON: &str = "
#if defined(__aarch64__) && !defined(__AARCH64EB__)
#include <arm_neon.h>
#define NEON
#endif
";

/// Innermost loops keep their registers to themselves.
const ALONE: &str = "
#ifdef __GNUC__
#define ALONE __attribute__((noinline))
#else
#define ALONE
#endif
";

/// Two bytes an instruction.
const SIMD32: &str = "
#ifdef __ARM_FEATURE_SIMD32
#include <arm_acle.h>
#endif
";

const SHAPE: &str = "
typedef struct {
    uint32_t height, width, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w;
    uint32_t padding_h, padding_w, dilation_h, dilation_w, inputs, outputs, groups;
} conv_shape;
";

fn fields(shape: &Convolution) -> String {
    let w = &shape.window;
    let numbers = [w.input, w.output, w.kernel, w.stride, w.padding, w.dilation].concat();
    let all = numbers.into_iter().chain([shape.inputs, shape.outputs, shape.groups]);
    all.map(|n| format!("{n}u")).collect::<Vec<_>>().join(", ")
}

fn float(x: f32) -> String {
    format!("{x:?}f")
}

fn table(code: &Code, constant: &Named) -> String {
    let (kind, len) = match &constant.values {
        Data::Constant(Constant::F32(values)) => ("float", values.len()),
        Data::Constant(Constant::I8(values)) => ("int8_t", values.len()),
        Data::Constant(Constant::I4(values)) => ("uint8_t", values.len()),
        Data::Constant(Constant::I32(values)) => ("int32_t", values.len()),
        Data::Places(places) => ("place_type", places.len()),
        Data::U32(values) => ("uint32_t", values.len()),
    };
    let _ = code;
    let (name, what) = (constant.name.to_ascii_uppercase(), &constant.what);
    let values = text::numbers(constant, float);
    // C has no empty arrays: weights that are all zero keep one.
    let (len, values) = if len == 0 { (1, "    0".to_string()) } else { (len, values) };
    format!("\n/* {what} */\nstatic const {kind} {name}[{len}] = {{\n{values}\n}};\n")
}

const WORDS: population::Words = population::Words {
    declare: |name, value| format!("num {name} = {value};"),
    when: |condition, then| format!("if ({condition}) {{ {then} }}"),
    float,
    one: |condition, integer| match integer {
        true => format!("(({condition}) ? 65536 : 0)"),
        false => format!("(({condition}) ? 1.0f : 0.0f)"),
    },
    list: "*at = (index_type)j; ++at;",
    fired: |condition| format!("const int fired = {condition};"),
};

/// The function of a population.
fn function(code: &Code, call: &Call) -> Option<String> {
    let Call::Population { step, constants } = call else { return None };
    let lines = population::body(code, *step, *constants, &WORDS);
    let mut text = String::new();
    let (population, to) = match &code.program.steps[*step] {
        Step::Fire { population, .. } => (population, "event_list list, uint32_t *count"),
        Step::Integrate { population, .. } => (population, "num *to"),
        _ => return None,
    };
    let second = if population.second.is_some() { "num *second, " } else { "" };
    let len = code.program.buffers[population.v].len;
    let name = super::identifier(&population.name);
    let _ = writeln!(
        text,
        "\nstatic ALONE void population_{name}_{step}(num *v, {second}const num *current, {to})\n{{"
    );
    text += "    uint32_t j = 0u;\n";
    let fires = population.model != crate::program::Model::Li;
    if fires {
        text += "    event_list at = list;\n";
    }
    if let Some(fours) = population::fours(code, *step, *constants) {
        let _ = writeln!(
            text,
            "#ifdef NEON\n    at = &list[lif_neon(v, current, {fours}, list)];\n    j = {}u;\n#endif",
            len / 4 * 4
        );
    }
    let _ = writeln!(text, "    for (; j < {len}u; ++j) {{");
    for line in lines {
        let _ = writeln!(text, "        {line}");
    }
    text += "    }\n";
    if fires {
        text += "    *count = (uint32_t)(at - list);\n";
    }
    Some(text + "}\n")
}

fn argument(code: &Code, arg: &Arg) -> String {
    let place = |buffer: usize| match code.places[buffer] {
        Place::State => format!("state->{}", text::field(code, buffer)),
        Place::Slot(slot) => format!("slot_{slot}"),
    };
    let count = |buffer: usize| match code.places[buffer] {
        Place::State => format!("state->{}_count", text::field(code, buffer)),
        Place::Slot(_) => format!("count_{buffer}"),
    };
    let constant = |index: usize| code.constants[index].name.to_ascii_uppercase();
    let buffer = |index: usize| &code.program.buffers[index];
    match *arg {
        Arg::To(b) | Arg::From(b) => format!("{}, {}u", place(b), buffer(b).len),
        Arg::Into(b) | Arg::Read(b) => place(b),
        Arg::ToEvents(b) => format!("{}, &{}", place(b), count(b)),
        Arg::Events(b) => format!("{}, {}", place(b), count(b)),
        Arg::Input(start, len) => format!("&x[{start}], {len}u"),
        Arg::Constant(c) => constant(c),
        Arg::Channels(c) => {
            let Data::Constant(values) = &code.constants[c].values else { return constant(c) };
            format!("{}, {}u", constant(c), values.len())
        }
        Arg::Shape(index) => format!("&SHAPE_{index}"),
        Arg::Unsigned(n) => format!("{n}u"),
        Arg::Signed(n) => n.to_string(),
        Arg::Float(x) => float(x),
        Arg::Flag(flag) => u8::from(flag).to_string(),
        Arg::Steps { with_this: true } => "state->steps + 1u".into(),
        Arg::Steps { with_this: false } => "state->steps".into(),
        Arg::Nothing => "0".into(),
        Arg::NoChannels => "0, 0u".into(),
    }
}

fn step(code: &Code) -> String {
    let mut text = String::from(
        "\nvoid network_step(network_state *state, const float x[NETWORK_INPUTS], \
         network_output *output)\n{\n",
    );
    for (slot, (content, len)) in code.slots.iter().enumerate() {
        let _ = writeln!(text, "    {} slot_{slot}[{len}];", element(code, *content));
    }
    for (index, buffer) in code.program.buffers.iter().enumerate() {
        if buffer.content == Content::Events && matches!(code.places[index], Place::Slot(_)) {
            let _ = writeln!(text, "    uint32_t count_{index};");
        }
    }
    text += "    uint32_t i;\n";
    for call in &code.calls {
        match call {
            Call::Helper { name, args } => {
                let args: Vec<String> = args.iter().map(|arg| argument(code, arg)).collect();
                let _ = writeln!(text, "    {name}({});", args.join(", "));
            }
            Call::Population { step, .. } => {
                let _ = writeln!(text, "    {}", population_call(code, *step));
            }
        }
    }
    let mut start = 0;
    for output in &code.program.outputs {
        let (from, len) = (argument(code, &Arg::Read(*output)), code.program.buffers[*output].len);
        let _ = writeln!(
            text,
            "    for (i = 0u; i < {len}u; ++i) {{ output->scores[{start}u + i] = {from}[i]; }}"
        );
        start += len;
    }
    text + "    output->decision = 0u;\n    \
            for (i = 1u; i < (uint32_t)NETWORK_OUTPUTS; ++i) {\n        \
            if (output->scores[i] > output->scores[output->decision]) { output->decision = i; }\n    \
            }\n    \
            /* Enough to count means; the count stays there. */\n    \
            if (state->steps < 0xFFFFFFFEu) { ++state->steps; }\n}\n"
}

fn population_call(code: &Code, step: usize) -> String {
    let (population, current, to) = match &code.program.steps[step] {
        Step::Fire { population, current, to } => (population, *current, Arg::ToEvents(*to)),
        Step::Integrate { population, current, to } => (population, *current, Arg::Into(*to)),
        _ => return String::new(),
    };
    let args = [Some(Arg::Into(population.v)), population.second.map(Arg::Into)]
        .into_iter()
        .flatten()
        .chain([Arg::Read(current), to]);
    let args: Vec<String> = args.map(|arg| argument(code, &arg)).collect();
    format!("population_{}_{step}({});", super::identifier(&population.name), args.join(", "))
}

/// Reset, save, restore.
fn saving(code: &Code) -> String {
    let [mut reset, mut save, mut restore] = [const { String::new() }; 3];
    for buffer in code.kept() {
        let b = &code.program.buffers[buffer];
        let (name, len) = (text::field(code, buffer), b.len);
        let _ = writeln!(reset, "    for (i = 0u; i < {len}u; ++i) {{ state->{name}[i] = 0; }}");
        let each = |body: &str| format!("    for (i = 0u; i < {len}u; ++i) {{ {body} }}\n");
        match b.content {
            Content::Events => {
                let _ = writeln!(reset, "    state->{name}_count = 0u;");
                let _ = writeln!(save, "    at = put(bytes, at, state->{name}_count);");
                let used = format!(
                    "at = put(bytes, at, (i < state->{name}_count) ? state->{name}[i] : 0u);"
                );
                save += &each(&used);
                let _ = writeln!(restore, "    state->{name}_count = get(bytes, &at);");
                let _ = writeln!(restore, "    ok = ok && (state->{name}_count <= {len}u);");
                restore += &each(&format!(
                    "const uint32_t word = get(bytes, &at); ok = ok && (word < {len}u); \
                     state->{name}[i] = (index_type)word;"
                ));
            }
            Content::Values if !code.program.integer => {
                save += &each(&format!(
                    "union bits word; word.number = state->{name}[i]; \
                     at = put(bytes, at, word.bits);"
                ));
                restore += &each(&format!(
                    "union bits word; word.bits = get(bytes, &at); state->{name}[i] = word.number;"
                ));
            }
            Content::Values | Content::Sums => {
                save += &each(&format!("at = put(bytes, at, (uint32_t)state->{name}[i]);"));
                restore += &each(&format!("state->{name}[i] = (int32_t)get(bytes, &at);"));
            }
        }
    }
    let union = match code.program.integer {
        true => "",
        false => "\nunion bits { float number; uint32_t bits; };\n",
    };
    let fingerprint = text::fingerprint(code);
    let counter = if reset.is_empty() { "" } else { "    uint32_t i;\n" };
    format!(
        "
void network_reset(network_state *state)
{{
{counter}    state->steps = 0u;
{reset}}}
{union}
static uint32_t put(uint8_t *bytes, uint32_t at, uint32_t word)
{{
    uint32_t i;
    for (i = 0u; i < 4u; ++i) {{
        bytes[at + i] = (uint8_t)((word >> (8u * i)) & 255u);
    }}
    return at + 4u;
}}

static uint32_t get(const uint8_t *bytes, uint32_t *at)
{{
    uint32_t i;
    uint32_t word = 0u;
    for (i = 0u; i < 4u; ++i) {{
        word |= (uint32_t)bytes[*at + i] << (8u * i);
    }}
    *at += 4u;
    return word;
}}

/* FNV-1a over all but the last four bytes. */
static uint32_t checksum(const uint8_t *bytes)
{{
    uint32_t i;
    uint32_t hash = 0x811C9DC5u;
    for (i = 0u; i < NETWORK_SAVED_BYTES - 4u; ++i) {{
        hash = (hash ^ bytes[i]) * 0x01000193u;
    }}
    return hash;
}}

void network_save(const network_state *state, uint8_t bytes[NETWORK_SAVED_BYTES])
{{
    uint32_t i;
    uint32_t at = put(bytes, 0u, {fingerprint}u);
    at = put(bytes, at, state->steps);
{save}    i = checksum(bytes);
    (void)put(bytes, at, i);
}}

int network_restore(network_state *state, const uint8_t bytes[NETWORK_SAVED_BYTES])
{{
    uint32_t i;
    uint32_t at = 0u;
    int ok = (get(bytes, &at) == {fingerprint}u);
    state->steps = get(bytes, &at);
{restore}    i = checksum(bytes);
    ok = ok && (get(bytes, &at) == i);
    if (!ok) {{
        network_reset(state);
    }}
    return ok;
}}
"
    )
}

/// What the readme says about memory.
pub(super) fn memory_lines(code: &Code) -> String {
    let memory = memory::memory(code);
    format!(
        "| constants | {} |\n| code, about | {} |\n| state | {} |\n| stack at its peak, about | {} |",
        memory.constants, memory.code, memory.state, memory.stack
    )
}
