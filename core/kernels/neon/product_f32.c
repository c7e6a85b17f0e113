/* Products of f32 weights and q8 rows. */
#include "kernels/neon/product_float.h"

void KERNEL(product_f32)(const es_matrix *w, size_t row_first, size_t row_count, size_t col_first,
                         size_t col_count, const es_q8_block *const *x, size_t count, float *out,
                         size_t out_stride)
{
    float_walk(ES_FORMAT_F32, w, row_first, row_count, col_first, col_count, x, count, out, out_stride);
}
