//! Backend extensions: kernels of `spikelet-kernels` as differentiable Burn operations on Flex.

pub mod flex;
pub mod l2mu;
pub mod lstm;
