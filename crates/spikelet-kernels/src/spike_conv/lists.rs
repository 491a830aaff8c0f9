//! The events of a batch of images: which channels are active where.

use crate::batch::map;
use alloc::vec::Vec;

/// Channels of a block: 128 rows of 64 weights fill 32 KiB, most of a first-level cache.
pub(crate) const BLOCK: usize = 128;

/// Active channels by pixel, `[pixel, block]`, blocks being 128 channels of one group.
#[derive(Clone, Debug)]
pub struct EventLists {
    /// Where the list of a pixel and block starts; one more at the end.
    starts: Vec<u32>,
    /// The channel within its group.
    channels: Vec<u32>,
    /// The values, unless all are 1.
    values: Option<Vec<f32>>,
    blocks: usize,
}

impl EventLists {
    /// Lists the values that are not zero of `x` `[pixel, channel]`, channels in `groups`.
    ///
    /// # Panics
    /// If `x` is not whole pixels, or 2^32 values or more.
    pub fn of(x: &[f32], channels: usize, groups: usize) -> EventLists {
        assert!(u32::try_from(x.len()).is_ok(), "at most 2^32 values");
        assert!(x.len().is_multiple_of(channels) && channels.is_multiple_of(groups), "shape");
        let per_group = channels / groups;
        let blocks = groups * per_group.div_ceil(BLOCK);
        let parts: Vec<&[f32]> = x.chunks((PART / channels).max(1) * channels).collect();
        let parts = map(&parts, |_, x| Part::of(x, channels, per_group));
        let binary = parts.iter().all(|part| part.binary);
        let events = parts.iter().map(|part| part.channels.len()).sum();
        let mut lists = EventLists {
            starts: Vec::with_capacity(x.len() / channels * blocks + 1),
            channels: Vec::with_capacity(events),
            values: (!binary).then(|| Vec::with_capacity(events)),
            blocks,
        };
        for part in parts {
            let first = lists.channels.len() as u32;
            lists.starts.extend(part.starts.iter().map(|start| first + start));
            lists.channels.extend_from_slice(&part.channels);
            if let Some(values) = &mut lists.values {
                values.extend_from_slice(&part.values);
            }
        }
        lists.starts.push(events as u32);
        lists
    }

    /// The lists of events that are given as places in `[pixel, channel]`, in rising order; event
    /// `e` has the value `x[e]`, or 1 if there are no values.
    ///
    /// # Panics
    /// If an event lies outside.
    pub fn from_events(
        events: &[u32],
        x: Option<&[f32]>,
        pixels: usize,
        channels: usize,
        groups: usize,
    ) -> EventLists {
        let per_group = channels / groups;
        let blocks = groups * per_group.div_ceil(BLOCK);
        let mut starts = Vec::with_capacity(pixels * blocks + 1);
        let mut listed = Vec::with_capacity(events.len());
        let per_blocks = per_group.div_ceil(BLOCK);
        // Events rise, so that the pixel of each is found without a division.
        let (mut pixel, mut first) = (0, 0);
        for (at, &event) in events.iter().enumerate() {
            while pixel < pixels && event as usize >= first + channels {
                (pixel, first) = (pixel + 1, first + channels);
            }
            assert!(pixel < pixels && event as usize >= first, "rising events of these pixels");
            let channel = event as usize - first;
            let (group, channel) = match groups {
                1 => (0, channel),
                _ => (channel / per_group, channel % per_group),
            };
            let place = pixel * blocks + group * per_blocks + channel / BLOCK;
            if starts.len() <= place {
                starts.resize(place + 1, at as u32);
            }
            listed.push(channel as u32);
        }
        starts.resize(pixels * blocks + 1, events.len() as u32);
        let values = x.map(|x| events.iter().map(|event| x[*event as usize]).collect());
        EventLists { starts, channels: listed, values, blocks }
    }

    /// The lists of several inputs as those of a batch.
    ///
    /// # Panics
    /// If there are none, their channels differ, or there are 2^32 events or more.
    pub fn join(parts: Vec<EventLists>) -> EventLists {
        let mut parts = parts.into_iter();
        let mut joined = parts.next().expect("lists to join");
        for part in parts {
            assert_eq!(part.blocks, joined.blocks, "blocks of channels");
            let first = joined.starts.pop().expect("the end of the last list");
            assert!(u32::try_from(joined.len() + part.len()).is_ok(), "at most 2^32 events");
            if joined.values.is_some() || part.values.is_some() {
                let ones = |count| alloc::vec![1.0; count];
                let values = joined.values.get_or_insert_with(|| ones(joined.channels.len()));
                values.extend(part.values.unwrap_or_else(|| ones(part.channels.len())));
            }
            joined.starts.extend(part.starts.iter().map(|start| first + start));
            joined.channels.extend(part.channels);
        }
        joined
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether nothing is active.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Blocks of channels of a pixel, over all groups.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The channels (in their group) and values of a pixel and block.
    #[inline(always)]
    pub(crate) fn list(&self, pixel: usize, block: usize) -> (&[u32], Option<&[f32]>) {
        let at = pixel * self.blocks + block;
        let range = self.starts[at] as usize..self.starts[at + 1] as usize;
        (&self.channels[range.clone()], self.values.as_ref().map(|values| &values[range]))
    }

    /// Whether every value is 1.
    pub(crate) fn is_binary(&self) -> bool {
        self.values.is_none()
    }
}

/// Values listed by one thread at a time.
const PART: usize = 1 << 16;

/// The lists of some pixels.
struct Part {
    starts: Vec<u32>,
    channels: Vec<u32>,
    values: Vec<f32>,
    binary: bool,
}

impl Part {
    fn of(x: &[f32], channels: usize, per_group: usize) -> Part {
        // Written without a branch: the next event overwrites what was no event.
        let mut part = Part {
            starts: Vec::new(),
            channels: alloc::vec![0; x.len() + 1],
            values: alloc::vec![0.0; x.len() + 1],
            binary: true,
        };
        let mut count = 0;
        for pixel in x.chunks_exact(channels) {
            for group in pixel.chunks_exact(per_group) {
                for (first, block) in group.chunks(BLOCK).enumerate() {
                    part.starts.push(count as u32);
                    for (channel, &value) in block.iter().enumerate() {
                        part.channels[count] = (first * BLOCK + channel) as u32;
                        part.values[count] = value;
                        count += usize::from(value != 0.0);
                    }
                }
            }
        }
        part.channels.truncate(count);
        part.values.truncate(count);
        part.binary = part.values.iter().all(|value| *value == 1.0);
        part
    }
}
