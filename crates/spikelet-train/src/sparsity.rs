//! How much of a layer is silent, forwards and backwards.

use serde::{Deserialize, Serialize};

/// What could be skipped of a layer, as fractions of all units and steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sparsity {
    /// The layer.
    pub layer: String,
    /// Without an event.
    pub activity: f64,
    /// Outside the window of the surrogate (the pseudo-derivative of EGRU), by the state in front of
    /// the reset: what the gradient really sees.
    pub backward: f64,
    /// The same by the state after the reset, as EGRU's official code reports it.
    pub backward_official: f64,
}

/// What is silent of each event-based layer, counted over as many windows of a stream as are added.
#[derive(Clone, Debug, Default)]
pub struct Counted(Vec<(String, Silence)>);

impl Counted {
    /// Adds what a window was of a layer.
    pub(crate) fn add(&mut self, layer: &str, window: Silence) {
        match self.0.iter_mut().find(|(name, _)| name == layer) {
            Some((_, silence)) => silence.join(window),
            None => self.0.push((layer.to_owned(), window)),
        }
    }

    /// As fractions, layer by layer.
    pub fn fractions(self) -> Vec<Sparsity> {
        self.0.into_iter().map(|(layer, silence)| silence.of(layer)).collect()
    }
}

/// Units of a layer, counted over time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence {
    units: usize,
    silent: usize,
    outside: usize,
    outside_after: usize,
}

impl Silence {
    /// Adds units by their states `after` the reset, which took the threshold away where there is
    /// an event (1, else 0), and by what says whether a distance from the threshold is outside the
    /// window. Thresholds repeat.
    pub(crate) fn add(
        &mut self,
        after: &[f32],
        events: &[f32],
        thresholds: &[f32],
        outside: impl Fn(f32) -> bool,
    ) {
        for ((&after, &event), &threshold) in
            after.iter().zip(events).zip(thresholds.iter().cycle())
        {
            self.units += 1;
            self.silent += usize::from(event == 0.0);
            self.outside += usize::from(outside(after + event * threshold - threshold));
            self.outside_after += usize::from(outside(after - threshold));
        }
    }

    fn join(&mut self, other: Silence) {
        self.units += other.units;
        self.silent += other.silent;
        self.outside += other.outside;
        self.outside_after += other.outside_after;
    }

    /// As fractions.
    pub(crate) fn of(self, layer: String) -> Sparsity {
        let share = |count: usize| count as f64 / self.units.max(1) as f64;
        Sparsity {
            layer,
            activity: share(self.silent),
            backward: share(self.outside),
            backward_official: share(self.outside_after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_in_front_of_the_reset() {
        // Potentials 1.5 (an event), 0.1, 3.5 (an event) and 0.6 with threshold 1.
        let mut silence = Silence::default();
        let events = [1.0, 0.0, 1.0, 0.0];
        silence.add(&[0.5, 0.1, 2.5, 0.6], &events, &[1.0], |x| x.abs() > 0.5);
        let found = silence.of("lif".to_owned());
        assert_eq!((found.activity, found.backward, found.backward_official), (0.5, 0.5, 0.5));
        silence.add(&[0.4], &[1.0], &[1.0], |x| x.abs() > 0.5);
        let found = silence.of("lif".to_owned());
        assert_eq!((found.activity, found.backward, found.backward_official), (0.4, 0.4, 0.6));
    }
}
