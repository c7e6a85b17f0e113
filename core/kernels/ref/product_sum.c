/* Products added up on rows' quanta, chunk by chunk, with this set's own products. */
#include "base/size.h"
#include "kernels/ref/set.h"

#include <string.h>

enum { TILE_ROWS = 64 };

/* Up to TILE_ROWS rows. Their sums are gathered beside each other: a batch has them far apart, where they
 * would meet in few sets of a cache. */
static void sum_tile(const es_matrix *w, size_t row_first, size_t row_count, es_addend *rows, size_t count)
{
    const es_q8_block *x[TILE_ROWS];
    float y[TILE_ROWS][ES_UNIT_ROWS];
    int64_t sum[TILE_ROWS][ES_UNIT_ROWS];
    memset(sum, 0, count * sizeof sum[0]);
    for (size_t t = 0; t < count; t++) x[t] = rows[t].x;
    for (size_t c = 0; c < w->cols; c += ES_CHUNK_COLUMNS) {
        size_t cols = es_size_min(ES_CHUNK_COLUMNS, w->cols - c);
        KERNEL(kernels).product[w->format](w, row_first, row_count, c, cols, x, count, y[0], ES_UNIT_ROWS);
        for (size_t t = 0; t < count; t++)
            rows[t].failed |= !KERNEL(accumulate)(y[t], row_count, rows[t].weight, rows[t].quantum, sum[t]);
    }
    for (size_t t = 0; t < count; t++)
        for (size_t i = 0; i < row_count; i++) rows[t].sum[i] += sum[t][i];
}

void KERNEL(product_sum)(const es_matrix *w, size_t row_first, size_t row_count, es_addend *rows,
                         size_t count)
{
    ES_ASSERT(row_count <= ES_UNIT_ROWS);
    for (size_t t = 0; t < count; t += TILE_ROWS)
        sum_tile(w, row_first, row_count, rows + t, es_size_min(TILE_ROWS, count - t));
}
