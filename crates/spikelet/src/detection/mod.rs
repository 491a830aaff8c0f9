//! Detectors on the command line: figures over a data set, pictures, training.

mod evaluate;
mod picture;
#[cfg(feature = "train")]
mod training;

pub use evaluate::{Labelled, eval};
pub use picture::run;
#[cfg(feature = "train")]
pub use training::{KIND, configuration, is_detector, train};
