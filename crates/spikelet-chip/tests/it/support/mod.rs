//! What several tests need.

pub mod check;
#[path = "../../../../spikelet-runtime/tests/it/support/random.rs"]
pub mod random;
