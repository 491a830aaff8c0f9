//! scale
/* x * factor / 2^shift, rounded half up, for shifts from 1 to 31; in halves where registers are,
   because compilers make a branch of a shift of 64 bits there. */
static inline int32_t scale(int32_t x, int32_t factor, uint32_t shift)
{
    const int64_t y = (int64_t)x * factor + ((int64_t)1 << (shift - 1u));
#if UINTPTR_MAX > 0xFFFFFFFFu
    return (int32_t)(y >> shift);
#else
    return (int32_t)(((uint32_t)((uint64_t)y >> 32) << (32u - shift)) | ((uint32_t)y >> shift));
#endif
}

//! scale_four
#ifdef NEON
/* The same of four numbers, with the shift to the right as a negative number. */
static inline int32x4_t scale_four(int32x4_t x, int32x4_t factor, int64x2_t shift)
{
    const int64x2_t low = vrshlq_s64(vmull_s32(vget_low_s32(x), vget_low_s32(factor)), shift);
    const int64x2_t high = vrshlq_s64(vmull_high_s32(x, factor), shift);
    return vcombine_s32(vmovn_s64(low), vmovn_s64(high));
}
#endif

//! limited
static inline int32_t limited(int32_t x)
{
    return (x > LIMIT) ? LIMIT : ((x < -LIMIT) ? -LIMIT : x);
}

//! is_number
/* Neither NaN nor an infinity. */
static inline int is_number(float x)
{
    return (x - x) == 0.0f;
}

//! load_fixed: is_number
/* Readings to integers; one that is no number counts as the mean, one out of range as its end. */
static void load_fixed(num *to, const float *x, uint32_t len, const float *mean,
                       const float *deviation, uint32_t channels, float unit)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        float y = 0.0f;
        if (is_number(x[i])) {
            y = x[i];
            if (channels != 0u) {
                y = (y - mean[i % channels]) / deviation[i % channels];
            }
            y = y * unit;
        }
        y = (y < 0.0f) ? (y - 0.5f) : (y + 0.5f);
        y = (y > 32767.0f) ? 32767.0f : ((y < -32767.0f) ? -32767.0f : y);
        to[i] = (int32_t)y;
    }
}

//! load_float: is_number
/* Readings, normalised; one that is no number counts as the mean. */
static void load_float(num *to, const float *x, uint32_t len, const float *mean,
                       const float *deviation, uint32_t channels)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        float y = 0.0f;
        if (is_number(x[i])) {
            y = x[i];
            if (channels != 0u) {
                y = (y - mean[i % channels]) / deviation[i % channels];
            }
        }
        to[i] = y;
    }
}

//! load_events
static void load_events(event_list list, uint32_t *count, const float *x, uint32_t len)
{
    uint32_t i;
    uint32_t n = 0u;
    for (i = 0u; i < len; ++i) {
        if (x[i] > 0.5f) {
            list[n] = (index_type)i;
            ++n;
        }
    }
    *count = n;
}

//! clear
static void clear(num *to, uint32_t len)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] = 0;
    }
}

//! clear_sums
static void clear_sums(int32_t *to, uint32_t len)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] = 0;
    }
}

//! begin
static void begin(num *to, uint32_t len, const num *bias, uint32_t channels)
{
    uint32_t start;
    uint32_t j;
    for (start = 0u; start < len; start += channels) {
        for (j = 0u; j < channels; ++j) {
            to[start + j] = bias[j];
        }
    }
}

//! add_bias
static void add_bias(num *to, uint32_t len, const num *bias, uint32_t channels)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] += bias[i % channels];
    }
}

//! rows_i8
static void rows_i8(int32_t *to, uint32_t len, const int8_t *rows, const index_type *list,
                    uint32_t count)
{
    uint32_t k;
    uint32_t j;
    for (k = 0u; k < count; ++k) {
        const int8_t *row = &rows[(uint32_t)list[k] * len];
        for (j = 0u; j < len; ++j) {
            to[j] += row[j];
        }
    }
}

//! even_bytes
/* Adds the even bytes of a word in halves. */
static inline uint32_t even_bytes(uint32_t sum, uint32_t word)
{
#ifdef __ARM_FEATURE_SIMD32
    return (uint32_t)__uxtab16(sum, word);
#else
    return sum + (word & 0x00FF00FFu);
#endif
}

//! finish_four: scale
/* Four outputs of a product: of sums of words without their lowest byte, and of sums of their even bytes
   in halves. */
static inline void finish_four(num *to, uint32_t len, uint32_t upper, uint32_t even, int32_t surplus,
                               const int32_t *factor, uint32_t each, uint32_t shift)
{
    const uint32_t odd = upper - ((even >> 16) << 8);
    to[0] += scale((int32_t)(even & 0xFFFFu) - surplus, factor[0], shift);
    if (len > 1u) {
        to[1] += scale((int32_t)(odd & 0xFFFFu) - surplus, factor[each], shift);
    }
    if (len > 2u) {
        to[2] += scale((int32_t)(even >> 16) - surplus, factor[2u * each], shift);
    }
    if (len > 3u) {
        to[3] += scale((int32_t)(odd >> 16) - surplus, factor[3u * each], shift);
    }
}

//! product_neon: scale scale_four
#ifdef NEON
/* Outputs of a product, of sums of weights plus 128. */
static inline void finish_neon(num *to, uint32_t len, const uint16_t *sums, int32_t surplus,
                               const int32_t *factor, uint32_t each, uint32_t shift)
{
    const int64x2_t right = vdupq_n_s64(-(int64_t)shift);
    const int32x4_t less = vdupq_n_s32(surplus);
    uint32_t j;
    for (j = 0u; j + 4u <= len; j += 4u) {
        const int32x4_t f = (each == 0u) ? vdupq_n_s32(factor[0]) : vld1q_s32(&factor[j]);
        const int32x4_t x = vsubq_s32(vreinterpretq_s32_u32(vmovl_u16(vld1_u16(&sums[j]))), less);
        vst1q_s32(&to[j], vaddq_s32(vld1q_s32(&to[j]), scale_four(x, f, right)));
    }
    for (; j < len; ++j) {
        to[j] += scale((int32_t)sums[j] - surplus, factor[each * j], shift);
    }
}

