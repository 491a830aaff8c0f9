//! Square matrices in f64: just what the discretizations need.

use alloc::vec::Vec;

/// A square matrix, row-major.
pub(super) struct Matrix {
    size: usize,
    values: Vec<f64>,
}

impl Matrix {
    pub(super) fn new(size: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        Self { size, values: (0..size * size).map(|k| entry(k / size, k % size)).collect() }
    }

    pub(super) fn at(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.size + j]
    }

    /// A matrix of the entries `f(i, j, entry)`.
    pub(super) fn map(&self, f: impl Fn(usize, usize, f64) -> f64) -> Self {
        Self::new(self.size, |i, j| f(i, j, self.at(i, j)))
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.size..(i + 1) * self.size]
    }

    fn multiply(&self, other: &Self) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for i in 0..self.size {
            let start = values.len();
            values.resize(start + self.size, 0.0);
            for (j, factor) in self.row(i).iter().enumerate() {
                for (sum, value) in values[start..].iter_mut().zip(other.row(j)) {
                    *sum += factor * value;
                }
            }
        }
        Self { size: self.size, values }
    }

    /// The largest sum of magnitudes in a row.
    fn norm(&self) -> f64 {
        (0..self.size)
            .map(|i| self.row(i).iter().map(|v| v.abs()).sum())
            .fold(0.0, |a: f64, b: f64| if b > a { b } else { a })
    }

    /// The matrix exponential by scaling and squaring: `exp(M) = exp(M / 2^k)^(2^k)`, with the
    /// inner one by its Taylor series. At norm 1/2 the first term left out is below 1e-21.
    pub(super) fn exp(&self) -> Self {
        const TERMS: u32 = 16;
        let (mut norm, mut squarings) = (self.norm(), 0);
        while norm > 0.5 && norm.is_finite() {
            norm *= 0.5;
            squarings += 1;
        }
        let scale = (0..squarings).fold(1.0, |scale, _| scale * 0.5);
        let scaled = self.map(|_, _, value| value * scale);
        // Horner: 1 + M (1 + M/2 (1 + M/3 (...)))
        let identity = |i, j| f64::from(u8::from(i == j));
        let mut sum = Self::new(self.size, identity);
        for term in (1..=TERMS).rev() {
            let factor = 1.0 / f64::from(term);
            sum = scaled.multiply(&sum).map(|i, j, value| identity(i, j) + factor * value);
        }
        for _ in 0..squarings {
            sum = sum.multiply(&sum);
        }
        sum
    }

    /// Solves `self X = right` and `self x = column` in place, by elimination with partial
    /// pivoting. The matrix must be regular.
    pub(super) fn solve(mut self, right: &mut Self, column: &mut [f64]) {
        let n = self.size;
        for k in 0..n {
            let pivot =
                (k..n).fold(
                    k,
                    |best, i| {
                        if self.at(i, k).abs() > self.at(best, k).abs() { i } else { best }
                    },
                );
            self.swap_rows(k, pivot);
            right.swap_rows(k, pivot);
            column.swap(k, pivot);
            for i in k + 1..n {
                let factor = self.at(i, k) / self.at(k, k);
                self.subtract_row(i, k, factor);
                right.subtract_row(i, k, factor);
                column[i] -= factor * column[k];
            }
        }
        for k in (0..n).rev() {
            let diagonal = self.at(k, k);
            right.values[k * n..(k + 1) * n].iter_mut().for_each(|value| *value /= diagonal);
            column[k] /= diagonal;
            for i in 0..k {
                let factor = self.at(i, k);
                right.subtract_row(i, k, factor);
                column[i] -= factor * column[k];
            }
        }
    }

    fn swap_rows(&mut self, i: usize, j: usize) {
        for k in 0..self.size {
            self.values.swap(i * self.size + k, j * self.size + k);
        }
    }

    /// Row `i` minus `factor` times row `k`, which is a different one.
    fn subtract_row(&mut self, i: usize, k: usize, factor: f64) {
        for j in 0..self.size {
            self.values[i * self.size + j] -= factor * self.values[k * self.size + j];
        }
    }
}
