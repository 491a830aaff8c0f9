//! From the events of a recording to frames: slices by number or time, voxel grids, noise filter, smaller sizes.

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::events::Event;

/// How a recording becomes frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventFramesConfig {
    /// Frames of a sample: its time steps.
    pub steps: usize,
    /// Where a frame ends and the next begins.
    pub slice: Slice,
    /// A recording is cut into samples of this many milliseconds, what is left over is dropped; 0: it is one sample.
    pub window_ms: u64,
    /// Height and width that frames are made smaller to; 0: those of the sensor.
    pub size: usize,
    /// What a smaller frame holds of the pixels that fall on one.
    pub pool: Pool,
    /// Channels of a frame.
    pub polarity: Polarity,
    /// 1 where there was an event, instead of the number of events.
    pub binary: bool,
    /// Events without another at one of the eight neighbours in so many milliseconds before are noise and dropped
    /// (Delbruck 2008); 0: none are.
    pub denoise_ms: u64,
}

/// Where a frame ends and the next begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slice {
    /// All frames have equally many events; the last has what division leaves over too.
    #[default]
    Number,
    /// All frames take equally long.
    Time,
    /// All frames take equally long, and an event counts for the two that it lies between, in proportion to how near
    /// it is to their middle (Zhu et al. 2019, here per polarity). Kept in sixteenths.
    Voxel,
}

/// What a smaller frame holds of the pixels that fall on one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// Their sum.
    #[default]
    Sum,
    /// The largest.
    Max,
}

/// Channels of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polarity {
    /// Two: OFF, ON.
    #[default]
    Separate,
    /// One: their mean.
    Mean,
}

impl Default for EventFramesConfig {
    fn default() -> Self {
        Self {
            steps: 16,
            slice: Slice::Number,
            window_ms: 0,
            size: 0,
            pool: Pool::Sum,
            polarity: Polarity::Separate,
            binary: false,
            denoise_ms: 0,
        }
    }
}

/// Parts of a voxel grid's unit.
const VOXEL_PARTS: u32 = 16;
const MAX_STEPS: usize = 1 << 12;
/// Most counts of one sample.
const MAX_COUNTS: usize = 1 << 27;

/// Makes frames of recordings of one sensor.
pub struct Framer {
    config: EventFramesConfig,
    /// Height and width of the sensor.
    sensor: [usize; 2],
    /// Height and width of frames.
    size: [usize; 2],
    /// Counts of a sample, `[steps, height, width, 2]`; those of the sensor where the largest is pooled.
    counts: Vec<u32>,
}

impl Framer {
    /// For a sensor of `sensor` `[height, width]`.
    pub fn new(config: &EventFramesConfig, sensor: [usize; 2]) -> Result<Self> {
        let wrong =
            |reason: String| Err(DataError::request(format!("data.frames.events: {reason}")));
        let size = if config.size == 0 { sensor } else { [config.size; 2] };
        if !(1..=MAX_STEPS).contains(&config.steps) {
            return wrong(format!("steps = {}; 1 to {MAX_STEPS}", config.steps));
        }
        if size[0] > sensor[0] || size[1] > sensor[1] || size.contains(&0) {
            let [height, width] = sensor;
            return wrong(format!("size = {} for a sensor of {width} x {height}", config.size));
        }
        let counted = if config.pool == Pool::Max { sensor } else { size };
        let counts = counted[0] * counted[1] * 2 * config.steps;
        if counts > MAX_COUNTS {
            return wrong(format!("{} frames of {counted:?} are too large", config.steps));
        }
        Ok(Self { config: config.clone(), sensor, size, counts: vec![0; counts] })
    }

    /// Height, width and channels of a frame.
    pub fn shape(&self) -> [usize; 3] {
        let channels = if self.config.polarity == Polarity::Mean { 1 } else { 2 };
        [self.size[0], self.size[1], channels]
    }

