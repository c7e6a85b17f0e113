/* The table of this set. */
#include "kernels/ref/set.h"

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

const es_kernels KERNEL(kernels) = {
    .name = TEXT(ES_KERNEL_SET),
    .quantise = KERNEL(quantise),
    .product =
        {
            [ES_FORMAT_F32] = KERNEL(product_f32),
            [ES_FORMAT_F16] = KERNEL(product_f16),
            [ES_FORMAT_BF16] = KERNEL(product_bf16),
            [ES_FORMAT_FP8] = KERNEL(product_fp8),
            [ES_FORMAT_Q8_0] = KERNEL(product_q8_0),
            [ES_FORMAT_Q4_0] = KERNEL(product_q4_0),
            [ES_FORMAT_Q5_0] = KERNEL(product_q5_0),
            [ES_FORMAT_Q5_1] = KERNEL(product_q5_1),
            [ES_FORMAT_Q4_K] = KERNEL(product_q4_k),
            [ES_FORMAT_Q5_K] = KERNEL(product_q5_k),
            [ES_FORMAT_Q6_K] = KERNEL(product_q6_k),
            [ES_FORMAT_IQ4_NL] = KERNEL(product_iq4_nl),
        },
    .product_sum = KERNEL(product_sum),
    .dots = KERNEL(dots),
    .sum = KERNEL(sum),
    .rmsnorm = KERNEL(rmsnorm),
    .swiglu = KERNEL(swiglu),
    .exp = KERNEL(exp),
    .sigmoid = KERNEL(sigmoid),
    .rotate = KERNEL(rotate),
    .to_f16 = KERNEL(to_f16),
    .widen_f16 = KERNEL(widen_f16),
    .attend_tile = KERNEL(attend_tile),
    .accumulate = KERNEL(accumulate),
    .fixed_to_float = KERNEL(fixed_to_float),
    .encode = KERNEL(encode),
    .read_bytes = KERNEL(read_bytes),
    .integer_ops = KERNEL(integer_ops),
    .float_ops = KERNEL(float_ops),
};
