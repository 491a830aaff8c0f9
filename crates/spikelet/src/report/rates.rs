//! Firing rates.

use super::svg::{Anchor, figure, number, text};

/// Firing rates of one population.
#[derive(Clone, Debug)]
pub struct Rates {
    /// The population.
    pub name: String,
    /// Spikes a step, of every neuron.
    pub per_neuron: Vec<f64>,
}

const BINS: usize = 25;
const LEFT: f64 = 40.0;
const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 90.0;

impl Rates {
    pub(super) fn figure(&self) -> String {
        let neurons = self.per_neuron.len();
        let highest = self.per_neuron.iter().copied().fold(0.0, f64::max).max(1e-6);
        let mut bins = [0usize; BINS];
        for rate in &self.per_neuron {
            // Saturating float-to-integer conversion; the highest rate falls into the last bin.
            let bin = (rate / highest * BINS as f64) as usize;
            bins[bin.min(BINS - 1)] += 1;
        }
        let tallest = bins.iter().copied().max().unwrap_or(0).max(1);
        let bar = WIDTH / BINS as f64;
        let mut drawing = String::new();
        for (index, count) in bins.iter().enumerate() {
            let height = HEIGHT * *count as f64 / tallest as f64;
            let x = LEFT + bar * index as f64;
            drawing += &format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" \
                 fill=\"var(--c2)\"><title>{count} neurons</title></rect>\n",
                x + 0.5,
                10.0 + HEIGHT - height,
                bar - 1.0
            );
        }
        let bottom = 10.0 + HEIGHT;
        drawing += &format!("<path class=\"axis\" d=\"M{LEFT} 10V{bottom}H{}\"/>\n", LEFT + WIDTH);
        drawing += &text(LEFT - 6.0, 18.0, Anchor::End, true, &tallest.to_string());
        drawing += &text(LEFT, bottom + 16.0, Anchor::Middle, true, "0");
        drawing += &text(LEFT + WIDTH, bottom + 16.0, Anchor::Middle, true, &number(highest));
        let mean = self.per_neuron.iter().sum::<f64>() / neurons.max(1) as f64;
        let silent = self.per_neuron.iter().filter(|rate| **rate == 0.0).count();
        let caption = format!(
            "{}: mean {mean:.4} spikes a neuron and step, {silent} of {neurons} neurons silent",
            self.name
        );
        figure(LEFT + WIDTH + 30.0, bottom + 24.0, &drawing, &self.name, &caption)
    }
}
