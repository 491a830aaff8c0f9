//! Buffers made by several tasks at once. Their memory starts unwritten: zeroing it first would be
//! work of one thread.

use crate::batch::map;
use alloc::vec::Vec;

/// Values a thread zeroes at a time, half of a second-level cache.
const ZEROED: usize = 1 << 17;

/// `K` buffers of `len` values, made in chunks of `size` on all threads: `work(index, chunks)`
/// gets the same chunk of every buffer, zeroed.
pub(crate) fn fill<const K: usize>(
    len: usize,
    size: usize,
    work: impl Fn(usize, [&mut [f32]; K]) + Sync,
) -> [Vec<f32>; K] {
    let mut buffers: [Vec<f32>; K] = core::array::from_fn(|_| Vec::with_capacity(len));
    let starts = buffers.each_mut().map(|buffer| Start(buffer.as_mut_ptr()));
    let chunks: Vec<usize> = (0..len).step_by(size.max(1)).collect();
    map(&chunks, |index, &first| {
        let n = size.max(1).min(len - first);
        let chunks = starts.each_ref().map(|start| {
            // SAFETY: first + n <= len values were allocated, chunks do not overlap and each is
            // borrowed once; it is written with zeros before a reference to it exists.
            #[allow(unsafe_code)]
            unsafe {
                let chunk = start.at(first);
                chunk.write_bytes(0, n);
                core::slice::from_raw_parts_mut(chunk, n)
            }
        });
        work(index, chunks);
    });
    for buffer in &mut buffers {
        // SAFETY: the capacity is `len`, and the chunks, which are all of it, were written.
        #[allow(unsafe_code)]
        unsafe {
            buffer.set_len(len);
        }
    }
    buffers
}

/// `len` zeros, written on all threads: a buffer that is used again and again is no fresh memory
/// of the system, so its zeros have to be written.
pub fn zeros(len: usize) -> Vec<f32> {
    let [zeros] = fill(len, ZEROED, |_, _| ());
    zeros
}

/// Where a buffer starts that tasks write parts of.
pub(crate) struct Start(pub(crate) *mut f32);

impl Start {
    /// # Safety
    /// The buffer has room for more than `offset` values, and what is written there is written by one
    /// task alone.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn at(&self, offset: usize) -> *mut f32 {
        // SAFETY: within the buffer (the caller's promise).
        unsafe { self.0.add(offset) }
    }
}

// SAFETY: the pointer is read through `at` alone, whose callers promise that no two tasks write the
// same place.
#[allow(unsafe_code)]
unsafe impl Sync for Start {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_zeroed_and_in_place() {
        for (len, size) in [(0, 3), (1, 3), (7, 3), (9, 3), (5, 0)] {
            let [a, b] = fill(len, size, |index, [a, b]| {
                assert!(a.iter().chain(&*b).all(|x| *x == 0.0));
                a.fill(index as f32);
                b[0] = 1.0;
            });
            let step = size.max(1);
            assert_eq!(a, (0..len).map(|i| (i / step) as f32).collect::<Vec<_>>());
            let ones = (0..len).map(|i| f32::from(u8::from(i % step == 0)));
            assert_eq!(b, ones.collect::<Vec<_>>());
        }
    }

    #[test]
    fn zeros_of_any_length() {
        for len in [0, 1, ZEROED - 1, ZEROED + 1, 3 * ZEROED] {
            let zeros = zeros(len);
            assert!(zeros.len() == len && zeros.iter().all(|x| *x == 0.0));
        }
    }
}
