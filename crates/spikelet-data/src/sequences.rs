//! Labelled sequences in memory: what every reader of this crate produces and the trainer consumes.

use crate::error::{DataError, Result};

/// Labelled multi-channel sequences of equal length.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sequences {
    /// Values, `[n, time, channels]`, in the units of the source until normalised.
    pub x: Vec<f32>,
    /// Number of sequences.
    pub n: usize,
    /// Time steps of each.
    pub time: usize,
    /// Channels of each time step.
    pub channels: usize,
    /// Class of each sequence, an index into `classes`.
    pub y: Vec<u32>,
    /// What must not be divided between training and test: subject or recording; 0 where the source names none.
    pub group: Vec<u32>,
    /// Class names.
    pub classes: Vec<String>,
    /// Channel names.
    pub channel_names: Vec<String>,
    /// Length of a time step in milliseconds.
    pub step_ms: f32,
}

impl Sequences {
    /// No sequences yet, of the given form.
    pub fn empty(
        time: usize,
        channel_names: Vec<String>,
        classes: Vec<String>,
        step_ms: f32,
    ) -> Self {
        Self {
            time,
            channels: channel_names.len(),
            channel_names,
            classes,
            step_ms,
            ..Self::default()
        }
    }

    /// Appends one sequence `[time, channels]`.
    ///
    /// # Panics
    /// If `x` is not `time * channels` long.
    pub fn push(&mut self, x: &[f32], y: u32, group: u32) {
        assert_eq!(x.len(), self.time * self.channels, "a sequence is [time, channels]");
        self.x.extend_from_slice(x);
        self.y.push(y);
        self.group.push(group);
        self.n += 1;
    }

    /// Sequence `i`, `[time, channels]`.
    pub fn sample(&self, i: usize) -> &[f32] {
        let len = self.time * self.channels;
        &self.x[i * len..(i + 1) * len]
    }

    /// The sequences of `index`, in its order.
    pub fn subset(&self, index: &[usize]) -> Self {
        let mut out =
            Self::empty(self.time, self.channel_names.clone(), self.classes.clone(), self.step_ms);
        out.x.reserve(index.len() * self.time * self.channels);
        for &i in index {
            out.push(self.sample(i), self.y[i], self.group[i]);
        }
        out
    }

    /// The sequences of `index` as one time-major batch, `[time, batch, channels]`, written over `out`.
    pub fn batch(&self, index: &[usize], out: &mut Vec<f32>) {
        out.clear();
        out.reserve(index.len() * self.time * self.channels);
        for t in 0..self.time {
            for &i in index {
                out.extend_from_slice(&self.sample(i)[t * self.channels..(t + 1) * self.channels]);
            }
        }
    }

    /// Classes of the sequences of `index`.
    pub fn labels(&self, index: &[usize]) -> Vec<u32> {
        index.iter().map(|&i| self.y[i]).collect()
    }

    /// Number of sequences of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &y in &self.y {
            counts[y as usize] += 1;
        }
        counts
    }

    /// The distinct groups, ascending.
    pub fn groups(&self) -> Vec<u32> {
        let mut groups = self.group.clone();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The same sequences with the channels of `names` only, in that order.
    pub fn select_channels(&self, names: &[&str]) -> Result<Self> {
        let columns = names
            .iter()
            .map(|name| {
                self.channel_names.iter().position(|c| c == name).ok_or_else(|| {
                    let hint = crate::nearest::suggest(
                        name,
                        self.channel_names.iter().map(String::as_str),
                    );
                    DataError::request(format!("no channel `{name}`{hint}"))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let mut out = self.clone();
        out.channels = columns.len();
        out.channel_names = names.iter().map(|&n| n.to_owned()).collect();
        out.x = match self.channels {
            0 => Vec::new(),
            channels => self
                .x
                .chunks_exact(channels)
                .flat_map(|step| columns.iter().map(|&c| step[c]))
                .collect(),
        };
        Ok(out)
    }

    /// Checks that lengths agree, labels name a class and every value is finite.
    pub fn validate(&self) -> Result<()> {
        let wrong =
            |what: String| Err(DataError::request(format!("inconsistent sequences: {what}")));
        let values = self.n.checked_mul(self.time).and_then(|v| v.checked_mul(self.channels));
        if values != Some(self.x.len()) {
            return wrong(format!(
                "{} values for [{}, {}, {}]",
                self.x.len(),
                self.n,
                self.time,
                self.channels
            ));
        }
        if self.y.len() != self.n || self.group.len() != self.n {
            return wrong(format!(
                "{} labels and {} groups for {}",
                self.y.len(),
                self.group.len(),
                self.n
            ));
        }
        if self.channel_names.len() != self.channels {
            return wrong(format!(
                "{} channel names for {} channels",
                self.channel_names.len(),
                self.channels
            ));
        }
        if let Some(i) = self.y.iter().position(|&y| y as usize >= self.classes.len()) {
            return wrong(format!(
                "sequence {i} has class {} of {}",
                self.y[i],
                self.classes.len()
            ));
        }
        if let Some(i) = self.x.iter().position(|v| !v.is_finite()) {
            let per = self.time * self.channels;
            return wrong(format!(
                "sequence {} holds {} in channel {}",
                i / per,
                self.x[i],
                i % self.channels
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Sequences {
        let mut s = Sequences::empty(
            2,
            vec!["a".into(), "b".into()],
            vec!["no".into(), "yes".into()],
            50.0,
        );
        s.push(&[1.0, 2.0, 3.0, 4.0], 0, 7);
        s.push(&[5.0, 6.0, 7.0, 8.0], 1, 9);
        s
    }

    #[test]
    fn batch_is_time_major() {
        let s = two();
        let mut out = vec![0.0; 3];
        s.batch(&[1, 0], &mut out);
        assert_eq!(out, [5.0, 6.0, 1.0, 2.0, 7.0, 8.0, 3.0, 4.0]);
        assert_eq!(s.labels(&[1, 0]), [1, 0]);
    }

    #[test]
    fn subset_keeps_order_labels_and_groups() {
        let s = two().subset(&[1, 1, 0]);
        s.validate().unwrap();
        assert_eq!((s.n, s.y.clone(), s.group.clone()), (3, vec![1, 1, 0], vec![9, 9, 7]));
        assert_eq!(s.sample(2), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(s.class_counts(), [1, 2]);
        assert_eq!(s.groups(), [7, 9]);
    }

    #[test]
    fn channels_are_selected_by_name() {
        let s = two().select_channels(&["b"]).unwrap();
        s.validate().unwrap();
        assert_eq!(s.x, [2.0, 4.0, 6.0, 8.0]);
        let e = two().select_channels(&["aa"]).unwrap_err().to_string();
        assert_eq!(e, "no channel `aa`; did you mean `a`?");
    }

    #[test]
    fn validate_finds_each_inconsistency() {
        let break_one = |f: fn(&mut Sequences)| {
            let mut s = two();
            f(&mut s);
            s.validate().unwrap_err().to_string()
        };
        assert!(break_one(|s| s.n = usize::MAX).contains("values for"));
        assert!(break_one(|s| s.y[1] = 2).contains("sequence 1 has class 2"));
        assert!(break_one(|s| s.x[6] = f32::NAN).contains("sequence 1 holds NaN in channel 0"));
        assert!(break_one(|s| s.group.clear()).contains("0 groups"));
    }
}
