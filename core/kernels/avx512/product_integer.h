/* Products of integer formats: two panels side by side, so that a broadcast of four inputs serves 32 outputs,
 * and up to eight rows, whose sums stay in registers. Few rows unpack codes on the way; many share a
 * super-block that is unpacked once. Bits are those of ref/product_integer.h. */
#ifndef ES_KERNELS_AVX512_PRODUCT_INTEGER_H
#define ES_KERNELS_AVX512_PRODUCT_INTEGER_H

#include "kernels/avx512/vector.h"
#include "kernels/panel.h"
#include "kernels/ref/set.h"

enum { TILE_ROWS = 64, GROUPS = 8, ROWS_AT_ONCE = 8, PREFETCH_BYTES = 4096, PREFETCH_BLOCKS = 4 };

/* 1.5 * 2^23: added to an integer below 2^22, it makes that integer's bits those of a float. */
#define MAGIC 0x1.8p23f
enum { MAGIC_BITS = 0x4b400000 };

/* A super-block of one or two panels, and where the first panel ends. */
typedef struct super_view {
    const uint8_t *data[2];
    es_panel_parts at;
    const uint8_t *end;
    size_t panel_bytes;
} super_view;

/* What is asked for on the way through a super-block: lines of the next one of each panel, spread evenly over
 * the blocks of all rows, because a burst would keep rows waiting that come from the second cache. */
typedef struct lookahead {
    const uint8_t *next[2];
    size_t lines, steps; /* to ask for, in so many steps */
    size_t due;          /* of steps */
} lookahead;

/* A super-block of two panels as many rows share it: codes of a group a register, still with their bias;
 * where formats have mins, scales and mins as floats too. */
typedef struct super_codes {
    __m512i w[PANEL_BLOCKS][GROUPS][2];
    __m512 a[PANEL_BLOCKS][2], magic[PANEL_BLOCKS][2], min[PANEL_BLOCKS][2]; /* magic: MAGIC * a */
} super_codes;

/* Running values of a row for up to two panels. */
typedef __m512 row_values[2];

/* What becomes of a super-block's values of count rows from first on, when they are not added up. */
typedef void values_fn(void *of, size_t first, size_t count, const row_values *values);

static inline VECTOR_INLINE __m512 bytes_to_floats(const uint8_t *bytes, bool is_signed)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    return _mm512_cvtepi32_ps(is_signed ? _mm512_cvtepi8_epi32(v) : _mm512_cvtepu8_epi32(v));
}

/* The codes of group g of 32-block b, still with their bias. */
static inline VECTOR_INLINE __m512i unpack_group(es_format format, const uint8_t *super,
                                                 const es_panel_parts *at, size_t b, int g)
{
    const uint8_t *low = super + at->low, *high = super + at->high;
    if (format == ES_FORMAT_Q8_0) return load_512(low + (b * GROUPS + (size_t)g) * 64);
    __m512i both = load_512(low + (b * GROUPS + (size_t)g) / 2 * 64);
    __m512i code = _mm512_and_si512(g % 2 == 0 ? both : shift_words(both, -4), _mm512_set1_epi8(15));
    if (format == ES_FORMAT_IQ4_NL) {
        __m128i values = _mm_loadu_si128((const __m128i *)(const void *)ES_IQ4_NL_VALUES);
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), code);
    }
    if (format == ES_FORMAT_Q6_K) {
        __m512i bits = shift_words(load_512(high + (b * 2 + (size_t)g / 4) * 64), 4 - g % 4 * 2);
        return or_masked(code, bits, _mm512_set1_epi8(48));
    }
    if (format == ES_FORMAT_Q5_0 || format == ES_FORMAT_Q5_1 || format == ES_FORMAT_Q5_K)
        return or_masked(code, shift_words(load_512(high + b * 64), 4 - g), _mm512_set1_epi8(16));
    return code;
}

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

/* The next super-block, asked for in so many steps. */
static inline VECTOR_INLINE lookahead lookahead_of(es_format format, int panels, const super_view *s,
                                                   size_t steps)
{
    size_t bytes = es_panel_parts_of(format, PANEL_BLOCKS).bytes;
    lookahead a = {.lines = bytes / 64, .steps = steps};
    for (int k = 0; k < panels; k++) {
        a.next[k] = s->data[k] + bytes;
        if (a.next[k] >= s->end + (size_t)k * s->panel_bytes)
            a.next[k] += (size_t)(panels - 1) * s->panel_bytes;
    }
    return a;
}

