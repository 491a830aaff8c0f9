//! Tests of the runtime, through what the crate makes public.
//! One program for all: each costs seconds to link.

mod contract;
mod detector;
mod export;
mod images;
mod integer;
mod l2mu_braille;
mod packed_convolution;
mod random_graphs;
mod recurrent;
mod support;
mod tokens;
