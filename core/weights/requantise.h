/* Rows of weights in the format that a shard is to have, and how far they then are from what they were. */
#ifndef ES_WEIGHTS_REQUANTISE_H
#define ES_WEIGHTS_REQUANTISE_H

#include "base/pool.h"
#include "essaim/kernels.h"
#include "weights/fields.h"

/* Of weights that were quantised. */
typedef struct es_weight_error {
    uint64_t weights;
    double square_sum, error_square_sum;
} es_weight_error;

/* Owned by one thread. Init with zeros, the kernels and the pool. */
typedef struct es_requantiser {
    const es_kernels *kernels;
    es_pool *pool;
    es_weight_error errors[ES_WEIGHT_COUNT];
    float *wide; /* [threads][2][cols] */
    uint8_t *rows;
    double *sums; /* [rows][2] */
    size_t wide_bytes, rows_bytes, sums_bytes;
} es_requantiser;

/* The format that weights of kind become where a model is cut to format: what is small stays as it is, a head
 * keeps six bits. */
es_format es_requantise_target(es_format format, es_weight_kind weight, const es_matrix *from);

/* Rows of from (in file rows) as to; borrowed until the next call, or as long as from where to is its own
 * format. Checked: ES_NUMERIC for values that are no numbers, or beyond what to holds. */
es_status es_requantise_rows(es_requantiser *q, const es_matrix *from, es_weight_kind weight, es_format to,
                             size_t row_first, size_t row_count, const uint8_t **ret_rows, es_err *err);

void es_requantiser_fini(es_requantiser *q);

#endif
