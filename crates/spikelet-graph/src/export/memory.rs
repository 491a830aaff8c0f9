//! How much memory exported code takes.

use super::{
    code::{Call, Code},
    text,
};
use crate::program::Content;
use serde::Serialize;

/// Bytes on a device. Code and what a compiler keeps on the stack besides arrays depend on the
/// compiler: the figures for them are what helper functions took on Cortex-M at -O2, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Constant tables.
    pub constants: usize,
    /// Machine code, about.
    pub code: usize,
    /// What survives a step.
    pub state: usize,
    /// Arrays of a step and the frames around them, at their peak.
    pub stack: usize,
}

/// Bytes of the code that every network has, and of a call of a helper with its share of it.
const CODE: [usize; 2] = [1024, 160];
/// Bytes that convolutions of events add, which are longer than other helpers.
const CONVOLUTION: usize = 1536;
/// Bytes of frames and saved registers.
const FRAMES: usize = 256;
/// Values that a product picks before it begins, with the places of their rows.
const COPIES: usize = 512;

impl Memory {
    /// Constants and code.
    pub fn flash(&self) -> usize {
        self.constants + self.code
    }

    /// State and stack.
    pub fn ram(&self) -> usize {
        self.state + self.stack
    }
}

pub(super) fn memory(code: &Code) -> Memory {
    let constants = code.constants.iter().map(|named| named.bytes(code.place_bytes())).sum();
    let list = |content: Content| if content == Content::Events { 4 } else { 0 };
    let state: usize = code
        .kept()
        .map(|buffer| {
            let buffer = &code.program.buffers[buffer];
            code.bytes(buffer.content, buffer.len).next_multiple_of(4) + list(buffer.content)
        })
        .sum();
    let slots: usize = code
        .slots
        .iter()
        .map(|(content, len)| code.bytes(*content, *len).next_multiple_of(4) + list(*content))
        .sum();
    // What convolutions keep of one output: where events begin, the rows that are picked, sums.
    let convolutions = text::conv_limits(code).map_or(0, |[(_, positions), (_, outputs)]| {
        code.index_bytes() * (positions + 1) + 4 * (256 + outputs)
    });
    let copies = |call: &Call| {
        matches!(call, Call::Helper { name: "conv_window" | "product_values" | "values_i8", .. })
    };
    let copied = if code.calls.iter().any(copies) { COPIES } else { 0 };
    let longer = if convolutions > 0 { CONVOLUTION } else { 0 };
    Memory {
        constants,
        code: CODE[0] + CODE[1] * code.calls.len() + longer,
        state: state + 4,
        stack: slots + convolutions.next_multiple_of(4) + copied + FRAMES,
    }
}
