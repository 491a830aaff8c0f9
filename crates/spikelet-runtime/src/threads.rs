//! Large products on several threads: one token is too little work to wake threads for, so they
//! wait actively between the products of a step.

#[cfg(feature = "std")]
use alloc::sync::Arc;
use core::ops::Range;
#[cfg(feature = "std")]
use spikelet_kernels::workers::Workers;

/// Bytes of weights from which on a product is worth handing out.
#[cfg(feature = "std")]
const WORTH: usize = 1 << 16;

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
    /// Ranges are whole multiples of `unit`, but for the end.
    pub(crate) fn divide<T: Send>(
        &self,
        [len, unit, bytes]: [usize; 3],
        item: T,
        cut: impl Fn(T, usize) -> (T, T),
        work: impl Fn(Range<usize>, &mut T) + Sync,
    ) {
        let mut item = item;
        #[cfg(feature = "std")]
        if let Some(workers) = self.workers.as_deref().filter(|_| bytes >= WORTH) {
            let each = len.div_ceil(workers.count()).next_multiple_of(unit);
            let mut parts = [const { None }; MOST];
            let (mut start, mut rest, mut count) = (0, item, 0);
            while len - start > each {
                let (part, after) = cut(rest, each);
                parts[count] = Some((start..start + each, part));
                (start, rest, count) = (start + each, after, count + 1);
            }
            parts[count] = Some((start..len, rest));
            workers.for_each(&mut parts[..=count], |part| {
                if let Some((range, item)) = part {
                    work(range.clone(), item);
                }
            });
            return;
        }
        let _ = (unit, bytes, &cut);
        work(0..len, &mut item);
    }
}
