//! Legendre matrices against golden files and against independent computations.

use std::path::PathBuf;

use spikelet_kernels::legendre::{
    Discretization, Form, Legendre, LegendreError, MAX_ORDER, continuous,
};

fn golden() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden");
    std::env::var_os("SPIKELET_GOLDEN").map_or_else(|| default.into(), PathBuf::from)
}

fn json(path: PathBuf) -> serde_json::Value {
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// Compares every `A` and `B` of a file of the official code with ours; returns how many there
/// were.
fn compare(path: PathBuf, order: usize, theta: f64) -> usize {
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let ours =
        Legendre::new(order, theta, Discretization::ZeroOrderHold, Form::Official).expect("valid");
    let mut compared = 0;
    for (name, tensor) in file.iter() {
        let stem = name.trim_end_matches(".weight");
        let want = match stem.rsplit('.').next() {
            Some("A") => &ours.a,
            Some("B") => &ours.b,
            _ => continue,
        };
        let values =
            tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        assert_eq!(values.len(), want.len(), "{name}");
        for (i, (got, want)) in values.zip(want).enumerate() {
            assert!((got - want).abs() <= 5e-7, "{name}[{i}]: stored {got}, computed {want}");
        }
        compared += 1;
    }
    compared
}

#[test]
fn matrices_are_those_of_the_official_code() {
    let folder = golden().join("l2mu");
    let readme = json(folder.join("README.json"));
    let mut compared = 0;
    for case in readme["cases"].as_array().expect("cases") {
        let params = &case["config"]["params"];
        let order = params["order"].as_f64().expect("order") as usize;
        let theta = params["theta"].as_f64().expect("theta");
        let file = case["file"].as_str().expect("file");
        compared += compare(folder.join(file), order, theta);
    }
    assert!(compared >= 10, "{compared} matrices compared");

    let folder = golden().join("l2mu_braille");
    let readme = json(folder.join("README.json"));
    let params = &readme["hyper_parameters"]["params"];
    let order = params["order"].as_f64().expect("order") as usize;
    let theta = params["theta"].as_f64().expect("theta");
    for file in ["l2mu_braille7_best.safetensors", "l2mu_braille7_last.safetensors"] {
        assert_eq!(compare(folder.join(file), order, theta), 2, "{file}");
    }
}

/// The matrices by hand.
#[test]
fn continuous_matrices_of_order_three() {
    let (a, b) = continuous(3);
    assert_eq!(a, [-1.0, -1.0, -1.0, 3.0, -3.0, -3.0, -5.0, 5.0, -5.0]);
    assert_eq!(b, [1.0, -3.0, 5.0]);
}

fn identity(i: usize, j: usize) -> f64 {
    f64::from(u8::from(i == j))
}

/// `m` after one time step of `theta dm/dt = A m + B u` with constant `u`, by classical
/// Runge-Kutta in many small steps.
fn integrate(order: usize, theta: f64, mut m: Vec<f64>, u: f64) -> Vec<f64> {
    let (a, b) = continuous(order);
    let derivative = |m: &[f64]| -> Vec<f64> {
        (0..order)
            .map(|i| ((0..order).map(|j| a[i * order + j] * m[j]).sum::<f64>() + b[i] * u) / theta)
            .collect()
    };
    let moved = |m: &[f64], k: &[f64], h: f64| -> Vec<f64> {
        m.iter().zip(k).map(|(m, k)| m + h * k).collect()
    };
    let steps = 4000;
    let h = 1.0 / f64::from(steps);
    for _ in 0..steps {
        let k1 = derivative(&m);
        let k2 = derivative(&moved(&m, &k1, h / 2.0));
        let k3 = derivative(&moved(&m, &k2, h / 2.0));
        let k4 = derivative(&moved(&m, &k3, h));
        for i in 0..order {
            m[i] += h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]);
        }
    }
    m
}

