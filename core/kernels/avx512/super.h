/* A super-block of one or two panels of integer codes, taken apart for the products of rows: piece by piece
 * for few rows, whole for many, which share what was taken apart. */
#ifndef ES_KERNELS_AVX512_SUPER_H
#define ES_KERNELS_AVX512_SUPER_H

#include "kernels/avx512/vector.h"
#include "kernels/panel.h"

enum { GROUPS = 8 };

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

/* A super-block of two panels as many rows share it. q8_0's codes stay where they are; the others have a bias
 * of 128 or, in K formats with mins, none. */
typedef struct super_codes {
    __m512i w[2][PANEL_BLOCKS][GROUPS]; /* [panel]; the others end with [panel] */
    __m512 d[PANEL_BLOCKS][2][2];       /* D and M; K formats: block 0's are the super-block's */
    __m512 a[PANEL_BLOCKS][2][2];       /* of each half, or a and MAGIC * a */
    __m512 min[PANEL_BLOCKS][2];
} super_codes;

/* Running values of a row for up to two panels. */
typedef __m512 row_values[2];

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

#endif
