/* Products added up on rows' quanta. Integer formats go through their chunks in one walk, which is that of
 * super-blocks; float formats call their products. */
#include "kernels/avx512/product_integer.h"

#include <float.h>
#include <math.h>

_Static_assert((int)ES_CHUNK_COLUMNS == (int)ES_PANEL_COLS, "a chunk is a super-block");

/* 1.5 * 2^52: added to a value below 2^51, it rounds to an integer and leaves that in the low bits. */
#define WHOLE 0x1.8p52
static const uint64_t WHOLE_BITS = 0x4338000000000000u;

/* Up to TILE_ROWS rows that are being added up. */
typedef struct tile {
    _Alignas(64) uint64_t sum[TILE_ROWS][ES_UNIT_ROWS];
    __m512i largest[TILE_ROWS]; /* |y| so far, as bits, whose order is that of the values, NaN last */
    const es_q8_block *x[TILE_ROWS];
    double factor[TILE_ROWS];
} tile;

/* The bits of the largest |y| whose addend, rounded, is at most 2^45; -1 when there is none. */
static int32_t limit_bits(double factor)
{
    const double most = 0x1p45 + 0.5;
    double size = fabs(factor);
    if (!(size < INFINITY)) return -1;
    double quotient = size > 0 ? most / size : FLT_MAX;
    float limit = quotient < FLT_MAX ? (float)quotient : FLT_MAX;
    if ((double)limit * size > most) limit = nextafterf(limit, 0);
    return (int32_t)es_float_to_bits(limit);
}

/* Adds a chunk's outputs of count rows to their sums. The product with factor is exact: there is one
 * rounding. */
static inline VECTOR_INLINE void add_chunk(void *of, size_t first, size_t count, const row_values *values)
{
    tile *t = of;
    const __m512d whole = _mm512_set1_pd(WHOLE);
    const __m512i size = _mm512_set1_epi32(INT32_MAX);
    for (size_t r = 0; r < count; r++) {
        const __m512d factor = _mm512_set1_pd(t->factor[first + r]);
        const float *y = (const float *)values[r];
        __m512i *sum = (__m512i *)(void *)t->sum[first + r], *largest = &t->largest[first + r];
        for (size_t i = 0; i < ES_UNIT_ROWS / 8; i++) {
            __m512d v = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm256_load_ps(y + 8 * i)), factor, whole);
            sum[i] = _mm512_add_epi64(sum[i], _mm512_castpd_si512(v));
        }
        __m512i bits[2];
        for (int k = 0; k < 2; k++) bits[k] = _mm512_and_si512(_mm512_castps_si512(values[r][k]), size);
        *largest = _mm512_max_epi32(*largest, _mm512_max_epi32(bits[0], bits[1]));
    }
}

static inline VECTOR_INLINE void integer_tile(es_format format, const es_matrix *w, const uint8_t *panel,
                                              size_t outputs, tile *t, size_t count)
{
    super_codes codes;
    size_t n;
    for (size_t c = 0; c < w->cols; c += ES_CHUNK_COLUMNS) {
        super_view s = view_of(format, w, panel, c, &n);
        if (outputs <= ES_PANEL_ROWS)
            add_rows(format, 1, &s, &codes, n, t->x, c / PANEL_BLOCK, count, NULL, add_chunk, t);
        else
            add_rows(format, 2, &s, &codes, n, t->x, c / PANEL_BLOCK, count, NULL, add_chunk, t);
    }
}

static void float_tile(const es_matrix *w, size_t row_first, size_t outputs, tile *t, size_t count)
{
    row_values y[TILE_ROWS];
    memset(y, 0, sizeof y);
    for (size_t c = 0; c < w->cols; c += ES_CHUNK_COLUMNS) {
        size_t cols = es_size_min(ES_CHUNK_COLUMNS, w->cols - c);
        KERNEL(kernels).product[w->format](w, row_first, outputs, c, cols, t->x, count, (float *)y,
                                           ES_UNIT_ROWS);
        add_chunk(t, 0, count, (const row_values *)y);
    }
}

