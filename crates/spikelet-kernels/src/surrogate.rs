//! Surrogate gradients: what stands in for the derivative of a spike.
//!
//! A spike is `s = [x > 0]` with `x = v - threshold`; its derivative is zero almost everywhere.
//! Training replaces it by a bump around zero, the *surrogate*.

use core::f32::consts::FRAC_PI_2;

use crate::math::exp;

/// A surrogate for the derivative of the spike function, `ds/dx` at `x = v - threshold`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields))]
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

    /// Replaces every `x = v - threshold` by its [`grad`](Self::grad). The kind of surrogate is
    /// looked up once, so that each loop vectorises.
    #[inline(always)]
    pub(crate) fn grad_in_place(self, xs: &mut [f32]) {
        macro_rules! each {
            ($surrogate:expr) => {
                for x in xs {
                    *x = $surrogate.grad(*x);
                }
            };
        }
        match self {
            Self::Arctan { alpha } => each!(Self::Arctan { alpha }),
            Self::Sigmoid { slope } => each!(Self::Sigmoid { slope }),
            Self::FastSigmoid { slope } => each!(Self::FastSigmoid { slope }),
            Self::Triangle { peak, slope } => each!(Self::Triangle { peak, slope }),
            Self::Rectangle { width } => each!(Self::Rectangle { width }),
            Self::StraightThrough => each!(Self::StraightThrough),
        }
    }
}

/// `sig(z) (1 - sig(z))`, computed from `e = exp(-|z|)` as `e / (1 + e)^2`, which keeps its
/// relative accuracy in both tails.
#[inline(always)]
fn logistic_derivative(z: f32) -> f32 {
    let e = exp(-z.abs());
    e / ((1.0 + e) * (1.0 + e))
}
