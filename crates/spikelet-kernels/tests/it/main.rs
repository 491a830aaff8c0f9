//! Tests of kernels, through what the crate makes public.
//! One program for all: each costs seconds to link.

mod common;
mod egru;
mod legendre;
mod neuron_sequence;
mod neuron_step;
mod surrogate;
mod token_ops;
mod wkv;
