//! AVX2, and the same with AVX-512 VNNI.
//!
//! Both multiply bytes without a sign by bytes with one. AVX2 adds two products in 16 bits, so
//! weights of 8 bits hand their sign to the values: `|w| (x sign w)`, at most 2 * 128 * 127. VNNI
//! adds in 32 bits; there 128 is added to weights. Weights of 4 bits get 8 added either way.

use super::{GROUP, LANES, Level, Packed, Plain, Task, Values, Wide, pairs::Two};
use core::arch::x86_64::{
    __m128i, __m256, __m256i, _CMP_ORD_Q, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_loadl_epi64,
    _mm_loadu_si128, _mm_movehl_ps, _mm_shuffle_ps, _mm256_abs_epi8, _mm256_add_epi16,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256, _mm256_castps256_ps128,
    _mm256_cmp_ps, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_cvtps_epi32,
    _mm256_div_ps, _mm256_dpbusd_epi32, _mm256_extractf128_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps,
    _mm256_packs_epi16, _mm256_packs_epi32, _mm256_permute2x128_si256, _mm256_permute4x64_epi64,
    _mm256_permutevar8x32_epi32, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_ps,
    _mm256_setr_epi8, _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_sign_epi8, _mm256_srli_epi16, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_epi8,
    _mm256_unpackhi_epi8, _mm256_unpacklo_epi8, _mm256_xor_si256,
};

/// The two halves of 64 bytes.
type Halves = [__m256i; 2];

/// See [`super::launch`].
#[inline(always)]
pub(super) fn launch<T: Task>(task: T) -> T::Out {
    if let Some(level) = Vnni::detect() {
        // SAFETY: the features were detected.
        #[allow(unsafe_code)]
        return unsafe { with_vnni(task, level) };
    }
    if let Some(level) = Avx2::detect() {
        // SAFETY: the features were detected.
        #[allow(unsafe_code)]
        return unsafe { with_avx2(task, level) };
    }
    task.run(Plain)
}

#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
fn with_avx2<T: Task>(task: T, level: Avx2) -> T::Out {
    task.run(level)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
fn with_vnni<T: Task>(task: T, level: Vnni) -> T::Out {
    task.run(level)
}

/// There is one only where AVX2 is, and conversion from half precision.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    #[inline(always)]
    pub(super) fn detect() -> Option<Self> {
        let found = crate::simd::has_fma() && std::is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }
}

/// There is one only where AVX-512 VNNI is as well, with its forms for registers of 32 bytes.
#[derive(Clone, Copy)]
pub(super) struct Vnni(Avx2);

impl Vnni {
    #[inline(always)]
    pub(super) fn detect() -> Option<Self> {
        let found = crate::simd::has_avx512() && std::is_x86_feature_detected!("avx512vnni");
        Avx2::detect().filter(|_| found).map(Self)
    }
}

impl Level for Avx2 {
    type Floats = __m256;
    /// Magnitudes, and weights.
    type Wide = [Halves; 2];
    type Packed = Halves;
    type Pairs = Two<Self>;

