/* Products of float formats: two panels side by side. A block's weights are widened once, then rows run over
 * them, eight at a time in registers. Bits are those of ref/product_float.h. */
#ifndef ES_KERNELS_AVX512_PRODUCT_FLOAT_H
#define ES_KERNELS_AVX512_PRODUCT_FLOAT_H

#include "base/size.h"
#include "essaim/panels.h"
#include "kernels/avx512/vector.h"
#include "kernels/ref/set.h"

enum { TILE_ROWS = 64, ROWS_AT_ONCE = 8, PREFETCH_BYTES = 4096 };

/* One column of a panel as floats; fp8's stand as f16 by now. */
static inline VECTOR_INLINE __m512 widen_column(es_format format, const uint8_t *codes)
{
    switch (format) {
    case ES_FORMAT_BF16: {
        __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)codes));
        return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
    }
    case ES_FORMAT_F32:
        return _mm512_loadu_ps((const void *)codes);
    default:
        return load_f16(codes);
    }
}

/* Columns [0, n) of fp8 codes as f16 of 2^-8 of their values: e4m3's exponent and fraction, moved into f16's
 * places, mean that, subnormals too. Through memory, because f16 widens from there with half the work. */
static inline VECTOR_INLINE void widen_fp8(const uint8_t *codes, size_t n, uint16_t (*out)[ES_PANEL_ROWS])
{
    const __m512i places = _mm512_set1_epi16((short)0xbf80);
#pragma GCC unroll 4
    for (size_t c = 0; c < n; c += 2) {
        const uint8_t *from = codes + c * ES_PANEL_ROWS;
        __m256i two = n - c == 1
                          ? _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)from))
                          : _mm256_loadu_si256((const __m256i *)(const void *)from);
        __m512i wide = _mm512_slli_epi16(_mm512_cvtepi8_epi16(two), 7);
        _mm512_store_si512(out[c], _mm512_and_si512(wide, places));
    }
}

static inline VECTOR_INLINE size_t code_bytes(es_format format)
{
    return format == ES_FORMAT_FP8 ? 1 : format == ES_FORMAT_F32 ? 4 : 2;
}

/* Running values of a tile's rows for up to two panels. */
typedef __m512 tile_values[2];

/* Columns [first, first + n) of a 32-block of rows x. */
typedef struct span {
    size_t index, first, n;
} span;

/* Widened weights of a span, and its inputs as floats. */
typedef struct span_scratch {
    __m512 w[2][ES_ROW_BLOCK];
    _Alignas(64) uint16_t half[2][ES_ROW_BLOCK][ES_PANEL_ROWS]; /* fp8 */
    float q[TILE_ROWS][ES_ROW_BLOCK];
} span_scratch;

static inline VECTOR_INLINE void widen_inputs(const es_q8_block *block, float *out)
{
    for (int i = 0; i < 2; i++) {
        __m128i q = _mm_loadu_si128((const __m128i *)(const void *)(block->q + 16 * i));
        _mm512_storeu_ps(out + 16 * i, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)));
    }
}

/* gather += the span for rows [0, rows), a constant; weights from scratch, or widened from codes on the way.
 */
static inline VECTOR_INLINE void add_rows(es_format format, int panels, int rows, bool direct,
                                          const uint8_t *const *codes, const span *s,
                                          const span_scratch *scratch, const float (*q)[ES_ROW_BLOCK],
                                          const es_q8_block *const *x, tile_values *gather)
{
    size_t column = ES_PANEL_ROWS * (format == ES_FORMAT_F32 ? 4 : 2);
    __m512 t[ROWS_AT_ONCE][2];
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < panels; k++) t[r][k] = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (size_t c = 0; c < s->n; c++) {
        __m512 w[2];
        for (int k = 0; k < panels; k++)
            w[k] = direct ? widen_column(format, codes[k] + c * column) : scratch->w[k][c];
        for (int r = 0; r < rows; r++) {
            __m512 input = _mm512_set1_ps(q[r][s->first + c]);
            for (int k = 0; k < panels; k++) t[r][k] = _mm512_fmadd_ps(w[k], input, t[r][k]);
        }
    }
    for (int r = 0; r < rows; r++) {
        __m512 d = _mm512_set1_ps(x[r][s->index].d);
        for (int k = 0; k < panels; k++) {
            __m512 sum = format == ES_FORMAT_FP8 ? _mm512_mul_ps(t[r][k], _mm512_set1_ps(256)) : t[r][k];
            gather[r][k] = _mm512_fmadd_ps(sum, d, gather[r][k]);
        }
    }
}

/* gather += the span for count rows: up to 8 take the weights as they are widened, more share the widened
 * ones. */
