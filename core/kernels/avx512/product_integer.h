/* Products of integer formats: two panels side by side, so that four inputs of a row serve 32 outputs. Few
 * rows unpack codes on the way, for up to four at once, whose sums stay in registers; many share a
 * super-block that is unpacked once (many_rows.h). Bits are those of ref/product_integer.h. */
#ifndef ES_KERNELS_AVX512_PRODUCT_INTEGER_H
#define ES_KERNELS_AVX512_PRODUCT_INTEGER_H

#include "kernels/avx512/many_rows.h"
#include "kernels/ref/set.h"

enum { TILE_ROWS = 64, FEW_ROWS = 4, PREFETCH_BYTES = 4096 };

/* What becomes of a super-block's values of count rows from first on, when they are not added up. */
typedef void values_fn(void *of, size_t first, size_t count, const row_values *values);

/* Minus bias times the sum of q: what the unsigned codes add too much; n is that for a bias of 128. */
static inline VECTOR_INLINE __m512i bias_of(es_format format, int32_t n)
{
    int bias = panel_bias(format);
    if (bias == 0) return _mm512_setzero_si512();
    return _mm512_srai_epi32(_mm512_set1_epi32(n), bias == 128 ? 0 : bias == 32 ? 2 : bias == 16 ? 3 : 4);
}

/* Asks for what the next super-blocks hold where this one has 32-block b; beyond the first panel follow those
 * of the next pair. */
static inline VECTOR_INLINE void prefetch_block(es_format format, int panels, const super_view *s, size_t b)
{
    size_t bytes = es_panel_parts_of(format, PANEL_BLOCKS).bytes / PANEL_BLOCKS;
    for (int k = 0; k < panels; k++) {
        const uint8_t *ahead = s->data[k] + PREFETCH_BYTES + bytes * b;
        bool next = ahead >= s->end + (size_t)k * s->panel_bytes;
        prefetch(ahead + (next ? (size_t)(panels - 1) * s->panel_bytes : 0), bytes);
    }
}

/* Four inputs in every lane, in a register of their own: two panels take them from there. */
static inline VECTOR_INLINE __m512i inputs_4(const int8_t *q)
{
    typedef int8_t four[4];
    __m512i v;
    __asm__("vpbroadcastd %1, %0" : "=v"(v) : "m"(*(const four *)q));
    return v;
}

/* sum[r][k] += groups [first, first + count) of 32-block b. */
static inline VECTOR_INLINE void dot_groups(es_format format, int panels, int rows, const super_view *s,
                                            size_t b, int first, int count, const es_q8_block *const *x,
                                            size_t index, __m512i (*sum)[2])
{
    for (int g = first; g < first + count; g++) {
        __m512i w[2];
        for (int k = 0; k < panels; k++) w[k] = unpack_group(format, s->data[k], &s->at, b, g);
        for (int r = 0; r < rows; r++) {
            __m512i q = inputs_4(x[r][index].q + 4 * g);
            for (int k = 0; k < panels; k++) sum[r][k] = _mm512_dpbusd_epi32(sum[r][k], w[k], q);
        }
    }
}

/* One 32-block of a format of 32 columns, into acc. */
static inline VECTOR_INLINE void add_block(es_format format, int panels, int rows, const super_view *s,
                                           size_t b, const es_q8_block *const *x, size_t index,
                                           row_values *acc)
{
    __m512i sum[FEW_ROWS][2];
    __m512 zero = _mm512_setzero_ps(), d[2], m[2];
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < panels; k++) sum[r][k] = bias_of(format, x[r][index].bias32);
    dot_groups(format, panels, rows, s, b, 0, GROUPS, x, index, sum);
    for (int k = 0; k < panels; k++) {
        d[k] = load_f16(s->data[k] + s->at.d + b * 32);
        if (format == ES_FORMAT_Q5_1) m[k] = load_f16(s->data[k] + s->at.m + b * 32);
    }
    for (int r = 0; r < rows; r++) {
        __m512 of_row = _mm512_set1_ps(x[r][index].d), of_sum = _mm512_set1_ps(x[r][index].s);
        for (int k = 0; k < panels; k++) {
            __m512 part = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][k]), of_row, zero);
            acc[r][k] = _mm512_fmadd_ps(d[k], part, acc[r][k]);
            if (format == ES_FORMAT_Q5_1)
                acc[r][k] = _mm512_fmadd_ps(m[k], _mm512_add_ps(of_sum, zero), acc[r][k]);
        }
    }
}

/* (float)A of a 32-block whose integer sums come with MAGIC_BITS; every step is exact, magic is MAGIC * a.
 * q6_k's halves come one after the other, the second finds the first's in so_far. */
