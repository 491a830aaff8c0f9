//! A network for JavaScript: readings are written to `readings()`, scores read from `scores()`.
#![no_std]

use core::{cell::UnsafeCell, panic::PanicInfo};

struct Cell<T>(UnsafeCell<T>);

// SAFETY: a module without threads is entered by one caller at a time.
unsafe impl<T> Sync for Cell<T> {}

static STATE: Cell<network::State> = Cell(UnsafeCell::new(network::State::new()));
static READINGS: Cell<[f32; network::INPUTS]> = Cell(UnsafeCell::new([0.0; network::INPUTS]));
static SCORES: Cell<[u32; network::OUTPUTS]> = Cell(UnsafeCell::new([0; network::OUTPUTS]));

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

/// A score as the bits of its number.
trait Bits {
    fn bits(self) -> u32;
}

impl Bits for i32 {
    fn bits(self) -> u32 {
        self as u32
    }
}

impl Bits for f32 {
    fn bits(self) -> u32 {
        self.to_bits()
    }
}

/// How many readings a step takes.
#[no_mangle]
pub extern "C" fn inputs() -> usize {
    network::INPUTS
}

/// How many scores a step gives.
#[no_mangle]
pub extern "C" fn outputs() -> usize {
    network::OUTPUTS
}

/// Steps of a decision, or 0.
#[no_mangle]
pub extern "C" fn window() -> u32 {
    network::WINDOW.unwrap_or(0)
}

/// Where the readings of a step are written, as 32-bit floats.
#[no_mangle]
pub extern "C" fn readings() -> *mut f32 {
    READINGS.0.get().cast()
}

/// Where the scores of the last step are, as the bits of their numbers.
#[no_mangle]
pub extern "C" fn scores() -> *const u32 {
    SCORES.0.get().cast()
}

/// To the start of a sequence.
#[no_mangle]
pub extern "C" fn reset() {
    // SAFETY: see `Cell`; no reference outlives this call.
    unsafe { *STATE.0.get() = network::State::new() }
}

/// One time step; returns the decision.
#[no_mangle]
pub extern "C" fn step() -> usize {
    // SAFETY: see `Cell`; no reference outlives this call.
    let (state, readings, scores) =
        unsafe { (&mut *STATE.0.get(), &*READINGS.0.get(), &mut *SCORES.0.get()) };
    let output = network::step(state, readings);
    for (to, score) in scores.iter_mut().zip(output.scores) {
        *to = score.bits();
    }
    output.decision
}
