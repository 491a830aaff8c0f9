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

    /// Beta distribution: `a / (a + b)` of two numbers of Gamma distributions with these shapes.
    pub fn beta<const D: usize>(&mut self, a: f64, b: f64, shape: [usize; D]) -> Param<Tensor<D>> {
        let n = shape.iter().product();
        let mut draw = || {
            let (a, b) = (self.gamma(a), self.gamma(b));
            (a / (a + b)) as f32
        };
        let values = (0..n).map(|_| draw()).collect();
        self.values(values, shape)
    }

    /// `gain` times a matrix whose shorter side is orthonormal, drawn evenly (PyTorch's
    /// `orthogonal_`).
    pub fn orthogonal(&mut self, gain: f32, [rows, columns]: [usize; 2]) -> Param<Tensor<2>> {
        let (count, len) = (rows.min(columns), rows.max(columns));
        let mut basis: Vec<Vec<f32>> = Vec::with_capacity(count);
        while basis.len() < count {
            let mut vector: Vec<f32> = (0..len).map(|_| self.standard_normal()).collect();
            // Gram and Schmidt, twice: once leaves what rounding lets through.
            for other in basis.iter().chain(&basis) {
                let along = product(&vector, other);
                vector.iter_mut().zip(other).for_each(|(v, o)| *v -= along * o);
            }
            let length = product(&vector, &vector).sqrt();
            if length > 1e-3 {
                vector.iter_mut().for_each(|v| *v /= length);
                basis.push(vector);
            }
        }
        let at = |row: usize, column: usize| match rows <= columns {
            true => basis[row][column],
            false => basis[column][row],
        };
        let values = (0..rows * columns).map(|i| gain * at(i / columns, i % columns));
        self.values(values.collect(), [rows, columns])
    }

    /// Gamma distribution of a shape above 0 (Marsaglia and Tsang 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let scale = (1.0 - self.rng.random::<f64>()).powf(1.0 / shape);
            return self.gamma(shape + 1.0) * scale;
        }
        let d = shape - 1.0 / 3.0;
        loop {
            let x = f64::from(self.standard_normal());
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            let u = 1.0 - self.rng.random::<f64>();
            if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Box-Muller, in f64.
    fn standard_normal(&mut self) -> f32 {
        let u = 1.0 - self.rng.random::<f64>();
        let angle = std::f64::consts::TAU * self.rng.random::<f64>();
        ((-2.0 * u.ln()).sqrt() * angle.cos()) as f32
    }
}

/// The dot product, in sixteen sums that a machine adds side by side.
fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 16];
    for (a, b) in a.chunks(sums.len()).zip(b.chunks(sums.len())) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_matrices_are() {
        let device = Device::flex();
        for shape in [[5, 5], [4, 9], [40, 7]] {
            let matrix = Init::new(3, &device).orthogonal(2.0, shape).val();
            let product = match shape[0] <= shape[1] {
                true => matrix.clone().matmul(matrix.transpose()),
                false => matrix.clone().transpose().matmul(matrix),
            };
            let n = shape[0].min(shape[1]);
            let values = product.into_data().try_into_vec::<f32>().unwrap();
            for (i, value) in values.iter().enumerate() {
                let expected = if i / n == i % n { 4.0 } else { 0.0 };
                assert!((value - expected).abs() < 1e-5, "{shape:?} [{i}]: {value}");
            }
        }
    }

    #[test]
    fn beta_has_its_mean_and_variance() {
        for (a, b) in [(3.0 * 0.3 / 0.7, 3.0), (3.0 * 0.01 / 0.99, 3.0)] {
            let values = Init::new(5, &Device::flex()).beta(a, b, [20_000]).val().into_data();
            let values = values.try_into_vec::<f32>().unwrap();
            assert!(values.iter().all(|v| (0.0..=1.0).contains(v)));
            let n = values.len() as f64;
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            let var = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
            let exact = a * b / ((a + b).powi(2) * (a + b + 1.0));
            assert!((mean - a / (a + b)).abs() < 4.0 * (exact / n).sqrt(), "mean {mean}");
            assert!((var - exact).abs() < 0.15 * exact, "variance {var} is not {exact}");
        }
    }

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
