/* Small words that the AVX-512 kernels are written in. */
#ifndef ES_KERNELS_AVX512_VECTOR_H
#define ES_KERNELS_AVX512_VECTOR_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VECTOR_INLINE __attribute__((always_inline))

static inline VECTOR_INLINE __m512i load_512(const uint8_t *bytes)
{
    return _mm512_loadu_si512((const void *)bytes);
}

/* 16 f16 codes as floats. */
static inline VECTOR_INLINE __m512 load_f16(const uint8_t *codes)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)codes));
}

/* Every 16-bit lane shifted left by a constant, right where it is negative. */
static inline VECTOR_INLINE __m512i shift_words(__m512i v, int left)
{
    typedef uint16_t words __attribute__((vector_size(64)));
    return left >= 0 ? (__m512i)((words)v << left) : (__m512i)((words)v >> -left);
}

/* a | (b & mask) */
static inline VECTOR_INLINE __m512i or_masked(__m512i a, __m512i b, __m512i mask)
{
    return _mm512_ternarylogic_epi32(a, b, mask, 0xf8);
}

/* The first n lanes, all from 16 on. */
static inline VECTOR_INLINE __mmask16 lanes_mask(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1u);
}

static inline VECTOR_INLINE void prefetch(const uint8_t *from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += 64) _mm_prefetch((const char *)(from + at), _MM_HINT_T0);
}

#endif
