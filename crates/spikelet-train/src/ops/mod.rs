//! Backend extensions: kernels of `spikelet-kernels` as differentiable Burn operations on Flex.

pub mod batch_norm;
pub mod carry;
pub mod cross_entropy;
pub mod egru;
pub(crate) mod finals;
pub mod flex;
pub mod gate;
pub mod gru;
pub mod l2mu;
pub mod layer_norm;
pub mod linear;
pub mod lstm;
pub mod mean_pool;
pub mod normalized_neurons;
pub mod roi_align;
pub mod spike_conv;
pub mod token_shift;
pub mod wkv;
