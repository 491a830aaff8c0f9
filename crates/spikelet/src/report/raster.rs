//! Spike rasters.

use super::svg::{Anchor, figure, text, ticks};
use std::collections::BTreeSet;

/// The spikes of one population during one sample.
#[derive(Clone, Debug)]
pub struct Raster {
    /// The population.
    pub name: String,
    /// Number of time steps.
    pub steps: usize,
    /// Number of neurons.
    pub neurons: usize,
    /// Time step and neuron of every spike.
    pub spikes: Vec<(u32, u32)>,
}

const LEFT: f64 = 50.0;
const WIDTH: f64 = 690.0;
/// A taller population is drawn with a neuron less than a pixel high.
const MOST_HEIGHT: f64 = 240.0;
/// The height of a spike that can be seen.
const LEAST_MARK: f64 = 0.8;

impl Raster {
    pub(super) fn figure(&self) -> String {
        let step = WIDTH / self.steps.max(1) as f64;
        let neuron = (MOST_HEIGHT / self.neurons.max(1) as f64).min(8.0);
        let height = neuron * self.neurons as f64;
        // Neurons that share a mark are drawn once: convolutional layers have millions.
        let mark = neuron.max(LEAST_MARK);
        let row = |index: u32| (f64::from(index) * neuron / mark) as u32;
        let marks: BTreeSet<(u32, u32)> =
            self.spikes.iter().map(|&(time, index)| (time, row(index))).collect();
        let mut path = String::new();
        for (time, row) in marks {
            let x = LEFT + (f64::from(time) + 0.5) * step;
            let y = f64::from(row) * mark;
            path += &format!("M{x:.1} {y:.1}v{mark:.1}");
        }
        let stroke = step.clamp(0.6, 3.0);
        let mut drawing = format!(
            "<rect x=\"{LEFT}\" y=\"0\" width=\"{WIDTH}\" height=\"{height:.1}\" class=\"grid\"/>\n\
             <path d=\"{path}\" stroke=\"var(--c0)\" stroke-width=\"{stroke:.2}\" fill=\"none\"/>\n"
        );
        drawing += &text(LEFT - 8.0, 11.0, Anchor::End, true, "0");
        let last = self.neurons.saturating_sub(1).to_string();
        drawing += &text(LEFT - 8.0, height.max(24.0), Anchor::End, true, &last);
        for tick in ticks(0.0, self.steps as f64, 8) {
            let x = LEFT + tick * step;
            drawing += &text(x, height + 16.0, Anchor::Middle, true, &tick.to_string());
        }
        let caption = format!(
            "{}: {} neurons, {} steps, {} spikes, {:.4} a neuron and step",
            self.name,
            self.neurons,
            self.steps,
            self.spikes.len(),
            self.spikes.len() as f64 / (self.neurons * self.steps).max(1) as f64
        );
        figure(760.0, height.max(24.0) + 22.0, &drawing, &self.name, &caption)
    }
}
