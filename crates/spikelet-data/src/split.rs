//! Divisions of sequences into training, validation and test parts.
//!
//! All are functions of their arguments only: the same seed gives the same parts on every machine.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::{DataError, Result};

/// Indices of the sequences in each part, ascending. Parts are disjoint; `test` can be empty where a data set
/// has validation parts only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// What weights, normalisation and class weights are fitted on.
    pub train: Vec<usize>,
    /// What early stopping, model selection and pruning look at.
    pub val: Vec<usize>,
    /// What is reported.
    pub test: Vec<usize>,
}

impl Split {
    /// Checks that every part but `test` has members and that no index is used twice or is `n` or above.
    pub fn validate(&self, n: usize) -> Result<()> {
        for (name, part) in [("training", &self.train), ("validation", &self.val)] {
            if part.is_empty() {
                return Err(DataError::request(format!("the {name} part of the split is empty")));
            }
        }
        let mut used = vec![false; n];
        for &i in self.train.iter().chain(&self.val).chain(&self.test) {
            match used.get_mut(i) {
                None => {
                    return Err(DataError::request(format!("the split names sequence {i} of {n}")));
                }
                Some(used) if *used => {
                    return Err(DataError::request(format!("the split uses sequence {i} twice")));
                }
                Some(used) => *used = true,
            }
        }
        Ok(())
    }
}

/// Divides the distinct groups into `k` folds of about equally many sequences.
///
/// Groups are shuffled by `seed`, then the largest remaining group goes to the fold with the fewest sequences.
pub fn group_folds(group: &[u32], k: usize, seed: u64) -> Result<Vec<Vec<u32>>> {
    let mut groups: Vec<(u32, usize)> = count(group).into_iter().collect();
    if k < 2 || k > groups.len() {
        let have = groups.len();
        return Err(DataError::request(format!(
            "{k} folds of {have} groups: need 2 folds or more, at most {have}"
        )));
    }
    shuffle(&mut groups, &mut rng(seed, 0));
    groups.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    let mut folds = vec![(0, Vec::new()); k];
    for (g, n) in groups {
        // Sizes differ by a few sequences only; without the second key a fold could be left with far fewer groups.
        if let Some(fold) = folds.iter_mut().min_by_key(|(total, members)| (*total, members.len()))
        {
            fold.0 += n;
            fold.1.push(g);
        }
    }
    Ok(folds.into_iter().map(|(_, mut members)| (members.sort_unstable(), members).1).collect())
}

/// Fold `fold` of `k` by group: its groups are the test part, and groups holding about `val_fraction` of the
/// other sequences (at least one group) are the validation part.
pub fn by_group(
    group: &[u32],
    k: usize,
    fold: usize,
    val_fraction: f64,
    seed: u64,
) -> Result<Split> {
    let folds = group_folds(group, k, seed)?;
    let Some(test) = folds.get(fold) else {
        return Err(DataError::request(format!("fold {fold} of {k}: folds count from 0")));
    };
    let (test, rest): (Vec<usize>, Vec<usize>) =
        (0..group.len()).partition(|&i| test.contains(&group[i]));
    let (train, val) =
        carve_groups(group, &rest, val_fraction, seed.wrapping_add(1 + fold as u64))?;
    Ok(Split { train, val, test })
}

/// Random sequences, each class divided in the same proportions; what is neither `val` nor `test` is training.
pub fn stratified(y: &[u32], val_fraction: f64, test_fraction: f64, seed: u64) -> Result<Split> {
    fraction(val_fraction + test_fraction)?;
    let all: Vec<usize> = (0..y.len()).collect();
    let (rest, test) = carve_stratified(y, &all, test_fraction, seed)?;
    // The second cut is a fraction of what the first one left.
    let (train, val) =
        carve_stratified(y, &rest, val_fraction / (1.0 - test_fraction), seed.wrapping_add(1))?;
    Ok(Split { train, val, test })
}

