//! Where the values of a stream lie: every buffer gets its place once, when a graph is compiled.
//!
//! Buffers that must survive a step come first, one after the other, and of these the potentials
//! that are zero before the first step. The others share what follows: two lie in the same place when one is last used before the other is first used.

use alloc::{vec, vec::Vec};
use core::ops::Range;

/// A buffer in the memory of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Buffer(usize);

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// 32-bit floats.
    Values,
    /// Room for the indices of this many neurons, after their number.
    Events,
    /// One bit per neuron and remembered step.
    Bits,
}

struct Wish {
    content: Content,
    len: usize,
    keep: bool,
    /// Zero at the start of a sequence, whatever lies in its memory.
    at_rest: bool,
    /// First and last instruction that touches it.
    used: Option<(usize, usize)>,
}

/// Collects what is needed.
#[derive(Default)]
pub(crate) struct Wishes(Vec<Wish>);

impl Wishes {
    /// A buffer for `len` values or events; `keep` says that it survives a step.
    pub(crate) fn add(&mut self, content: Content, len: usize, keep: bool) -> Buffer {
        let len = match content {
            Content::Events => len + 1,
            Content::Values | Content::Bits => len,
        };
        self.0.push(Wish { content, len, keep, at_rest: false, used: None });
        Buffer(self.0.len() - 1)
    }

    /// A buffer for the potentials of spiking neurons, which their first step takes as zero.
    pub(crate) fn add_potentials(&mut self, len: usize) -> Buffer {
        let buffer = self.add(Content::Values, len, true);
        self.0[buffer.0].at_rest = true;
        buffer
    }

    /// Notes that an instruction uses a buffer.
    pub(crate) fn touch(&mut self, buffer: Buffer, instruction: usize) {
        let used = &mut self.0[buffer.0].used;
        *used = match *used {
            None => Some((instruction, instruction)),
            Some((first, last)) => Some((first.min(instruction), last.max(instruction))),
        };
    }

    /// Gives buffers that are written before instruction `end` and read after it until the last
    /// one, `last`, a place of their own.
    pub(crate) fn keep_across(&mut self, end: usize, last: usize) {
        for wish in &mut self.0 {
            if let Some((first, used)) = &mut wish.used
                && *first < end
                && *used >= end
            {
                (*first, *used) = (0, last);
            }
        }
    }

    /// Gives every buffer its place.
    pub(crate) fn place(self) -> Places {
        let mut places = Places {
            ranges: vec![0..0; self.0.len()],
            moves: self.0.iter().map(|wish| (!wish.keep).then_some(wish.content)).collect(),
            ..Places::default()
        };
        let mut kept: Vec<usize> = (0..self.0.len()).filter(|&i| self.0[i].keep).collect();
        kept.sort_by_key(|&i| !self.0[i].at_rest);
        for index in kept {
            let wish = &self.0[index];
            if wish.at_rest {
                places.potentials += wish.len;
            }
            let bank = places.bank(wish.content);
            let start = bank.kept;
            bank.kept += wish.len;
            bank.total = bank.kept;
            places.ranges[index] = start..start + wish.len;
            if wish.content == Content::Events {
                places.kept_events.push(start..start + wish.len);
            }
        }
        // Large buffers first: small ones fit into the gaps that are left.
        let mut shared: Vec<usize> = (0..self.0.len()).filter(|&i| !self.0[i].keep).collect();
        shared.sort_by_key(|&i| (core::cmp::Reverse(self.0[i].len), i));
        let mut placed: Vec<usize> = Vec::new();
        for &index in &shared {
            let wish = &self.0[index];
            let mut taken: Vec<Range<usize>> = placed
                .iter()
                .filter(|&&other| self.0[other].collides(wish))
                .map(|&other| places.ranges[other].clone())
                .collect();
            taken.sort_by_key(|range| range.start);
            let bank = places.bank(wish.content);
            let mut start = bank.kept;
            for range in taken {
                if start + wish.len <= range.start {
                    break;
                }
                start = start.max(range.end);
            }
            bank.total = bank.total.max(start + wish.len);
            places.ranges[index] = start..start + wish.len;
            placed.push(index);
        }
        places
    }
}

impl Wish {
    /// Whether two shared buffers need different places.
    fn collides(&self, other: &Wish) -> bool {
        let same_bank = (self.content == Content::Values) == (other.content == Content::Values);
        match (self.used, other.used) {
            (Some((first, last)), Some((other_first, other_last))) => {
                same_bank && first <= other_last && other_first <= last
            }
            _ => false,
        }
    }
}

/// The size of one kind of memory, in 4-byte units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bank {
    /// At the front: what survives a step.
    pub(crate) kept: usize,
    /// All.
    pub(crate) total: usize,
}

impl Bank {
    /// What is used during a step.
    pub(crate) fn scratch(&self) -> usize {
        self.total - self.kept
    }
}

/// By how much the buffers used during a step are moved: modulo 2^64, so it may lower places.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shift {
    pub(crate) values: usize,
    pub(crate) words: usize,
}

/// Where every buffer lies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    ranges: Vec<Range<usize>>,
    /// What the buffers used during a step hold; nothing for those that survive it.
    moves: Vec<Option<Content>>,
    /// Event lists that survive a step.
    pub(crate) kept_events: Vec<Range<usize>>,
    /// How many values, those in front, are potentials that are zero at the start of a sequence.
    pub(crate) potentials: usize,
    /// 32-bit floats.
    pub(crate) values: Bank,
    /// Event lists and bits.
    pub(crate) words: Bank,
}

impl Places {
    #[inline(always)]
    pub(crate) fn of(&self, buffer: Buffer) -> Range<usize> {
        self.ranges[buffer.0].clone()
    }

    /// Where a buffer is when what is used during a step lies elsewhere.
    #[inline(always)]
    pub(crate) fn moved(&self, buffer: Buffer, shift: Shift) -> Range<usize> {
        let Range { start, end } = self.ranges[buffer.0];
        let by = match self.moves[buffer.0] {
            None => 0,
            Some(Content::Values) => shift.values,
            Some(Content::Events | Content::Bits) => shift.words,
        };
        start.wrapping_add(by)..end.wrapping_add(by)
    }

    /// Whether a buffer survives a step.
    pub(crate) fn keeps(&self, buffer: Buffer) -> bool {
        self.moves[buffer.0].is_none()
    }

    fn bank(&mut self, content: Content) -> &mut Bank {
        match content {
            Content::Values => &mut self.values,
            Content::Events | Content::Bits => &mut self.words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_share_memory_only_when_they_live_apart() {
        let mut wishes = Wishes::default();
        let state = wishes.add(Content::Values, 5, true);
        let first = wishes.add(Content::Values, 10, false);
        let second = wishes.add(Content::Values, 8, false);
        let third = wishes.add(Content::Values, 4, false);
        let list = wishes.add(Content::Events, 3, true);
        for (buffer, used) in [(first, 0..=1), (second, 2..=3), (third, 1..=2), (list, 0..=3)] {
            wishes.touch(buffer, *used.start());
            wishes.touch(buffer, *used.end());
        }
        let places = wishes.place();
        assert_eq!(places.of(state), 0..5);
        assert_eq!(places.of(first), 5..15);
        assert_eq!(places.of(second), 5..13);
        assert_eq!(places.of(third), 15..19);
        assert_eq!(places.of(list), 0..4);
        assert_eq!(places.values, Bank { kept: 5, total: 19 });
        assert_eq!(places.words, Bank { kept: 4, total: 4 });
        assert_eq!(places.kept_events.first(), Some(&(0..4)));
    }
}
