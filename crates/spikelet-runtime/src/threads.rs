//! Large products on several threads: one token is too little work to wake threads for, so they
//! wait actively between the products of a step.

#[cfg(feature = "std")]
use alloc::{sync::Arc, vec::Vec};
use core::ops::Range;
#[cfg(feature = "std")]
use spikelet_kernels::workers::Workers;

/// Bytes of weights from which on a product is worth handing out.
#[cfg(feature = "std")]
const WORTH: usize = 1 << 16;

/// Bytes of a part of rows by output, at least: a part is read from four places at once, and the machine
/// needs some pages of each before it reads ahead.
pub(crate) const PART: usize = 1 << 17;

/// Most parts a product is cut into.
#[cfg(feature = "std")]
const MOST: usize = 16;

/// The threads products run on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads {
    #[cfg(feature = "std")]
    workers: Option<Arc<Workers>>,
}

impl Threads {
    /// So many, with the caller's.
    #[cfg(feature = "std")]
    pub(crate) fn new(count: usize) -> Self {
        let workers = (count > 1).then(|| Arc::new(Workers::new(count.min(MOST))));
        Self { workers }
    }

    /// Calls `work` with parts of `items`, which are pieces of one product that reads `bytes` of
    /// weights: `cut` takes the part of an item that belongs to a range of the `len` outputs.
    /// Ranges are whole multiples of `unit`, but for the end. Threads take them as they become free, and
    /// they become smaller, to `least` bytes or as many as there are threads: so a thread that was held
    /// up has less to do, and the others do not wait long for it.
    pub(crate) fn divide<T: Send>(
        &self,
        [len, unit, bytes, least]: [usize; 4],
        item: T,
        cut: impl Fn(T, usize) -> (T, T),
        work: impl Fn(Range<usize>, &mut T) + Sync,
    ) {
        let mut item = item;
        #[cfg(feature = "std")]
        if let Some(workers) = self.workers.as_deref().filter(|_| bytes >= WORTH) {
            let threads = workers.count();
            let least = len.div_ceil((bytes / least).max(threads));
            let mut parts = [const { None }; MOST];
            let (mut start, mut rest, mut count) = (0, item, 0);
            loop {
                // What is left must fit into the parts that are left, however many threads there are.
                let left = len - start;
                let size = (left / (2 * threads)).max(left.div_ceil(MOST - count)).max(least);
                let size = size.next_multiple_of(unit);
                if left <= size {
                    break;
                }
                let (part, after) = cut(rest, size);
                parts[count] = Some((start..start + size, part));
                (start, rest, count) = (start + size, after, count + 1);
            }
            parts[count] = Some((start..len, rest));
            workers.for_each(&mut parts[..=count], |part| {
                if let Some((range, item)) = part {
                    work(range.clone(), item);
                }
            });
            return;
        }
        let _ = (unit, bytes, least, &cut);
        work(0..len, &mut item);
    }

    /// Calls `work` for every item, on several threads if that pays: on those of products, whose
    /// waiting would hold up any other, or those of the process.
    pub(crate) fn for_each<T: Send>(
        &self,
        items: impl Iterator<Item = T>,
        parallel: bool,
        work: impl Fn(T) + Send + Sync,
    ) {
        #[cfg(feature = "std")]
        if let Some(workers) = self.workers.as_deref().filter(|_| parallel) {
            let mut items: Vec<Option<T>> = items.map(Some).collect();
            return workers.for_each(&mut items, |item| item.take().into_iter().for_each(&work));
        }
        #[cfg(feature = "std")]
        if parallel && rayon::current_num_threads() > 1 {
            use rayon::prelude::*;
            items.collect::<Vec<T>>().into_par_iter().for_each(work);
            return;
        }
        let _ = parallel;
        items.for_each(work);
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// The ranges that a product is divided into, in order.
    fn ranges(threads: usize, [len, unit, bytes, least]: [usize; 4]) -> Vec<Range<usize>> {
        let found = Mutex::new(Vec::new());
        let work = |range: Range<usize>, (): &mut ()| found.lock().unwrap().push(range);
        Threads::new(threads).divide([len, unit, bytes, least], (), |(), _| ((), ()), work);
        let mut ranges = found.into_inner().unwrap();
        ranges.sort_by_key(|range| range.start);
        ranges
    }

    #[test]
    fn parts_are_all_of_a_product_and_none_is_more_than_the_share_of_a_thread() {
        for threads in [2, 3, 5, 8, 16] {
            for len in [16, 100, 768, 3072, 50277] {
                for (unit, least) in [(16, PART), (64, usize::MAX), (1, 1)] {
                    let ranges = ranges(threads, [len, unit, 768 * len, least]);
                    let ends: Vec<usize> = ranges.iter().map(|range| range.end).collect();
                    let starts: Vec<usize> = ranges.iter().map(|range| range.start).collect();
                    assert_eq!((starts[0], ends[ends.len() - 1]), (0, len));
                    assert_eq!(starts[1..], ends[..ends.len() - 1]);
                    assert!(starts.iter().all(|start| start.is_multiple_of(unit)));
                    if 768 * len >= WORTH {
                        let share = len.div_ceil(threads).next_multiple_of(unit);
                        assert!(ranges.iter().all(|range| range.len() <= share), "{ranges:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn large_products_end_in_small_parts() {
        let ranges = ranges(2, [50_000, 16, 50_000 * 768, PART]);
        let (first, last) = (ranges[0].len(), ranges[ranges.len() - 1].len());
        assert!(first >= 50_000 / 4 && last <= 50_000 / 16, "{ranges:?}");
    }
}