/* The first outputs of a product, 32 or 16 at a time; how many words of a row are done. */
static inline uint32_t product_neon(num *to, uint32_t len, const uint32_t *rows,
                                    const index_type *list, uint32_t count, const int32_t *factor,
                                    uint32_t each, uint32_t shift)
{
    const uint32_t width = (len + 3u) / 4u;
    const uint64_t stride = 4u * (uint64_t)width;
    uint32_t word = 0u;
    uint32_t k;
    while (word + 4u <= width) {
        const uint32_t block = (word + 8u <= width) ? 32u : 16u;
        const uint32_t left = len - 4u * word;
        const uint8_t *bytes = (const uint8_t *)&rows[word];
        uint16x8_t a = vdupq_n_u16(0u);
        uint16x8_t b = a;
        uint16x8_t c = a;
        uint16x8_t d = a;
        uint16_t sums[32];
        for (k = 0u; (k < count) && (block == 32u); ++k) {
            const uint8_t *at = &bytes[list[k] * stride];
            const uint8x16_t low = vld1q_u8(at);
            const uint8x16_t high = vld1q_u8(&at[16]);
            a = vaddw_u8(a, vget_low_u8(low));
            b = vaddw_high_u8(b, low);
            c = vaddw_u8(c, vget_low_u8(high));
            d = vaddw_high_u8(d, high);
        }
        for (; k < count; ++k) {
            const uint8x16_t low = vld1q_u8(&bytes[list[k] * stride]);
            a = vaddw_u8(a, vget_low_u8(low));
            b = vaddw_high_u8(b, low);
        }
        vst1q_u16(&sums[0], a);
        vst1q_u16(&sums[8], b);
        vst1q_u16(&sums[16], c);
        vst1q_u16(&sums[24], d);
        finish_neon(&to[4u * word], (left < block) ? left : block, sums, (int32_t)(128u * count),
                    &factor[each * 4u * word], each, shift);
        word += block / 4u;
    }
    return word;
}
#endif

//! lif_neon: scale_four
#ifdef NEON
/* Populations of LIF neurons that subtract their threshold, at once or a step later, four neurons at a
   time, as many as come in fours; how many fired. Decays and thresholds are one for all, or one each;
   `equal` is 1 if a potential of the threshold fires. */
static inline uint32_t lif_neon(num *v, const num *current, uint32_t len, int is_late, int32_t equal,
                                int32_t decay, const int32_t *decays, int32_t threshold,
                                const int32_t *thresholds, event_list list)
{
    const int64x2_t right = vdupq_n_s64(-16);
    uint32_t n = 0u;
    uint32_t j;
    for (j = 0u; j + 4u <= len; j += 4u) {
        const int32x4_t d = (decays == 0) ? vdupq_n_s32(decay) : vld1q_s32(&decays[j]);
        const int32x4_t th = (thresholds == 0) ? vdupq_n_s32(threshold) : vld1q_s32(&thresholds[j]);
        const int32x4_t before = vld1q_s32(&v[j]);
        const int32x4_t sum = vaddq_s32(scale_four(before, d, right), vld1q_s32(&current[j]));
        const int32x4_t least = vsubq_s32(th, vdupq_n_s32(equal));
        const uint32x4_t was_over = vcgtq_s32((is_late != 0) ? before : sum, least);
        const int32x4_t w = vsubq_s32(sum, vandq_s32(th, vreinterpretq_s32_u32(was_over)));
        /* 16 bits a neuron. */
        const uint16x4_t over = vmovn_u32((is_late != 0) ? vcgtq_s32(w, least) : was_over);
        const uint64_t fired = vget_lane_u64(vreinterpret_u64_u16(over), 0);
        vst1q_s32(&v[j], w);
        if (fired == 0u) {
            continue;
        }
        if ((fired & 0x1u) != 0u) { list[n] = (index_type)j; ++n; }
        if ((fired & 0x10000u) != 0u) { list[n] = (index_type)(j + 1u); ++n; }
        if ((fired & 0x100000000u) != 0u) { list[n] = (index_type)(j + 2u); ++n; }
        if ((fired & 0x1000000000000u) != 0u) { list[n] = (index_type)(j + 3u); ++n; }
    }
    return n;
}
#endif

//! product_i8: even_bytes finish_four product_neon
/* Adds a product with events. A word holds four weights plus 128: sums of 16 bits hold 256 events. */
static void product_i8(num *to, uint32_t len, const uint32_t *rows, const index_type *list,
                       uint32_t count, const int32_t *factor, uint32_t channels, uint32_t shift)
{
    const uint32_t width = (len + 3u) / 4u;
    const uint32_t each = (channels == 1u) ? 0u : 1u;
    const int32_t surplus = (int32_t)(128u * count);
    uint32_t word = 0u;
    uint32_t k;
    if (count > 256u) {
        for (word = 0u; word < len; ++word) {
            int32_t sum = -surplus;
            for (k = 0u; k < count; ++k) {
                const uint32_t four = rows[(uint32_t)list[k] * width + word / 4u];
                sum += (int32_t)((four >> (8u * (word % 4u))) & 255u);
            }
            to[word] += scale(sum, factor[each * word], shift);
        }
        return;
    }
#ifdef NEON
    word = product_neon(to, len, rows, list, count, factor, each, shift);
#endif
    while ((word < width) && (count != 0u)) {
        const uint32_t *row = &rows[word];
        const int32_t *f = &factor[4u * word * each];
        const uint32_t left = len - 4u * word;
        num *y = &to[4u * word];
        uint32_t upper_a = 0u, even_a = 0u;
        if (left > 12u) {
            uint32_t upper_b = 0u, even_b = 0u, upper_c = 0u, even_c = 0u, upper_d = 0u, even_d = 0u;
            for (k = 0u; k < count; ++k) {
                const uint32_t *at = &row[(uint32_t)list[k] * width];
                upper_a += at[0] >> 8;
                even_a = even_bytes(even_a, at[0]);
                upper_b += at[1] >> 8;
                even_b = even_bytes(even_b, at[1]);
                upper_c += at[2] >> 8;
                even_c = even_bytes(even_c, at[2]);
                upper_d += at[3] >> 8;
                even_d = even_bytes(even_d, at[3]);
            }
            finish_four(&y[4], 4u, upper_b, even_b, surplus, &f[4u * each], each, shift);
            finish_four(&y[8], 4u, upper_c, even_c, surplus, &f[8u * each], each, shift);
            finish_four(&y[12], left - 12u, upper_d, even_d, surplus, &f[12u * each], each, shift);
            word += 4u;
        } else {
            for (k = 0u; k < count; ++k) {
                const uint32_t four = row[(uint32_t)list[k] * width];
                upper_a += four >> 8;
                even_a = even_bytes(even_a, four);
            }
            word += 1u;
        }
        finish_four(y, left, upper_a, even_a, surplus, f, each, shift);
    }
}

