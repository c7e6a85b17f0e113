/* Sums over a vector, sixteen lanes at once. Bits are those of ref/sums.c. A set's sums.c includes its wide.h
 * and this. */
#ifndef ES_KERNELS_WIDE_SUMS_H
#define ES_KERNELS_WIDE_SUMS_H

#include "base/size.h"
#include "kernels/ref/set.h"

/* Four of the vectors from first on; where fewer are left, the last again. */
static inline void take_vectors(const float *x, size_t stride, size_t first, size_t count,
                                const float *ret_vectors[WIDE_DOTS])
{
    for (size_t i = 0; i < WIDE_DOTS; i++) ret_vectors[i] = x + es_size_min(first + i, count - 1) * stride;
}

void KERNEL(dots)(const float *a, size_t a_stride, size_t a_count, const float *b, size_t b_stride,
                  size_t b_count, size_t n, float *out, size_t out_stride)
{
    for (size_t k = 0; k < b_count; k += WIDE_DOTS) {
        const float *with[WIDE_DOTS];
        take_vectors(b, b_stride, k, b_count, with);
        for (size_t i = 0; i < a_count; i += WIDE_DOTS) {
            const float *of[WIDE_DOTS];
            take_vectors(a, a_stride, i, a_count, of);
            float block[WIDE_DOTS][WIDE_DOTS];
            wide_dots(of, with, n, block);
            size_t rows = es_size_min(WIDE_DOTS, a_count - i), cols = es_size_min(WIDE_DOTS, b_count - k);
            for (size_t r = 0; r < rows; r++)
                for (size_t c = 0; c < cols; c++) out[(i + r) * out_stride + k + c] = block[r][c];
        }
    }
}

float KERNEL(sum)(const float *a, size_t n)
{
    wide sum = wide_of(0);
    size_t i = 0;
    for (; i + WIDE_LANES <= n; i += WIDE_LANES) sum = wide_add(sum, wide_load(a + i));
    if (i < n) {
        float pad[WIDE_LANES];
        wide_pad(a + i, n - i, -0.0f, pad);
        sum = wide_add(sum, wide_load(pad));
    }
    return wide_tree(sum);
}

void KERNEL(rmsnorm)(const float *x, const float *weight, float eps, size_t n, float *out)
{
    wide sum = wide_of(0);
    size_t i = 0;
    for (; i + WIDE_LANES <= n; i += WIDE_LANES) {
        wide v = wide_load(x + i);
        sum = wide_fma(v, v, sum);
    }
    if (i < n) {
        float pad[WIDE_LANES];
        wide_pad(x + i, n - i, 0.0f, pad);
        sum = wide_fma(wide_load(pad), wide_load(pad), sum);
    }
    float mean = wide_tree(sum) / (float)n;
    /* Squares beyond binary32 would make every output 0, silently: NaN is refused where the row is made. */
    float inv = isfinite(mean) ? 1 / sqrtf(mean + eps) : NAN;
    for (i = 0; i < n; i++) out[i] = x[i] * inv * weight[i];
}

#endif
