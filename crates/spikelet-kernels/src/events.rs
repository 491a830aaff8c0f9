//! Event lists: the indices of what is active, in ascending order.

/// Writes the indices of the non-zero values to the front of `events` and returns how many
/// there are. NaN counts as active.
///
/// # Panics
/// When `events` is shorter than the number of non-zero values.
pub fn active(values: &[f32], events: &mut [u32]) -> usize {
    const BLOCK: usize = 16;
    let mut count = 0;
    for (block, chunk) in values.chunks(BLOCK).enumerate() {
        // Most blocks of a sparse signal are silent; one test skips them.
        if chunk.iter().all(|v| *v == 0.0) {
            continue;
        }
        let first = (block * BLOCK) as u32;
        if let Some(room) = events.get_mut(count..count + chunk.len()) {
            // Without a branch, which half of the values of a pooled signal would mispredict: the
            // next event overwrites what was none.
            let mut found = 0;
            for (index, value) in (first..).zip(chunk) {
                room[found] = index;
                found += usize::from(*value != 0.0);
            }
            count += found;
            continue;
        }
        for (index, value) in (first..).zip(chunk) {
            if *value != 0.0 {
                events[count] = index;
                count += 1;
            }
        }
    }
    count
}

/// Writes 1 at every event and 0 elsewhere.
///
/// # Panics
/// When an event lies outside `values`.
pub fn densify(events: &[u32], values: &mut [f32]) {
    values.fill(0.0);
    for event in events {
        values[*event as usize] = 1.0;
    }
}

/// Sets one bit for every event; bit `i` is bit `i % 32` of word `i / 32`.
///
/// # Panics
/// When an event lies outside the words.
pub fn to_bits(events: &[u32], words: &mut [u32]) {
    words.fill(0);
    for event in events {
        words[*event as usize / 32] |= 1 << (event % 32);
    }
}

/// Writes the indices of the set bits to the front of `events` and returns how many there are.
///
/// # Panics
/// When `events` is shorter than the number of set bits.
pub fn from_bits(words: &[u32], events: &mut [u32]) -> usize {
    let mut count = 0;
    for (i, word) in words.iter().enumerate() {
        let mut left = *word;
        while left != 0 {
            events[count] = i as u32 * 32 + left.trailing_zeros();
            count += 1;
            left &= left - 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn forms_agree(spikes in prop::collection::vec(prop::bool::weighted(0.1), 0..300)) {
            let want: Vec<u32> = (0..spikes.len() as u32).filter(|i| spikes[*i as usize]).collect();
            let dense: Vec<f32> = spikes.iter().map(|s| f32::from(*s)).collect();
            let mut list = vec![0; spikes.len()];
            let count = active(&dense, &mut list);
            prop_assert_eq!(&list[..count], &want);

            let mut words = vec![u32::MAX; spikes.len().div_ceil(32)];
            to_bits(&want, &mut words);
            let mut list = vec![0; spikes.len()];
            let count = from_bits(&words, &mut list);
            prop_assert_eq!(&list[..count], &want);

            let mut back = vec![0.5; spikes.len()];
            densify(&want, &mut back);
            prop_assert_eq!(back, dense);
        }
    }

    #[test]
    fn negative_values_and_nan_are_active() {
        let mut list = [0; 4];
        assert_eq!(active(&[0.0, -2.0, -0.0, f32::NAN], &mut list), 2);
        assert_eq!(list[..2], [1, 3]);
    }
}
