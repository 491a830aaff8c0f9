//! What several tests need.

pub mod braille;
pub mod graphs;
pub mod native;
pub mod random;
pub mod reference;
