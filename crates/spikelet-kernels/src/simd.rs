//! Run-time SIMD dispatch: one scalar source, compiled once per instruction set.
//!
//! Kernels are written as plain loops over slices and handed to [`dispatch`] as a closure, which
//! runs a copy of it compiled for the best instruction set of the machine (AVX-512, AVX2 + FMA,
//! NEON, or the baseline). Rust never contracts `a * b + c` into a fused multiply-add and never
//! reorders floating-point sums, so a loop gives the same bits at every level: what changes is
//! only how many lanes go at once. Reductions must therefore be written with explicit lanes.

/// Runs `f` compiled for the best instruction set of this machine.
///
/// The closure, and every function it calls in its hot loop, must be `#[inline(always)]`:
/// a call that is not inlined falls back to the baseline instruction set.
#[inline(always)]
pub fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(feature = "std")]
    {
        pulp::Arch::new().dispatch(f)
    }
    #[cfg(not(feature = "std"))]
    {
        f()
    }
}
