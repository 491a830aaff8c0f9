//! The `spikelet` binary.
fn main() {}
