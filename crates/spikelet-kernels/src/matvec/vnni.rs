//! The dot products of integers with AVX-512 VNNI, whose one instruction multiplies 64 pairs of
//! bytes and adds them to 16 sums.
//!
//! It wants the weights without a sign: 128 is added to each, and taken off again by the
//! corrections of [`Rounded`].

use super::{
    GROUP,
    by_output::tree_sum,
    rounded::{LANES, Rounded},
};
use core::arch::x86_64::{
    __m256i, __m512, __m512i, _mm256_and_si256, _mm256_loadu_si256, _mm256_set1_epi8,
    _mm256_setr_epi8, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm512_add_ps,
    _mm512_castsi256_si512, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_inserti64x4,
    _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps, _mm512_xor_si512,
};

/// Whether this machine has it.
pub(super) fn available() -> bool {
    crate::simd::has_avx512() && std::is_x86_feature_detected!("avx512vnni")
}

/// See [`super::add_i8`], which checks the sizes.
pub(super) fn add_i8(out: &mut [f32], weights: &[i8], scales: &[f32], x: &Rounded) {
    assert!(available() && weights.len() >= out.len() * x.values.len(), "checked by the caller");
    // SAFETY: the features are there.
    #[allow(unsafe_code)]
    unsafe {
        rows_i8(out, weights, scales, x);
    }
}

/// See [`super::add_i4`], which checks the sizes.
pub(super) fn add_i4(out: &mut [f32], weights: &[u8], scales: &[f32], x: &Rounded) {
    assert!(
        available() && weights.len() >= out.len() * x.values.len() / 2,
        "checked by the caller"
    );
    // SAFETY: the features are there.
    #[allow(unsafe_code)]
    unsafe {
        rows_i4(out, weights, scales, x);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn rows_i8(out: &mut [f32], weights: &[i8], scales: &[f32], x: &Rounded) {
    let (inputs, groups) = (x.values.len(), x.scales.len());
    let sign = _mm512_set1_epi8(i8::MIN);
    for (o, y) in out.iter_mut().enumerate() {
        let row = weights[o * inputs..(o + 1) * inputs].as_chunks::<GROUP>().0;
        let mut sum = _mm512_setzero_ps();
        let scales = &scales[o * groups..(o + 1) * groups];
        for ((w, scale), x) in row.iter().zip(scales).zip(x.groups()) {
            // Adding 128 to a byte turns its highest bit.
            let w = _mm512_xor_si512(load(w), sign);
            sum = add_group(sum, w, *scale, x);
        }
        *y += tree_sum(lanes(sum));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn rows_i4(out: &mut [f32], weights: &[u8], scales: &[f32], x: &Rounded) {
    let (bytes, groups) = (x.values.len() / 2, x.scales.len());
    let low = _mm256_set1_epi8(15);
    for (o, y) in out.iter_mut().enumerate() {
        let row = weights[o * bytes..(o + 1) * bytes].as_chunks::<{ GROUP / 2 }>().0;
        let mut sum = _mm512_setzero_ps();
        let scales = &scales[o * groups..(o + 1) * groups];
        for ((packed, scale), x) in row.iter().zip(scales).zip(x.groups()) {
            let packed = load_half(packed);
            let even = from_nibbles(_mm256_and_si256(packed, low));
            let odd = from_nibbles(_mm256_and_si256(_mm256_srli_epi16::<4>(packed), low));
            let w = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(even), odd);
            sum = add_group(sum, w, *scale, x);
        }
        *y += tree_sum(lanes(sum));
    }
}

/// Numbers of 4 bits with 128 added.
#[inline]
#[target_feature(enable = "avx2")]
fn from_nibbles(nibbles: __m256i) -> __m256i {
    const fn above(n: i8) -> i8 {
        n.wrapping_add(i8::MIN)
    }
    #[rustfmt::skip]
    let table = _mm256_setr_epi8(
        above(0), above(1), above(2), above(3), above(4), above(5), above(6), above(7),
        above(-8), above(-7), above(-6), above(-5), above(-4), above(-3), above(-2), above(-1),
        above(0), above(1), above(2), above(3), above(4), above(5), above(6), above(7),
        above(-8), above(-7), above(-6), above(-5), above(-4), above(-3), above(-2), above(-1),
    );
    _mm256_shuffle_epi8(table, nibbles)
}

/// A group of the vector: its values, its scale, its corrections.
type Group<'a> = (&'a [i8; GROUP], f32, &'a [i32; LANES]);

impl Rounded {
    #[inline(always)]
    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let values = self.values.as_chunks::<GROUP>().0;
        let corrections = self.corrections.as_chunks::<LANES>().0;
        values.iter().zip(&self.scales).zip(corrections).map(
            #[inline(always)]
            |((values, scale), corrections)| (values, *scale, corrections),
        )
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn add_group(sum: __m512, w: __m512i, scale: f32, x: Group<'_>) -> __m512 {
    let (x, x_scale, corrections) = x;
    let products = _mm512_dpbusd_epi32(load(corrections), w, load(x));
    let scale = _mm512_set1_ps(scale * x_scale);
    _mm512_add_ps(sum, _mm512_mul_ps(_mm512_cvtepi32_ps(products), scale))
}

/// 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn load<T, const N: usize>(from: &[T; N]) -> __m512i {
    const { assert!(size_of::<[T; N]>() == 64) };
    // SAFETY: there are 64 bytes, and the load wants no alignment.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_loadu_si512(from.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_half(from: &[u8; 32]) -> __m256i {
    // SAFETY: there are 32 bytes, and the load wants no alignment.
    #[allow(unsafe_code)]
    unsafe {
        _mm256_loadu_si256(from.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn lanes(sum: __m512) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    // SAFETY: there is room for 16 floats, and the store wants no alignment.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_storeu_ps(lanes.as_mut_ptr(), sum);
    }
    lanes
}
