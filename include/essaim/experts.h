/* Feed-forwards in bulk: one layer's (row, expert, weight) pairs in, one exact integer sum a row out. */
#ifndef ESSAIM_EXPERTS_H
#define ESSAIM_EXPERTS_H

#include "essaim/kernels.h"
#include "essaim/model.h"
#include "essaim/status.h"

#include <stddef.h>
#include <stdint.h>

/* ES_EXPERTS_MAX and ES_PAIRS_PER_ROW_MAX are also the most that a config.json may state. */
enum { ES_STEP_ROWS_MAX = 512, ES_PAIRS_PER_ROW_MAX = 64, ES_EXPERTS_MAX = 4096 };

/* Which experts each row goes to. Row r's pairs are [pair_first[r], pair_first[r + 1]). All borrowed. */
typedef struct es_expert_batch {
    const es_rows *rows;        /* at most ES_STEP_ROWS_MAX; with their blocks or without */
    const uint32_t *pair_first; /* [rows->count + 1], ascending from 0 */
    const uint32_t *expert;     /* [pairs], index into the ffns given beside the batch */
    const float *weight;        /* [pairs], finite */
} es_expert_batch;

/* Runs feed-forwards with a pool and scratch of its own. One thread at a time. */
typedef struct es_expert_engine es_expert_engine;

typedef struct es_expert_engine_options {
    const es_kernels *kernels; /* borrowed for the engine's life */
    struct es_pool *pool;      /* borrowed for the engine's life */
    es_row_format row_format;
    size_t hidden;
    size_t intermediate_max;  /* the widest ffn it will be given */
    size_t rows_max;          /* up to ES_STEP_ROWS_MAX */
    size_t pairs_per_row_max; /* up to ES_PAIRS_PER_ROW_MAX */
} es_expert_engine_options;

es_status es_expert_engine_create(const es_expert_engine_options *options, es_expert_engine **ret_engine,
                                  es_err *err);
void es_expert_engine_destroy(es_expert_engine **engine);

/* sum[r][hidden] += every pair's output on the row's quantum (es_rows_quantum). ffns [ffn_count], each with
 * its weights held. ES_NOT_HERE names the expert that is not; ES_NUMERIC names the row and expert whose value
 * is not finite or too large; ES_INVALID for a batch beyond the stated maxima. Allocates nothing. */
es_status es_expert_engine_run(es_expert_engine *engine, const es_ffn *ffns, size_t ffn_count,
                               const es_expert_batch *batch, int64_t *sum, es_err *err);

/* After ES_NUMERIC: the index in the batch of the pair that failed. */
size_t es_expert_engine_failed_pair(const es_expert_engine *engine);

#endif