static inline VECTOR_INLINE void lookahead_step(int panels, lookahead *a)
{
    for (a->due += a->lines; a->due >= a->steps; a->due -= a->steps)
        for (int k = 0; k < panels; k++) {
            _mm_prefetch((const char *)a->next[k], _MM_HINT_T0);
            a->next[k] += 64;
        }
}

/* sum += w * four inputs. The broadcast belongs to the instruction, once for each panel: compilers would keep
 * it in a register for both, which costs an instruction more and runs slower. */
static inline VECTOR_INLINE __m512i dot_4(__m512i sum, __m512i w, const int8_t *q)
{
    typedef int8_t four[4];
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(const four *)q));
    return sum;
}

/* sum[r][k] += groups [first, first + GROUPS / parts) of 32-block b. */
static inline VECTOR_INLINE void dot_groups(es_format format, int panels, int rows, const super_view *s,
                                            const super_codes *codes, size_t b, int first, int count,
                                            const es_q8_block *const *x, size_t index, __m512i (*sum)[2])
{
    for (int g = first; g < first + count; g++) {
        __m512i w[2];
        for (int k = 0; k < panels; k++)
            w[k] = codes != NULL ? codes->w[b][g][k] : unpack_group(format, s->data[k], &s->at, b, g);
        for (int k = 0; k < panels; k++)
            for (int r = 0; r < rows; r++)
                sum[r][k] = rows == 1
                                ? _mm512_dpbusd_epi32(sum[r][k], w[k], broadcast_4(x[r][index].q + 4 * g))
                                : dot_4(sum[r][k], w[k], x[r][index].q + 4 * g);
    }
}

/* One 32-block of a format of 32 columns, into acc. */
static inline VECTOR_INLINE void add_block(es_format format, int panels, int rows, const super_view *s,
                                           const super_codes *codes, size_t b, const es_q8_block *const *x,
                                           size_t index, row_values *acc)
{
    __m512i sum[ROWS_AT_ONCE][2];
    __m512 zero = _mm512_setzero_ps(), d[2], m[2];
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < panels; k++) sum[r][k] = bias_of(format, x[r][index].bias32);
    dot_groups(format, panels, rows, s, codes, b, 0, GROUPS, x, index, sum);
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

/* The scales of half h of 32-block b, and the mins of 32-block b. */
static inline VECTOR_INLINE __m512 scales_of(es_format format, const super_view *s, int k, size_t b, size_t h)
{
    size_t halves = format == ES_FORMAT_Q6_K ? 2 : 1;
    return bytes_to_floats(s->data[k] + s->at.a + (b * halves + h) * ES_PANEL_ROWS, halves == 2);
}

static inline VECTOR_INLINE __m512 mins_of(const super_view *s, int k, size_t b)
{
    return bytes_to_floats(s->data[k] + s->at.mins + b * ES_PANEL_ROWS, false);
}

