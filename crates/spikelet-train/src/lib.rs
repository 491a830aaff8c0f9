//! Training: Burn modules over the kernels, learning rules, the trainer, the model zoo, lowering.

mod adam;
pub mod config;
pub mod constraint;
pub mod evaluate;
mod gradient_sum;
pub mod gradients;
pub mod init;
pub mod language_step;
pub mod loss;
pub mod lower;
pub mod model;
pub mod models;
pub mod neuron;
pub mod ops;
pub mod optimizer;
pub mod params;
pub mod prepare;
pub mod raise;
pub mod rule;
pub mod run;
mod sample;
pub mod schedule;
pub mod session;
mod sgd;
pub mod trainer;
pub mod training_step;