//! finish_fours: scale_four
#ifdef NEON
/* Adds sums of weights to outputs, as many as come in fours; how many. */
static inline uint32_t finish_fours(num *to, uint32_t len, const int32_t *sums,
                                    const int32_t *factor, uint32_t each, uint32_t shift)
{
    const int64x2_t right = vdupq_n_s64(-(int64_t)shift);
    const uint32_t fours = len / 4u * 4u;
    const num *const end = &to[fours];
    int32x4_t f = vdupq_n_s32(factor[0]);
    while (to != end) {
        if (each != 0u) {
            f = vld1q_s32(factor);
            factor = &factor[4];
        }
        vst1q_s32(to, vaddq_s32(vld1q_s32(to), scale_four(vld1q_s32(sums), f, right)));
        to = &to[4];
        sums = &sums[4];
    }
    return fours;
}
#endif

//! finish_sums: scale finish_fours
/* Adds sums of weights to outputs. */
static inline void finish_sums(num *to, uint32_t len, const int32_t *sums, const int32_t *factor,
                               uint32_t each, uint32_t shift)
{
    uint32_t j = 0u;
#ifdef NEON
    j = finish_fours(to, len, sums, factor, each, shift);
#endif
    for (; j < len; ++j) {
        to[j] += scale(sums[j], factor[each * j], shift);
    }
}

//! some_values
/* Adds columns of rows from the first on, each row times its value, to sums or to zero. */
static ALONE void some_values(int32_t *sums, uint32_t len, int is_new, const int8_t *const *rows,
                              uint32_t first, const int32_t *x, uint32_t count)
{
    uint32_t j = 0u;
    uint32_t k;
#ifdef NEON
    for (; j + 16u <= len; j += 16u) {
        int32x4_t a = (is_new != 0) ? vdupq_n_s32(0) : vld1q_s32(&sums[j]);
        int32x4_t b = (is_new != 0) ? vdupq_n_s32(0) : vld1q_s32(&sums[j + 4u]);
        int32x4_t c = (is_new != 0) ? vdupq_n_s32(0) : vld1q_s32(&sums[j + 8u]);
        int32x4_t d = (is_new != 0) ? vdupq_n_s32(0) : vld1q_s32(&sums[j + 12u]);
        for (k = 0u; k < count; ++k) {
            const int8x16_t w = vld1q_s8(&rows[k][first + j]);
            const int16x8_t low = vmovl_s8(vget_low_s8(w));
            const int16x8_t high = vmovl_high_s8(w);
            a = vmlaq_n_s32(a, vmovl_s16(vget_low_s16(low)), x[k]);
            b = vmlaq_n_s32(b, vmovl_high_s16(low), x[k]);
            c = vmlaq_n_s32(c, vmovl_s16(vget_low_s16(high)), x[k]);
            d = vmlaq_n_s32(d, vmovl_high_s16(high), x[k]);
        }
        vst1q_s32(&sums[j], a);
        vst1q_s32(&sums[j + 4u], b);
        vst1q_s32(&sums[j + 8u], c);
        vst1q_s32(&sums[j + 12u], d);
    }
#endif
    for (; j + 4u <= len; j += 4u) {
        int32_t a = 0, b = 0, c = 0, d = 0;
        if (is_new == 0) {
            a = sums[j];
            b = sums[j + 1u];
            c = sums[j + 2u];
            d = sums[j + 3u];
        }
        for (k = 0u; k < count; ++k) {
            const int8_t *w = &rows[k][first + j];
            a += x[k] * w[0];
            b += x[k] * w[1];
            c += x[k] * w[2];
            d += x[k] * w[3];
        }
        sums[j] = a;
        sums[j + 1u] = b;
        sums[j + 2u] = c;
        sums[j + 3u] = d;
    }
    for (; j < len; ++j) {
        int32_t sum = (is_new != 0) ? 0 : sums[j];
        for (k = 0u; k < count; ++k) {
            sum += x[k] * rows[k][first + j];
        }
        sums[j] = sum;
    }
}

//! product_rows: finish_sums some_values
/* Adds a product with rows of which each has a value. */
static void product_rows(num *to, uint32_t len, const int8_t *const *rows, const int32_t *x,
                         uint32_t count, const int32_t *factor, uint32_t channels, uint32_t shift)
{
    const uint32_t each = (channels == 1u) ? 0u : 1u;
    int32_t sums[16];
    uint32_t j;
    for (j = 0u; j < len; j += 16u) {
        const uint32_t block = (len - j < 16u) ? (len - j) : 16u;
        some_values(sums, block, 1, rows, j, x, count);
        finish_sums(&to[j], block, sums, &factor[each * j], each, shift);
    }
}

//! product_values: product_rows
/* Adds a product with up to 16 values. */
static void product_values(num *to, uint32_t len, const int8_t *rows, const int32_t *x,
                           uint32_t inputs, const int32_t *factor, uint32_t channels,
                           uint32_t shift)
{
    const int8_t *row[16];
    uint32_t i;
    for (i = 0u; i < inputs; ++i) {
        row[i] = &rows[i * len];
    }
    product_rows(to, len, row, x, inputs, factor, channels, shift);
}

//! nibble
/* A 4-bit weight; the even one of a byte is in its low half. */
static inline int32_t nibble(uint8_t byte, uint32_t index)
{
    const int32_t bits = (int32_t)((uint32_t)byte >> ((index & 1u) * 4u)) & 15;
    return (bits > 7) ? (bits - 16) : bits;
}

//! rows_i4: nibble
static void rows_i4(int32_t *to, uint32_t len, const uint8_t *rows, const index_type *list,
                    uint32_t count)
{
    uint32_t k;
    uint32_t j;
    for (k = 0u; k < count; ++k) {
        const uint8_t *row = &rows[(uint32_t)list[k] * ((len + 1u) / 2u)];
        for (j = 0u; j < len; ++j) {
            to[j] += nibble(row[j / 2u], j);
        }
    }
}

