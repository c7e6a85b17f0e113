/* Products of integer formats: half a panel at a time, 8 outputs, so that a 32-block's weights fit in
 * registers while every row runs over them. Two panels are gone through side by side, because memory delivers
 * more to two streams than to one. Sums of pairs stay within 16 bits: see groups_in_16_bits. Bits are those
 * of ref/product_integer.h. */
#ifndef ES_KERNELS_AVX2_PRODUCT_INTEGER_H
#define ES_KERNELS_AVX2_PRODUCT_INTEGER_H

#include "kernels/avx2/vector.h"
#include "kernels/panel.h"
#include "kernels/ref/set.h"

enum { TILE_ROWS = 64, GROUPS = 8, HALVES = 2, LANES = 8, PREFETCH_BYTES = 4096 };

/* One 32-block of half a panel. q8_0's weights are signed, the others' unsigned with their bias (iq4_nl:
 * signed too). */
typedef struct block_weights {
    __m256i w[GROUPS];
    __m256 d, m;
    __m256 a[2];
} block_weights;

static inline VECTOR_INLINE bool is_signed_format(es_format format)
{
    return format == ES_FORMAT_Q8_0 || format == ES_FORMAT_IQ4_NL;
}

/* low and high are the half's bytes of a group: 32 of the 64. */
static inline VECTOR_INLINE void unpack_codes(es_format format, const uint8_t *low, const uint8_t *high,
                                              __m256i *w)
{
    const __m256i half = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16), two = _mm256_set1_epi8(48);
    const __m256i sign = _mm256_set1_epi8((char)0x80);
    if (format == ES_FORMAT_Q8_0) {
        for (int g = 0; g < GROUPS; g++) w[g] = _mm256_xor_si256(load_256(low + 64 * g), sign);
        return;
    }
    for (int i = 0; i < GROUPS / 2; i++) {
        __m256i both = load_256(low + 64 * i);
        w[2 * i] = _mm256_and_si256(both, half);
        w[2 * i + 1] = _mm256_and_si256(shift_words(both, -4), half);
    }
    if (format == ES_FORMAT_IQ4_NL) {
        __m256i values = _mm256_xor_si256(_mm256_broadcastsi128_si256(load_128(ES_IQ4_NL_VALUES)), sign);
        for (int g = 0; g < GROUPS; g++) w[g] = _mm256_shuffle_epi8(values, w[g]);
    } else if (format == ES_FORMAT_Q6_K) {
        for (int g = 0; g < GROUPS; g++) {
            __m256i bits = shift_words(load_256(high + 64 * (g / 4)), 4 - g % 4 * 2);
            w[g] = _mm256_or_si256(w[g], _mm256_and_si256(bits, two));
        }
    } else if (format == ES_FORMAT_Q5_0 || format == ES_FORMAT_Q5_1 || format == ES_FORMAT_Q5_K) {
        for (int g = 0; g < GROUPS; g++)
            w[g] = _mm256_or_si256(w[g], _mm256_and_si256(shift_words(load_256(high), 4 - g), fifth));
    }
}

static inline VECTOR_INLINE void load_block(es_format format, const uint8_t *super, const es_panel_parts *at,
                                            size_t b, size_t half, block_weights *block)
{
    size_t low = format == ES_FORMAT_Q8_0 ? 512 : 256, high = format == ES_FORMAT_Q6_K ? 128 : 64,
           lanes = half * LANES;
    unpack_codes(format, super + at->low + b * low + 32 * half, super + at->high + b * high + 32 * half,
                 block->w);
    if (!panel_is_k(format)) {
        block->d = load_f16(super + at->d + 2 * (b * ES_PANEL_ROWS + lanes));
        if (format == ES_FORMAT_Q5_1) block->m = load_f16(super + at->m + 2 * (b * ES_PANEL_ROWS + lanes));
    } else if (format == ES_FORMAT_Q6_K) {
        block->a[0] = bytes_to_floats(super + at->a + 2 * b * ES_PANEL_ROWS + lanes, true);
        block->a[1] = bytes_to_floats(super + at->a + (2 * b + 1) * ES_PANEL_ROWS + lanes, true);
    } else {
        block->a[0] = bytes_to_floats(super + at->a + b * ES_PANEL_ROWS + lanes, false);
    }
}

