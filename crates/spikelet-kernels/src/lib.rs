//! Hot loops of spiking networks, as functions over slices.
//!
//! `no_std` without the feature `std`; threads and run-time SIMD dispatch need `std`.
#![cfg_attr(not(feature = "std"), no_std)]
extern crate alloc;

pub mod attention;
mod batch;
#[cfg(feature = "std")]
pub mod batch_norm;
mod blocks;
pub mod cells;
mod columns;
pub mod conv;
#[cfg(feature = "std")]
pub mod cross_entropy;
pub mod dense;
pub mod egru;
pub mod events;
pub mod fill;
pub mod fixed;
#[cfg(feature = "std")]
pub mod gate;
pub mod gather;
pub mod gru;
pub mod interpolate;
pub mod l2mu;
pub mod layer_norm;
pub mod legendre;
pub mod legendre_step;
mod level;
#[cfg(feature = "std")]
pub mod linear;
pub mod lstm;
pub mod math;
pub mod matmul;
pub mod matvec;
#[cfg(feature = "std")]
pub mod mean_pool;
#[cfg(feature = "std")]
pub mod memory;
#[cfg(feature = "std")]
mod micro;
pub mod neuron;
#[cfg(feature = "std")]
mod out;
pub mod pool;
pub mod quant;
#[cfg(feature = "std")]
pub mod roi_align;
#[cfg(feature = "std")]
mod rows;
pub mod simd;
pub mod sparse;
#[cfg(feature = "std")]
pub mod spike_conv;
pub mod surrogate;
pub mod token_shift;
#[cfg(feature = "std")]
pub mod update;
pub mod window;
#[cfg(feature = "std")]
mod winograd;
pub mod wkv;
#[cfg(feature = "std")]
pub mod workers;
