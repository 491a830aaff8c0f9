//! Training.

pub mod neuron;
