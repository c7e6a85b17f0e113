/* Products of float formats: one panel, 16 outputs. A block's weights are widened once, then rows run over
 * them, four at a time in registers. Bits are those of ref/product_float.h. */
#ifndef ES_KERNELS_NEON_PRODUCT_FLOAT_H
#define ES_KERNELS_NEON_PRODUCT_FLOAT_H

#include "base/size.h"
#include "essaim/panels.h"
#include "kernels/neon/vector.h"
#include "kernels/ref/set.h"

enum { TILE_ROWS = 64, ROWS_AT_ONCE = 4, QUARTERS = 4, PREFETCH_BYTES = 2048 };

/* One column of a panel as floats, times 2^-8 for fp8. */
static inline VECTOR_INLINE void widen_column(es_format format, const uint8_t *codes, float32x4_t *out)
{
    if (format == ES_FORMAT_FP8) {
        /* e4m3's exponent and fraction, moved into f16's places, mean 2^-8 of the value, subnormals too. */
        const int16x8_t kept = vdupq_n_s16((int16_t)0xbf80);
        int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(codes));
        float16x8_t low = vreinterpretq_f16_s16(vandq_s16(vshll_n_s8(vget_low_s8(bytes), 7), kept));
        float16x8_t high = vreinterpretq_f16_s16(vandq_s16(vshll_n_s8(vget_high_s8(bytes), 7), kept));
        out[0] = vcvt_f32_f16(vget_low_f16(low));
        out[1] = vcvt_f32_f16(vget_high_f16(low));
        out[2] = vcvt_f32_f16(vget_low_f16(high));
        out[3] = vcvt_f32_f16(vget_high_f16(high));
        return;
    }
    for (int k = 0; k < QUARTERS; k++) {
        if (format == ES_FORMAT_BF16)
            out[k] = vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(codes + 8 * k)), 16));
        else if (format == ES_FORMAT_F16)
            out[k] = load_f16(codes + 8 * k);
        else
            out[k] = vreinterpretq_f32_u8(vld1q_u8(codes + 16 * k));
    }
}

static inline VECTOR_INLINE size_t code_bytes(es_format format)
{
    return format == ES_FORMAT_FP8 ? 1 : format == ES_FORMAT_F32 ? 4 : 2;
}

/* Running values of a row: 16 outputs. */
typedef float32x4_t row_values[QUARTERS];

/* Columns [first, first + n) of 32-block index. */
typedef struct span {
    size_t index, first, n;
} span;

/* Widened weights of a span, and its inputs as floats. */
typedef struct span_scratch {
    float32x4_t w[ES_ROW_BLOCK][QUARTERS];
    float q[TILE_ROWS][ES_ROW_BLOCK];
} span_scratch;

static inline VECTOR_INLINE void widen_inputs(const es_q8_block *block, float *out)
{
    for (int i = 0; i < ES_ROW_BLOCK / 8; i++) {
        int16x8_t q = vmovl_s8(vld1_s8(block->q + 8 * i));
        vst1q_f32(out + 8 * i, vcvtq_f32_s32(vmovl_s16(vget_low_s16(q))));
        vst1q_f32(out + 8 * i + 4, vcvtq_f32_s32(vmovl_s16(vget_high_s16(q))));
    }
}

/* gather = fma(t, d, gather). */
static inline VECTOR_INLINE void close_block(es_format format, const float32x4_t *t, float d,
                                             float32x4_t *gather)
{
    for (int k = 0; k < QUARTERS; k++) {
        float32x4_t sum = format == ES_FORMAT_FP8 ? vmulq_n_f32(t[k], 256) : t[k];
        gather[k] = vfmaq_n_f32(gather[k], sum, d);
    }
}

/* gather += the span for rows [0, rows), a constant, from widened weights. */
static inline VECTOR_INLINE void add_rows(es_format format, int rows, const span *s,
                                          const span_scratch *scratch, const float (*q)[ES_ROW_BLOCK],
                                          const es_q8_block *const *x, row_values *gather)
{
    row_values t[ROWS_AT_ONCE];
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < QUARTERS; k++) t[r][k] = vdupq_n_f32(0);
    for (size_t c = 0; c < s->n; c++)
        for (int r = 0; r < rows; r++)
            for (int k = 0; k < QUARTERS; k++)
                t[r][k] = vfmaq_n_f32(t[r][k], scratch->w[c][k], q[r][s->first + c]);
    for (int r = 0; r < rows; r++) close_block(format, t[r], x[r][s->index].d, gather[r]);
}

