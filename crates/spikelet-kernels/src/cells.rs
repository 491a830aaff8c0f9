//! The element-wise part of one step of LSTM and GRU cells, after their matrix products.

use crate::{
    math::{sigmoid, tanh},
    simd::dispatch,
};

/// One LSTM step. `gates` holds `W x + U h + b` as `[4, hidden]` in the order input, forget, cell,
/// output; `cell` and `hidden` are updated.
///
/// # Panics
/// When the lengths do not fit.
pub fn lstm(gates: &[f32], cell: &mut [f32], hidden: &mut [f32]) {
    let n = hidden.len();
    assert!(gates.len() == 4 * n && cell.len() == n, "four gates and one cell per hidden unit");
    let (input, rest) = gates.split_at(n);
    let (forget, rest) = rest.split_at(n);
    let (candidate, output) = rest.split_at(n);
    dispatch(
        #[inline(always)]
        || {
            for j in 0..n {
                let c = sigmoid(forget[j]) * cell[j] + sigmoid(input[j]) * tanh(candidate[j]);
                cell[j] = c;
                hidden[j] = sigmoid(output[j]) * tanh(c);
            }
        },
    );
}

/// One GRU step. `from_input` holds `W x + b` and `from_hidden` `U h + b` as `[3, hidden]` in the
/// order reset, update, new; `hidden` is updated.
///
/// # Panics
/// When the lengths do not fit.
pub fn gru(from_input: &[f32], from_hidden: &[f32], hidden: &mut [f32]) {
    let n = hidden.len();
    assert!(
        from_input.len() == 3 * n && from_hidden.len() == 3 * n,
        "three gates per hidden unit on both sides"
    );
    let (x_reset, x_rest) = from_input.split_at(n);
    let (x_update, x_new) = x_rest.split_at(n);
    let (h_reset, h_rest) = from_hidden.split_at(n);
    let (h_update, h_new) = h_rest.split_at(n);
    dispatch(
        #[inline(always)]
        || {
            for j in 0..n {
                let reset = sigmoid(x_reset[j] + h_reset[j]);
                let update = sigmoid(x_update[j] + h_update[j]);
                let new = tanh(x_new[j] + reset * h_new[j]);
                hidden[j] = (1.0 - update) * new + update * hidden[j];
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logistic(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn lstm_follows_its_equations() {
        let gates = [0.3, -1.0, 2.0, 0.5, 0.7, -0.2, -0.6, 1.1];
        let (mut cell, mut hidden) = ([0.4, -0.9], [9.0, 9.0]);
        lstm(&gates, &mut cell, &mut hidden);
        let g = gates.map(f64::from);
        for (j, before) in [0.4, -0.9].into_iter().enumerate() {
            let c = logistic(g[2 + j]) * before + logistic(g[j]) * g[4 + j].tanh();
            let h = logistic(g[6 + j]) * c.tanh();
            assert!((f64::from(cell[j]) - c).abs() < 1e-6, "cell {j}");
            assert!((f64::from(hidden[j]) - h).abs() < 1e-6, "hidden {j}");
        }
    }

    #[test]
    fn gru_follows_its_equations() {
        let (x, h) = ([0.3, -1.0, 2.0, 0.5, 0.7, -0.2], [-0.6, 1.1, 0.1, 0.2, -0.8, 0.9]);
        let mut hidden = [0.4, -0.9];
        gru(&x, &h, &mut hidden);
        let (x, h) = (x.map(f64::from), h.map(f64::from));
        for (j, before) in [0.4, -0.9].into_iter().enumerate() {
            let reset = logistic(x[j] + h[j]);
            let update = logistic(x[2 + j] + h[2 + j]);
            let new = (x[4 + j] + reset * h[4 + j]).tanh();
            let want = (1.0 - update) * new + update * before;
            assert!((f64::from(hidden[j]) - want).abs() < 1e-6, "hidden {j}");
        }
    }
}