/// Fold `fold` of `k` is the test part, each class divided in the same proportions; a fraction of the rest becomes the
/// validation part.
pub fn stratified_fold(
    y: &[u32],
    k: usize,
    fold: usize,
    val_fraction: f64,
    seed: u64,
) -> Result<Split> {
    if k < 2 || fold >= k {
        return Err(DataError::request(format!(
            "fold {fold} of {k}: there are 2 folds or more, counted from 0"
        )));
    }
    let mut order: Vec<usize> = (0..y.len()).collect();
    shuffle(&mut order, &mut rng(seed, 2));
    // Stable: within a class the order stays shuffled, and folds take turns.
    order.sort_by_key(|&i| y[i]);
    let (mut rest, mut test) = (Vec::new(), Vec::new());
    for (place, i) in order.into_iter().enumerate() {
        if place % k == fold { test.push(i) } else { rest.push(i) }
    }
    rest.sort_unstable();
    test.sort_unstable();
    let (train, val) =
        carve_stratified(y, &rest, val_fraction, seed.wrapping_add(1 + fold as u64))?;
    Ok(Split { train, val, test })
}

/// Moves whole groups holding about `fraction` of the sequences of `part` (at least one group, never all) out of
/// it: `(rest, carved)`.
pub fn carve_groups(
    group: &[u32],
    part: &[usize],
    fraction: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>)> {
    self::fraction(fraction)?;
    let members: Vec<u32> = part.iter().map(|&i| group[i]).collect();
    let mut groups: Vec<(u32, usize)> = count(&members).into_iter().collect();
    if groups.len() < 2 {
        return Err(DataError::request(
            "a validation part by group needs two groups or more outside the test part",
        ));
    }
    shuffle(&mut groups, &mut rng(seed, 1));
    let wanted = fraction * part.len() as f64;
    let (mut taken, mut carved) = (0, Vec::new());
    for &(g, n) in &groups[..groups.len() - 1] {
        // Take a group if that brings the total nearer to what is wanted.
        if carved.is_empty() || taken as f64 + n as f64 / 2.0 <= wanted {
            taken += n;
            carved.push(g);
        }
    }
    Ok(part.iter().partition(|&&i| !carved.contains(&group[i])))
}

/// Moves about `fraction` of the sequences of each class of `part` out of it, at random: `(rest, carved)`.
pub fn carve_stratified(
    y: &[u32],
    part: &[usize],
    fraction: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>)> {
    self::fraction(fraction)?;
    let mut of_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for &i in part {
        of_class.entry(y[i]).or_default().push(i);
    }
    let (mut rest, mut carved) = (Vec::new(), Vec::new());
    for (class, mut members) in of_class {
        shuffle(&mut members, &mut rng(seed, 2 + u64::from(class)));
        let n = (fraction * members.len() as f64).round() as usize;
        carved.extend_from_slice(&members[..n]);
        rest.extend_from_slice(&members[n..]);
    }
    rest.sort_unstable();
    carved.sort_unstable();
    Ok((rest, carved))
}

/// Shuffles `items` (Fisher and Yates), a function of the generator's state only.
pub fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        // The high half of a 64 x 64 bit product: uniform to within 2^-64, no division, no rejection.
        let pick = ((u128::from(rng.next_u64()) * (last as u128 + 1)) >> 64) as usize;
        items.swap(last, pick);
    }
}