typedef void tile_fn(const es_matrix *w, const uint8_t *panel, size_t outputs, tile *t, size_t count);

#define TILE_OF(name, format)                                                                                \
    static void name(const es_matrix *w, const uint8_t *panel, size_t outputs, tile *t, size_t count)        \
    {                                                                                                        \
        integer_tile(format, w, panel, outputs, t, count);                                                   \
    }
TILE_OF(tile_q8_0, ES_FORMAT_Q8_0)
TILE_OF(tile_q4_0, ES_FORMAT_Q4_0)
TILE_OF(tile_q5_0, ES_FORMAT_Q5_0)
TILE_OF(tile_q5_1, ES_FORMAT_Q5_1)
TILE_OF(tile_q4_k, ES_FORMAT_Q4_K)
TILE_OF(tile_q5_k, ES_FORMAT_Q5_K)
TILE_OF(tile_q6_k, ES_FORMAT_Q6_K)
TILE_OF(tile_iq4_nl, ES_FORMAT_IQ4_NL)

static tile_fn *const TILES[ES_FORMAT_COUNT] = {
    [ES_FORMAT_Q8_0] = tile_q8_0, [ES_FORMAT_Q4_0] = tile_q4_0,    [ES_FORMAT_Q5_0] = tile_q5_0,
    [ES_FORMAT_Q5_1] = tile_q5_1, [ES_FORMAT_Q4_K] = tile_q4_k,    [ES_FORMAT_Q5_K] = tile_q5_k,
    [ES_FORMAT_Q6_K] = tile_q6_k, [ES_FORMAT_IQ4_NL] = tile_iq4_nl};

static void begin_row(tile *t, size_t r, const es_addend *row)
{
    t->x[r] = row->x;
    t->factor[r] = (double)row->weight * es_power_of_two(-row->quantum);
    t->largest[r] = _mm512_setzero_si512();
    memset(t->sum[r], 0, sizeof t->sum[r]);
    for (size_t i = 0; i < ES_UNIT_ROWS; i += 8) __builtin_prefetch(row->sum + i, 1);
}

static inline VECTOR_INLINE void end_row(const tile *t, size_t r, size_t outputs, size_t chunks,
                                         es_addend *row)
{
    if (_mm512_reduce_max_epi32(t->largest[r]) > limit_bits(t->factor[r])) row->failed = true;
    const __m512i extra = _mm512_set1_epi64((int64_t)(chunks * WHOLE_BITS));
    for (size_t i = 0; i < outputs; i += 8) {
        __mmask8 lanes = (__mmask8)lanes_mask(outputs - i < 8 ? outputs - i : 8);
        __m512i sum = _mm512_sub_epi64(_mm512_load_si512(&t->sum[r][i]), extra);
        sum = _mm512_add_epi64(sum, _mm512_maskz_loadu_epi64(lanes, row->sum + i));
        _mm512_mask_storeu_epi64(row->sum + i, lanes, sum);
    }
}

void KERNEL(product_sum)(const es_matrix *w, size_t row_first, size_t row_count, es_addend *rows,
                         size_t count)
{
    ES_ASSERT(row_count <= ES_UNIT_ROWS && row_first % ES_PANEL_ROWS == 0);
    tile t;
    const uint8_t *panel = w->data + row_first / ES_PANEL_ROWS * w->row_bytes;
    size_t chunks = es_size_ceil_div(w->cols, ES_CHUNK_COLUMNS);
    for (size_t done = 0; done < count; done += TILE_ROWS) {
        size_t some = es_size_min(TILE_ROWS, count - done);
        for (size_t r = 0; r < some; r++) begin_row(&t, r, &rows[done + r]);
        if (TILES[w->format] != NULL)
            TILES[w->format](w, panel, row_count, &t, some);
        else
            float_tile(w, row_first, row_count, &t, some);
        for (size_t r = 0; r < some; r++) end_row(&t, r, row_count, chunks, &rows[done + r]);
    }
}
