//! Surrogate gradients: what stands in for the derivative of a spike.
//!
//! A spike is `s = [x > 0]` with `x = v - threshold`; its derivative is zero almost everywhere.
//! Training replaces it by a bump around zero, the *surrogate*.

use core::f32::consts::{FRAC_PI_2, LN_2, LOG2_E};

/// A surrogate for the derivative of the spike function, `ds/dx` at `x = v - threshold`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields))]
pub enum Surrogate {
    /// `(alpha / 2) / (1 + (pi / 2 * alpha * x)^2)`, the derivative of an arctangent (Fang et al.
    /// 2021).
    Arctan {
        /// Sharpness; the peak is `alpha / 2`.
        alpha: f32,
    },
    /// `slope * sig(slope x) * (1 - sig(slope x))`, the derivative of a logistic function.
    Sigmoid {
        /// Sharpness; the peak is `slope / 4`.
        slope: f32,
    },
    /// `1 / (1 + slope |x|)^2`, the derivative of a fast sigmoid (Zenke and Ganguli 2018).
    FastSigmoid {
        /// Sharpness; the peak is 1.
        slope: f32,
    },
    /// `peak * max(0, 1 - slope |x|)` (Bellec et al. 2018).
    Triangle {
        /// Value at the threshold.
        peak: f32,
        /// Inverse of the half width.
        slope: f32,
    },
    /// `1 / width` where `|x| <= width / 2`, else 0 (Wu et al. 2018).
    Rectangle {
        /// Full width of the window.
        width: f32,
    },
    /// 1 everywhere.
    StraightThrough,
}

impl Surrogate {
    /// snnTorch's default and the one of L2MU; also SpikeGPT's (SpikingJelly's `ATan`).
    pub const ARCTAN: Self = Self::Arctan { alpha: 2.0 };
    /// Meta-SpikeFormer (SpikingJelly's `Sigmoid`), and one choice of SLTT.
    pub const SIGMOID: Self = Self::Sigmoid { slope: 4.0 };
    /// snnTorch's `fast_sigmoid` with its default slope.
    pub const FAST_SIGMOID: Self = Self::FastSigmoid { slope: 25.0 };
    /// SLTT's default.
    pub const TRIANGLE: Self = Self::Triangle { peak: 1.0, slope: 1.0 };
    /// EGRU's pseudo-derivative with its default dampening factor 0.7 and support 1.
    pub const EGRU: Self = Self::Triangle { peak: 0.7, slope: 1.0 };
    /// One choice of SLTT.
    pub const RECTANGLE: Self = Self::Rectangle { width: 1.0 };

    /// The surrogate derivative at `x = v - threshold`.
    #[inline(always)]
    pub fn grad(self, x: f32) -> f32 {
        match self {
            Self::Arctan { alpha } => {
                let z = FRAC_PI_2 * alpha * x;
                0.5 * alpha / (1.0 + z * z)
            }
            Self::Sigmoid { slope } => slope * logistic_derivative(slope * x),
            Self::FastSigmoid { slope } => {
                let z = 1.0 + slope * x.abs();
                1.0 / (z * z)
            }
            Self::Triangle { peak, slope } => peak * (1.0 - slope * x.abs()).max(0.0),
            Self::Rectangle { width } => {
                if x.abs() <= 0.5 * width {
                    1.0 / width
                } else {
                    0.0
                }
            }
            Self::StraightThrough => 1.0,
        }
    }

    /// [`grad`](Self::grad) of `potential - threshold`, element by element, into `out`. The kind
    /// of surrogate is looked up once, so that each loop vectorises.
    #[inline(always)]
    pub(crate) fn grad_row(self, potential: &[f32], threshold: &[f32], out: &mut [f32]) {
        macro_rules! fill {
            ($surrogate:expr) => {
                for ((out, v), th) in out.iter_mut().zip(potential).zip(threshold) {
                    *out = $surrogate.grad(v - th);
                }
            };
        }
        match self {
            Self::Arctan { alpha } => fill!(Self::Arctan { alpha }),
            Self::Sigmoid { slope } => fill!(Self::Sigmoid { slope }),
            Self::FastSigmoid { slope } => fill!(Self::FastSigmoid { slope }),
            Self::Triangle { peak, slope } => fill!(Self::Triangle { peak, slope }),
            Self::Rectangle { width } => fill!(Self::Rectangle { width }),
            Self::StraightThrough => out.fill(1.0),
        }
    }
}

/// `sig(z) (1 - sig(z))`, computed from `e = exp(-|z|)` as `e / (1 + e)^2`, which keeps its
/// relative accuracy in both tails.
#[inline(always)]
fn logistic_derivative(z: f32) -> f32 {
    let e = exp_negative(z.abs());
    e / ((1.0 + e) * (1.0 + e))
}

/// `exp(-z)` for `z >= 0`, within 3e-7 relative; below `exp(-87)` it stays there.
#[inline(always)]
fn exp_negative(z: f32) -> f32 {
    let z = z.min(87.0);
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, also without libm.
    let k = (z * LOG2_E + 12_582_912.0) - 12_582_912.0;
    // -z = -k ln 2 + r with |r| <= ln 2 / 2; exp(r) by its Taylor series.
    let r = k * LN_2 - z;
    let p = 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    p * f32::from_bits(((127 - k as i32) as u32) << 23)
}
