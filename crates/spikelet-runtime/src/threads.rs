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

/// Bytes of a part, at least: a row begins where the machine does not yet read ahead, and a part reads
/// several side by side.
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
                let size = least.max((len - start) / (2 * threads)).next_multiple_of(unit);
                if len - start <= size || count + 1 == MOST {
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
