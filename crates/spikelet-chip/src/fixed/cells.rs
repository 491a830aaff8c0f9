//! Recurrent cells and the recurrences of language models.

use super::{FixedRun, ONE, difference, exponential, number, product, sigmoid, sum, tanh, value};

impl FixedRun {
    /// The gates of a cell from what arrives, and from what it gave itself or was fed back.
    fn gates(&self, index: usize, fed: &[i32], biases: [&str; 2]) -> [Vec<i32>; 2] {
        let x = self.port(index, 0);
        let matrices = &self.matrices[index];
        [
            matrices[0].multiply(&x, self.tensor(biases[0])),
            matrices[1].multiply(fed, self.tensor(biases[1])),
        ]
    }

    /// What a node gave in the step before.
    fn before(&self, index: usize) -> Vec<i32> {
        let len = self.graph.nodes[index].len();
        self.past(index, 1).map_or_else(|| vec![0; len], <[i32]>::to_vec)
    }

    pub(super) fn lstm(&mut self, index: usize, bias: &str) -> Vec<i32> {
        let n = self.graph.nodes[index].len();
        let [x, h] = self.gates(index, &self.before(index), [bias, ""]);
        let gate = |k: usize| sum(x[k], h[k]);
        let cell = &mut self.states[index][0];
        (0..n)
            .map(|j| {
                let kept = product(sigmoid(gate(n + j)), cell[j]);
                cell[j] = sum(kept, product(sigmoid(gate(j)), tanh(gate(2 * n + j))));
                product(sigmoid(gate(3 * n + j)), tanh(cell[j]))
            })
            .collect()
    }

    pub(super) fn gru(&mut self, index: usize, biases: [&str; 2]) -> Vec<i32> {
        let (n, hidden) = (self.graph.nodes[index].len(), self.before(index));
        let [x, h] = self.gates(index, &hidden, biases);
        (0..n)
            .map(|j| {
                let reset = sigmoid(sum(x[j], h[j]));
                let update = sigmoid(sum(x[n + j], h[n + j]));
                let new = tanh(sum(x[2 * n + j], product(reset, h[2 * n + j])));
                sum(product(difference(ONE, update), new), product(update, hidden[j]))
            })
            .collect()
    }

    pub(super) fn egru(
        &mut self,
        index: usize,
        biases: [&str; 2],
        threshold: &str,
        zoneout: f32,
        restart: Option<usize>,
    ) -> Vec<i32> {
        let n = self.graph.nodes[index].len();
        let [x, y] = self.gates(index, &self.port(index, 1), biases);
        let (threshold, share) = (self.tensor(threshold).to_vec(), number(f64::from(zoneout)));
        let h = &mut self.states[index][0];
        if restart.is_some_and(|after| self.steps.is_multiple_of(after)) {
            h.fill(0);
        }
        (0..n)
            .map(|j| {
                let keep = sigmoid(sum(x[j], y[j]));
                let reset = sigmoid(sum(x[n + j], y[n + j]));
                let new = tanh(sum(x[2 * n + j], product(reset, y[2 * n + j])));
                let mixed = |share: i32, new: i32| {
                    sum(product(share, h[j]), product(difference(ONE, share), new))
                };
                let c = mixed(keep, new);
                let c = if share == 0 { c } else { mixed(share, c) };
                let fires = c > threshold[j];
                h[j] = if fires { difference(c, threshold[j]) } else { c };
                if fires { c } else { 0 }
            })
            .collect()
    }

    /// Sums relative to the largest exponent so far, so that no exponential is above 1.
    pub(super) fn wkv(&mut self, index: usize, decay: &str, first: &str) -> Vec<i32> {
        let (k, v) = (self.port(index, 0), self.port(index, 1));
        let (decay, first) = (self.tensor(decay).to_vec(), self.tensor(first).to_vec());
        let [sums, weights, largest] = &mut self.states[index];
        let parts = |old: i32, new: i32| {
            let largest = old.max(new);
            let part = |of: i32| exponential(difference(of, largest));
            (part(old), part(new), largest)
        };
        (0..k.len())
            .map(|c| {
                let (old, new, _) = parts(largest[c], sum(first[c], k[c]));
                let above = sum(product(old, sums[c]), product(new, v[c]));
                let below = sum(product(old, weights[c]), new);
                let (old, new, top) = parts(sum(decay[c], largest[c]), k[c]);
                sums[c] = sum(product(old, sums[c]), product(new, v[c]));
                weights[c] = sum(product(old, weights[c]), new);
                largest[c] = top;
                number(value(above) / value(below))
            })
            .collect()
    }
}
