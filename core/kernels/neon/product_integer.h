/* Products of integer formats: a quarter of a panel at a time, 4 outputs, so that a 32-block's weights fit in
 * registers while every row runs over them, four rows at once. Sums of four products are sdot's, which is
 * exact. Bits are those of ref/product_integer.h. */
#ifndef ES_KERNELS_NEON_PRODUCT_INTEGER_H
#define ES_KERNELS_NEON_PRODUCT_INTEGER_H

#include "kernels/neon/vector.h"
#include "kernels/panel.h"
#include "kernels/ref/set.h"

enum { TILE_ROWS = 64, ROWS_AT_ONCE = 4, GROUPS = 8, QUARTERS = 4, LANES = 4, PREFETCH_BYTES = 2048 };

/* One 32-block of a quarter of a panel. q8_0's and iq4_nl's weights are signed, the others stand above their
 * c by the format's bias. */
typedef struct block_weights {
    int8x16_t w[GROUPS];
    float32x4_t d, m;
    int32x4_t a[2];
} block_weights;

static inline VECTOR_INLINE bool is_signed_format(es_format format)
{
    return format == ES_FORMAT_Q8_0 || format == ES_FORMAT_IQ4_NL;
}

/* low and high are the quarter's bytes of a group: 16 of the 64. */
static inline VECTOR_INLINE void unpack_codes(es_format format, const uint8_t *low, const uint8_t *high,
                                              int8x16_t *out)
{
    const uint8x16_t sign = vdupq_n_u8(0x80), half = vdupq_n_u8(15), fifth = vdupq_n_u8(16),
                     two = vdupq_n_u8(48);
    uint8x16_t w[GROUPS];
    if (format == ES_FORMAT_Q8_0) {
        for (int g = 0; g < GROUPS; g++) w[g] = veorq_u8(vld1q_u8(low + 64 * g), sign);
    } else {
        for (int i = 0; i < GROUPS / 2; i++) {
            uint8x16_t both = vld1q_u8(low + 64 * i);
            w[2 * i] = vandq_u8(both, half);
            w[2 * i + 1] = shift_bytes(both, -4);
        }
    }
    if (format == ES_FORMAT_IQ4_NL) {
        uint8x16_t values = veorq_u8(vld1q_u8(ES_IQ4_NL_VALUES), sign);
        for (int g = 0; g < GROUPS; g++) w[g] = vqtbl1q_u8(values, w[g]);
    } else if (format == ES_FORMAT_Q6_K) {
        for (int g = 0; g < GROUPS; g++) {
            uint8x16_t bits = shift_bytes(vld1q_u8(high + 64 * (g / 4)), 4 - g % 4 * 2);
            w[g] = vorrq_u8(w[g], vandq_u8(bits, two));
        }
    } else if (format == ES_FORMAT_Q5_0 || format == ES_FORMAT_Q5_1 || format == ES_FORMAT_Q5_K) {
        for (int g = 0; g < GROUPS; g++)
            w[g] = vorrq_u8(w[g], vandq_u8(shift_bytes(vld1q_u8(high), 4 - g), fifth));
    }
    for (int g = 0; g < GROUPS; g++) out[g] = vreinterpretq_s8_u8(w[g]);
}

static inline VECTOR_INLINE void load_block(es_format format, const uint8_t *super, const es_panel_parts *at,
                                            size_t b, size_t quarter, block_weights *block)
{
    size_t low = format == ES_FORMAT_Q8_0 ? 512 : 256, high = format == ES_FORMAT_Q6_K ? 128 : 64,
           lanes = quarter * LANES;
    unpack_codes(format, super + at->low + b * low + 16 * quarter, super + at->high + b * high + 16 * quarter,
                 block->w);
    if (!panel_is_k(format)) {
        block->d = load_f16(super + at->d + 2 * (b * ES_PANEL_ROWS + lanes));
        if (format == ES_FORMAT_Q5_1) block->m = load_f16(super + at->m + 2 * (b * ES_PANEL_ROWS + lanes));
    } else if (format == ES_FORMAT_Q6_K) {
        block->a[0] = load_bytes(super + at->a + 2 * b * ES_PANEL_ROWS + lanes, true);
        block->a[1] = load_bytes(super + at->a + (2 * b + 1) * ES_PANEL_ROWS + lanes, true);
    } else {
        block->a[0] = load_bytes(super + at->a + b * ES_PANEL_ROWS + lanes, false);
    }
}