//! rows_sparse
/* Rows of which only the weights that are not zero are stored, each with its place. */
static void rows_sparse(int32_t *to, uint32_t len, const uint32_t *starts, const place_type *places,
                        const int8_t *values, const index_type *list, uint32_t count)
{
    uint32_t k;
    uint32_t i;
    (void)len;
    for (k = 0u; k < count; ++k) {
        const uint32_t end = starts[list[k] + 1u];
        for (i = starts[list[k]]; i < end; ++i) {
            to[places[i]] += values[i];
        }
    }
}

//! values_sparse
/* The same for values. */
static void values_sparse(int32_t *to, uint32_t len, const uint32_t *starts,
                          const place_type *places, const int8_t *values, const int32_t *x,
                          uint32_t inputs)
{
    uint32_t k;
    uint32_t i;
    (void)len;
    for (k = 0u; k < inputs; ++k) {
        for (i = starts[k]; i < starts[k + 1u]; ++i) {
            to[places[i]] += x[k] * values[i];
        }
    }
}

//! rows_f32
static void rows_f32(float *to, uint32_t len, const float *rows, const index_type *list,
                     uint32_t count)
{
    uint32_t k;
    uint32_t j;
    for (k = 0u; k < count; ++k) {
        const float *row = &rows[(uint32_t)list[k] * len];
        for (j = 0u; j < len; ++j) {
            to[j] += row[j];
        }
    }
}

//! values_i8: some_values
/* Values that are zero add nothing. */
static void values_i8(int32_t *to, uint32_t len, const int8_t *rows, const int32_t *x,
                      uint32_t inputs)
{
    const int8_t *row[32];
    int32_t value[32];
    uint32_t i;
    uint32_t n = 0u;
    for (i = 0u; i < inputs; ++i) {
        if (x[i] != 0) {
            row[n] = &rows[i * len];
            value[n] = x[i];
            ++n;
            if (n == 32u) {
                some_values(to, len, 0, row, 0u, value, n);
                n = 0u;
            }
        }
    }
    some_values(to, len, 0, row, 0u, value, n);
}

//! dots_i8
/* Values that are multiplied with rows by output, of which there are few: two at a time. */
static void dots_i8(int32_t *to, uint32_t len, const int8_t *rows, const int32_t *x, uint32_t inputs)
{
    uint32_t i;
    uint32_t j;
    for (j = 0u; j < len; j += 2u) {
        const int8_t *row = &rows[j * inputs];
        /* An odd last row is multiplied twice and counted once. */
        const int8_t *next = (j + 1u < len) ? &row[inputs] : row;
        int32_t a = 0, b = 0;
        i = 0u;
#ifdef NEON
        {
            int32x4_t c = vdupq_n_s32(0);
            int32x4_t d = c;
            for (; i + 8u <= inputs; i += 8u) {
                const int32x4_t low = vld1q_s32(&x[i]);
                const int32x4_t high = vld1q_s32(&x[i + 4u]);
                const int16x8_t v = vmovl_s8(vld1_s8(&row[i]));
                const int16x8_t w = vmovl_s8(vld1_s8(&next[i]));
                c = vmlaq_s32(c, vmovl_s16(vget_low_s16(v)), low);
                c = vmlaq_s32(c, vmovl_high_s16(v), high);
                d = vmlaq_s32(d, vmovl_s16(vget_low_s16(w)), low);
                d = vmlaq_s32(d, vmovl_high_s16(w), high);
            }
            a = vaddvq_s32(c);
            b = vaddvq_s32(d);
        }
#endif
        for (; i < inputs; ++i) {
            a += x[i] * row[i];
            b += x[i] * next[i];
        }
        to[j] += a;
        if (j + 1u < len) {
            to[j + 1u] += b;
        }
    }
}

//! values_i4: nibble
static void values_i4(int32_t *to, uint32_t len, const uint8_t *rows, const int32_t *x,
                      uint32_t inputs)
{
    uint32_t i;
    uint32_t j;
    for (i = 0u; i < inputs; ++i) {
        const uint8_t *row = &rows[i * ((len + 1u) / 2u)];
        if (x[i] != 0) {
            for (j = 0u; j < len; ++j) {
                to[j] += x[i] * nibble(row[j / 2u], j);
            }
        }
    }
}

//! values_f32
static void values_f32(float *to, uint32_t len, const float *rows, const float *x, uint32_t inputs)
{
    uint32_t i;
    uint32_t j;
    for (i = 0u; i < inputs; ++i) {
        const float *row = &rows[i * len];
        for (j = 0u; j < len; ++j) {
            const float product = x[i] * row[j];
            to[j] += product;
        }
    }
}

