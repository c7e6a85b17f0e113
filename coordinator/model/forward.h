/* The forward pass: rows of tokens in, logits out. One layer after the other; docs/architecture/token-walk.md
 * follows it. */
#ifndef ES_MODEL_FORWARD_H
#define ES_MODEL_FORWARD_H

#include "essaim/expert_backend.h"
#include "model/kv.h"
#include "trace/trace.h"

/* Weights (borrowed), workspace and scratch. Owned by the thread that runs the step. */
typedef struct es_forward es_forward;

typedef struct es_forward_options {
    const es_model *model;      /* with its backbone; borrowed for the forward's life */
    const es_kernels *kernels;  /* borrowed likewise */
    struct es_pool *pool;       /* borrowed likewise */
    es_expert_backend *backend; /* borrowed likewise; NULL when the model has no MoE layer */
    es_row_format row_format;
    size_t rows_max; /* of a step, up to ES_STEP_ROWS_MAX */
    es_trace *trace; /* where stages' times go, borrowed likewise; NULL: nowhere */
} es_forward_options;

/* One token of one sequence. Rows of a sequence stand in ascending positions without gaps; all its earlier
 * positions are in kv. */
typedef struct es_forward_row {
    uint32_t token;
    uint32_t position;
    es_kv *kv; /* reserved up to position */
    bool wants_logits;
} es_forward_row;

es_status es_forward_create(const es_forward_options *options, es_forward **ret_forward, es_err *err);
void es_forward_destroy(es_forward **forward);

/* Runs count rows through all layers and writes their KV entries. ret_logits [rows that want logits, in
 * order][vocab]. A failed step may leave entries of its own positions in kv; they are overwritten when the
 * step is run again. Allocates nothing. Errors name layer and position, or node; ES_OK means that every logit
 * is finite. */
es_status es_forward_run(es_forward *forward, const es_forward_row *rows, size_t count, float *ret_logits,
                         es_err *err);

/* How often each expert was chosen, what was long ago counting less (model/heat.h): ret_counts
 * [layers][experts], dense layers 0. now_ns is an es_clock_now_ns value. */
void es_forward_read_heat(es_forward *forward, uint64_t now_ns, float *ret_counts);

#endif