/* One 32-block of a format of 256 columns, into part. */
static inline VECTOR_INLINE void add_k_block(es_format format, int panels, int rows, const super_view *s,
                                             const super_codes *codes, size_t b, const es_q8_block *const *x,
                                             size_t index, row_values *part)
{
    const __m512i magic = _mm512_set1_epi32(MAGIC_BITS);
    int halves = format == ES_FORMAT_Q6_K ? 2 : 1;
    bool shared = codes != NULL && panel_has_mins(format);
    __m512i sum[ROWS_AT_ONCE][2];
    __m512 value[ROWS_AT_ONCE][2];
    for (int h = 0; h < halves; h++) {
        __m512 a[2], times_magic[2];
        for (int k = 0; k < panels; k++) {
            a[k] = shared ? codes->a[b][k] : scales_of(format, s, k, b, (size_t)h);
            times_magic[k] = shared ? codes->magic[b][k] : _mm512_mul_ps(a[k], _mm512_set1_ps(MAGIC));
        }
        for (int r = 0; r < rows; r++) {
            int32_t n = h == 0 ? x[r][index].bias16 : x[r][index].bias32 - x[r][index].bias16;
            for (int k = 0; k < panels; k++)
                sum[r][k] = halves == 2 ? _mm512_add_epi32(bias_of(format, n), magic) : magic;
        }
        dot_groups(format, panels, rows, s, codes, b, h * GROUPS / halves, GROUPS / halves, x, index, sum);
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
static inline VECTOR_INLINE void close_super(es_format format, int panels, int rows, const super_view *s,
                                             const super_codes *codes, const es_q8_block *const *x,
                                             size_t index, row_values *part, row_values *acc)
{
    __m512 sum[ROWS_AT_ONCE][2];
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
        for (int k = 0; k < panels; k++) min[k] = codes != NULL ? codes->min[j][k] : mins_of(s, k, j);
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

/* acc += a super-block of n 32-blocks for rows [0, rows), a constant. x[r][index] is its first block; codes
 * are NULL where they are unpacked on the way. Weights that follow are asked for with spread where many rows
 * share that, else when weights_ahead: no other rows did. */
static inline VECTOR_INLINE void add_super(es_format format, int panels, int rows, const super_view *s,
                                           const super_codes *codes, bool weights_ahead, lookahead *spread,
                                           size_t n, const es_q8_block *const *x, size_t index,
                                           row_values *acc)
{
    row_values part[ROWS_AT_ONCE], sum[ROWS_AT_ONCE];
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < panels; k++) {
            sum[r][k] = acc[r][k];
            part[r][k] = _mm512_setzero_ps();
        }
    for (size_t b = 0; b < n; b++) {
        if (weights_ahead) prefetch_block(format, panels, s, b);
        if (spread != NULL) lookahead_step(panels, spread);
        /* Rows are more than the first cache holds, and weights pass through it. Few rows wait less than
         * asking costs. */
        for (int r = 0; r < rows && rows > 4; r++)
            _mm_prefetch((const char *)(x[r] + index + b + PREFETCH_BLOCKS), _MM_HINT_T0);
        if (!panel_is_k(format))
            add_block(format, panels, rows, s, codes, b, x, index + b, sum);
        else
            add_k_block(format, panels, rows, s, codes, b, x, index + b, part);
    }
    if (panel_is_k(format)) close_super(format, panels, rows, s, codes, x, index, part, sum);
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < panels; k++) acc[r][k] = sum[r][k];
}

static inline VECTOR_INLINE void unpack_super(es_format format, const super_view *s, size_t n,
                                              super_codes *codes)
{
    for (size_t b = 0; b < n; b++) {
        for (int g = 0; g < GROUPS; g++)
            for (int k = 0; k < 2; k++) codes->w[b][g][k] = unpack_group(format, s->data[k], &s->at, b, g);
        for (int k = 0; k < 2 && panel_is_k(format) && panel_has_mins(format); k++) {
            codes->a[b][k] = scales_of(format, s, k, b, 0);
            codes->magic[b][k] = _mm512_mul_ps(codes->a[b][k], _mm512_set1_ps(MAGIC));
            codes->min[b][k] = mins_of(s, k, b);
        }
    }
}

/* A super-block for rows [t, t + rows): acc[t] += it; or with use, its values alone go there. */
static inline VECTOR_INLINE void add_group(es_format format, int panels, int rows, const super_view *s,
                                           const super_codes *codes, bool weights_ahead, lookahead *spread,
                                           size_t n, const es_q8_block *const *x, size_t index, size_t t,
                                           row_values *acc, values_fn *use, void *of)
{
    row_values alone[ROWS_AT_ONCE];
    row_values *to = use != NULL ? alone : acc + t;
    for (int r = 0; r < rows && use != NULL; r++) alone[r][0] = alone[r][1] = _mm512_setzero_ps();
    add_super(format, panels, rows, s, codes, weights_ahead, spread, n, x + t, index, to);
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
        for (; t < count; t++) add_group(format, 1, 1, s, NULL, true, NULL, n, x, index, t, acc, use, of);
        return;
    }
    bool plain = format == ES_FORMAT_Q8_0, six = format == ES_FORMAT_Q6_K;
    if (count >= ROWS_AT_ONCE && !plain) unpack_super(format, s, n, codes);
    lookahead spread = lookahead_of(format, 2, s, six ? count / 4 * n : count / 8 * n);
    for (; t + 8 <= count && plain; t += 8)
        add_group(format, 2, 8, s, NULL, false, &spread, n, x, index, t, acc, use, of);
    for (; t + 8 <= count && !plain && !six; t += 8)
        add_group(format, 2, 8, s, codes, false, &spread, n, x, index, t, acc, use, of);
    /* Two sums for each panel and row. */
    for (; t + 4 <= count && six && count >= ROWS_AT_ONCE; t += 4)
        add_group(format, 2, 4, s, codes, false, &spread, n, x, index, t, acc, use, of);
    bool first = t == 0;
    if (t + 4 <= count) {
        add_group(format, 2, 4, s, NULL, first, NULL, n, x, index, t, acc, use, of);
        t += 4;
    }
    if (t + 2 <= count) {
        add_group(format, 2, 2, s, NULL, first, NULL, n, x, index, t, acc, use, of);
        t += 2;
    }
    if (t < count) add_group(format, 2, 1, s, NULL, first, NULL, n, x, index, t, acc, use, of);
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
