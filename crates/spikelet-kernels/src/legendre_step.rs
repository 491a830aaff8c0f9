//! One step of Legendre memories that share their matrices: `y[k, :] += A m[k, :] + B u[k]`, for
//! states and inputs that are events or dense values.
//!
//! States are memory-major: state `j` of memory `k` of order `d` has index `k d + j`. `a` is given
//! by state, column after column: what state `j` adds is `a[j d..(j + 1) d]`.

/// `y += A m` for the states in `events` (all of value 1). The order is that of `a`, `order^2`
/// values.
///
/// # Panics
/// When an event lies outside `y`.
pub fn add_state_events(y: &mut [f32], a: &[f32], order: usize, events: &[u32]) {
    for event in events {
        let (memory, state) = (*event as usize / order, *event as usize % order);
        add_column(y, a, order, memory, state, 1.0);
    }
}

/// `y += A m` for dense states.
///
/// # Panics
/// When `m` is longer than `y`.
pub fn add_states(y: &mut [f32], a: &[f32], order: usize, m: &[f32]) {
    for (memory, states) in m.chunks(order).enumerate() {
        for (state, value) in states.iter().enumerate() {
            add_column(y, a, order, memory, state, *value);
        }
    }
}

/// `y += B u` for the memories in `events` (all inputs of value 1).
///
/// # Panics
/// When an event lies outside the memories of `y`.
pub fn add_input_events(y: &mut [f32], b: &[f32], events: &[u32]) {
    for event in events {
        let first = *event as usize * b.len();
        for (y, b) in y[first..first + b.len()].iter_mut().zip(b) {
            *y += b;
        }
    }
}

/// `y += B u` for dense inputs.
pub fn add_inputs(y: &mut [f32], b: &[f32], u: &[f32]) {
    for (y, u) in y.chunks_mut(b.len()).zip(u) {
        for (y, b) in y.iter_mut().zip(b) {
            *y += b * u;
        }
    }
}

#[inline(always)]
fn add_column(y: &mut [f32], a: &[f32], order: usize, memory: usize, state: usize, value: f32) {
    let y = &mut y[memory * order..(memory + 1) * order];
    for (y, a) in y.iter_mut().zip(&a[state * order..(state + 1) * order]) {
        *y += a * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    const ORDER: usize = 3;
    const MEMORIES: usize = 4;

    fn a(i: usize, j: usize) -> f32 {
        (i * 10 + j) as f32 / 4.0
    }

    #[test]
    fn events_and_dense_values_agree_with_the_equation() {
        let by_state: Vec<f32> = (0..ORDER * ORDER).map(|k| a(k % ORDER, k / ORDER)).collect();
        let b = [1.5, -2.0, 0.25];
        let (m_events, u_events) = ([0, 4, 5, 11], [1, 3]);
        let mut m = vec![0.0; MEMORIES * ORDER];
        let mut u = vec![0.0; MEMORIES];
        m_events.iter().for_each(|e| m[*e as usize] = 1.0);
        u_events.iter().for_each(|e| u[*e as usize] = 1.0);

        let mut want = vec![0.5; m.len()];
        for (k, w) in want.iter_mut().enumerate() {
            let (memory, i) = (k / ORDER, k % ORDER);
            *w +=
                (0..ORDER).map(|j| a(i, j) * m[memory * ORDER + j]).sum::<f32>() + b[i] * u[memory];
        }
        let mut events = vec![0.5; m.len()];
        add_state_events(&mut events, &by_state, ORDER, &m_events);
        add_input_events(&mut events, &b, &u_events);
        assert_eq!(events, want);
        let mut dense = vec![0.5; m.len()];
        add_states(&mut dense, &by_state, ORDER, &m);
        add_inputs(&mut dense, &b, &u);
        assert_eq!(dense, want);
    }
}