/* sum += the products of four groups with 16 inputs. */
static inline VECTOR_INLINE int32x4_t add_groups(const int8x16_t *w, const int8_t *q, int32x4_t sum)
{
    int8x16_t x = vld1q_s8(q);
    sum = vdotq_laneq_s32(sum, w[0], x, 0);
    sum = vdotq_laneq_s32(sum, w[1], x, 1);
    sum = vdotq_laneq_s32(sum, w[2], x, 2);
    return vdotq_laneq_s32(sum, w[3], x, 3);
}

/* (float)A for one row's block; every step is exact. The sums begin with what the codes' bias adds too much,
 * which bias16 and bias32, what a bias of 128 adds, tell. */
static inline VECTOR_INLINE float32x4_t dot_block(es_format format, const block_weights *block,
                                                  const es_q8_block *x)
{
    int bias = is_signed_format(format) ? 0 : panel_bias(format);
    bool six = format == ES_FORMAT_Q6_K;
    int32x4_t first = vdupq_n_s32((six ? x->bias16 : x->bias32) * bias / 128);
    int32x4_t second = vdupq_n_s32(six ? (x->bias32 - x->bias16) * bias / 128 : 0);
    first = add_groups(block->w, x->q, first);
    second = add_groups(block->w + 4, x->q + 16, second);
    if (six) return vcvtq_f32_s32(vmlaq_s32(vmulq_s32(first, block->a[0]), second, block->a[1]));
    int32x4_t sum = vaddq_s32(first, second);
    return vcvtq_f32_s32(panel_is_k(format) ? vmulq_s32(sum, block->a[0]) : sum);
}

/* Running values of a row: 16 outputs. */
typedef float32x4_t row_values[QUARTERS];

/* One 32-block for a row: of 32-column formats into acc, of 256-column ones into part. */
static inline VECTOR_INLINE void add_block(es_format format, const block_weights *block, const es_q8_block *q,
                                           size_t quarter, float32x4_t *acc, float32x4_t *part)
{
    const float32x4_t zero = vdupq_n_f32(0);
    float32x4_t sum = dot_block(format, block, q), d = vdupq_n_f32(q->d);
    if (panel_is_k(format)) {
        part[quarter] = vfmaq_f32(part[quarter], sum, d);
        return;
    }
    acc[quarter] = vfmaq_f32(acc[quarter], block->d, vfmaq_f32(zero, sum, d));
    if (format == ES_FORMAT_Q5_1)
        acc[quarter] = vfmaq_f32(acc[quarter], block->m, vaddq_f32(vdupq_n_f32(q->s), zero));
}

/* The end of a super-block of 256 columns: D, M and the mins. */
static inline VECTOR_INLINE void close_super(es_format format, const uint8_t *super, const es_panel_parts *at,
                                             const es_q8_block *const *x, size_t index, size_t count,
                                             size_t quarter, row_values *acc, row_values *part)
{
    bool mins = panel_has_mins(format);
    float32x4_t d = load_f16(super + at->d + 8 * quarter),
                m = mins ? load_f16(super + at->m + 8 * quarter) : d, min[PANEL_BLOCKS];
    for (size_t j = 0; j < PANEL_BLOCKS && mins; j++)
        min[j] = vcvtq_f32_s32(load_bytes(super + at->mins + j * ES_PANEL_ROWS + quarter * LANES, false));
    for (size_t t = 0; t < count; t++) {
        acc[t][quarter] = vfmaq_f32(acc[t][quarter], d, part[t][quarter]);
        part[t][quarter] = vdupq_n_f32(0);
        if (!mins) continue;
        float32x4_t sum = vdupq_n_f32(0);
        for (size_t j = 0; j < PANEL_BLOCKS; j++) sum = vfmaq_n_f32(sum, min[j], x[t][index + j].s);
        acc[t][quarter] = vfmsq_f32(acc[t][quarter], m, sum);
    }
}