static inline VECTOR_INLINE __m512 scale_sum(__m512i sum, __m512 a, __m512 magic, const __m512 *so_far)
{
    __m512 value = _mm512_castsi512_ps(sum);
    if (so_far != NULL) return _mm512_fmadd_ps(_mm512_sub_ps(value, _mm512_set1_ps(MAGIC)), a, *so_far);
    return _mm512_fmsub_ps(value, a, magic);
}

/* One 32-block of a format of 256 columns, into part. */
static inline VECTOR_INLINE void add_k_block(es_format format, int panels, int rows, const super_view *s,
                                             size_t b, const es_q8_block *const *x, size_t index,
                                             row_values *part)
{
    const __m512i magic = _mm512_set1_epi32(MAGIC_BITS);
    int halves = format == ES_FORMAT_Q6_K ? 2 : 1;
    __m512i sum[FEW_ROWS][2];
    __m512 value[FEW_ROWS][2];
    for (int h = 0; h < halves; h++) {
        __m512 a[2], times_magic[2];
        for (int k = 0; k < panels; k++) {
            a[k] = scales_of(format, s, k, b, (size_t)h);
            times_magic[k] = _mm512_mul_ps(a[k], _mm512_set1_ps(MAGIC));
        }
        for (int r = 0; r < rows; r++) {
            int32_t n = h == 0 ? x[r][index].bias16 : x[r][index].bias32 - x[r][index].bias16;
            for (int k = 0; k < panels; k++)
                sum[r][k] = halves == 2 ? _mm512_add_epi32(bias_of(format, n), magic) : magic;
        }
        dot_groups(format, panels, rows, s, b, h * GROUPS / halves, GROUPS / halves, x, index, sum);
        for (int r = 0; r < rows; r++)
            for (int k = 0; k < panels; k++)
                value[r][k] = scale_sum(sum[r][k], a[k], times_magic[k], h == 0 ? NULL : &value[r][k]);
    }
    for (int r = 0; r < rows; r++) {
        __m512 d = _mm512_set1_ps(x[r][index].d);
        for (int k = 0; k < panels; k++) part[r][k] = _mm512_fmadd_ps(value[r][k], d, part[r][k]);
    }
}

/* The end of a super-block of 256 columns: D, M and the mins. */
static inline VECTOR_INLINE void close_few(es_format format, int panels, int rows, const super_view *s,
                                           const es_q8_block *const *x, size_t index, row_values *part,
                                           row_values *acc)
{
    __m512 sum[FEW_ROWS][2];
    for (int k = 0; k < panels; k++) {
        __m512 d = load_f16(s->data[k] + s->at.d);
        for (int r = 0; r < rows; r++) {
            acc[r][k] = _mm512_fmadd_ps(d, part[r][k], acc[r][k]);
            sum[r][k] = _mm512_setzero_ps();
        }
    }
    if (!panel_has_mins(format)) return;
#pragma GCC unroll 1
    for (size_t j = 0; j < PANEL_BLOCKS; j++) {
        __m512 min[2];
        for (int k = 0; k < panels; k++) min[k] = mins_of(s, k, j);
        for (int r = 0; r < rows; r++) {
            __m512 of_row = _mm512_set1_ps(x[r][index + j].s);
            for (int k = 0; k < panels; k++) sum[r][k] = _mm512_fmadd_ps(min[k], of_row, sum[r][k]);
        }
    }
    for (int k = 0; k < panels; k++) {
        __m512 m = load_f16(s->data[k] + s->at.m);
        for (int r = 0; r < rows; r++) acc[r][k] = _mm512_fnmadd_ps(m, sum[r][k], acc[r][k]);
    }
}

/* acc += a super-block of n 32-blocks for rows [0, rows), a constant up to FEW_ROWS, whose first block is
 * x[r][index]. Weights that follow are asked for when weights_ahead: no other rows did. */
static inline VECTOR_INLINE void add_few(es_format format, int panels, int rows, const super_view *s,
                                         bool weights_ahead, size_t n, const es_q8_block *const *x,
                                         size_t index, row_values *acc)
{
    row_values part[FEW_ROWS], sum[FEW_ROWS];
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < panels; k++) {
            sum[r][k] = acc[r][k];
            part[r][k] = _mm512_setzero_ps();
        }
    for (size_t b = 0; b < n; b++) {
        if (weights_ahead) prefetch_block(format, panels, s, b);
        if (!panel_is_k(format))
            add_block(format, panels, rows, s, b, x, index + b, sum);
        else
            add_k_block(format, panels, rows, s, b, x, index + b, part);
    }
    if (panel_is_k(format)) close_few(format, panels, rows, s, x, index, part, sum);
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < panels; k++) acc[r][k] = sum[r][k];
}

/* A super-block for rows [t, t + rows), which share codes unless they are few and codes NULL: acc[t] += it;
 * or with use, its values alone go there. */
