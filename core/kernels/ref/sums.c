/* Sums over a vector in 16 lanes and their tree, and the norm built on them. */
#include "kernels/ref/sums.h"

#include "kernels/ref/set.h"

static float dot(const float *a, const float *b, size_t n)
{
    float lane[SUM_LANES] = {0};
    size_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES) sum_step(lane, a + i, b + i, SUM_LANES);
    sum_step(lane, a + i, b + i, n - i);
    return sum_tree(lane);
}

void KERNEL(dots)(const float *a, size_t a_stride, size_t a_count, const float *b, size_t b_stride,
                  size_t b_count, size_t n, float *out, size_t out_stride)
{
    for (size_t i = 0; i < a_count; i++)
        for (size_t k = 0; k < b_count; k++)
            out[i * out_stride + k] = dot(a + i * a_stride, b + k * b_stride, n);
}

float KERNEL(sum)(const float *a, size_t n)
{
    float lane[SUM_LANES] = {0};
    for (size_t i = 0; i < n; i++) lane[i % SUM_LANES] += a[i];
    return sum_tree(lane);
}

void KERNEL(rmsnorm)(const float *x, const float *weight, float eps, size_t n, float *out)
{
    float mean = dot(x, x, n) / (float)n;
    /* Squares beyond binary32 would make every output 0, silently: NaN is refused where the row is made. */
    float inv = isfinite(mean) ? 1 / sqrtf(mean + eps) : NAN;
    for (size_t i = 0; i < n; i++) out[i] = x[i] * inv * weight[i];
}
