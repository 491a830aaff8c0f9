//! Surrogates against the derivatives of the functions they are named after.

use spikelet_kernels::surrogate::Surrogate;

/// Symmetric difference quotient in f64 of the smooth step a surrogate belongs to.
fn slope_of(step: impl Fn(f64) -> f64, x: f32) -> f64 {
    let h = 1e-5;
    (step(f64::from(x) + h) - step(f64::from(x) - h)) / (2.0 * h)
}

fn check(surrogate: Surrogate, step: impl Fn(f64) -> f64) {
    for k in -400..=400 {
        let x = k as f32 * 0.01 + 0.003;
        let (got, want) = (f64::from(surrogate.grad(x)), slope_of(&step, x));
        assert!((got - want).abs() <= 1e-6 + 2e-6 * want, "{surrogate:?} at {x}: {got}, {want}");
    }
}

#[test]
fn arctan_is_the_derivative_of_an_arctangent() {
    use std::f64::consts::{FRAC_PI_2, PI};
    for alpha in [1.0, 2.0, 5.0] {
        let step = |x: f64| (FRAC_PI_2 * f64::from(alpha) * x).atan() / PI;
        check(Surrogate::Arctan { alpha }, step);
    }
}

#[test]
fn sigmoid_is_the_derivative_of_the_logistic_function() {
    for slope in [1.0, 4.0, 25.0] {
        check(Surrogate::Sigmoid { slope }, |x| 1.0 / (1.0 + (-f64::from(slope) * x).exp()));
    }
}

#[test]
fn fast_sigmoid_is_the_derivative_of_its_step() {
    for slope in [1.0, 25.0] {
        check(Surrogate::FastSigmoid { slope }, |x| x / (1.0 + f64::from(slope) * x.abs()));
    }
}

#[test]
fn windows_have_their_edges() {
    let triangle = Surrogate::Triangle { peak: 0.7, slope: 2.0 };
    assert_eq!(triangle.grad(0.0), 0.7);
    assert_eq!(triangle.grad(-0.25), 0.35);
    assert_eq!(triangle.grad(0.5), 0.0);
    assert_eq!(triangle.grad(9.0), 0.0);
    let rectangle = Surrogate::RECTANGLE;
    assert_eq!([-0.51, -0.5, 0.0, 0.5, 0.51].map(|x| rectangle.grad(x)), [0.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!(Surrogate::Rectangle { width: 4.0 }.grad(1.0), 0.25);
    assert_eq!(Surrogate::StraightThrough.grad(1e9), 1.0);
}

#[test]
fn tails_stay_finite() {
    for surrogate in [Surrogate::ARCTAN, Surrogate::SIGMOID, Surrogate::FAST_SIGMOID] {
        for x in [-1e30, -1e4, 1e4, 1e30] {
            let tail = surrogate.grad(x);
            assert!((0.0..1e-7).contains(&tail), "{surrogate:?} at {x}: {tail}");
        }
    }
}
