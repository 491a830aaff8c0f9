//! Products of a dense vector with weights that are read once: what decoding a token is made of.
//!
//! Weights lie in rows. Half precision is read as `f32`. 8-bit and 4-bit integers come with one
//! scale for every [`GROUP`] consecutive weights of a row.
//!
//! - By output, `[out, in]`, a row is one dot product. For integers the vector is rounded to 8 bits
//!   per group ([`Rounded`]), so that a group is a few sums of integers: exact, whatever the order.
//!   Groups add up in 8 lanes, these in a fixed tree.
//! - By input, `[in, out]`, a row is added as often as its input says; rows of inputs that are zero
//!   are not touched. Rows add in the order of the inputs.
//!
//! Either can be done for several vectors at once ([`Lane`], [`EventLane`]): for the tokens of a
//! prompt, or for streams side by side.
//!
//! The bits depend neither on the instruction set, nor on how rows or columns are divided among
//! threads, nor on how many vectors there are.

mod by_input;
mod by_output;
mod half;
mod lanes;
mod lanes_by_input;
mod rounded;

pub use by_input::{Rows, add_rows_f16, add_rows_f32, add_rows_i4, add_rows_i8};
pub use by_output::{add_f16, add_i4, add_i8};
pub use half::to_f32;
pub use lanes::{Lane, add_to_lanes_f16, add_to_lanes_f32, add_to_lanes_i4, add_to_lanes_i8};
pub use lanes_by_input::{
    EventLane, add_rows_to_lanes_f16, add_rows_to_lanes_f32, add_rows_to_lanes_i4,
    add_rows_to_lanes_i8,
};
pub use rounded::{Arrangement, Rounded};

/// Weights that share a scale.
pub const GROUP: usize = crate::level::GROUP;

#[cfg(test)]
mod tests;
