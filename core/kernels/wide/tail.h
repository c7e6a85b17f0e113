/* What the sets' sixteen floats have in common. */
#ifndef ES_KERNELS_WIDE_TAIL_H
#define ES_KERNELS_WIDE_TAIL_H

#include <math.h>
#include <stddef.h>
#include <string.h>

enum {
    WIDE_LANES = 16,
    WIDE_DOTS = 4 /* vectors on either side whose dot products are made together */
};

/* The first n < 16 of x, the others fill. */
static inline void wide_pad(const float *x, size_t n, float fill, float out[WIDE_LANES])
{
    for (size_t i = 0; i < WIDE_LANES; i++) out[i] = fill;
    memcpy(out, x, n * sizeof *x);
}

#endif
