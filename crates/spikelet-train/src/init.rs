//! Initial values of weights, drawn from a seeded generator so that a run repeats bit for bit.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws the initial values of one model.
pub struct Init {
    rng: ChaCha8Rng,
    device: Device,
}

impl Init {
    /// A generator for `seed`, whose tensors live on `device`.
    pub fn new(seed: u64, device: &Device) -> Init {
        Init { rng: ChaCha8Rng::seed_from_u64(seed), device: device.clone() }
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A learned tensor of given values, row-major.
    pub fn values<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Param<Tensor<D>> {
        Param::from_data(TensorData::new(values, shape), &self.device)
    }

    /// The same value everywhere.
    pub fn constant<const D: usize>(&self, value: f32, shape: [usize; D]) -> Param<Tensor<D>> {
        self.values(vec![value; shape.iter().product()], shape)
    }

    /// Uniform in `-bound..bound`.
    pub fn uniform<const D: usize>(&mut self, bound: f32, shape: [usize; D]) -> Param<Tensor<D>> {
        let n = shape.iter().product();
        let values = (0..n).map(|_| (self.rng.random::<f32>() * 2.0 - 1.0) * bound).collect();
        self.values(values, shape)
    }

    /// Normal with mean zero.
    pub fn normal<const D: usize>(&mut self, std: f32, shape: [usize; D]) -> Param<Tensor<D>> {
        let n = shape.iter().product();
        let values = (0..n).map(|_| self.standard_normal() * std).collect();
        self.values(values, shape)
    }

    /// LeCun uniform for a weight `[out, in]`: `U(-sqrt(3 / in), sqrt(3 / in))`.
    pub fn lecun_uniform(&mut self, shape: [usize; 2]) -> Param<Tensor<2>> {
        self.uniform((3.0 / shape[1] as f32).sqrt(), shape)
    }

    /// Xavier normal for a weight `[out, in]`: standard deviation `sqrt(2 / (in + out))`.
    pub fn xavier_normal(&mut self, shape: [usize; 2]) -> Param<Tensor<2>> {
        self.normal((2.0 / (shape[0] + shape[1]) as f32).sqrt(), shape)
    }

    /// PyTorch's default for linear layers, weights and biases alike: `U(-1/sqrt(fan_in), ..)`.
    pub fn torch_linear<const D: usize>(
        &mut self,
        fan_in: usize,
        shape: [usize; D],
    ) -> Param<Tensor<D>> {
        self.uniform(1.0 / (fan_in as f32).sqrt(), shape)
    }

    /// Box-Muller, in f64.
    fn standard_normal(&mut self) -> f32 {
        let u = 1.0 - self.rng.random::<f64>();
        let angle = std::f64::consts::TAU * self.rng.random::<f64>();
        ((-2.0 * u.ln()).sqrt() * angle.cos()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_values_and_the_stated_spread() {
        let device = Device::flex();
        let draw = |seed| Init::new(seed, &device).xavier_normal([100, 300]).val().into_data();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let values = draw(7).try_into_vec::<f32>().unwrap();
        let var = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!((var - 2.0 / 400.0).abs() < 0.05 * 2.0 / 400.0, "variance {var}");
    }
}