/* Minus bias times the sum of q: what the unsigned codes add too much; n is that for a bias of 128. */
static inline VECTOR_INLINE __m256i bias_of(es_format format, int32_t n)
{
    return is_signed_format(format) ? _mm256_setzero_si256()
                                    : _mm256_set1_epi32(n * panel_bias(format) / 128);
}

/* How many groups' pair sums fit in 16 bits: 2 * 127 * the largest code times this is below 32768. */
static inline VECTOR_INLINE int groups_in_16_bits(es_format format)
{
    if (is_signed_format(format)) return 1;
    return format == ES_FORMAT_Q6_K ? 2 : format == ES_FORMAT_Q4_0 || format == ES_FORMAT_Q4_K ? 8 : 4;
}

/* sum += the products of groups [first, first + count), exactly. */
static inline VECTOR_INLINE __m256i add_groups(es_format format, const __m256i *w, const int8_t *q, int first,
                                               int count, __m256i sum)
{
    const __m256i ones = _mm256_set1_epi16(1);
    int step = groups_in_16_bits(format);
    for (int g = first; g < first + count; g += step) {
        __m256i pairs = _mm256_setzero_si256();
        for (int i = g; i < g + step && i < first + count; i++) {
            __m256i x = broadcast_4(q + 4 * i), pair;
            if (is_signed_format(format))
                pair = _mm256_maddubs_epi16(_mm256_abs_epi8(w[i]), _mm256_sign_epi8(x, w[i]));
            else
                pair = _mm256_maddubs_epi16(w[i], x);
            pairs = i == g ? pair : _mm256_add_epi16(pairs, pair);
        }
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
    return sum;
}

/* (float)A for one row's block; every step is exact. */
static inline VECTOR_INLINE __m256 dot_block(es_format format, const block_weights *block,
                                             const es_q8_block *x)
{
    if (format == ES_FORMAT_Q6_K) {
        __m256i first = add_groups(format, block->w, x->q, 0, 4, bias_of(format, x->bias16));
        __m256i second = add_groups(format, block->w, x->q, 4, 4, bias_of(format, x->bias32 - x->bias16));
        __m256 sum = _mm256_mul_ps(_mm256_cvtepi32_ps(first), block->a[0]);
        return _mm256_fmadd_ps(_mm256_cvtepi32_ps(second), block->a[1], sum);
    }
    __m256 sum =
        _mm256_cvtepi32_ps(add_groups(format, block->w, x->q, 0, GROUPS, bias_of(format, x->bias32)));
    return panel_is_k(format) ? _mm256_mul_ps(sum, block->a[0]) : sum;
}

/* Running values of a row for up to two panels: 16 outputs each. */
typedef __m256 row_values[2 * HALVES];

/* One 32-block of the half panel whose values are the v-th: of 32-column formats into acc, of 256-column ones
 * into part. */
static inline VECTOR_INLINE void add_block(es_format format, const block_weights *block,
                                           const es_q8_block *const *x, size_t index, size_t count, size_t v,
                                           row_values *acc, row_values *part)
{
    const __m256 zero = _mm256_setzero_ps();
    for (size_t t = 0; t < count; t++) {
        const es_q8_block *q = x[t] + index;
        __m256 sum = dot_block(format, block, q), d = _mm256_set1_ps(q->d);
        if (panel_is_k(format)) {
            part[t][v] = _mm256_fmadd_ps(sum, d, part[t][v]);
            continue;
        }
        acc[t][v] = _mm256_fmadd_ps(block->d, _mm256_fmadd_ps(sum, d, zero), acc[t][v]);
        if (format == ES_FORMAT_Q5_1)
            acc[t][v] = _mm256_fmadd_ps(block->m, _mm256_add_ps(_mm256_set1_ps(q->s), zero), acc[t][v]);
    }
}

/* The end of a super-block of 256 columns: D, M and the mins. */
static inline VECTOR_INLINE void close_super(es_format format, const uint8_t *super, const es_panel_parts *at,
                                             const es_q8_block *const *x, size_t index, size_t count,
                                             size_t half, size_t v, row_values *acc, row_values *part)
{
    bool mins = panel_has_mins(format);
    __m256 d = load_f16(super + at->d + 16 * half), m = mins ? load_f16(super + at->m + 16 * half) : d,
           min[PANEL_BLOCKS];
    for (size_t j = 0; j < PANEL_BLOCKS && mins; j++)
        min[j] = bytes_to_floats(super + at->mins + j * ES_PANEL_ROWS + half * LANES, false);
    for (size_t t = 0; t < count; t++) {
        acc[t][v] = _mm256_fmadd_ps(d, part[t][v], acc[t][v]);
        part[t][v] = _mm256_setzero_ps();
        if (!mins) continue;
        __m256 sum = _mm256_setzero_ps();
        for (size_t j = 0; j < PANEL_BLOCKS; j++)
            sum = _mm256_fmadd_ps(min[j], _mm256_set1_ps(x[t][index + j].s), sum);
        acc[t][v] = _mm256_fnmadd_ps(m, sum, acc[t][v]);
    }
}

/* One or two panels for count rows; with a count of 1, a constant, the running values stay in registers. */
static inline VECTOR_INLINE void integer_panels(es_format format, size_t panels, row_values *acc,
                                                row_values *part, const es_matrix *w, const uint8_t *panel,
                                                size_t col_first, size_t col_count,
                                                const es_q8_block *const *x, size_t count, float *out,
                                                size_t out_stride, size_t outputs)
{
    size_t full = es_panel_parts_of(format, PANEL_BLOCKS).bytes;
    for (size_t t = 0; t < count; t++)
        for (size_t v = 0; v < panels * HALVES; v++) acc[t][v] = part[t][v] = _mm256_setzero_ps();
    for (size_t c = col_first; c < col_first + col_count; c += ES_PANEL_COLS) {
        size_t n = es_size_min(w->cols - c, ES_PANEL_COLS) / PANEL_BLOCK, index = c / PANEL_BLOCK;
        es_panel_parts at =
            n == PANEL_BLOCKS ? es_panel_parts_of(format, PANEL_BLOCKS) : es_panel_parts_of(format, n);
        const uint8_t *super = panel + c / ES_PANEL_COLS * full;
        for (size_t b = 0; b < n; b++)
            for (size_t k = 0; k < panels; k++) {
                const uint8_t *from = super + k * w->row_bytes;
                prefetch(from + PREFETCH_BYTES + full / PANEL_BLOCKS * b, full / PANEL_BLOCKS);
                for (size_t half = 0; half < HALVES; half++) {
                    block_weights block;
                    load_block(format, from, &at, b, half, &block);
                    add_block(format, &block, x, index + b, count, k * HALVES + half, acc, part);
                }
            }
        for (size_t v = 0; v < panels * HALVES && panel_is_k(format); v++)
            close_super(format, super + v / HALVES * w->row_bytes, &at, x, index, count, v % HALVES, v, acc,
                        part);
    }
    for (size_t t = 0; t < count; t++)
        for (size_t k = 0; k < panels; k++)
            store_lanes(out + t * out_stride + k * ES_PANEL_ROWS, acc[t] + k * HALVES,
                        outputs - k * ES_PANEL_ROWS);
}

static inline VECTOR_INLINE void integer_walk(es_format format, const es_matrix *w, size_t row_first,
                                              size_t row_count, size_t col_first, size_t col_count,
                                              const es_q8_block *const *x, size_t count, float *out,
                                              size_t out_stride)
{
    row_values many[2][TILE_ROWS], one[2];
    for (size_t done = 0; done < row_count; done += 2 * ES_PANEL_ROWS) {
        const uint8_t *panel = w->data + (row_first + done) / ES_PANEL_ROWS * w->row_bytes;
        size_t rest = row_count - done;
        for (size_t t = 0; t < count; t += TILE_ROWS) {
            size_t some = es_size_min(count - t, TILE_ROWS);
            float *to = out + t * out_stride + done;
            if (rest <= ES_PANEL_ROWS)
                integer_panels(format, 1, many[0], many[1], w, panel, col_first, col_count, x + t, some, to,
                               out_stride, rest);
            else if (some == 1)
                integer_panels(format, 2, &one[0], &one[1], w, panel, col_first, col_count, x + t, 1, to,
                               out_stride, rest);
            else
                integer_panels(format, 2, many[0], many[1], w, panel, col_first, col_count, x + t, some, to,
                               out_stride, rest);
        }
    }
}

#endif