    #[inline(always)]
    fn pairs(self) -> Two<Self> {
        Two(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: AVX2 is there, because this `Avx2` is.
        #[allow(unsafe_code)]
        unsafe {
            _mm256_set1_ps(x)
        }
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> __m256 {
        // SAFETY: there are 8 floats, the load wants no alignment, and AVX2 is there.
        #[allow(unsafe_code)]
        unsafe {
            _mm256_loadu_ps(x.as_ptr())
        }
    }

    #[inline(always)]
    fn store(self, x: __m256, to: &mut [f32; LANES]) {
        // SAFETY: there is room for 8 floats, the store wants no alignment, and AVX2 is there.
        #[allow(unsafe_code)]
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), x);
        }
    }

    #[inline(always)]
    fn halves(self, x: &[u16; LANES]) -> __m256 {
        // SAFETY: there are 16 bytes, the load wants no alignment, and F16C is there.
        #[allow(unsafe_code)]
        unsafe {
            _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast()))
        }
    }

    #[inline(always)]
    fn bytes(self, x: &[i8; LANES]) -> __m256 {
        // SAFETY: there are 8 bytes, the load wants no alignment, and AVX2 is there.
        #[allow(unsafe_code)]
        unsafe {
            let bytes: __m128i = _mm_loadl_epi64(x.as_ptr().cast());
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
        }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: AVX2 is there, because this `Avx2` is.
        #[allow(unsafe_code)]
        unsafe {
            _mm256_add_ps(a, b)
        }
    }

    #[inline(always)]
    fn multiply(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: AVX2 is there, because this `Avx2` is.
        #[allow(unsafe_code)]
        unsafe {
            _mm256_mul_ps(a, b)
        }
    }

    #[inline(always)]
    fn total(self, x: __m256) -> f32 {
        // SAFETY: AVX2 is there, because this `Avx2` is.
        #[allow(unsafe_code)]
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }

    #[inline(always)]
    fn unpack(self, weights: &Packed) -> Wide {
        let [even, odd] = self.read_packed(weights);
        // SAFETY: AVX2 is there, because this `Avx2` is.
        #[allow(unsafe_code)]
        let halves = unsafe {
            let eight = _mm256_set1_epi8(8);
            // Both work on halves of registers: they give columns 0 to 15 and 32 to 47, and the rest.
            let a = _mm256_sub_epi8(_mm256_unpacklo_epi8(even, odd), eight);
            let b = _mm256_sub_epi8(_mm256_unpackhi_epi8(even, odd), eight);
            [_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b)]
        };
        let mut wide = [0; GROUP];
        write(self, halves, &mut wide);
        wide
    }

    #[inline(always)]
    fn read(self, weights: &Wide) -> [Halves; 2] {
        let w = halves(self, weights);
        // SAFETY: AVX2 is there, because this `Avx2` is.
        #[allow(unsafe_code)]
        let magnitudes = unsafe { [_mm256_abs_epi8(w[0]), _mm256_abs_epi8(w[1])] };
        [magnitudes, w]
    }

    /// With 8 added.
    #[inline(always)]
    fn read_packed(self, weights: &Packed) -> Halves {
        let packed = load(self, weights);
        // SAFETY: AVX2 is there, because this `Avx2` is.
        #[allow(unsafe_code)]
        unsafe {
            let low = _mm256_set1_epi8(15);
            // Adding 8 to a number of 4 bits turns its highest bit.
            let packed = _mm256_xor_si256(packed, _mm256_set1_epi8(0x88_u8 as i8));
            let odd = _mm256_srli_epi16::<4>(packed);
            [_mm256_and_si256(packed, low), _mm256_and_si256(odd, low)]
        }
    }

    #[inline(always)]
    fn products(self, [magnitudes, w]: [Halves; 2], x: &Values) -> __m256 {
        let x = halves(self, &x.values);
        // SAFETY: AVX2 is there, because this `Avx2` is.
        #[allow(unsafe_code)]
        unsafe {
            let one = _mm256_set1_epi16(1);
            let first = _mm256_maddubs_epi16(magnitudes[0], _mm256_sign_epi8(x[0], w[0]));
            let second = _mm256_maddubs_epi16(magnitudes[1], _mm256_sign_epi8(x[1], w[1]));
            let first = _mm256_madd_epi16(first, one);
            let second = _mm256_madd_epi16(second, one);
            _mm256_cvtepi32_ps(_mm256_add_epi32(first, second))
        }
    }

    #[inline(always)]
    fn products_packed(self, w: Halves, x: &Values) -> __m256 {
        let (values, corrections) = (halves(self, &x.values), load(self, &x.corrections));
        // SAFETY: AVX2 is there, because this `Avx2` is.
        #[allow(unsafe_code)]
        unsafe {
            // At most 4 * 15 * 127 in 16 bits.
            let first = _mm256_maddubs_epi16(w[0], values[0]);
            let second = _mm256_maddubs_epi16(w[1], values[1]);
            let sums = _mm256_madd_epi16(_mm256_add_epi16(first, second), _mm256_set1_epi16(1));
            _mm256_cvtepi32_ps(_mm256_add_epi32(sums, corrections))
        }
    }

    #[inline(always)]
    fn round(self, x: &[f32; GROUP], scale: f32, halves: bool) -> Wide {
        let scale = self.splat(scale);
        let lanes = x.as_chunks::<LANES>().0;
        // SAFETY: AVX2 is there, because this `Avx2` is.
        #[allow(unsafe_code)]
        let [first, second] = unsafe {
            let (most, least) = (self.splat(127.0), self.splat(-127.0));
            let mut integers = [_mm256_setzero_si256(); GROUP / LANES];
            for (to, x) in integers.iter_mut().zip(lanes) {
                let steps = _mm256_div_ps(self.load(x), scale);
                let limited = _mm256_max_ps(_mm256_min_ps(steps, most), least);
                let number = _mm256_cmp_ps::<_CMP_ORD_Q>(steps, steps);
                // Ties go to even, unless the program changed that for all its floats.
                *to = _mm256_cvtps_epi32(_mm256_and_ps(limited, number));
            }
            // Packing works on halves of registers: four values of each number come together.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let pack = |from: usize| {
                let a = _mm256_packs_epi32(integers[from], integers[from + 1]);
                let b = _mm256_packs_epi32(integers[from + 2], integers[from + 3]);
                _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order)
            };
            let plain = [pack(0), pack(4)];
            if halves { apart(self, plain) } else { plain }
        };
        let mut values = [0; GROUP];
        write(self, [first, second], &mut values);
        values
    }

    #[inline(always)]
    fn sums(self, values: &Wide, factor: i16) -> [i32; LANES] {
        let values = halves(self, values);
        let mut sums = [0; LANES];
        // SAFETY: AVX2 is there, because this `Avx2` is; there is room for 8 numbers, and the store
        // wants no alignment.
        #[allow(unsafe_code)]
        unsafe {
            let one = _mm256_set1_epi8(1);
            let first = _mm256_maddubs_epi16(one, values[0]);
            let second = _mm256_maddubs_epi16(one, values[1]);
            let all = _mm256_add_epi16(first, second);
            let all = _mm256_madd_epi16(all, _mm256_set1_epi16(factor));
            _mm256_storeu_si256(sums.as_mut_ptr().cast(), all);
        }
        sums
    }
}