    /// What a stored 1 means.
    pub fn scale(&self) -> f32 {
        let mean = if self.config.polarity == Polarity::Mean { 0.5 } else { 1.0 };
        match self.config.slice == Slice::Voxel && !self.config.binary {
            true => mean / VOXEL_PARTS as f32,
            false => mean,
        }
    }

    /// The samples of a recording, each `[steps, height, width, channels]`, given to `sample` one after the other.
    /// Counts above 255 become 255. `events` are in the order of time and within the sensor.
    ///
    /// # Errors
    /// Those of `sample`.
    pub fn frames(
        &mut self,
        events: &mut Vec<Event>,
        mut sample: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if self.config.denoise_ms > 0 {
            denoise(events, self.sensor, self.config.denoise_ms.saturating_mul(1000));
        }
        let window = self.config.window_ms.saturating_mul(1000);
        if window == 0 {
            let (from, to) = match (events.first(), events.last()) {
                (Some(first), Some(last)) => (first.t, last.t + 1),
                _ => (0, 1),
            };
            self.count(events, from, to);
            return sample(&self.bytes());
        }
        let (Some(mut from), Some(last)) = (events.first().map(|e| e.t), events.last()) else {
            return Ok(());
        };
        let mut rest = &events[..];
        while last.t - from >= window {
            let (now, later) = rest.split_at(rest.partition_point(|e| e.t - from < window));
            // A pause that is longer than a window holds no samples.
            match (now.is_empty(), later.first()) {
                (true, Some(next)) => from += (next.t - from) / window * window,
                _ => {
                    self.count(now, from, from + window);
                    sample(&self.bytes())?;
                    from += window;
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// Counts the events of a sample that takes from `from` to before `to`.
    fn count(&mut self, events: &[Event], from: u64, to: u64) {
        self.counts.fill(0);
        let steps = self.config.steps;
        let counted = if self.config.pool == Pool::Max { self.sensor } else { self.size };
        let frame = counted[0] * counted[1] * 2;
        let each = (events.len() / steps).max(1);
        for (i, event) in events.iter().enumerate() {
            let y = usize::from(event.y) * counted[0] / self.sensor[0];
            let x = usize::from(event.x) * counted[1] / self.sensor[1];
            let at = (y * counted[1] + x) * 2 + usize::from(event.on);
            let mut add = |step: usize, n: u32| {
                let count = &mut self.counts[step * frame + at];
                *count = count.saturating_add(n);
            };
            match self.config.slice {
                Slice::Number => add((i / each).min(steps - 1), 1),
                Slice::Time => {
                    let step = u128::from(event.t - from) * steps as u128 / u128::from(to - from);
                    add(step as usize, 1);
                }
                Slice::Voxel => {
                    // Position among the middles of frames, in parts: the first is at 0.
                    let parts = u128::from(VOXEL_PARTS) * (steps - 1) as u128;
                    let length = u128::from((to - from - 1).max(1));
                    let place = (u128::from(event.t - from) * parts / length) as u32;
                    let (step, part) = ((place / VOXEL_PARTS) as usize, place % VOXEL_PARTS);
                    add(step, VOXEL_PARTS - part);
                    if part > 0 {
                        add(step + 1, part);
                    }
                }
            }
        }
    }

    /// The counts as a sample.
    fn bytes(&self) -> Vec<u8> {
        let [height, width, channels] = self.shape();
        let pooled = match self.config.pool {
            Pool::Sum => self.counts.clone(),
            Pool::Max => self.largest(),
        };
        let (binary, mean) = (self.config.binary, channels == 1);
        let byte = |n: u32| if binary { u8::from(n > 0) } else { n.min(255) as u8 };
        let mut bytes = Vec::with_capacity(self.config.steps * height * width * channels);
        for &[off, on] in pooled.as_chunks::<2>().0 {
            match mean {
                true if binary => bytes.push(byte(off) + byte(on)),
                true => bytes.push(byte(off.saturating_add(on))),
                false => bytes.extend([byte(off), byte(on)]),
            }
        }
        bytes
    }

    /// The largest count of those that fall on one pixel of a smaller frame.
    fn largest(&self) -> Vec<u32> {
        let [height, width] = self.size;
        let mut pooled = vec![0; self.config.steps * height * width * 2];
        let sensor = self.sensor[0] * self.sensor[1];
        for (i, &n) in self.counts.iter().enumerate() {
            let (pixel, channel) = (i / 2, i % 2);
            let (step, pixel) = (pixel / sensor, pixel % sensor);
            let y = pixel / self.sensor[1] * height / self.sensor[0];
            let x = pixel % self.sensor[1] * width / self.sensor[1];
            let place = &mut pooled[((step * height + y) * width + x) * 2 + channel];
            *place = n.max(*place);
        }
        pooled
    }
}

/// Drops events that no other event at one of the eight neighbours came before within `span` microseconds.
pub fn denoise(events: &mut Vec<Event>, sensor: [usize; 2], span: u64) {
    let [height, width] = sensor;
    // Time of the last event at each pixel, plus one; 0: none. A border of one pixel spares the checks.
    let mut last = vec![0u64; (height + 2) * (width + 2)];
    let row = width + 2;
    events.retain(|event| {
        let at = (usize::from(event.y) + 1) * row + usize::from(event.x) + 1;
        last[at] = event.t.saturating_add(1);
        [at - row - 1, at - row, at - row + 1, at - 1, at + 1, at + row - 1, at + row, at + row + 1]
            .iter()
            .any(|&near| last[near] > 0 && event.t - (last[near] - 1) <= span)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(t: u64, x: u16, y: u16, on: bool) -> Event {
        Event { t, x, y, on }
    }

    fn framed(config: EventFramesConfig, sensor: [usize; 2], events: &[Event]) -> Vec<Vec<u8>> {
        let mut samples = Vec::new();
        let mut framer = Framer::new(&config, sensor).unwrap();
        let keep = |sample: &[u8]| {
            samples.push(sample.to_vec());
            Ok(())
        };
        framer.frames(&mut events.to_vec(), keep).unwrap();
        samples
    }

    const TWO: EventFramesConfig = EventFramesConfig {
        steps: 2,
        slice: Slice::Number,
        window_ms: 0,
        size: 0,
        pool: Pool::Sum,
        polarity: Polarity::Separate,
        binary: false,
        denoise_ms: 0,
    };

    /// Five events of two pixels: four in the first fifth of the time.
    fn five() -> Vec<Event> {
        [(0, 0), (1, 0), (2, 0), (20, 1), (99, 1)].map(|(t, x)| event(t, x, 0, x == 1)).to_vec()
    }

    #[test]
    fn slices_by_number_and_time() {
        // OFF and ON of pixel 0, of pixel 1; then the second frame, which has what is left over.
        assert_eq!(framed(TWO, [1, 2], &five()), [[2, 0, 0, 0, 1, 0, 0, 2]]);
        let time = EventFramesConfig { slice: Slice::Time, ..TWO };
        assert_eq!(framed(time.clone(), [1, 2], &five()), [[3, 0, 0, 1, 0, 0, 0, 1]]);
        let binary = EventFramesConfig { binary: true, ..time.clone() };
        assert_eq!(framed(binary, [1, 2], &five()), [[1, 0, 0, 1, 0, 0, 0, 1]]);
        let mean = EventFramesConfig { polarity: Polarity::Mean, ..time };
        assert_eq!(framed(mean.clone(), [1, 2], &five()), [[3, 1, 0, 1]]);
        let framer = Framer::new(&mean, [1, 2]).unwrap();
        assert_eq!((framer.shape(), framer.scale()), ([1, 2, 1], 0.5));
        assert_eq!(framed(TWO, [1, 2], &[]), [[0; 8]]);
    }

    #[test]
    fn voxels_share_events_by_distance() {
        let config = EventFramesConfig { steps: 3, slice: Slice::Voxel, ..TWO };
        let events = [event(0, 0, 0, true), event(25, 0, 0, false), event(100, 0, 0, true)];
        assert_eq!(framed(config, [1, 1], &events), [[8, 16, 8, 0, 0, 16]]);
    }

    #[test]
    fn windows_cut_a_recording_into_samples() {
        let config = EventFramesConfig { steps: 1, slice: Slice::Time, window_ms: 1, ..TWO };
        let events = [0, 10, 1500, 5200, 5300, 7100].map(|t| event(t, 0, 0, true));
        // 0..1000, 1000..2000, a pause, 5000..6000; the last is not complete.
        assert_eq!(framed(config, [1, 1], &events), [[0, 2], [0, 1], [0, 2], [0, 0]][..3]);
    }

    #[test]
    fn smaller_frames_sum_or_take_the_largest() {
        let events = [(0, 0), (0, 1), (0, 1), (3, 3)].map(|(x, y)| event(1, x, y, true));
        let sum = EventFramesConfig { steps: 1, size: 2, ..TWO };
        assert_eq!(framed(sum.clone(), [4, 4], &events), [[0, 3, 0, 0, 0, 0, 0, 1]]);
        let max = EventFramesConfig { pool: Pool::Max, ..sum };
        assert_eq!(framed(max, [4, 4], &events), [[0, 2, 0, 0, 0, 0, 0, 1]]);
    }

    #[test]
    fn lonely_events_are_noise() {
        let mut events = vec![
            event(0, 5, 5, true),
            event(500, 6, 6, true),
            event(600, 0, 0, true),
            event(700, 0, 0, true),
            event(9000, 6, 5, true),
        ];
        denoise(&mut events, [10, 10], 1000);
        assert_eq!(events, [event(500, 6, 6, true)]);
    }

    #[test]
    fn requests_are_checked() {
        let said = |config: EventFramesConfig| match Framer::new(&config, [128, 128]) {
            Ok(_) => panic!("{config:?}"),
            Err(e) => e.to_string(),
        };
        assert!(said(EventFramesConfig { steps: 0, ..TWO }).contains("steps = 0"));
        assert!(said(EventFramesConfig { size: 129, ..TWO }).contains("size = 129"));
        let large = EventFramesConfig { steps: 4096, ..TWO };
        assert!(
            Framer::new(&large, [2048, 2048]).is_err_and(|e| e.to_string().contains("too large"))
        );
    }

    proptest! {
        #[test]
        fn no_event_is_lost(
            mut times in prop::collection::vec(0u64..1_000_000, 1..200), steps in 1usize..9, by_time: bool, max: bool
        ) {
            times.sort_unstable();
            let events: Vec<Event> =
                times.iter().enumerate().map(|(i, &t)| event(t, (i % 7) as u16, (i % 5) as u16, i % 2 == 0)).collect();
            let slice = if by_time { Slice::Time } else { Slice::Number };
            let config = EventFramesConfig { steps, slice, ..TWO };
            let frames = &framed(config.clone(), [5, 7], &events)[0];
            prop_assert_eq!(frames.iter().map(|&n| usize::from(n)).sum::<usize>(), events.len());
            if !by_time && events.len() >= steps {
                let each: Vec<usize> =
                    frames.chunks(70).map(|f| f.iter().map(|&n| usize::from(n)).sum()).collect();
                prop_assert!(each[..steps - 1].iter().all(|&n| n == events.len() / steps));
            }
            // The largest of one pixel is that pixel.
            if max {
                let config = EventFramesConfig { pool: Pool::Max, ..config };
                prop_assert_eq!(frames, &framed(config, [5, 7], &events)[0]);
            }
        }
    }
}
