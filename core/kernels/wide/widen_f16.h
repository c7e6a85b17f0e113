/* f16 codes, sixteen at once. Bits are those of ref/widen_f16.c. A set's widen_f16.c includes its wide.h and
 * this. */
#ifndef ES_KERNELS_WIDE_WIDEN_F16_H
#define ES_KERNELS_WIDE_WIDEN_F16_H

#include "base/f16.h"
#include "kernels/ref/set.h"

void KERNEL(widen_f16)(const uint16_t *codes, size_t n, float *out)
{
    size_t i = 0;
    for (; i + WIDE_LANES <= n; i += WIDE_LANES) wide_store(out + i, wide_load_f16(codes + i));
    for (; i < n; i++) out[i] = es_f16_to_float(codes[i]);
}

#endif
