/* Sixteen floats side by side in two registers, for the walks of kernels/wide. Every operation is each lane's
 * own, or the tree that docs/arithmetic.md defines. */
#ifndef ES_KERNELS_AVX2_WIDE_H
#define ES_KERNELS_AVX2_WIDE_H

#include "kernels/avx2/vector.h"
#include "kernels/wide/tail.h"

typedef struct wide {
    __m256 low, high;
} wide;

/* What fits the registers when entries are added to queries. */
enum { WIDE_ADD_QUERIES = 4, WIDE_ADD_BLOCKS = 1 };

static inline VECTOR_INLINE wide wide_of(float x)
{
    return (wide){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

static inline VECTOR_INLINE wide wide_load(const float *from)
{
    return (wide){_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}

static inline VECTOR_INLINE wide wide_load_f16(const uint16_t *codes)
{
    return (wide){load_f16((const uint8_t *)codes), load_f16((const uint8_t *)(codes + 8))};
}

static inline VECTOR_INLINE void wide_store(float *to, wide v)
{
    _mm256_storeu_ps(to, v.low);
    _mm256_storeu_ps(to + 8, v.high);
}

static inline VECTOR_INLINE wide wide_fma(wide a, wide b, wide c)
{
    return (wide){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

static inline VECTOR_INLINE wide wide_add(wide a, wide b)
{
    return (wide){_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}

static inline VECTOR_INLINE wide wide_mul(wide a, wide b)
{
    return (wide){_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}

/* a > b ? a : b, so that a NaN in a is passed over. */
static inline VECTOR_INLINE wide wide_max(wide a, wide b)
{
    return (wide){_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}

static inline VECTOR_INLINE wide wide_abs(wide v)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (wide){_mm256_andnot_ps(sign, v.low), _mm256_andnot_ps(sign, v.high)};
}

/* The largest lane; none is NaN. */
static inline VECTOR_INLINE float wide_highest(wide v)
{
    __m256 eight = _mm256_max_ps(v.low, v.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

/* Whether every lane's magnitude is below infinity. */
static inline VECTOR_INLINE bool wide_is_finite(wide v)
{
    const __m256 infinity = _mm256_set1_ps(INFINITY);
    wide a = wide_abs(v);
    __m256 below = _mm256_and_ps(_mm256_cmp_ps(a.low, infinity, _CMP_LT_OQ),
                                 _mm256_cmp_ps(a.high, infinity, _CMP_LT_OQ));
    return _mm256_movemask_ps(below) == 0xff;
}

/* To the nearest integers, ties to even; no magnitude is above 127.5. */
static inline VECTOR_INLINE void wide_store_codes(int8_t *to, wide v)
{
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(v.low), _mm256_cvtps_epi32(v.high));
    words = _mm256_permute4x64_epi64(words, 0xd8);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)(void *)to, bytes);
}

/* A sum's four lanes after the tree's first two steps. */
static inline VECTOR_INLINE __m128 wide_quarter(wide v)
{
    __m256 eight = _mm256_add_ps(v.low, v.high);
    return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}

/* The sum's last steps: halves of 8, 4, 2 and 1. */
static inline VECTOR_INLINE float wide_tree(wide v)
{
    __m128 four = wide_quarter(v);
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

/* One step of two vectors' sums with two others. */
static inline VECTOR_INLINE void add_products(const wide x[2], const wide y[2], wide sum[2][2])
{
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) sum[i][k] = wide_fma(x[i], y[k], sum[i][k]);
}

/* The sums of a[0] and a[1] with b[0] and b[1], in this order: 00, 01, 10, 11. */
static inline VECTOR_INLINE __m128 two_by_two(const float *const *a, const float *const *b, size_t n)
{
    wide sum[2][2] = {{wide_of(0), wide_of(0)}, {wide_of(0), wide_of(0)}};
    size_t at = 0;
    for (; at + WIDE_LANES <= n; at += WIDE_LANES) {
        wide x[2] = {wide_load(a[0] + at), wide_load(a[1] + at)};
        wide y[2] = {wide_load(b[0] + at), wide_load(b[1] + at)};
        add_products(x, y, sum);
    }
    if (at < n) {
        /* 0 * -0 is -0, and adding that changes nothing. */
        float pad[4][WIDE_LANES];
        for (int i = 0; i < 2; i++) wide_pad(a[i] + at, n - at, 0.0f, pad[i]);
        for (int i = 0; i < 2; i++) wide_pad(b[i] + at, n - at, -0.0f, pad[2 + i]);
        wide x[2] = {wide_load(pad[0]), wide_load(pad[1])}, y[2] = {wide_load(pad[2]), wide_load(pad[3])};
        add_products(x, y, sum);
    }
    __m128 s0 = wide_quarter(sum[0][0]), s1 = wide_quarter(sum[0][1]);
    __m128 s2 = wide_quarter(sum[1][0]), s3 = wide_quarter(sum[1][1]);
    _MM_TRANSPOSE4_PS(s0, s1, s2, s3);
    return _mm_add_ps(_mm_add_ps(s0, s2), _mm_add_ps(s1, s3));
}

/* out[i][k] = the 16-lane sum of a[i] and b[k], n values each. */
static inline VECTOR_INLINE void wide_dots(const float *const a[WIDE_DOTS], const float *const b[WIDE_DOTS],
                                           size_t n, float out[WIDE_DOTS][WIDE_DOTS])
{
    for (int i = 0; i < WIDE_DOTS; i += 2)
        for (int k = 0; k < WIDE_DOTS; k += 2) {
            __m128 four = two_by_two(a + i, b + k, n);
            _mm_storel_pi((__m64 *)(void *)(out[i] + k), four);
            _mm_storeh_pi((__m64 *)(void *)(out[i + 1] + k), four);
        }
}

#endif