/// What VNNI does otherwise than AVX2 are products of bytes, and pairs in one register.
impl Level for Vnni {
    type Floats = __m256;
    /// With 128 added.
    type Wide = Halves;
    type Packed = Halves;
    type Pairs = Self;

    #[inline(always)]
    fn pairs(self) -> Self {
        self
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        self.0.splat(x)
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> __m256 {
        self.0.load(x)
    }

    #[inline(always)]
    fn store(self, x: __m256, to: &mut [f32; LANES]) {
        self.0.store(x, to);
    }

    #[inline(always)]
    fn halves(self, x: &[u16; LANES]) -> __m256 {
        self.0.halves(x)
    }

    #[inline(always)]
    fn bytes(self, x: &[i8; LANES]) -> __m256 {
        self.0.bytes(x)
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        self.0.add(a, b)
    }

    #[inline(always)]
    fn multiply(self, a: __m256, b: __m256) -> __m256 {
        self.0.multiply(a, b)
    }

    #[inline(always)]
    fn total(self, x: __m256) -> f32 {
        self.0.total(x)
    }

    #[inline(always)]
    fn unpack(self, weights: &Packed) -> Wide {
        self.0.unpack(weights)
    }

    #[inline(always)]
    fn read(self, weights: &Wide) -> Halves {
        let [a, b] = halves(self.0, weights);
        // SAFETY: AVX2 is there, because this `Vnni` is.
        #[allow(unsafe_code)]
        unsafe {
            // Adding 128 to a byte turns its highest bit.
            let sign = _mm256_set1_epi8(i8::MIN);
            [_mm256_xor_si256(a, sign), _mm256_xor_si256(b, sign)]
        }
    }

    #[inline(always)]
    fn read_packed(self, weights: &Packed) -> Halves {
        self.0.read_packed(weights)
    }

    #[inline(always)]
    fn products(self, w: Halves, x: &Values) -> __m256 {
        let (values, corrections) = (halves(self.0, &x.values), load(self.0, &x.corrections));
        // SAFETY: AVX-512 VNNI is there, because this `Vnni` is.
        #[allow(unsafe_code)]
        unsafe {
            let first = _mm256_dpbusd_epi32(corrections, w[0], values[0]);
            _mm256_cvtepi32_ps(_mm256_dpbusd_epi32(first, w[1], values[1]))
        }
    }

    #[inline(always)]
    fn products_packed(self, w: Halves, x: &Values) -> __m256 {
        self.products(w, x)
    }

    #[inline(always)]
    fn round(self, x: &[f32; GROUP], scale: f32, halves: bool) -> Wide {
        self.0.round(x, scale, halves)
    }

    #[inline(always)]
    fn sums(self, values: &Wide, factor: i16) -> [i32; LANES] {
        self.0.sums(values, factor)
    }
}

#[inline(always)]
fn halves(level: Avx2, bytes: &[i8; GROUP]) -> Halves {
    let ([a, b], []) = bytes.as_chunks::<{ GROUP / 2 }>() else { unreachable!("two halves") };
    [load(level, a), load(level, b)]
}

/// 32 bytes.
#[inline(always)]
fn load<T, const N: usize>(_: Avx2, from: &[T; N]) -> __m256i {
    const { assert!(size_of::<[T; N]>() == 32) };
    // SAFETY: there are 32 bytes, the load wants no alignment, and AVX2 is there.
    #[allow(unsafe_code)]
    unsafe {
        _mm256_loadu_si256(from.as_ptr().cast())
    }
}

#[inline(always)]
fn write(_: Avx2, halves: Halves, to: &mut [i8; GROUP]) {
    let ([a, b], []) = to.as_chunks_mut::<{ GROUP / 2 }>() else { unreachable!("two halves") };
    for (half, to) in halves.into_iter().zip([a, b]) {
        // SAFETY: there is room for 32 bytes, the store wants no alignment, and AVX2 is there.
        #[allow(unsafe_code)]
        unsafe {
            _mm256_storeu_si256(to.as_mut_ptr().cast(), half);
        }
    }
}

/// The bytes of even index, and those of odd index.
#[inline(always)]
fn apart(_: Avx2, [first, second]: Halves) -> Halves {
    // SAFETY: AVX2 is there.
    #[allow(unsafe_code)]
    unsafe {
        #[rustfmt::skip]
        let order = _mm256_setr_epi8(
            0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,
            0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,
        );
        // In each half of a register eight of even index, then eight of odd index.
        let a = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(first, order));
        let b = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(second, order));
        [_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b)]
    }
}