static inline VECTOR_INLINE void add_group(es_format format, int panels, int rows, const super_view *s,
                                           const super_codes *codes, lookahead *ahead, bool weights_ahead,
                                           size_t n, const es_q8_block *const *x, size_t index, size_t t,
                                           row_values *acc, values_fn *use, void *of)
{
    row_values alone[EIGHT];
    row_values *to = use != NULL ? alone : acc + t;
    for (int r = 0; r < rows && use != NULL; r++) alone[r][0] = alone[r][1] = _mm512_setzero_ps();
    if (codes != NULL)
        add_together(format, s, codes, ahead, n, x + t, index, to);
    else
        add_few(format, panels, rows, s, weights_ahead, n, x + t, index, to);
    if (use != NULL) use(of, t, (size_t)rows, (const row_values *)alone);
}

/* A super-block for count rows, as many at once as registers hold: acc += it, or with use each row's values
 * alone. */
static inline VECTOR_INLINE void add_rows(es_format format, int panels, const super_view *s,
                                          super_codes *codes, size_t n, const es_q8_block *const *x,
                                          size_t index, size_t count, row_values *acc, values_fn *use,
                                          void *of)
{
    size_t t = 0;
    if (panels == 1) {
        for (; t < count; t++) add_group(format, 1, 1, s, NULL, NULL, true, n, x, index, t, acc, use, of);
        return;
    }
    if (count >= EIGHT) {
        const size_t together = (size_t)rows_together(format);
        lookahead ahead = lookahead_of(format, s, count / together * n);
        unpack_super(format, s, n, codes);
        for (; t + together <= count; t += together)
            add_group(format, 2, (int)together, s, codes, &ahead, false, n, x, index, t, acc, use, of);
    }
    bool first = t == 0;
    if (t + 4 <= count) {
        add_group(format, 2, 4, s, NULL, NULL, first, n, x, index, t, acc, use, of);
        t += 4;
    }
    if (t + 2 <= count) {
        add_group(format, 2, 2, s, NULL, NULL, first, n, x, index, t, acc, use, of);
        t += 2;
    }
    if (t < count) add_group(format, 2, 1, s, NULL, NULL, first, n, x, index, t, acc, use, of);
}

/* The super-block of columns [c, c + 256) of the panels at panel. */
static inline VECTOR_INLINE super_view view_of(es_format format, const es_matrix *w, const uint8_t *panel,
                                               size_t c, size_t *ret_n)
{
    size_t n = es_size_min(w->cols - c, ES_PANEL_COLS) / PANEL_BLOCK;
    size_t at = c / ES_PANEL_COLS * es_panel_parts_of(format, PANEL_BLOCKS).bytes;
    *ret_n = n;
    return (super_view){.data = {panel + at, panel + w->row_bytes + at},
                        .at = n == PANEL_BLOCKS ? es_panel_parts_of(format, PANEL_BLOCKS)
                                                : es_panel_parts_of(format, n),
                        .end = panel + w->row_bytes,
                        .panel_bytes = w->row_bytes};
}

static inline VECTOR_INLINE void integer_walk(es_format format, const es_matrix *w, size_t row_first,
                                              size_t row_count, size_t col_first, size_t col_count,
                                              const es_q8_block *const *x, size_t count, float *out,
                                              size_t out_stride)
{
    row_values acc[TILE_ROWS];
    super_codes codes;
    size_t n;
    for (size_t done = 0; done < row_count; done += 2 * ES_PANEL_ROWS) {
        size_t rest = row_count - done;
        const uint8_t *panel = w->data + (row_first + done) / ES_PANEL_ROWS * w->row_bytes;
        const __mmask16 mask[2] = {lanes_mask(rest),
                                   rest > ES_PANEL_ROWS ? lanes_mask(rest - ES_PANEL_ROWS) : 0};
        for (size_t t = 0; t < count; t += TILE_ROWS) {
            size_t some = es_size_min(count - t, TILE_ROWS);
            for (size_t r = 0; r < some; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
            for (size_t c = col_first; c < col_first + col_count; c += ES_PANEL_COLS) {
                super_view s = view_of(format, w, panel, c, &n);
                if (rest <= ES_PANEL_ROWS)
                    add_rows(format, 1, &s, &codes, n, x + t, c / PANEL_BLOCK, some, acc, NULL, NULL);
                else
                    add_rows(format, 2, &s, &codes, n, x + t, c / PANEL_BLOCK, some, acc, NULL, NULL);
            }
            for (size_t r = 0; r < some; r++)
                for (int k = 0; k < (rest <= ES_PANEL_ROWS ? 1 : 2); k++)
                    _mm512_mask_storeu_ps(out + (t + r) * out_stride + done + (size_t)k * ES_PANEL_ROWS,
                                          mask[k], acc[r][k]);
        }
    }
}

#endif
