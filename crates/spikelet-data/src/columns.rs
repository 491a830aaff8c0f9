//! A text read in columns: as many runs of it side by side as a batch has sequences, each from its first token to its
//! last, window after window, so that a window can take over what the one before it left (continuous batching).

use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::split::rng;
use crate::text::Text;

/// How windows of a text follow each other in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Windows {
    /// Anywhere in the training part, each from an empty state.
    #[default]
    Random,
    /// One behind the other in every column of the batch; states go on.
    Carried,
    /// The same with lengths that vary, as in AWD-LSTM: 5 % of the windows are meant to be half as long, all lengths
    /// have a deviation of 5 tokens, 5 tokens are the least.
    CarriedVaried,
}

impl Windows {
    /// Whether states go on from one window to the next.
    pub fn carried(self) -> bool {
        self != Self::Random
    }
}

/// The random streams of window lengths.
const LENGTHS: u64 = 5 << 60;
/// Share of windows that are meant to be of full length.
const FULL: f64 = 0.95;
/// Standard deviation of lengths, and the least length, in tokens.
const DEVIATION: f64 = 5.0;
const SHORTEST: usize = 5;

/// Where the columns of a text's training part are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    first: usize,
    /// Tokens to be predicted in every column.
    pub length: usize,
    /// Columns.
    pub count: usize,
}

impl Text {
    /// The training part in `count` columns; what is left over at its end is not read.
    ///
    /// # Errors
    /// A text that is too short for as many.
    pub fn columns(&self, count: usize) -> Result<Columns> {
        let length = (self.train.len().saturating_sub(1)).checked_div(count).unwrap_or(0);
        match length >= SHORTEST {
            true => Ok(Columns { first: self.train.start, length, count }),
            false => Err(DataError::request(format!(
                "the training part has {} tokens, too few for {count} columns: set train.batch_size lower",
                self.train.len()
            ))),
        }
    }

    /// How long the windows of an epoch are that read all tokens of `columns`.
    pub fn lengths(&self, columns: Columns, seed: u64, epoch: u64) -> Vec<usize> {
        let mut rng = rng(seed, LENGTHS | epoch);
        let mut uniform = || (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut lengths = Vec::new();
        let mut left = columns.length;
        while left > 0 {
            let length = match self.windows {
                Windows::CarriedVaried => {
                    let full = self.window as f64;
                    let mean = if uniform() < FULL { full } else { full / 2.0 };
                    // Box and Muller.
                    let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
                    let normal = radius * (std::f64::consts::TAU * uniform()).cos();
                    (mean + DEVIATION * normal).max(SHORTEST as f64) as usize
                }
                _ => self.window,
            };
            lengths.push(length.min(left));
            left -= lengths[lengths.len() - 1];
        }
        lengths
    }

    /// Tokens `at..at + length` of every column and those behind them, `[length, count]` each.
    pub fn rows(&self, columns: Columns, at: usize, length: usize) -> (Vec<f32>, Vec<u32>) {
        let starts: Vec<usize> =
            (0..columns.count).map(|c| columns.first + c * columns.length + at).collect();
        let inputs = self.gather(&starts, 0, length).map(|token| token as f32).collect();
        (inputs, self.gather(&starts, 1, length).collect())
    }
}

/// Windows of a part in the order in which a stream reads them: so many rows of columns of windows, and the windows that
/// are left, which go on where the last column ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The windows of every step, one for each column.
    pub rows: Vec<Vec<usize>>,
    /// Those behind the last column.
    pub rest: Vec<usize>,
}

/// Columns in which validation and test parts are read.
pub const READERS: usize = 10;

/// The reading of the windows `index` of a part, which lie one behind the other.
pub fn reading(index: &[usize]) -> Reading {
    let columns = READERS.min(index.len());
    let height = index.len().checked_div(columns).unwrap_or(0);
    let row = |t: usize| (0..columns).map(|c| index[c * height + t]).collect();
    Reading { rows: (0..height).map(row).collect(), rest: index[columns * height..].to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Cut;
    use crate::vocabulary::Unit;

    fn text(windows: Windows) -> Text {
        let cut = Cut { window: 20, validation: 0.1, test: 0.0 };
        let content: String = (0..9000_u32).map(|i| (b'a' + (i % 26) as u8) as char).collect();
        let (mut text, _) =
            Text::new(content.as_bytes(), "t", Unit::Characters, None, cut).unwrap();
        text.windows = windows;
        text
    }

    #[test]
    fn windows_follow_each_other_in_every_column() {
        let text = text(Windows::Carried);
        let columns = text.columns(7).unwrap();
        assert_eq!(columns.length, 8099 / 7);
        let lengths = text.lengths(columns, 1, 0);
        assert!(lengths[..lengths.len() - 1].iter().all(|length| *length == 20));
        assert_eq!(lengths.iter().sum::<usize>(), columns.length);
        let (mut at, mut last) = (0, Vec::new());
        for length in lengths {
            let (x, y) = text.rows(columns, at, length);
            if at > 0 {
                let first: Vec<u32> = x[..7].iter().map(|x| *x as u32).collect();
                assert_eq!(first, last, "what was to be predicted is read next");
            }
            last = y[(length - 1) * 7..].to_vec();
            at += length;
        }
        assert!(text.columns(0).is_err() && text.columns(4000).is_err());
    }

    #[test]
    fn lengths_vary_around_the_window() {
        let text = text(Windows::CarriedVaried);
        let columns = text.columns(1).unwrap();
        let lengths = text.lengths(columns, 3, 5);
        assert_eq!(lengths, text.lengths(columns, 3, 5));
        assert_ne!(lengths, text.lengths(columns, 3, 6));
        assert_eq!(lengths.iter().sum::<usize>(), columns.length);
        let mean = columns.length as f64 / lengths.len() as f64;
        assert!((17.0..22.0).contains(&mean), "{mean} on average");
        assert!(
            lengths.iter().any(|l| *l > 24)
                && lengths.iter().all(|l| *l >= 5 || l == lengths.last().unwrap())
        );
    }

    #[test]
    fn parts_are_read_in_columns_and_to_their_end() {
        let index: Vec<usize> = (100..123).collect();
        let found = reading(&index);
        assert_eq!(found.rows.len(), 2);
        assert_eq!(found.rows[1], [101, 103, 105, 107, 109, 111, 113, 115, 117, 119]);
        assert_eq!(found.rest, [120, 121, 122]);
        let few = reading(&[4, 5, 6]);
        assert_eq!((few.rows, few.rest), (vec![vec![4, 5, 6]], vec![]));
        assert_eq!(reading(&[]), Reading { rows: vec![], rest: vec![] });
    }
}
