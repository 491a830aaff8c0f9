//! Spikelet: the facade library.
