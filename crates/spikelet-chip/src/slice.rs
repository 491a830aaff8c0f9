//! Parts of a layer: rows of its first axis times channels of its last.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A part of a layer: `[rows, .., channels]`. A layer of one axis has one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Positions along the first of several axes.
    pub rows: Range<usize>,
    /// Positions along the last axis.
    pub channels: Range<usize>,
}

/// A shape as `[rows, between, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first of several axes, or 1.
    pub rows: usize,
    /// All axes between.
    pub between: usize,
    /// The last axis.
    pub channels: usize,
}

impl Extent {
    /// The extent of a shape of a validated graph.
    pub fn of(shape: &[usize]) -> Self {
        match shape {
            [] => Extent { rows: 1, between: 1, channels: 1 },
            [channels] => Extent { rows: 1, between: 1, channels: *channels },
            [rows, between @ .., channels] => {
                Extent { rows: *rows, between: between.iter().product(), channels: *channels }
            }
        }
    }

    /// All of it.
    pub fn whole(&self) -> Slice {
        Slice { rows: 0..self.rows, channels: 0..self.channels }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.rows * self.between * self.channels
    }

    /// Elements of a part.
    pub fn units(&self, slice: &Slice) -> usize {
        slice.rows.len() * self.between * slice.channels.len()
    }

    /// The number within a slice of an element, if it is part of it.
    pub fn within(&self, slice: &Slice, element: usize) -> Option<usize> {
        let (position, channel) = (element / self.channels, element % self.channels);
        let (row, between) = (position / self.between, position % self.between);
        let inside = slice.rows.contains(&row) && slice.channels.contains(&channel);
        inside.then(|| {
            ((row - slice.rows.start) * self.between + between) * slice.channels.len()
                + (channel - slice.channels.start)
        })
    }

    /// The element that has a number within a slice.
    pub fn element(&self, slice: &Slice, unit: usize) -> usize {
        let (position, channel) = (unit / slice.channels.len(), unit % slice.channels.len());
        let (row, between) = (position / self.between, position % self.between);
        ((slice.rows.start + row) * self.between + between) * self.channels
            + slice.channels.start
            + channel
    }

    /// The elements among `active`, which ascends, that are part of a slice.
    pub fn active_within<'a>(
        &'a self,
        slice: &'a Slice,
        active: &'a [u32],
    ) -> impl Iterator<Item = usize> + 'a {
        // Whole rows, or channels of the only position, lie one after the other.
        let row = self.between * self.channels;
        let range = if slice.channels.len() == self.channels {
            Some(slice.rows.start * row..slice.rows.end * row)
        } else if self.rows * self.between == 1 {
            Some(slice.channels.clone())
        } else {
            None
        };
        let all = range.is_some();
        let active = match range {
            Some(range) => {
                let at = |element: usize| active.partition_point(|&at| (at as usize) < element);
                &active[at(range.start)..at(range.end)]
            }
            None => active,
        };
        let elements = active.iter().map(|&at| at as usize);
        elements.filter(move |&element| all || self.within(slice, element).is_some())
    }

    /// The parts into which `row_parts` times `channel_parts` equal cuts divide it; parts differ
    /// by one row or channel at most.
    pub fn cut(&self, row_parts: usize, channel_parts: usize) -> Vec<Slice> {
        let part =
            |size: usize, parts: usize, at: usize| size * at / parts..size * (at + 1) / parts;
        let channels = |row: usize| {
            (0..channel_parts).map(move |channel| Slice {
                rows: part(self.rows, row_parts, row),
                channels: part(self.channels, channel_parts, channel),
            })
        };
        (0..row_parts).flat_map(channels).collect()
    }
}

impl Slice {
    /// Whether two parts of one layer share an element.
    pub fn meets(&self, other: &Slice) -> bool {
        let meet = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        meet(&self.rows, &other.rows) && meet(&self.channels, &other.channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_cover_every_element_once() {
        let extent = Extent::of(&[5, 3, 7]);
        for (rows, channels) in [(1, 1), (2, 3), (5, 7)] {
            let mut seen = vec![0; extent.len()];
            for slice in extent.cut(rows, channels) {
                for unit in 0..extent.units(&slice) {
                    let element = extent.element(&slice, unit);
                    assert_eq!(extent.within(&slice, element), Some(unit));
                    seen[element] += 1;
                }
            }
            assert!(seen.iter().all(|&times| times == 1));
        }
    }
}