//! dot_f32
/* Rows by output: eight partial sums, added as the runtime adds them. */
static void dot_f32(float *to, uint32_t len, const float *rows, const float *x, uint32_t inputs)
{
    uint32_t i;
    uint32_t j;
    for (j = 0u; j < len; ++j) {
        float l[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        for (i = 0u; i < inputs; ++i) {
            const float product = rows[j * inputs + i] * x[i];
            l[i % 8u] += product;
        }
        to[j] += ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
    }
}

//! add_four
/* Four sums: of sums of words without their lowest byte, and of sums of their even bytes in halves. */
static inline void add_four(int32_t *sums, int is_new, uint32_t upper, uint32_t even,
                            int32_t surplus)
{
    const uint32_t odd = upper - ((even >> 16) << 8);
    const int32_t a = (int32_t)(even & 0xFFFFu) - surplus;
    const int32_t b = (int32_t)(odd & 0xFFFFu) - surplus;
    const int32_t c = (int32_t)(even >> 16) - surplus;
    const int32_t d = (int32_t)(odd >> 16) - surplus;
    sums[0] = (is_new != 0) ? a : (sums[0] + a);
    sums[1] = (is_new != 0) ? b : (sums[1] + b);
    sums[2] = (is_new != 0) ? c : (sums[2] + c);
    sums[3] = (is_new != 0) ? d : (sums[3] + d);
}

//! add_rows: even_bytes add_four
/* Adds rows of words that hold four weights plus 128: an even number of them, up to 256, to sums
   or to zero. */
static ALONE void add_rows(int32_t *sums, uint32_t len, int is_new, const uint32_t *const *rows,
                           uint32_t count)
{
    const int32_t surplus = (int32_t)(128u * count);
    uint32_t j = 0u;
    uint32_t k;
#ifdef NEON
    const int32x4_t less = vdupq_n_s32(surplus);
    while (j + 16u <= len) {
        const uint32_t block = (j + 64u <= len) ? 64u : 16u;
        uint16x8_t a[8];
        for (k = 0u; k < 8u; ++k) {
            a[k] = vdupq_n_u16(0u);
        }
        for (k = 0u; (k < count) && (block == 64u); k += 2u) {
            const uint8_t *p = (const uint8_t *)&rows[k][j / 4u];
            const uint8_t *q = (const uint8_t *)&rows[k + 1u][j / 4u];
            /* Two bytes add up to nine bits. */
            const uint8x16_t p0 = vld1q_u8(p);
            const uint8x16_t p1 = vld1q_u8(&p[16]);
            const uint8x16_t p2 = vld1q_u8(&p[32]);
            const uint8x16_t p3 = vld1q_u8(&p[48]);
            const uint8x16_t q0 = vld1q_u8(q);
            const uint8x16_t q1 = vld1q_u8(&q[16]);
            const uint8x16_t q2 = vld1q_u8(&q[32]);
            const uint8x16_t q3 = vld1q_u8(&q[48]);
            a[0] = vaddq_u16(a[0], vaddl_u8(vget_low_u8(p0), vget_low_u8(q0)));
            a[1] = vaddq_u16(a[1], vaddl_high_u8(p0, q0));
            a[2] = vaddq_u16(a[2], vaddl_u8(vget_low_u8(p1), vget_low_u8(q1)));
            a[3] = vaddq_u16(a[3], vaddl_high_u8(p1, q1));
            a[4] = vaddq_u16(a[4], vaddl_u8(vget_low_u8(p2), vget_low_u8(q2)));
            a[5] = vaddq_u16(a[5], vaddl_high_u8(p2, q2));
            a[6] = vaddq_u16(a[6], vaddl_u8(vget_low_u8(p3), vget_low_u8(q3)));
            a[7] = vaddq_u16(a[7], vaddl_high_u8(p3, q3));
        }
        for (; k < count; ++k) {
            const uint8x16_t w = vld1q_u8((const uint8_t *)&rows[k][j / 4u]);
            a[0] = vaddw_u8(a[0], vget_low_u8(w));
            a[1] = vaddw_high_u8(a[1], w);
        }
        for (k = 0u; k < block / 8u; ++k) {
            int32_t *y = &sums[j + 8u * k];
            const int32x4_t low = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(a[k])));
            const int32x4_t high = vreinterpretq_s32_u32(vmovl_high_u16(a[k]));
            int32x4_t c = vsubq_s32(low, less);
            int32x4_t d = vsubq_s32(high, less);
            if (is_new == 0) {
                c = vaddq_s32(c, vld1q_s32(y));
                d = vaddq_s32(d, vld1q_s32(&y[4]));
            }
            vst1q_s32(y, c);
            vst1q_s32(&y[4], d);
        }
        j += block;
    }
#endif
    for (; j + 16u <= len; j += 16u) {
        uint32_t even_a = 0u, upper_a = 0u, even_b = 0u, upper_b = 0u;
        uint32_t even_c = 0u, upper_c = 0u, even_d = 0u, upper_d = 0u;
        for (k = 0u; k < count; ++k) {
            const uint32_t *at = &rows[k][j / 4u];
            upper_a += at[0] >> 8;
            even_a = even_bytes(even_a, at[0]);
            upper_b += at[1] >> 8;
            even_b = even_bytes(even_b, at[1]);
            upper_c += at[2] >> 8;
            even_c = even_bytes(even_c, at[2]);
            upper_d += at[3] >> 8;
            even_d = even_bytes(even_d, at[3]);
        }
        add_four(&sums[j], is_new, upper_a, even_a, surplus);
        add_four(&sums[j + 4u], is_new, upper_b, even_b, surplus);
        add_four(&sums[j + 8u], is_new, upper_c, even_c, surplus);
        add_four(&sums[j + 12u], is_new, upper_d, even_d, surplus);
    }
    for (; j + 4u <= len; j += 4u) {
        uint32_t even = 0u, upper = 0u;
        for (k = 0u; k < count; ++k) {
            const uint32_t four = rows[k][j / 4u];
            upper += four >> 8;
            even = even_bytes(even, four);
        }
        add_four(&sums[j], is_new, upper, even, surplus);
    }
    for (; j < len; ++j) {
        int32_t sum = (is_new != 0) ? 0 : sums[j];
        for (k = 0u; k < count; ++k) {
            sum += (int32_t)((rows[k][j / 4u] >> (8u * (j % 4u))) & 255u) - 128;
        }
        sums[j] = sum;
    }
}

//! pool_events
/* Events of a map to those of a map in which every window of columns is one column; rows stay apart. */
static void pool_events(event_list list, uint32_t *count, const conv_shape *p)
{
    uint32_t k = 0u;
    uint32_t n = 0u;
    uint32_t y;
    uint32_t x;
    uint32_t at = 0u;
    for (y = 0u; y < p->height; ++y) {
        for (x = 0u; x < p->width; ++x) {
            const uint32_t column = x / p->kernel_w;
            const uint32_t to = (y * p->out_w + column) * p->inputs;
            const uint32_t end = at + p->inputs;
            for (; (k < *count) && (list[k] < end); ++k) {
                if (column < p->out_w) {
                    list[n] = (index_type)(list[k] - at + to);
                    ++n;
                }
            }
            at = end;
        }
    }
    *count = n;
}

//! conv_i8: add_rows finish_sums
/* Adds a convolution of events: the rows of the kernel that an output sees are picked, then added. As
   many rows of the map as `tall` says are one. */