#[test]
fn zero_order_hold_is_the_solution_of_the_differential_equation() {
    for (order, theta) in [(1, 1.0), (2, 3.5), (6, 6.0), (9, 2.0), (24, 40.0), (48, 784.0)] {
        let new =
            |form| Legendre::new(order, theta, Discretization::ZeroOrderHold, form).expect("valid");
        let (conventional, official) = (new(Form::Conventional), new(Form::Official));
        let columns = [0, order / 2, order - 1];
        for j in columns {
            let unit = (0..order).map(|i| identity(i, j)).collect();
            for (i, want) in integrate(order, theta, unit, 0.0).iter().enumerate() {
                let got = f64::from(conventional.a[i * order + j]);
                assert!(
                    (got - want).abs() < 2e-7 * (1.0 + want.abs()),
                    "A[{i},{j}] of {order}: {got}, {want}"
                );
                assert_eq!(official.a[j * order + i], conventional.a[i * order + j]);
            }
        }
        for (i, want) in integrate(order, theta, vec![0.0; order], 1.0).iter().enumerate() {
            let got = f64::from(conventional.b[i]);
            assert!(
                (got - want).abs() < 2e-7 * (1.0 + want.abs()),
                "B[{i}] of {order}: {got}, {want}"
            );
        }
        assert_eq!(official.b, conventional.b);
    }
}

#[test]
fn bilinear_satisfies_its_equation() {
    for (order, theta) in [(1, 1.0), (5, 4.0), (12, 3.0), (40, 100.0)] {
        let (a, b) = continuous(order);
        let half = |i: usize, j: usize| a[i * order + j] / theta / 2.0;
        let memory = Legendre::new(order, theta, Discretization::Bilinear, Form::Conventional)
            .expect("valid");
        for (i, b) in b.iter().enumerate() {
            let left = |k| identity(i, k) - half(i, k);
            let residual = |column: &dyn Fn(usize) -> f32, want: f64| {
                let (mut got, mut size) = (0.0, 1.0 + want.abs());
                for k in 0..order {
                    let term = left(k) * f64::from(column(k));
                    (got, size) = (got + term, size + term.abs());
                }
                assert!(
                    (got - want).abs() < 1e-7 * size,
                    "row {i} of order {order}: {got}, {want}"
                );
            };
            for j in 0..order {
                residual(&|k| memory.a[k * order + j], identity(i, j) + half(i, j));
            }
            residual(&|k| memory.b[k], b / theta);
        }
    }
}

#[test]
fn euler_is_one_explicit_step() {
    let memory = Legendre::new(2, 4.0, Discretization::Euler, Form::Official).expect("valid");
    assert_eq!(memory.a, [0.75, 0.75, -0.25, 0.25]);
    assert_eq!(memory.b, [0.25, -0.75]);
}

/// A memory in its conventional form does what it is for: after a window of constant input, the
/// first coefficient is the mean of the window and the others vanish.
#[test]
fn a_memory_remembers() {
    let (order, theta) = (8, 20.0);
    for discretization in [Discretization::ZeroOrderHold, Discretization::Bilinear] {
        let memory =
            Legendre::new(order, theta, discretization, Form::Conventional).expect("valid");
        let mut m = vec![0.0_f32; order];
        for _ in 0..200 {
            m = (0..order)
                .map(|i| {
                    let row = &memory.a[i * order..(i + 1) * order];
                    row.iter().zip(&m).map(|(a, m)| a * m).sum::<f32>() + memory.b[i] * 0.5
                })
                .collect();
        }
        assert!((m[0] - 0.5).abs() < 1e-4, "{m:?}");
        assert!(m[1..].iter().all(|m| m.abs() < 1e-4), "{m:?}");
    }
}

#[test]
fn impossible_settings_are_refused() {
    let new = |order, theta| Legendre::new(order, theta, Discretization::Euler, Form::Official);
    assert_eq!(new(0, 1.0), Err(LegendreError::Order(0)));
    assert_eq!(new(MAX_ORDER + 1, 1.0), Err(LegendreError::Order(MAX_ORDER + 1)));
    for theta in [0.0, -1.0, f64::INFINITY] {
        assert_eq!(new(4, theta), Err(LegendreError::Theta(theta)));
    }
    assert!(matches!(new(4, f64::NAN), Err(LegendreError::Theta(_))));
    assert!(matches!(new(4, 1e-300), Err(LegendreError::Overflow { .. })));
    for discretization in [Discretization::ZeroOrderHold, Discretization::Bilinear] {
        let tiny = Legendre::new(4, 1e-300, discretization, Form::Official);
        assert!(tiny.is_err() || tiny.unwrap().a.iter().all(|a| a.is_finite()));
    }
}
