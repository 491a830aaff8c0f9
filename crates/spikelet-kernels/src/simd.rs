//! Run-time SIMD dispatch: one scalar source, compiled once per instruction set.
//!
//! Kernels are written as plain loops over slices and handed to [`dispatch`] as a closure, which
//! runs a copy of it compiled for the best instruction set of the machine. Only x86-64 needs a
//! choice (AVX-512, AVX2 or its baseline); NEON is part of every 64-bit ARM. Rust never contracts
//! `a * b + c` into a fused multiply-add and never reorders floating-point sums, so a loop gives
//! the same bits at every level: what changes is only how many lanes go at once. Reductions must
//! therefore be written with explicit lanes.

/// Runs `f` compiled for the best instruction set of this machine.
///
/// The closure, and every function it calls in its hot loop, must be `#[inline(always)]`:
/// a call that is not inlined falls back to the baseline instruction set.
#[inline(always)]
pub fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    if detects_avx512() {
        // SAFETY: `with_avx512` needs nothing but the features that were just detected.
        #[allow(unsafe_code)]
        return unsafe { with_avx512(f) };
    }
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    if has_avx2() {
        // SAFETY: `with_avx2` needs nothing but the features that were just detected.
        #[allow(unsafe_code)]
        return unsafe { with_avx2(f) };
    }
    f()
}

/// Runs `fused`, whose products use fused multiply-adds, compiled for the best instruction set that has
/// them, or else `rounded`. What [`dispatch`] says of closures holds here too.
#[cfg(feature = "std")]
#[inline(always)]
pub(crate) fn dispatch_fused<R>(fused: impl FnOnce() -> R, rounded: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if detects_avx512() {
        // SAFETY: `with_avx512` needs nothing but the features that were just detected.
        #[allow(unsafe_code)]
        return unsafe { with_avx512(fused) };
    }
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: `with_avx2` needs nothing but the features that were just detected.
        #[allow(unsafe_code)]
        return unsafe { with_avx2(fused) };
    }
    match has_fma() {
        #[cfg(target_arch = "aarch64")]
        true => fused(),
        _ => rounded(),
    }
}

/// Hands `value` to the first of these that the machine can run: `widest` is compiled for AVX-512,
/// `fused` for other instruction sets with fused multiply-adds, `rounded` for the baseline.
#[cfg(feature = "std")]
#[inline(always)]
pub(crate) fn dispatch_by_width<T, R>(
    value: T,
    widest: impl FnOnce(T) -> R,
    fused: impl FnOnce(T) -> R,
    rounded: impl FnOnce(T) -> R,
) -> R {
    #[cfg(target_arch = "x86_64")]
    if detects_avx512() {
        // SAFETY: `with_avx512` needs nothing but the features that were just detected.
        #[allow(unsafe_code)]
        return unsafe {
            with_avx512(
                #[inline(always)]
                || widest(value),
            )
        };
    }
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: `with_avx2` needs nothing but the features that were just detected.
        #[allow(unsafe_code)]
        return unsafe {
            with_avx2(
                #[inline(always)]
                || fused(value),
            )
        };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = widest;
    match has_fma() {
        #[cfg(target_arch = "aarch64")]
        true => fused(value),
        _ => rounded(value),
    }
}

/// Whether a fused multiply-add is one instruction here. Where it is not, emulating it would cost
/// more than the rounding it saves.
#[cfg(feature = "std")]
pub(crate) fn has_fma() -> bool {
    #[cfg(target_arch = "x86_64")]
    return has_avx2();
    #[cfg(not(target_arch = "x86_64"))]
    return cfg!(target_arch = "aarch64");
}

/// Whether [`dispatch`] chooses AVX-512.
#[cfg(feature = "std")]
pub(crate) fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return detects_avx512();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Asks memory for values that will be needed soon. Nothing happens where that cannot be said.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(64 / size_of::<T>().clamp(1, 64)) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of every x86-64, and the instruction neither changes nor reads
        // anything that a program could see.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    let _ = values;
}

/// The name of the instruction set [`dispatch`] chooses on this machine.
pub fn level() -> &'static str {
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    if detects_avx512() {
        return "AVX-512";
    }
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    if has_avx2() {
        return "AVX2";
    }
    if cfg!(target_feature = "neon") { "NEON" } else { "baseline" }
}

#[cfg(all(feature = "std", target_arch = "x86_64"))]
#[inline(always)]
fn detects_avx512() -> bool {
    has_avx2()
        && std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vl")
}

#[cfg(all(feature = "std", target_arch = "x86_64"))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
fn with_avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(all(feature = "std", target_arch = "x86_64"))]
#[inline(always)]
fn has_avx2() -> bool {
    // The standard library remembers what it detects: a load and a test each time.
    std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("bmi1")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("lzcnt")
        && std::is_x86_feature_detected!("popcnt")
}

#[cfg(all(feature = "std", target_arch = "x86_64"))]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
fn with_avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}