static void conv_i8(num *to, uint32_t len, const uint32_t *rows, const conv_shape *s, uint32_t tall,
                    const index_type *list, uint32_t count, const int32_t *factor,
                    uint32_t channels, uint32_t shift)
{
    index_type starts[CONV_POSITIONS + 1u];
    const uint32_t *picked[256];
    int32_t sums[CONV_OUTPUTS];
    const uint32_t width = (s->outputs + 3u) / 4u;
    const uint32_t positions = s->height * tall * s->width;
    uint32_t i;
    uint32_t k = 0u;
    num *out = to;
    (void)len;
    for (i = 0u; i <= positions; ++i) {
        const uint32_t first = i * s->inputs;
        while ((k < count) && (list[k] < first)) {
            ++k;
        }
        starts[i] = (index_type)k;
    }
    for (i = 0u; i < s->out_h * s->out_w; ++i) {
        const uint32_t top = (i / s->out_w) * s->stride_h;
        const uint32_t left = (i % s->out_w) * s->stride_w;
        const uint32_t x = (left > s->padding_w) ? (left - s->padding_w) : 0u;
        const uint32_t right = left + s->kernel_w;
        const uint32_t seen = (right > s->padding_w) ? (right - s->padding_w) : 0u;
        const uint32_t past = (seen < s->width) ? seen : s->width;
        int is_new = 1;
        uint32_t n = 0u;
        uint32_t row;
        for (row = 0u; row < s->kernel_h * tall; ++row) {
            const uint32_t y = top * tall + row - s->padding_h * tall;
            /* What is negative is too large. */
            if ((y < s->height * tall) && (x < past)) {
                const uint32_t end = starts[y * s->width + past];
                const uint32_t tap = (row / tall) * s->kernel_w + s->padding_w;
                const uint32_t base = (tap - left - y * s->width) * s->inputs * width;
                k = starts[y * s->width + x];
                while (k < end) {
                    const uint32_t more = (end - k < 256u - n) ? (end - k) : (256u - n);
                    const index_type *event = &list[k];
                    const index_type *const last = &event[more];
                    const uint32_t **pick = &picked[n];
                    while (event != last) {
                        *pick = &rows[*event * width + base];
                        ++pick;
                        ++event;
                    }
                    k += more;
                    n += more;
                    if (n == 256u) {
                        add_rows(sums, s->outputs, is_new, picked, n);
                        is_new = 0;
                        n = 0u;
                    }
                }
            }
        }
        if ((n % 2u) != 0u) {
            /* The row behind the last is of zeros. */
            picked[n] = &rows[s->kernel_h * s->kernel_w * s->inputs * width];
            ++n;
        }
        add_rows(sums, s->outputs, is_new, picked, n);
        finish_sums(out, s->outputs, sums, factor, (channels == 1u) ? 0u : 1u, shift);
        out += s->outputs;
    }
}

//! conv_window: product_rows
/* Adds a convolution of values, of which an output sees up to 64: they are picked, then multiplied. */
static void conv_window(num *to, uint32_t len, const int8_t *rows, const conv_shape *s,
                        const int32_t *values, const int32_t *factor, uint32_t channels,
                        uint32_t shift)
{
    const int8_t *row[64];
    int32_t value[64];
    uint32_t i;
    uint32_t ky;
    uint32_t kx;
    uint32_t c;
    (void)len;
    for (i = 0u; i < s->out_h * s->out_w; ++i) {
        const uint32_t top = (i / s->out_w) * s->stride_h;
        const uint32_t left = (i % s->out_w) * s->stride_w;
        uint32_t n = 0u;
        for (ky = 0u; ky < s->kernel_h; ++ky) {
            for (kx = 0u; kx < s->kernel_w; ++kx) {
                const uint32_t y = top + ky * s->dilation_h - s->padding_h;
                const uint32_t x = left + kx * s->dilation_w - s->padding_w;
                /* What is negative is too large. */
                for (c = 0u; (c < s->inputs) && (y < s->height) && (x < s->width); ++c) {
                    const int32_t seen = values[(y * s->width + x) * s->inputs + c];
                    if (seen != 0) {
                        row[n] = &rows[((ky * s->kernel_w + kx) * s->inputs + c) * s->outputs];
                        value[n] = seen;
                        ++n;
                    }
                }
            }
        }
        product_rows(&to[i * s->outputs], s->outputs, row, value, n, factor, channels, shift);
    }
}

//! conv_events
/* An event adds a row of the kernel for every tap that sees it. */
static void conv_events(sum_type *to, const weight_type *w, const conv_shape *s,
                        const index_type *list, uint32_t count)
{
    const uint32_t group_inputs = s->inputs / s->groups;
    const uint32_t length = s->outputs / s->groups;
    uint32_t k;
    uint32_t ky;
    uint32_t kx;
    uint32_t j;
    for (k = 0u; k < count; ++k) {
        const uint32_t position = list[k] / s->inputs;
        const uint32_t channel = list[k] % s->inputs;
        const uint32_t start = (channel / group_inputs) * length;
        for (ky = 0u; ky < s->kernel_h; ++ky) {
            const uint32_t y = position / s->width + s->padding_h;
            const uint32_t dy = ky * s->dilation_h;
            if ((y >= dy) && ((y - dy) % s->stride_h == 0u) && ((y - dy) / s->stride_h < s->out_h)) {
                for (kx = 0u; kx < s->kernel_w; ++kx) {
                    const uint32_t x = position % s->width + s->padding_w;
                    const uint32_t dx = kx * s->dilation_w;
                    if ((x >= dx) && ((x - dx) % s->stride_w == 0u) &&
                        ((x - dx) / s->stride_w < s->out_w)) {
                        const uint32_t row = (ky * s->kernel_w + kx) * group_inputs
                            + channel % group_inputs;
                        const uint32_t target = (y - dy) / s->stride_h * s->out_w
                            + (x - dx) / s->stride_w;
                        const weight_type *from = &w[row * s->outputs + start];
                        sum_type *out = &to[target * s->outputs + start];
                        for (j = 0u; j < length; ++j) {
                            out[j] += from[j];
                        }
                    }
                }
            }
        }
    }
}

//! conv_values
/* The same for values; what is zero adds nothing. */
static void conv_values(sum_type *to, const weight_type *w, const conv_shape *s, const num *values,
                        uint32_t len)
{
    const uint32_t group_inputs = s->inputs / s->groups;
    const uint32_t length = s->outputs / s->groups;
    uint32_t i;
    uint32_t ky;
    uint32_t kx;
    uint32_t j;
    for (i = 0u; i < len; ++i) {
        const uint32_t position = i / s->inputs;
        const uint32_t channel = i % s->inputs;
        const uint32_t start = (channel / group_inputs) * length;
        for (ky = 0u; (ky < s->kernel_h) && (values[i] != 0); ++ky) {
            const uint32_t y = position / s->width + s->padding_h;
            const uint32_t dy = ky * s->dilation_h;
            if ((y >= dy) && ((y - dy) % s->stride_h == 0u) && ((y - dy) / s->stride_h < s->out_h)) {
                for (kx = 0u; kx < s->kernel_w; ++kx) {
                    const uint32_t x = position % s->width + s->padding_w;
                    const uint32_t dx = kx * s->dilation_w;
                    if ((x >= dx) && ((x - dx) % s->stride_w == 0u) &&
                        ((x - dx) / s->stride_w < s->out_w)) {
                        const uint32_t row = (ky * s->kernel_w + kx) * group_inputs
                            + channel % group_inputs;
                        const uint32_t target = (y - dy) / s->stride_h * s->out_w
                            + (x - dx) / s->stride_w;
                        const weight_type *from = &w[row * s->outputs + start];
                        sum_type *out = &to[target * s->outputs + start];
                        for (j = 0u; j < length; ++j) {
                            const sum_type product = values[i] * from[j];
                            out[j] += product;
                        }
                    }
                }
            }
        }
    }
}

