//! The events of a batch of images: which channels are active where.

use crate::{
    batch::{for_each_chunk, map},
    simd::dispatch,
};
use alloc::{vec, vec::Vec};

/// Channels of a block: 128 rows of 64 weights fill 32 KiB, most of a first-level cache.
pub(crate) const BLOCK: usize = 128;

/// Active places by pixel, `[pixel, block]`, blocks being 128 channels of one group.
#[derive(Clone, Debug)]
pub struct EventLists {
    starts: Starts,
    /// Places in `[pixel, channel]`, rising.
    places: Vec<u32>,
    /// Their values, unless all are 1.
    values: Option<Vec<f32>>,
}

impl EventLists {
    /// Lists the values that are not zero of `x` `[pixel, channel]`, channels in `groups`.
    ///
    /// # Panics
    /// If `x` is not whole pixels, or 2^32 values or more.
    pub fn of(x: &[f32], channels: usize, groups: usize) -> EventLists {
        assert!(u32::try_from(x.len()).is_ok(), "at most 2^32 values");
        assert!(x.len().is_multiple_of(channels) && channels.is_multiple_of(groups), "shape");
        let blocks = Blocks { channels, groups };
        let size = (PART / channels).max(1) * channels;
        let parts: Vec<&[f32]> = x.chunks(size).collect();
        let parts = map(&parts, |index, x| Part::of(x, index * size, blocks));
        let binary = parts.iter().all(|part| part.binary);
        let events = parts.iter().map(|part| part.places.len()).sum();
        let mut starts = Vec::with_capacity(x.len() / channels * blocks.count() + 1);
        let mut places = Vec::with_capacity(events);
        let mut values = (!binary).then(|| Vec::with_capacity(events));
        for part in parts {
            let first = places.len() as u32;
            starts.extend(part.starts.iter().map(|start| first + start));
            places.extend_from_slice(&part.places);
            if let Some(values) = &mut values {
                values.extend_from_slice(&part.values);
            }
        }
        starts.push(events as u32);
        EventLists { starts: Starts { starts, blocks }, places, values }
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nothing is active.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The lists to read.
    pub(crate) fn view(&self) -> Lists<'_> {
        Lists { starts: &self.starts, places: &self.places, values: self.values.as_deref() }
    }
}

/// Event lists that lie anywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lists<'a> {
    starts: &'a Starts,
    places: &'a [u32],
    values: Option<&'a [f32]>,
}

impl<'a> Lists<'a> {
    /// The places of events `[pixel, channel]`, and their values unless all are 1.
    pub(crate) fn new(starts: &'a Starts, places: &'a [u32], values: Option<&'a [f32]>) -> Self {
        Lists { starts, places, values }
    }

    /// Blocks of channels of a pixel, over all groups.
    pub(crate) fn blocks(&self) -> usize {
        self.starts.blocks.count()
    }

    /// The places and values of a pixel and block.
    #[inline(always)]
    pub(crate) fn list(&self, pixel: usize, block: usize) -> (&'a [u32], Option<&'a [f32]>) {
        let at = pixel * self.starts.blocks.count() + block;
        let range = self.starts.starts[at] as usize..self.starts.starts[at + 1] as usize;
        (&self.places[range.clone()], self.values.map(|values| &values[range]))
    }

    /// The lists of a block of every `step`-th pixel from `pixel` on, each with those of the `pixels - 1`
    /// that follow it, which is 0 where a pixel has several blocks.
    #[inline(always)]
    pub(crate) fn every(
        &self,
        pixel: usize,
        block: usize,
        pixels: usize,
        step: usize,
    ) -> Every<'a> {
        let Lists { starts, places, values } = *self;
        let count = self.blocks();
        debug_assert!(count == 1 || pixels == 1, "neighbours have one block");
        let starts = &starts.starts[pixel * count + block..];
        Every { starts, places, values, reach: pixels, step: step * count }
    }

    /// Whether every value is 1.
    pub(crate) fn is_binary(&self) -> bool {
        self.values.is_none()
    }
}

/// Lists at regular distances: the `k`-th has the events `starts[k * step]..starts[k * step + reach]`.
pub(crate) struct Every<'a> {
    pub(crate) starts: &'a [u32],
    pub(crate) places: &'a [u32],
    pub(crate) values: Option<&'a [f32]>,
    pub(crate) reach: usize,
    pub(crate) step: usize,
}

