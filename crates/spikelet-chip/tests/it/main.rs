//! Tests of the chip, its mapper and its simulator, through what the crate makes public.
//! One program for all: each costs seconds to link.

mod arithmetic;
mod every_op;
mod golden_egru;
mod limits;
mod random_graphs;
mod support;
