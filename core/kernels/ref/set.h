/* The portable kernels, which are compiled once for each set that is plain C: KERNEL(name) is this set's
 * symbol for name. */
#ifndef ES_KERNELS_REF_SET_H
#define ES_KERNELS_REF_SET_H

#include "essaim/kernels.h"

#define KERNEL_PASTE(set, name) es_##set##_##name
#define KERNEL_OF(set, name) KERNEL_PASTE(set, name)
#define KERNEL(name) KERNEL_OF(ES_KERNEL_SET, name)

extern const es_kernels KERNEL(kernels);

bool KERNEL(quantise)(const float *x, size_t n, int8_t *q, float *d);
es_product_fn KERNEL(product_fp8);
es_product_fn KERNEL(product_bf16);
es_product_fn KERNEL(product_f16);
es_product_fn KERNEL(product_f32);
es_product_fn KERNEL(product_q8_0);
es_product_fn KERNEL(product_q4_0);
es_product_fn KERNEL(product_q5_0);
es_product_fn KERNEL(product_q5_1);
es_product_fn KERNEL(product_q4_k);
es_product_fn KERNEL(product_q5_k);
es_product_fn KERNEL(product_q6_k);
es_product_fn KERNEL(product_iq4_nl);
es_product_sum_fn KERNEL(product_sum);
void KERNEL(dots)(const float *a, size_t a_stride, size_t a_count, const float *b, size_t b_stride,
                  size_t b_count, size_t n, float *out, size_t out_stride);
float KERNEL(sum)(const float *a, size_t n);
void KERNEL(rmsnorm)(const float *x, const float *weight, float eps, size_t n, float *out);
void KERNEL(swiglu)(const float *g, const float *u, size_t n, float *h);
void KERNEL(exp)(const float *x, size_t n, float *y);
void KERNEL(sigmoid)(const float *x, size_t n, float *y);
void KERNEL(rotate)(float *x, const float *cos, const float *sin, size_t pairs);
bool KERNEL(to_f16)(const float *x, size_t n, uint16_t *out);
void KERNEL(widen_f16)(const uint16_t *codes, size_t n, float *out);
void KERNEL(attend_tile)(const float *q, size_t queries, const float *entries, size_t count, size_t width,
                         size_t latent, float scale, es_attend_state *states, float *out);
bool KERNEL(accumulate)(const float *y, size_t n, float weight, int quantum, int64_t *sum);
void KERNEL(fixed_to_float)(const int64_t *sum, size_t n, int quantum, float *out);
bool KERNEL(encode)(es_format format, const float *row, size_t cols, uint8_t *out);
uint64_t KERNEL(read_bytes)(const uint8_t *bytes, size_t n);
uint64_t KERNEL(integer_ops)(size_t rounds);
uint64_t KERNEL(float_ops)(size_t rounds);

#endif