/// Where the events of every pixel and block start among all; one more at the end.
#[derive(Clone, Debug)]
pub(crate) struct Starts {
    starts: Vec<u32>,
    blocks: Blocks,
}

/// How the channels of a pixel are cut.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    channels: usize,
    groups: usize,
}

impl Blocks {
    fn per_group(self) -> usize {
        (self.channels / self.groups).div_ceil(BLOCK)
    }

    fn count(self) -> usize {
        self.groups * self.per_group()
    }

    /// The first place of a block, counted over all pixels.
    #[inline(always)]
    fn first_place(self, index: usize) -> usize {
        let (count, each) = (self.count(), self.per_group());
        if count == 1 {
            return index * self.channels;
        }
        let (pixel, block) = (index / count, index % count);
        pixel * self.channels + block / each * (self.channels / self.groups) + block % each * BLOCK
    }
}

/// Blocks whose starts one thread looks for.
const SEARCHED: usize = 1 << 11;

impl Starts {
    /// Of events that are given as places in `[pixel, channel]`, in rising order.
    ///
    /// # Panics
    /// If the last event lies outside.
    pub(crate) fn of(places: &[u32], pixels: usize, channels: usize, groups: usize) -> Starts {
        let blocks = Blocks { channels, groups };
        let inside = places.last().is_none_or(|last| (*last as usize) < pixels * channels);
        assert!(inside, "events of these pixels");
        let mut starts = vec![0; pixels * blocks.count() + 1];
        let search = |index: usize, starts: &mut [u32]| {
            let first = index * SEARCHED;
            let mut at = places.partition_point(|p| (*p as usize) < blocks.first_place(first));
            for (index, start) in (first..).zip(starts) {
                let place = blocks.first_place(index);
                while at < places.len() && (places[at] as usize) < place {
                    at += 1;
                }
                *start = at as u32;
            }
        };
        match starts.len() <= SEARCHED {
            true => search(0, &mut starts),
            false => for_each_chunk(&mut starts, SEARCHED, search),
        }
        Starts { starts, blocks }
    }
}

/// Values listed by one thread at a time.
const PART: usize = 1 << 16;

/// The lists of some pixels.
struct Part {
    starts: Vec<u32>,
    places: Vec<u32>,
    values: Vec<f32>,
    binary: bool,
}

impl Part {
    /// Of the pixels `x`, whose first value has the place `first`.
    fn of(x: &[f32], first: usize, blocks: Blocks) -> Part {
        let mut starts = Vec::with_capacity(x.len() / blocks.channels * blocks.count());
        let mut places = Vec::with_capacity(x.len() / 4);
        dispatch(
            #[inline(always)]
            || {
                let mut place = first as u32;
                for group in x.chunks_exact(blocks.channels / blocks.groups) {
                    for block in group.chunks(BLOCK) {
                        starts.push(places.len() as u32);
                        for values in block.chunks(32) {
                            list(active(values), place, &mut places);
                            place = place.wrapping_add(values.len() as u32);
                        }
                    }
                }
            },
        );
        let value = |place: &u32| x[*place as usize - first];
        let binary = places.iter().all(|place| value(place) == 1.0);
        let values = if binary { Vec::new() } else { places.iter().map(value).collect() };
        Part { starts, places, values, binary }
    }
}

/// A bit for each of at most 32 values that is not zero.
#[inline(always)]
fn active(values: &[f32]) -> u32 {
    let bits = |values: &[f32]| {
        let bits = values.iter().enumerate().map(|(bit, value)| u32::from(*value != 0.0) << bit);
        bits.fold(0, |all, bit| all | bit)
    };
    // A length that is known is a few comparisons of whole registers.
    let (all, half) = (<&[f32; 32]>::try_from(values), <&[f32; 16]>::try_from(values));
    match (all, half, <&[f32; 8]>::try_from(values)) {
        (Ok(values), ..) => bits(values),
        (_, Ok(values), _) => bits(values),
        (.., Ok(values)) => bits(values),
        _ => bits(values),
    }
}

/// Appends the places of the bits, the first of which is at `place`.
#[inline(always)]
fn list(mut bits: u32, place: u32, places: &mut Vec<u32>) {
    while bits != 0 {
        places.push(place + bits.trailing_zeros());
        bits &= bits - 1;
    }
}
