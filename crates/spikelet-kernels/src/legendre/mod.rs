//! The matrices of a Legendre memory (Voelker, Kajic and Eliasmith 2019).
//!
//! A Legendre memory of order `d` keeps the last `theta` time steps of its input `u` as the
//! coefficients `m` of `d` Legendre polynomials: `theta dm/dt = A m + B u`. A network steps it in
//! discrete time, `m[t] = A' m[t-1] + B' u[t]`. Everything here is computed in f64 with only
//! `+ - * /`, so that every machine gets the same matrices, and rounded once, at the end.

mod matrix;

use alloc::vec::Vec;
use core::fmt;

use matrix::Matrix;

/// The largest order there are matrices for; published memories use 2 to 468.
pub const MAX_ORDER: usize = 512;

/// How continuous time becomes steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Discretization {
    /// Exact for an input that stays constant during a step: `A' = exp(A / theta)`.
    #[default]
    ZeroOrderHold,
    /// `A' = (1 - A / 2 theta)^-1 (1 + A / 2 theta)`, also called Tustin's.
    Bilinear,
    /// `A' = 1 + A / theta`; unstable for a large order or a small theta.
    Euler,
}

/// Which way round `A'` is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Form {
    /// Transposed. The code of the L2MU paper transposes `A'` once too often, so that its networks
    /// and checkpoints compute with the transpose of the memory's matrix.
    #[default]
    Official,
    /// As the equations have it.
    Conventional,
}

/// The matrices of a discrete Legendre memory, to be used as
/// `m[t][i] = sum_j a[i * order + j] m[t-1][j] + b[i] u[t]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Legendre {
    /// Number of coefficients.
    pub order: usize,
    /// `[order, order]`, row-major.
    pub a: Vec<f32>,
    /// `[order]`.
    pub b: Vec<f32>,
}

/// Why there are no matrices for some settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LegendreError {
    /// The order is zero or larger than [`MAX_ORDER`].
    Order(usize),
    /// Theta, in time steps, is not a positive finite number.
    Theta(f64),
    /// The matrices leave the range of f32: theta is too small for the order.
    Overflow {
        /// The order.
        order: usize,
        /// The window.
        theta: f64,
    },
}

impl fmt::Display for LegendreError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Order(order) => {
                write!(f, "order {order} of a Legendre memory: choose 1 to {MAX_ORDER}")
            }
            Self::Theta(theta) => {
                write!(
                    f,
                    "window theta = {theta} of a Legendre memory: choose a positive number of time steps"
                )
            }
            Self::Overflow { order, theta } => {
                write!(
                    f,
                    "Legendre matrices of order {order} overflow at theta = {theta}: choose a larger theta or a smaller order"
                )
            }
        }
    }
}

impl core::error::Error for LegendreError {}

impl Legendre {
    /// The matrices for a window of `theta` time steps.
    ///
    /// # Errors
    /// When the order or theta is out of range.
    pub fn new(
        order: usize,
        theta: f64,
        discretization: Discretization,
        form: Form,
    ) -> Result<Self, LegendreError> {
        if !(1..=MAX_ORDER).contains(&order) {
            return Err(LegendreError::Order(order));
        }
        if !(theta > 0.0 && theta.is_finite()) {
            return Err(LegendreError::Theta(theta));
        }
        let (a, b) = discrete(order, theta, discretization);
        let transposed = form == Form::Official;
        let at = |i, j| if transposed { a.at(j, i) } else { a.at(i, j) };
        let a: Vec<f32> = (0..order * order).map(|k| at(k / order, k % order) as f32).collect();
        let b: Vec<f32> = b.iter().map(|b| *b as f32).collect();
        if a.iter().chain(&b).all(|value| value.is_finite()) {
            Ok(Self { order, a, b })
        } else {
            Err(LegendreError::Overflow { order, theta })
        }
    }
}

/// The matrices of `theta dm/dt = A m + B u`: `A`, `[order, order]`, row-major, and `B`.
///
/// `A[i, j] = (2i + 1) (-1 if i < j, else (-1)^(i - j + 1))`, `B[i] = (2i + 1) (-1)^i`.
pub fn continuous(order: usize) -> (Vec<f64>, Vec<f64>) {
    let sign = |odd: bool| if odd { -1.0 } else { 1.0 };
    let scale = |i: usize| (2 * i + 1) as f64;
    let entry = |i: usize, j: usize| scale(i) * sign(i < j || (i - j).is_multiple_of(2));
    let a = (0..order * order).map(|k| entry(k / order, k % order)).collect();
    (a, (0..order).map(|i| scale(i) * sign(i % 2 == 1)).collect())
}

/// `A'` and `B'`.
fn discrete(order: usize, theta: f64, discretization: Discretization) -> (Matrix, Vec<f64>) {
    let (a, b) = continuous(order);
    let a = Matrix::new(order, |i, j| a[i * order + j] / theta);
    let b: Vec<f64> = b.iter().map(|b| b / theta).collect();
    match discretization {
        Discretization::Euler => (a.map(|i, j, a| a + f64::from(u8::from(i == j))), b),
        Discretization::Bilinear => {
            // (1 - A/2) [A' B'] = [1 + A/2  B], solved for all columns at once.
            let identity = |i, j| f64::from(u8::from(i == j));
            let left = a.map(|i, j, a| identity(i, j) - 0.5 * a);
            let mut right = a.map(|i, j, a| identity(i, j) + 0.5 * a);
            let mut column = b;
            left.solve(&mut right, &mut column);
            (right, column)
        }
        Discretization::ZeroOrderHold => {
            // exp [A B; 0 0] = [A' B'; 0 1]
            let augmented = Matrix::new(order + 1, |i, j| match (i < order, j < order) {
                (true, true) => a.at(i, j),
                (true, false) => b[i],
                (false, _) => 0.0,
            });
            let exponential = augmented.exp();
            (
                Matrix::new(order, |i, j| exponential.at(i, j)),
                (0..order).map(|i| exponential.at(i, order)).collect(),
            )
        }
    }
}
