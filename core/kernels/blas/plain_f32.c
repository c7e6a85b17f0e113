/* Products of f32 rows where there is no OpenBLAS: cross-compiled builds of the kernels alone. */
#include "kernels/blas/product_f32.h"

void es_blas_product(const es_matrix *w, size_t row_first, size_t row_count, size_t col_first,
                     size_t col_count, const es_rows *x, float *scratch, float *out, size_t out_stride)
{
    for (size_t i = 0; i < row_count; i++) {
        es_matrix_widen_row(w, row_first + i, col_first, col_count, scratch);
        for (size_t t = 0; t < x->count; t++) {
            const float *row = es_rows_x(x, t) + col_first;
            float sum = 0;
            for (size_t c = 0; c < col_count; c++) sum += row[c] * scratch[c];
            out[t * out_stride + i] = sum;
        }
    }
}

es_status es_blas_start(const char **ret_core, es_err *err)
{
    (void)err;
    *ret_core = "plain loops";
    return ES_OK;
}
