/* Products of q5_k weights and q8 rows. */
#include "kernels/neon/product_integer.h"

void KERNEL(product_q5_k)(const es_matrix *w, size_t row_first, size_t row_count, size_t col_first,
                          size_t col_count, const es_q8_block *const *x, size_t count, float *out,
                          size_t out_stride)
{
    integer_walk(ES_FORMAT_Q5_K, w, row_first, row_count, col_first, col_count, x, count, out, out_stride);
}
