//! Threads that wait for small pieces of work: one product of a token takes microseconds, which is
//! less than waking a sleeping thread takes.

use std::{
    hint,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a thread waits actively for its next piece before it goes to sleep.
const AWAKE: Duration = Duration::from_micros(150);

/// A fixed number of threads, of which the caller's is the first.
pub struct Workers {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
    /// Held while a task runs.
    busy: Mutex<()>,
}

struct Shared {
    /// Counts tasks; changes when there is a new one.
    epoch: AtomicU64,
    /// Threads that have not finished the task yet.
    remaining: AtomicUsize,
    task: Mutex<Option<Task>>,
    panicked: AtomicBool,
    stop: AtomicBool,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

/// What the threads do: the function of a caller that waits for them.
#[derive(Clone, Copy)]
struct Task(*const (dyn Fn() + Sync));

// SAFETY: the function behind the pointer may be called from several threads (`Sync`), and the
// pointer is only used while `Workers::run`, which was given it, has not returned.
#[allow(unsafe_code)]
unsafe impl Send for Task {}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workers({})", self.count())
    }
}

impl Workers {
    /// So many threads together with the caller's, at least that one.
    pub fn new(count: usize) -> Self {
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            remaining: AtomicUsize::new(0),
            task: Mutex::new(None),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let spawn = |_| {
            let shared = shared.clone();
            thread::Builder::new().name("spikelet-product".into()).spawn(move || shared.work())
        };
        // A system that gives no more threads is no reason to fail: there are fewer then.
        let handles = (1..count).map_while(|index| spawn(index).ok()).collect();
        Workers { shared, handles, busy: Mutex::new(()) }
    }

    /// Number of threads, that of the caller included.
    pub fn count(&self) -> usize {
        self.handles.len() + 1
    }

    /// Calls `work` once for each part. Threads take parts in their order, as they become free. If
    /// they are busy with another caller's work, this one's does all.
    ///
    /// # Panics
    /// If `work` panics.
    pub fn for_each<T: Send>(&self, parts: &mut [T], work: impl Fn(&mut T) + Sync) {
        let busy = match parts.len() {
            0 | 1 => None,
            _ if self.handles.is_empty() => None,
            _ => self.busy.try_lock().ok(),
        };
        if busy.is_none() {
            return parts.iter_mut().for_each(work);
        }
        let (first, len, next) = (Pointer(parts.as_mut_ptr()), parts.len(), AtomicUsize::new(0));
        self.run(&|| {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= len {
                    break;
                }
                // SAFETY: `index` is below the number of parts, and the counter gives every index
                // once, so no two references to one part exist. The parts outlive the call,
                // because `run` returns after all threads are done.
                #[allow(unsafe_code)]
                work(unsafe { &mut *first.get().add(index) });
            }
        });
    }

    /// Calls `task` on every thread.
    fn run(&self, task: &(dyn Fn() + Sync)) {
        let shared = &*self.shared;
        let pointer: *const (dyn Fn() + Sync + '_) = task;
        // SAFETY: only the lifetime changes. `Wait` below makes sure that no thread uses the
        // pointer after this function has returned or unwound.
        #[allow(unsafe_code)]
        let pointer: *const (dyn Fn() + Sync + 'static) = unsafe { std::mem::transmute(pointer) };
        *lock(&shared.task) = Some(Task(pointer));
        shared.remaining.store(self.handles.len(), Ordering::SeqCst);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = lock(&shared.sleep);
            shared.wake.notify_all();
        }
        let wait = Wait(shared);
        task();
        drop(wait);
        if shared.panicked.swap(false, Ordering::SeqCst) {
            panic!("a thread panicked in its part of a product");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _guard = lock(&self.shared.sleep);
            self.shared.wake.notify_all();
        }
        for handle in self.handles.drain(..) {
            // It caught its panics; there is nothing to learn from it.
            let _ = handle.join();
        }
    }
}

/// Waits, when it is dropped, until all threads have finished the task.
struct Wait<'a>(&'a Shared);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut turns = 0_u32;
        while self.0.remaining.load(Ordering::SeqCst) > 0 {
            turns += 1;
            // Where there are more threads than cores, the other one may need this core.
            if turns.is_multiple_of(1 << 12) { thread::yield_now() } else { hint::spin_loop() }
        }
    }
}

impl Shared {
    /// What a thread does all its life.
    fn work(&self) {
        let mut seen = 0;
        while let Some(epoch) = self.next(seen) {
            seen = epoch;
            let task = *lock(&self.task);
            if let Some(Task(task)) = task {
                // SAFETY: `Workers::run` gave this pointer and waits until `remaining` is zero,
                // which it is only after this call.
                #[allow(unsafe_code)]
                let done = catch_unwind(AssertUnwindSafe(|| unsafe { (*task)() }));
                if done.is_err() {
                    self.panicked.store(true, Ordering::SeqCst);
                }
            }
            self.remaining.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Waits for a task after the one seen; nothing at the end.
    fn next(&self, seen: u64) -> Option<u64> {
        let ready = || {
            let epoch = self.epoch.load(Ordering::SeqCst);
            (epoch != seen).then_some(epoch)
        };
        let start = Instant::now();
        while start.elapsed() < AWAKE {
            for _ in 0..64 {
                if let Some(epoch) = ready() {
                    return Some(epoch);
                }
                hint::spin_loop();
            }
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
        }
        let mut guard = lock(&self.sleep);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let epoch = loop {
            if let Some(epoch) = ready() {
                break Some(epoch);
            }
            if self.stop.load(Ordering::SeqCst) {
                break None;
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        epoch
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No invariant depends on the holder having come to its end.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first of several parts.
struct Pointer<T>(*mut T);

impl<T> Pointer<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: `for_each` makes one reference to a part on one thread only, and parts are `Send`.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Pointer<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_worked_on_once() {
        let workers = Workers::new(3);
        for round in 0..2000_u64 {
            let mut parts = [0, 1, 2, 3, 4].map(|k| round + k);
            let used = 1 + (round % 5) as usize;
            workers.for_each(&mut parts[..used], |part| *part *= 2);
            for (k, part) in parts.iter().enumerate() {
                let factor = if k < used { 2 } else { 1 };
                assert_eq!(*part, factor * (round + k as u64));
            }
            if round % 500 == 0 {
                // Long enough for the threads to go to sleep.
                thread::sleep(3 * AWAKE);
            }
        }
    }

    #[test]
    fn callers_may_come_from_several_threads() {
        let workers = Workers::new(2);
        let total = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        workers.for_each(&mut [1, 2], |n| {
                            total.fetch_add(*n, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 3 * 200 * 3);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_threads_live_on() {
        let workers = Workers::new(2);
        for fails in [0, 1] {
            let work = AssertUnwindSafe(|| {
                workers.for_each(&mut [0, 1], |part| assert!(*part != fails, "as it should"));
            });
            assert!(catch_unwind(work).is_err());
        }
        let mut parts = [1, 2];
        workers.for_each(&mut parts, |part| *part += 1);
        assert_eq!(parts, [2, 3]);
    }
}
