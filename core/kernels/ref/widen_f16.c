/* f16 codes to binary32. */
#include "base/f16.h"
#include "kernels/ref/set.h"

void KERNEL(widen_f16)(const uint16_t *codes, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) out[i] = es_f16_to_float(codes[i]);
}