static inline VECTOR_INLINE void add_span(es_format format, int panels, const uint8_t *const *codes,
                                          const span *s, const es_q8_block *const *x, size_t count,
                                          span_scratch *scratch, tile_values *gather)
{
    size_t column = ES_PANEL_ROWS * code_bytes(format), t = 0;
    const uint8_t *wide[2] = {codes[0], codes[1]};
    const float(*q)[ES_ROW_BLOCK] = (const float(*)[ES_ROW_BLOCK])scratch->q;
    for (int k = 0; k < panels; k++) prefetch(codes[k] + PREFETCH_BYTES, ES_ROW_BLOCK * column);
    for (int k = 0; k < panels && format == ES_FORMAT_FP8; k++) {
        widen_fp8(codes[k], s->n, scratch->half[k]);
        wide[k] = (const uint8_t *)scratch->half[k];
    }
    if (format == ES_FORMAT_FP8) column = ES_PANEL_ROWS * sizeof(uint16_t);
    for (size_t r = 0; r < count; r++) widen_inputs(x[r] + s->index, scratch->q[r]);
    for (int k = 0; k < panels && count > 8; k++)
        for (size_t c = 0; c < s->n; c++) scratch->w[k][c] = widen_column(format, wide[k] + c * column);
    for (; t + 8 <= count && count > 8; t += 8)
        add_rows(format, panels, 8, false, wide, s, scratch, q + t, x + t, gather + t);
    size_t left = count - t;
    if (left >= 8) {
        add_rows(format, panels, 8, true, wide, s, scratch, q + t, x + t, gather + t);
        return;
    }
    if ((left & 4) != 0) {
        add_rows(format, panels, 4, true, wide, s, scratch, q + t, x + t, gather + t);
        t += 4;
    }
    if ((left & 2) != 0) {
        add_rows(format, panels, 2, true, wide, s, scratch, q + t, x + t, gather + t);
        t += 2;
    }
    if ((left & 1) != 0) add_rows(format, panels, 1, true, wide, s, scratch, q + t, x + t, gather + t);
}

/* The scales of the 16 rows of the panel that begins at row, for column c. */
static inline VECTOR_INLINE __m512 load_scales(const es_matrix *w, size_t row, size_t c)
{
    const float *scales = w->scales + (w->col_phase + c) / ES_SCALE_BLOCK;
    size_t first = w->row_phase + row;
    if (first % ES_SCALE_BLOCK <= ES_SCALE_BLOCK - ES_PANEL_ROWS)
        return _mm512_set1_ps(scales[first / ES_SCALE_BLOCK * w->scale_stride]);
    float of_row[ES_PANEL_ROWS];
    for (size_t i = 0; i < ES_PANEL_ROWS; i++)
        of_row[i] =
            scales[(w->row_phase + es_size_min(row + i, w->rows - 1)) / ES_SCALE_BLOCK * w->scale_stride];
    return _mm512_loadu_ps(of_row);
}

/* One or two panels from row on, for count rows, whose running values are acc and part [count]; with a count
 * of 1, a constant, they stay in registers. */
static inline VECTOR_INLINE void float_panels(es_format format, int panels, bool one, tile_values *acc,
                                              tile_values *part, const es_matrix *w, size_t row,
                                              size_t col_first, size_t col_count, const es_q8_block *const *x,
                                              size_t count, float *out, size_t out_stride,
                                              const __mmask16 *mask)
{
    span_scratch scratch;
    bool scaled = format == ES_FORMAT_FP8;
    size_t column = ES_PANEL_ROWS * code_bytes(format), end = col_first + col_count;
    const uint8_t *panel = w->data + row / ES_PANEL_ROWS * w->row_bytes;
    for (size_t t = 0; t < count; t++)
        for (int k = 0; k < 2; k++) acc[t][k] = part[t][k] = _mm512_setzero_ps();
    for (size_t c = col_first; c < end;) {
        size_t border = scaled ? c + ES_SCALE_BLOCK - (w->col_phase + c) % ES_SCALE_BLOCK : end;
        border = es_size_min(border, end);
        const span s = {c / ES_ROW_BLOCK, c % ES_ROW_BLOCK,
                        es_size_min(ES_ROW_BLOCK - c % ES_ROW_BLOCK, border - c)};
        const uint8_t *codes[2] = {panel + c * column, panel + w->row_bytes + c * column};
        tile_values *gather = scaled ? part : acc;
        if (one && s.n == ES_ROW_BLOCK)
            add_span(format, panels, codes, &(span){s.index, 0, ES_ROW_BLOCK}, x, 1, &scratch, gather);
        else
            add_span(format, panels, codes, &s, x, count, &scratch, gather);
        c += s.n;
        if (!scaled || c < border) continue;
        for (int k = 0; k < panels; k++) {
            __m512 scale = load_scales(w, row + (size_t)k * ES_PANEL_ROWS, c - 1);
            for (size_t t = 0; t < count; t++) {
                acc[t][k] = _mm512_fmadd_ps(scale, part[t][k], acc[t][k]);
                part[t][k] = _mm512_setzero_ps();
            }
        }
    }
    for (size_t t = 0; t < count; t++)
        for (int k = 0; k < panels; k++)
            _mm512_mask_storeu_ps(out + t * out_stride + k * ES_PANEL_ROWS, mask[k], acc[t][k]);
}

static inline VECTOR_INLINE void float_walk(es_format format, const es_matrix *w, size_t row_first,
                                            size_t row_count, size_t col_first, size_t col_count,
                                            const es_q8_block *const *x, size_t count, float *out,
                                            size_t out_stride)
{
    tile_values many[2][TILE_ROWS], one[2];
    for (size_t done = 0; done < row_count; done += 2 * ES_PANEL_ROWS) {
        size_t rest = row_count - done, row = row_first + done;
        const __mmask16 mask[2] = {lanes_mask(rest),
                                   rest > ES_PANEL_ROWS ? lanes_mask(rest - ES_PANEL_ROWS) : 0};
        for (size_t t = 0; t < count; t += TILE_ROWS) {
            size_t some = es_size_min(count - t, TILE_ROWS);
            float *to = out + t * out_stride + done;
            if (rest <= ES_PANEL_ROWS)
                float_panels(format, 1, false, many[0], many[1], w, row, col_first, col_count, x + t, some,
                             to, out_stride, mask);
            else if (some == 1)
                float_panels(format, 2, true, &one[0], &one[1], w, row, col_first, col_count, x + t, 1, to,
                             out_stride, mask);
            else
                float_panels(format, 2, false, many[0], many[1], w, row, col_first, col_count, x + t, some,
                             to, out_stride, mask);
        }
    }
}

#endif
