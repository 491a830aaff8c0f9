//! Pairs in registers of AVX-512.

use super::{
    LANES,
    pairs::{Pairs, TwoLanes},
    x86::Vnni,
};
use core::arch::x86_64::{
    __m512, _mm_cvtss_f32, _mm256_loadu_ps, _mm512_add_ps, _mm512_broadcast_f32x8,
    _mm512_castps512_ps128, _mm512_extractf32x4_ps, _mm512_loadu_ps, _mm512_mul_ps,
    _mm512_permute_ps, _mm512_set1_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps,
};

impl Pairs for Vnni {
    type Pair = __m512;

    const ROOMY: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: AVX-512 is there, because this `Vnni` is.
        #[allow(unsafe_code)]
        unsafe {
            _mm512_set1_ps(x)
        }
    }

    #[inline(always)]
    fn load(self, x: &TwoLanes) -> __m512 {
        // SAFETY: there are 16 floats, the load wants no alignment, and AVX-512 is there.
        #[allow(unsafe_code)]
        unsafe {
            _mm512_loadu_ps(x.as_ptr().cast())
        }
    }

    #[inline(always)]
    fn twice(self, x: &[f32; LANES]) -> __m512 {
        // SAFETY: there are 8 floats, the load wants no alignment, and AVX-512 is there, with its
        // forms for other floats.
        #[allow(unsafe_code)]
        unsafe {
            _mm512_broadcast_f32x8(_mm256_loadu_ps(x.as_ptr()))
        }
    }

    #[inline(always)]
    fn store(self, x: __m512, to: &mut TwoLanes) {
        // SAFETY: there is room for 16 floats, the store wants no alignment, and AVX-512 is there.
        #[allow(unsafe_code)]
        unsafe {
            _mm512_storeu_ps(to.as_mut_ptr().cast(), x);
        }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: AVX-512 is there, because this `Vnni` is.
        #[allow(unsafe_code)]
        unsafe {
            _mm512_add_ps(a, b)
        }
    }

    #[inline(always)]
    fn multiply(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: AVX-512 is there, because this `Vnni` is.
        #[allow(unsafe_code)]
        unsafe {
            _mm512_mul_ps(a, b)
        }
    }

    #[inline(always)]
    fn totals(self, x: __m512) -> [f32; 2] {
        // SAFETY: AVX-512 is there, because this `Vnni` is.
        #[allow(unsafe_code)]
        unsafe {
            // In each half of the register the sum of `Level::total`: its two quarters, then two
            // floats of the first, then one.
            let four = _mm512_add_ps(x, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
            let two = _mm512_add_ps(four, _mm512_permute_ps::<0b11_10_11_10>(four));
            let one = _mm512_add_ps(two, _mm512_permute_ps::<1>(two));
            let second = _mm512_extractf32x4_ps::<2>(one);
            [_mm_cvtss_f32(_mm512_castps512_ps128(one)), _mm_cvtss_f32(second)]
        }
    }
}
