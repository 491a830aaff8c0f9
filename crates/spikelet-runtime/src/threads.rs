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

/// Bytes of a part, at least: parts are taken as threads become free, so that one that was held up
/// has less to do.
#[cfg(feature = "std")]
const PART: usize = 1 << 15;

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
    /// Ranges are whole multiples of `unit`, but for the end; at most `each` for every thread.
    pub(crate) fn divide<T: Send>(
        &self,
        [len, unit, bytes, each]: [usize; 4],
        item: T,
        cut: impl Fn(T, usize) -> (T, T),
        work: impl Fn(Range<usize>, &mut T) + Sync,
    ) {
        let mut item = item;
        #[cfg(feature = "std")]
        if let Some(workers) = self.workers.as_deref().filter(|_| bytes >= WORTH) {
            let threads = workers.count();
            let count = (bytes / PART).clamp(threads, each * threads).min(MOST);
            let size = len.div_ceil(count).next_multiple_of(unit);
            let mut parts = [const { None }; MOST];
            let (mut start, mut rest, mut count) = (0, item, 0);
            while len - start > size {
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
        let _ = (unit, bytes, each, &cut);
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