/* A quarter's 32-block for all rows. */
static inline VECTOR_INLINE void add_rows(es_format format, const block_weights *block,
                                          const es_q8_block *const *x, size_t index, size_t count,
                                          size_t quarter, row_values *acc, row_values *part)
{
    size_t t = 0;
    for (; t + ROWS_AT_ONCE <= count; t += ROWS_AT_ONCE)
        for (size_t k = 0; k < ROWS_AT_ONCE; k++)
            add_block(format, block, x[t + k] + index, quarter, acc[t + k], part[t + k]);
    for (; t < count; t++) add_block(format, block, x[t] + index, quarter, acc[t], part[t]);
}

/* One panel for count rows; with a count of 1, a constant, the running values stay in registers. */
static inline VECTOR_INLINE void integer_panel(es_format format, row_values *acc, row_values *part,
                                               const es_matrix *w, const uint8_t *panel, size_t col_first,
                                               size_t col_count, const es_q8_block *const *x, size_t count,
                                               float *out, size_t out_stride, size_t outputs)
{
    size_t full = es_panel_parts_of(format, PANEL_BLOCKS).bytes;
    for (size_t t = 0; t < count; t++)
        for (size_t k = 0; k < QUARTERS; k++) acc[t][k] = part[t][k] = vdupq_n_f32(0);
    for (size_t c = col_first; c < col_first + col_count; c += ES_PANEL_COLS) {
        size_t n = es_size_min(w->cols - c, ES_PANEL_COLS) / PANEL_BLOCK, index = c / PANEL_BLOCK;
        es_panel_parts at =
            n == PANEL_BLOCKS ? es_panel_parts_of(format, PANEL_BLOCKS) : es_panel_parts_of(format, n);
        const uint8_t *super = panel + c / ES_PANEL_COLS * full;
        for (size_t b = 0; b < n; b++) {
            prefetch(super + PREFETCH_BYTES + full / PANEL_BLOCKS * b, full / PANEL_BLOCKS);
            for (size_t quarter = 0; quarter < QUARTERS; quarter++) {
                block_weights block;
                load_block(format, super, &at, b, quarter, &block);
                add_rows(format, &block, x, index + b, count, quarter, acc, part);
            }
        }
        for (size_t quarter = 0; quarter < QUARTERS && panel_is_k(format); quarter++)
            close_super(format, super, &at, x, index, count, quarter, acc, part);
    }
    for (size_t t = 0; t < count; t++) store_lanes(out + t * out_stride, acc[t], outputs);
}

static inline VECTOR_INLINE void integer_walk(es_format format, const es_matrix *w, size_t row_first,
                                              size_t row_count, size_t col_first, size_t col_count,
                                              const es_q8_block *const *x, size_t count, float *out,
                                              size_t out_stride)
{
    row_values many[2][TILE_ROWS], one[2];
    for (size_t done = 0; done < row_count; done += ES_PANEL_ROWS) {
        const uint8_t *panel = w->data + (row_first + done) / ES_PANEL_ROWS * w->row_bytes;
        for (size_t t = 0; t < count; t += TILE_ROWS) {
            size_t some = es_size_min(count - t, TILE_ROWS);
            float *to = out + t * out_stride + done;
            if (some == 1)
                integer_panel(format, &one[0], &one[1], w, panel, col_first, col_count, x + t, 1, to,
                              out_stride, row_count - done);
            else
                integer_panel(format, many[0], many[1], w, panel, col_first, col_count, x + t, some, to,
                              out_stride, row_count - done);
        }
    }
}

#endif
