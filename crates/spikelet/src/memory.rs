//! Live bytes of the process, counted where the binary installs a counting allocator.

use std::sync::OnceLock;

/// How to read a counting allocator.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Bytes allocated now.
    pub live: fn() -> usize,
    /// The most since the last reset.
    pub peak: fn() -> usize,
    /// Sets the peak to what is allocated now.
    pub reset_peak: fn(),
}

static METER: OnceLock<Meter> = OnceLock::new();

/// Names the counting allocator of this program, once.
pub fn install(meter: Meter) {
    let _ = METER.set(meter);
}

/// The counting allocator of this program.
pub(crate) fn meter() -> Option<Meter> {
    METER.get().copied()
}
