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
    uint32_t i;
    for (i = 0u; i < len; ++i) {
        to[i] = bias[i % channels];
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

//! finish_four: scale
/* Four outputs of a product: of sums of words, and of sums of their odd bytes in halves. */
static inline void finish_four(num *to, uint32_t len, uint32_t words, uint32_t odd, int32_t surplus,
                               const int32_t *factor, uint32_t each, uint32_t shift)
{
    const uint32_t even = words - (odd << 8);
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
/* Populations of LIF neurons whose reset comes a step later, four neurons at a time, as many as come in
   fours; how many fired. Decays and thresholds are one for all, or one each. */
static inline uint32_t lif_neon(num *v, const num *current, uint32_t len, int32_t decay,
                                const int32_t *decays, int32_t threshold,
                                const int32_t *thresholds, event_list list)
{
    const int64x2_t right = vdupq_n_s64(-16);
    uint32_t n = 0u;
    uint32_t j;
    for (j = 0u; j + 4u <= len; j += 4u) {
        const int32x4_t d = (decays == 0) ? vdupq_n_s32(decay) : vld1q_s32(&decays[j]);
        const int32x4_t th = (thresholds == 0) ? vdupq_n_s32(threshold) : vld1q_s32(&thresholds[j]);
        const int32x4_t before = vld1q_s32(&v[j]);
        const int32x4_t reset = vandq_s32(th, vreinterpretq_s32_u32(vcgtq_s32(before, th)));
        const int32x4_t sum = vaddq_s32(scale_four(before, d, right), vld1q_s32(&current[j]));
        const int32x4_t w = vsubq_s32(sum, reset);
        /* 16 bits a neuron. */
        const uint16x4_t over = vmovn_u32(vcgtq_s32(w, th));
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

//! product_i8: finish_four product_neon
/* Adds a product with events. A word holds four weights plus 128: sums of 16 bits hold 256 events. */
static void product_i8(num *to, uint32_t len, const uint32_t *rows, const index_type *list,
                       uint32_t count, const int32_t *factor, uint32_t channels, uint32_t shift)
{
    const uint32_t bytes = 0x00FF00FFu;
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
        uint32_t sum_a = 0u, odd_a = 0u;
        if (left > 12u) {
            uint32_t sum_b = 0u, odd_b = 0u, sum_c = 0u, odd_c = 0u, sum_d = 0u, odd_d = 0u;
            for (k = 0u; k < count; ++k) {
                const uint32_t *at = &row[(uint32_t)list[k] * width];
                sum_a += at[0];
                odd_a += (at[0] >> 8) & bytes;
                sum_b += at[1];
                odd_b += (at[1] >> 8) & bytes;
                sum_c += at[2];
                odd_c += (at[2] >> 8) & bytes;
                sum_d += at[3];
                odd_d += (at[3] >> 8) & bytes;
            }
            finish_four(&y[4], 4u, sum_b, odd_b, surplus, &f[4u * each], each, shift);
            finish_four(&y[8], 4u, sum_c, odd_c, surplus, &f[8u * each], each, shift);
            finish_four(&y[12], left - 12u, sum_d, odd_d, surplus, &f[12u * each], each, shift);
            word += 4u;
        } else {
            for (k = 0u; k < count; ++k) {
                const uint32_t four = row[(uint32_t)list[k] * width];
                sum_a += four;
                odd_a += (four >> 8) & bytes;
            }
            word += 1u;
        }
        finish_four(y, left, sum_a, odd_a, surplus, f, each, shift);
    }
}

//! product_values: scale
/* Adds a product with a few values. */
static void product_values(num *to, uint32_t len, const int8_t *rows, const int32_t *x,
                           uint32_t inputs, const int32_t *factor, uint32_t channels,
                           uint32_t shift)
{
    uint32_t i;
    uint32_t j;
    for (j = 0u; j < len; ++j) {
        int32_t sum = 0;
        for (i = 0u; i < inputs; ++i) {
            sum += x[i] * rows[i * len + j];
        }
        to[j] += scale(sum, factor[(channels == 1u) ? 0u : j], shift);
    }
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

//! values_i8
static void values_i8(int32_t *to, uint32_t len, const int8_t *rows, const int32_t *x,
                      uint32_t inputs)
{
    uint32_t i;
    uint32_t j;
    for (i = 0u; i < inputs; ++i) {
        const int8_t *row = &rows[i * len];
        if (x[i] != 0) {
            for (j = 0u; j < len; ++j) {
                to[j] += x[i] * row[j];
            }
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

//! finish_fixed: scale
static void finish_fixed(num *to, uint32_t len, const int32_t *sums, const int32_t *factor,
                         uint32_t channels, uint32_t shift)
{
    uint32_t start;
    uint32_t j;
    for (start = 0u; start < len; start += channels) {
        for (j = 0u; j < channels; ++j) {
            to[start + j] += scale(sums[start + j], factor[j], shift);
        }
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

//! egru: scale point
/* The units of an event-based GRU; a and b are what the input and the events add to the gates. */
static void egru(num *to, uint32_t len, num *h, const num *a, const num *b,
                 const int32_t *threshold, const int32_t *tangent, const int32_t *logistic,
                 int32_t share, uint32_t drop, uint32_t restart, uint32_t steps)
{
    uint32_t j;
    const int is_start = (restart != 0u) && (steps % (restart + (restart == 0u)) == 0u);
    for (j = 0u; j < len; ++j) {
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