//! finish_fixed: finish_sums
static void finish_fixed(num *to, uint32_t len, const int32_t *sums, const int32_t *factor,
                         uint32_t channels, uint32_t shift)
{
    uint32_t start;
    for (start = 0u; start < len; start += channels) {
        finish_sums(&to[start], channels, &sums[start], factor, 1u, shift);
    }
}

//! finish_float
static void finish_float(num *to, uint32_t len, const int32_t *sums, const float *factor,
                         uint32_t channels)
{
    uint32_t start;
    uint32_t j;
    for (start = 0u; start < len; start += channels) {
        for (j = 0u; j < channels; ++j) {
            const float product = (float)sums[start + j] * factor[j];
            to[start + j] += product;
        }
    }
}

//! scale_float
static void scale_float(num *to, uint32_t len, const float *x, const float *factor,
                        uint32_t channels)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] = x[i] * factor[i % channels];
    }
}

//! legendre_states
static void legendre_states(num *to, const num *a, uint32_t order, const index_type *list,
                            uint32_t count)
{
    uint32_t k;
    uint32_t i;
    for (k = 0u; k < count; ++k) {
        const uint32_t memory = list[k] / order;
        const num *column = &a[(list[k] - memory * order) * order];
        num *out = &to[memory * order];
        for (i = 0u; i < order; ++i) {
            out[i] += column[i];
        }
    }
}

//! legendre_inputs
static void legendre_inputs(num *to, const num *b, uint32_t order, const index_type *list,
                            uint32_t count)
{
    uint32_t k;
    uint32_t i;
    for (k = 0u; k < count; ++k) {
        num *out = &to[list[k] * order];
        for (i = 0u; i < order; ++i) {
            out[i] += b[i];
        }
    }
}

//! add_events
static void add_events(num *to, num one, const index_type *list, uint32_t count)
{
    uint32_t k;
    for (k = 0u; k < count; ++k) {
        to[list[k]] += one;
    }
}

//! add_values
static void add_values(num *to, uint32_t len, const num *from)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] += from[i];
    }
}

//! add_shifted: scale
static void add_shifted(num *to, uint32_t len, const num *from, int32_t up, uint32_t down)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] += (down > 0u) ? scale(from[i], 1, down) : from[i] * up;
    }
}

//! densify
static void densify(num *to, uint32_t len, const index_type *list, uint32_t count)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] = 0;
    }
    for (i = 0u; i < count; ++i) {
        to[list[i]] = 1;
    }
}

//! list_active
static void list_active(event_list list, uint32_t *count, const num *from, uint32_t len)
{
    uint32_t i;
    uint32_t n = 0u;
    for (i = 0u; i < len; ++i) {
        if (from[i] != 0) {
            list[n] = (index_type)i;
            ++n;
        }
    }
    *count = n;
}

//! pool
/* The sum over a window, or its largest value; padding adds nothing and is never chosen. */
static void pool(num *to, const num *from, const conv_shape *s, int is_max)
{
    uint32_t position;
    uint32_t tap;
    uint32_t c;
    for (position = 0u; position < s->out_h * s->out_w; ++position) {
        int is_first = 1;
        for (c = 0u; c < s->outputs; ++c) {
            to[position * s->outputs + c] = 0;
        }
        for (tap = 0u; tap < s->kernel_h * s->kernel_w; ++tap) {
            const uint32_t y = position / s->out_w * s->stride_h + tap / s->kernel_w;
            const uint32_t x = position % s->out_w * s->stride_w + tap % s->kernel_w;
            if ((y >= s->padding_h) && (y - s->padding_h < s->height) &&
                (x >= s->padding_w) && (x - s->padding_w < s->width)) {
                const uint32_t at = (y - s->padding_h) * s->width + x - s->padding_w;
                for (c = 0u; c < s->outputs; ++c) {
                    num *out = &to[position * s->outputs + c];
                    const num value = from[at * s->outputs + c];
                    if (is_max == 0) {
                        *out += value;
                    } else if ((is_first != 0) || (value > *out)) {
                        *out = value;
                    } else {
                        /* The one before is larger. */
                    }
                }
                is_first = 0;
            }
        }
    }
}

//! scale_each: scale
static void scale_each(num *to, uint32_t len, int32_t factor, uint32_t shift)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] = scale(to[i], factor, shift);
    }
}

//! divide_each
static void divide_each(num *to, uint32_t len, float divisor)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] /= divisor;
    }
}

//! relu
static void relu(num *to, uint32_t len, const num *from)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] = (from[i] > 0) ? from[i] : 0;
    }
}

//! point
/* The value of a table at x, on a straight line between two of its points; beyond its ends, the
   value there. */
static inline int32_t point(const int32_t *table, int32_t x)
{
    const int32_t inside = (x < -TABLE_HALF) ? -TABLE_HALF
                                             : ((x >= TABLE_HALF) ? (TABLE_HALF - 1) : x);
    const uint32_t at = (uint32_t)(inside + TABLE_HALF);
    const int32_t rest = (int32_t)(at & ((1u << TABLE_STEP) - 1u));
    const int32_t low = table[at >> TABLE_STEP];
    const int32_t rise = (table[(at >> TABLE_STEP) + 1u] - low) * rest;
    return low + ((rise + (1 << (TABLE_STEP - 1u))) >> TABLE_STEP);
}

//! look_up: point
static void look_up(num *to, uint32_t len, const num *from, const int32_t *table)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] = point(table, from[i]);
    }
}