/// The generator of `seed` for purpose `stream`; streams of one seed are independent.
pub fn rng(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

fn fraction(f: f64) -> Result<()> {
    match (0.0..1.0).contains(&f) {
        true => Ok(()),
        false => Err(DataError::request(format!(
            "a fraction of {f} of the data: need 0 or more and less than 1"
        ))),
    }
}

fn count(group: &[u32]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for &g in group {
        *counts.entry(g).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts_of(split: &Split, of: &[u32]) -> [Vec<u32>; 3] {
        [&split.train, &split.val, &split.test].map(|part| {
            count(&part.iter().map(|&i| of[i]).collect::<Vec<_>>()).into_keys().collect()
        })
    }

    #[test]
    fn folds_are_disjoint_complete_and_balanced() {
        // 37 subjects, sizes as uneven as the watch data: one has double, one lacks an activity.
        let group: Vec<u32> = (0..37u32)
            .flat_map(|s| {
                std::iter::repeat_n(
                    1600 + s,
                    [630, 1260, 540][usize::from(s == 3) + 2 * usize::from(s == 9)],
                )
            })
            .collect();
        let folds = group_folds(&group, 5, 0).unwrap();
        let mut all = folds.concat();
        all.sort_unstable();
        assert_eq!(all, (1600..1637).collect::<Vec<_>>());
        for fold in &folds {
            let n = group.iter().filter(|g| fold.contains(g)).count();
            assert!(n.abs_diff(group.len() / 5) <= 630, "{n} of {}", group.len());
        }
        assert_eq!(folds, group_folds(&group, 5, 0).unwrap());
        assert_ne!(folds, group_folds(&group, 5, 1).unwrap());
    }

    #[test]
    fn stratified_folds_are_disjoint_and_complete() {
        let y: Vec<u32> = (0..103).map(|i| u32::from(i % 3 == 0)).collect();
        let mut tested = vec![0; y.len()];
        for fold in 0..10 {
            let split = stratified_fold(&y, 10, fold, 0.1, 5).unwrap();
            split.validate(y.len()).unwrap();
            assert_eq!(split.train.len() + split.val.len() + split.test.len(), y.len());
            let ones = split.test.iter().filter(|&&i| y[i] == 1).count();
            assert!((3..=4).contains(&ones) && (10..=11).contains(&split.test.len()));
            split.test.iter().for_each(|&i| tested[i] += 1);
            assert_eq!(stratified_fold(&y, 10, fold, 0.1, 5).unwrap(), split);
        }
        assert!(tested.iter().all(|n| *n == 1));
        assert!(stratified_fold(&y, 10, 10, 0.1, 5).is_err());
    }

    #[test]
    fn bad_requests() {
        assert!(group_folds(&[1, 2], 3, 0).is_err() && group_folds(&[1, 2], 1, 0).is_err());
        assert!(by_group(&[1, 2, 3], 3, 3, 0.2, 0).is_err());
        assert!(by_group(&[1, 2], 2, 0, 0.2, 0).is_err(), "nothing to validate on");
        assert!(
            stratified(&[0, 1], 0.5, 0.5, 0).is_err()
                && stratified(&[0, 1], f64::NAN, 0.5, 0).is_err()
        );
        let twice = Split { train: vec![0], val: vec![0], test: vec![] };
        assert!(twice.validate(2).unwrap_err().to_string().contains("twice"));
        let outside = Split { train: vec![0], val: vec![2], test: vec![] };
        assert!(outside.validate(2).is_err());
    }

    proptest! {
        #[test]
        fn no_group_is_on_two_sides(group in prop::collection::vec(0u32..12, 30..200), k in 2usize..5, seed: u64) {
            prop_assume!(count(&group).len() >= 6);
            for fold in 0..k {
                let split = by_group(&group, k, fold, 0.2, seed).unwrap();
                split.validate(group.len()).unwrap();
                prop_assert_eq!(split.train.len() + split.val.len() + split.test.len(), group.len());
                let [train, val, test] = parts_of(&split, &group);
                prop_assert!(!test.is_empty());
                prop_assert!(train.iter().all(|g| !val.contains(g) && !test.contains(g)));
                prop_assert!(val.iter().all(|g| !test.contains(g)));
            }
        }

        #[test]
        fn every_class_is_divided_alike(y in prop::collection::vec(0u32..4, 1..300), seed: u64) {
            let split = stratified(&y, 0.2, 0.2, seed).unwrap();
            prop_assert_eq!(split.train.len() + split.val.len() + split.test.len(), y.len());
            let mut all = [&split.train[..], &split.val, &split.test].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..y.len()).collect::<Vec<_>>());
            for (class, n) in count(&y) {
                for part in [&split.val, &split.test] {
                    let have = part.iter().filter(|&&i| y[i] == class).count() as f64;
                    prop_assert!((have - 0.2 * n as f64).abs() <= 1.0);
                }
            }
        }
    }
}