static inline VECTOR_INLINE void add_span(es_format format, const uint8_t *codes, const span *s,
                                          const es_q8_block *const *x, size_t count, span_scratch *scratch,
                                          row_values *gather)
{
    size_t column = ES_PANEL_ROWS * code_bytes(format), t = 0;
    prefetch(codes + PREFETCH_BYTES, ES_ROW_BLOCK * column);
    for (size_t c = 0; c < s->n; c++) widen_column(format, codes + c * column, scratch->w[c]);
    for (size_t r = 0; r < count; r++) widen_inputs(x[r] + s->index, scratch->q[r]);
    for (; t + ROWS_AT_ONCE <= count; t += ROWS_AT_ONCE)
        add_rows(format, ROWS_AT_ONCE, s, scratch, scratch->q + t, x + t, gather + t);
    for (; t < count; t++) add_rows(format, 1, s, scratch, scratch->q + t, x + t, gather + t);
}

/* The same for a whole block of one row, whose weights are used as they are widened. */
static inline VECTOR_INLINE void add_block_one(es_format format, const uint8_t *codes,
                                               const es_q8_block *block, float32x4_t *gather)
{
    size_t column = ES_PANEL_ROWS * code_bytes(format);
    float q[ES_ROW_BLOCK];
    row_values t, w;
    for (int k = 0; k < QUARTERS; k++) t[k] = vdupq_n_f32(0);
    widen_inputs(block, q);
    prefetch(codes + PREFETCH_BYTES, ES_ROW_BLOCK * column);
    for (size_t c = 0; c < ES_ROW_BLOCK; c++) {
        widen_column(format, codes + c * column, w);
        for (int k = 0; k < QUARTERS; k++) t[k] = vfmaq_n_f32(t[k], w[k], q[c]);
    }
    close_block(format, t, block->d, gather);
}

/* acc += scale * part, part = 0, for the 16 rows of the panel that begins at row and the scales of column c.
 */
static inline VECTOR_INLINE void close_scale(const es_matrix *w, size_t row, size_t c, size_t count,
                                             row_values *acc, row_values *part)
{
    const float *scales = w->scales + (w->col_phase + c) / ES_SCALE_BLOCK;
    float of_row[ES_PANEL_ROWS];
    for (size_t i = 0; i < ES_PANEL_ROWS; i++)
        of_row[i] =
            scales[(w->row_phase + es_size_min(row + i, w->rows - 1)) / ES_SCALE_BLOCK * w->scale_stride];
    for (size_t t = 0; t < count; t++)
        for (size_t k = 0; k < QUARTERS; k++) {
            acc[t][k] = vfmaq_f32(acc[t][k], vld1q_f32(of_row + 4 * k), part[t][k]);
            part[t][k] = vdupq_n_f32(0);
        }
}

/* The panel from row on, for count rows; with one, the running values stay in registers. */
static inline VECTOR_INLINE void float_panel(es_format format, bool one, row_values *acc, row_values *part,
                                             const es_matrix *w, size_t row, size_t col_first,
                                             size_t col_count, const es_q8_block *const *x, size_t count,
                                             float *out, size_t out_stride, size_t outputs)
{
    span_scratch scratch;
    bool scaled = format == ES_FORMAT_FP8;
    size_t column = ES_PANEL_ROWS * code_bytes(format), end = col_first + col_count;
    const uint8_t *panel = w->data + row / ES_PANEL_ROWS * w->row_bytes;
    row_values *gather = scaled ? part : acc;
    for (size_t t = 0; t < count; t++)
        for (int k = 0; k < QUARTERS; k++) acc[t][k] = part[t][k] = vdupq_n_f32(0);
    for (size_t c = col_first; c < end;) {
        size_t border = scaled ? c + ES_SCALE_BLOCK - (w->col_phase + c) % ES_SCALE_BLOCK : end;
        border = es_size_min(border, end);
        const span s = {c / ES_ROW_BLOCK, c % ES_ROW_BLOCK,
                        es_size_min(ES_ROW_BLOCK - c % ES_ROW_BLOCK, border - c)};
        if (one && s.n == ES_ROW_BLOCK)
            add_block_one(format, panel + c * column, x[0] + s.index, gather[0]);
        else
            add_span(format, panel + c * column, &s, x, count, &scratch, gather);
        c += s.n;
        if (scaled && c == border) close_scale(w, row, c - 1, count, acc, part);
    }
    for (size_t t = 0; t < count; t++) store_lanes(out + t * out_stride, acc[t], outputs);
}

static inline VECTOR_INLINE void float_walk(es_format format, const es_matrix *w, size_t row_first,
                                            size_t row_count, size_t col_first, size_t col_count,
                                            const es_q8_block *const *x, size_t count, float *out,
                                            size_t out_stride)
{
    row_values many[2][TILE_ROWS], single[2];
    for (size_t done = 0; done < row_count; done += ES_PANEL_ROWS)
        for (size_t t = 0; t < count; t += TILE_ROWS) {
            size_t some = es_size_min(count - t, TILE_ROWS), row = row_first + done;
            float *to = out + t * out_stride + done;
            if (some == 1)
                float_panel(format, true, &single[0], &single[1], w, row, col_first, col_count, x + t, 1, to,
                            out_stride, row_count - done);
            else
                float_panel(format, false, many[0], many[1], w, row, col_first, col_count, x + t, some, to,
                            out_stride, row_count - done);
        }
}

#endif