//! egru_neon: scale_four
#ifdef NEON
/* The values of a table at four points. */
static inline int32x4_t point_four(const int32_t *table, int32x4_t x)
{
    const int32x4_t half = vdupq_n_s32(TABLE_HALF);
    const int32x4_t most = vdupq_n_s32(TABLE_HALF - 1);
    const int32x4_t inside = vminq_s32(vmaxq_s32(x, vnegq_s32(half)), most);
    const uint32x4_t at = vreinterpretq_u32_s32(vaddq_s32(inside, half));
    const uint32x4_t rest = vandq_u32(at, vdupq_n_u32((1u << TABLE_STEP) - 1u));
    const uint32x4_t k = vshrq_n_u32(at, TABLE_STEP);
    const int32x4_t a = vcombine_s32(vld1_s32(&table[vgetq_lane_u32(k, 0)]),
                                     vld1_s32(&table[vgetq_lane_u32(k, 1)]));
    const int32x4_t b = vcombine_s32(vld1_s32(&table[vgetq_lane_u32(k, 2)]),
                                     vld1_s32(&table[vgetq_lane_u32(k, 3)]));
    const int32x4_t low = vuzp1q_s32(a, b);
    const int32x4_t rise = vmulq_s32(vsubq_s32(vuzp2q_s32(a, b), low), vreinterpretq_s32_u32(rest));
    return vaddq_s32(low, vrshrq_n_s32(rise, TABLE_STEP));
}

/* Four units of an event-based GRU. */
static inline void egru_neon(num *to, uint32_t len, num *h, const num *a, const num *b,
                             const int32_t *threshold, const int32_t *tangent,
                             const int32_t *logistic, int32_t share, uint32_t drop, int is_start)
{
    const int64x2_t by_15 = vdupq_n_s64(-15);
    const int64x2_t by_16 = vdupq_n_s64(-16);
    const int32x4_t before = (is_start != 0) ? vdupq_n_s32(0) : vld1q_s32(h);
    const int32x4_t z = point_four(logistic, vaddq_s32(vld1q_s32(a), vld1q_s32(b)));
    const int32x4_t r = point_four(logistic, vaddq_s32(vld1q_s32(&a[len]), vld1q_s32(&b[len])));
    const int32x4_t kept = scale_four(vld1q_s32(&b[2u * len]), r, by_15);
    const int32x4_t new_ = point_four(tangent, vaddq_s32(vld1q_s32(&a[2u * len]), kept));
    const int32x4_t g = vmulq_s32(new_, vdupq_n_s32(STATE_LIFT));
    const int32x4_t mixed = vaddq_s32(g, scale_four(vsubq_s32(before, g), z, by_15));
    const int32x4_t change = scale_four(vsubq_s32(mixed, before), vdupq_n_s32(share), by_16);
    const int32x4_t c = vaddq_s32(before, change);
    const int32x4_t th = vld1q_s32(threshold);
    const int32x4_t over = vreinterpretq_s32_u32(vcgtq_s32(c, th));
    vst1q_s32(to, vandq_s32(over, vrshlq_s32(c, vdupq_n_s32(-(int32_t)drop))));
    vst1q_s32(h, vsubq_s32(c, vandq_s32(over, th)));
}
#endif

//! egru: scale point egru_neon
/* The units of an event-based GRU; a and b are what the input and the events add to the gates. */
static void egru(num *to, uint32_t len, num *h, const num *a, const num *b,
                 const int32_t *threshold, const int32_t *tangent, const int32_t *logistic,
                 int32_t share, uint32_t drop, uint32_t restart, uint32_t steps)
{
    uint32_t j = 0u;
    const int is_start = (restart != 0u) && (steps % (restart + (restart == 0u)) == 0u);
#ifdef NEON
    for (; j + 4u <= len; j += 4u) {
        egru_neon(&to[j], len, &h[j], &a[j], &b[j], &threshold[j], tangent, logistic, share, drop,
                  is_start);
    }
#endif
    for (; j < len; ++j) {
        const int32_t before = (is_start != 0) ? 0 : h[j];
        const int32_t z = point(logistic, a[j] + b[j]);
        const int32_t r = point(logistic, a[len + j] + b[len + j]);
        const int32_t g = STATE_LIFT * point(tangent, a[2u * len + j] + scale(b[2u * len + j], r, 15u));
        const int32_t mixed = g + scale(before - g, z, 15u);
        const int32_t c = before + scale(mixed - before, share, 16u);
        if (c > threshold[j]) {
            to[j] = scale(c, 1, drop);
            h[j] = c - threshold[j];
        } else {
            to[j] = 0;
            h[j] = c;
        }
    }
}

//! sum_events: limited
static void sum_events(num *to, const index_type *list, uint32_t count)
{
    uint32_t k;
    for (k = 0u; k < count; ++k) {
        to[list[k]] = limited(to[list[k]] + 1);
    }
}

//! sum_values: limited
static void sum_values(num *to, uint32_t len, const num *from)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] = limited(to[i] + from[i]);
    }
}

//! max_events
static void max_events(num *to, const index_type *list, uint32_t count)
{
    uint32_t k;
    for (k = 0u; k < count; ++k) {
        to[list[k]] = 1;
    }
}

//! max_values
static void max_values(num *to, uint32_t len, const num *from, uint32_t steps)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        if ((steps == 0u) || (from[i] > to[i])) {
            to[i] = from[i];
        }
    }
}

//! mean_fixed
static void mean_fixed(num *to, uint32_t len, const num *sum, int32_t shift, uint32_t steps)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        const int64_t most = ((int64_t)steps < ((int64_t)1 << 31)) ? (int64_t)steps : ((int64_t)1 << 31);
        const int64_t count = 2 * most * ((int64_t)1 << ((shift < 0) ? -shift : 0));
        const int64_t dividend =
            2 * (int64_t)sum[i] * ((int64_t)1 << ((shift > 0) ? shift : 0)) + count / 2;
        int64_t y = dividend / count;
        if (dividend % count < 0) {
            --y;
        }
        to[i] = (int32_t)y;
    }
}

//! mean_float
static void mean_float(num *to, uint32_t len, const num *sum, uint32_t steps)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] = sum[i] / (float)steps;
    }
}

//! keep_values
static void keep_values(num *to, uint32_t len, const num *from)
{
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] = from[i];
    }
}

//! keep_events
static void keep_events(event_list to, uint32_t *to_count, const index_type *from, uint32_t count)
{
    uint32_t k;
    for (k = 0u; k < count; ++k) {
        to[k] = from[k];
    }
    *to_count = count;
}
