/* Sixteen floats side by side in one register, for the walks of kernels/wide. Every operation is each lane's
 * own, or the tree that docs/arithmetic.md defines. */
#ifndef ES_KERNELS_AVX512_WIDE_H
#define ES_KERNELS_AVX512_WIDE_H

#include "kernels/avx512/vector.h"
#include "kernels/wide/tail.h"

typedef __m512 wide;

/* What fits the registers when entries are added to queries. */
enum { WIDE_ADD_QUERIES = 4, WIDE_ADD_BLOCKS = 4 };

static inline VECTOR_INLINE wide wide_of(float x)
{
    return _mm512_set1_ps(x);
}

static inline VECTOR_INLINE wide wide_load(const float *from)
{
    return _mm512_loadu_ps(from);
}

static inline VECTOR_INLINE wide wide_load_f16(const uint16_t *codes)
{
    return load_f16((const uint8_t *)codes);
}

static inline VECTOR_INLINE void wide_store(float *to, wide v)
{
    _mm512_storeu_ps(to, v);
}

static inline VECTOR_INLINE wide wide_fma(wide a, wide b, wide c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline VECTOR_INLINE wide wide_add(wide a, wide b)
{
    return _mm512_add_ps(a, b);
}

static inline VECTOR_INLINE wide wide_mul(wide a, wide b)
{
    return _mm512_mul_ps(a, b);
}

/* a > b ? a : b, so that a NaN in a is passed over. */
static inline VECTOR_INLINE wide wide_max(wide a, wide b)
{
    return _mm512_max_ps(a, b);
}

static inline VECTOR_INLINE wide wide_abs(wide v)
{
    return _mm512_abs_ps(v);
}

/* The largest lane; none is NaN. */
static inline VECTOR_INLINE float wide_highest(wide v)
{
    return _mm512_reduce_max_ps(v);
}

/* Whether every lane's magnitude is below infinity. */
static inline VECTOR_INLINE bool wide_is_finite(wide v)
{
    return _mm512_cmp_ps_mask(_mm512_abs_ps(v), _mm512_set1_ps(INFINITY), _CMP_LT_OQ) == 0xffff;
}

/* To the nearest integers, ties to even; no magnitude is above 127.5. */
static inline VECTOR_INLINE void wide_store_codes(int8_t *to, wide v)
{
    _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}

/* The sum's last steps: halves of 8, 4, 2 and 1. */
static inline VECTOR_INLINE float wide_tree(wide v)
{
    v = _mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0x4e));
    v = _mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0xb1));
    __m128 four = _mm512_castps512_ps128(v);
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

/* The trees' first two steps for four sums: sum k's four lanes in the k-th quarter. */
static inline VECTOR_INLINE wide wide_quarters(wide a, wide b, wide c, wide d)
{
    wide ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    wide cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
}

/* One step of the sums below, of these lanes alone. */
static inline VECTOR_INLINE void add_products(const float *const *a, const float *const *b, size_t at,
                                              __mmask16 lanes, wide sum[WIDE_DOTS][WIDE_DOTS])
{
    wide y[WIDE_DOTS];
#pragma GCC unroll 4
    for (int k = 0; k < WIDE_DOTS; k++) y[k] = _mm512_maskz_loadu_ps(lanes, b[k] + at);
#pragma GCC unroll 4
    for (int i = 0; i < WIDE_DOTS; i++) {
        wide x = _mm512_maskz_loadu_ps(lanes, a[i] + at);
#pragma GCC unroll 4
        for (int k = 0; k < WIDE_DOTS; k++) sum[i][k] = _mm512_mask3_fmadd_ps(x, y[k], sum[i][k], lanes);
    }
}

/* out[i][k] = the 16-lane sum of a[i] and b[k], n values each. */
static inline VECTOR_INLINE void wide_dots(const float *const a[WIDE_DOTS], const float *const b[WIDE_DOTS],
                                           size_t n, float out[WIDE_DOTS][WIDE_DOTS])
{
    wide sum[WIDE_DOTS][WIDE_DOTS];
#pragma GCC unroll 4
    for (int i = 0; i < WIDE_DOTS; i++)
#pragma GCC unroll 4
        for (int k = 0; k < WIDE_DOTS; k++) sum[i][k] = wide_of(0);
    size_t at = 0;
    for (; at + WIDE_LANES <= n; at += WIDE_LANES) add_products(a, b, at, 0xffff, sum);
    if (at < n) add_products(a, b, at, lanes_mask(n - at), sum);
    wide by[WIDE_DOTS];
#pragma GCC unroll 4
    for (int k = 0; k < WIDE_DOTS; k++) by[k] = wide_quarters(sum[0][k], sum[1][k], sum[2][k], sum[3][k]);
    wide low = wide_add(_mm512_shuffle_ps(by[0], by[1], 0x44), _mm512_shuffle_ps(by[0], by[1], 0xee));
    wide high = wide_add(_mm512_shuffle_ps(by[2], by[3], 0x44), _mm512_shuffle_ps(by[2], by[3], 0xee));
    wide_store(out[0], wide_add(_mm512_shuffle_ps(low, high, 0x88), _mm512_shuffle_ps(low, high, 0xdd)));
}

#endif
