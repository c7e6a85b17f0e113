/* Activations to q8 rows. Bits are those of ref/quantise.c. A set's quantise.c includes its wide.h and this.
 */
#ifndef ES_KERNELS_WIDE_QUANTISE_H
#define ES_KERNELS_WIDE_QUANTISE_H

#include "kernels/ref/set.h"

/* One whole block. */
static inline bool quantise_block(const float *x, int8_t *q, float *d)
{
    wide low = wide_load(x), high = wide_load(x + WIDE_LANES);
    if (!wide_is_finite(low) || !wide_is_finite(high)) return false;
    float amax = wide_highest(wide_max(wide_abs(low), wide_abs(high)));
    bool zero = amax < 0x1p-100f;
    *d = zero ? 0 : amax / 127;
    /* |x * r| rounds to 127 at most: r is at most half a unit above 127 / amax. */
    wide r = wide_of(zero ? 0 : 127 / amax);
    wide_store_codes(q, wide_mul(low, r));
    wide_store_codes(q + WIDE_LANES, wide_mul(high, r));
    return true;
}

bool KERNEL(quantise)(const float *x, size_t n, int8_t *q, float *d)
{
    size_t whole = n / ES_ROW_BLOCK * ES_ROW_BLOCK;
    for (size_t i = 0; i < whole; i += ES_ROW_BLOCK)
        if (!quantise_block(x + i, q + i, d + i / ES_ROW_BLOCK)) return false;
    if (whole == n) return true;
    float rest[ES_ROW_BLOCK] = {0};
    int8_t codes[ES_ROW_BLOCK];
    memcpy(rest, x + whole, (n - whole) * sizeof *rest);
    bool finite = quantise_block(rest, codes, d + whole / ES_ROW_BLOCK);
    if (finite) memcpy(q + whole, codes, n - whole);
    return finite;
}

#endif
