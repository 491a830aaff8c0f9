//! NIR.
pub mod error;
mod fields;
pub mod hdf5;
pub mod model;
