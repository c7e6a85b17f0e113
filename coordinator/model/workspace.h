/* The forward pass's memory for one step, taken once; private to the model room. */
#ifndef ES_MODEL_WORKSPACE_H
#define ES_MODEL_WORKSPACE_H

#include "essaim/experts.h"
#include "model/compute.h"
#include "model/forward.h"
#include "model/heat.h"

/* Rows whose heads are computed together: a head's matrices are read once for so many. */
enum { ES_ATTENTION_ROWS_MAX = 64 };

/* Leading dimension is rows_max unless said otherwise. */
typedef struct es_workspace {
    float *x;      /* [hidden]: the residual stream */
    float *normed; /* [hidden] */
    float *q_low;  /* [q_lora] */
    float *q;      /* [heads * (nope + rope)] */
    float *kv;     /* [kv_lora + rope]: kv_a's output, then the entry before it is rounded */
    float
        *absorbed; /* [ES_ATTENTION_ROWS_MAX at most][heads][kv_lora + rope]: queries as entries meet them */
    float *gathered;       /* likewise [heads][kv_lora]: what the heads gather from the entries */
    float *heads_out;      /* [heads * v] */
    float *block_out;      /* [hidden]: what attention or the feed-forward adds */
    uint8_t *row_bytes;    /* rows of the widest matrix input */
    float *cos, *sin;      /* [rope / 2] of each row's position */
    float *router_z;       /* [experts] */
    uint32_t *pair_first;  /* [rows_max + 1] */
    uint32_t *pair_expert; /* [experts_per_token] */
    float *pair_weight;    /* [experts_per_token] */
    uint32_t *
        single_first; /* [rows_max + 1]: 0, 1, 2, …: one pair a row, for the shared expert and dense layers */
    uint32_t *single_expert; /* all 0 */
    float *single_weight;    /* all 1 */
    int64_t *sum;            /* [hidden] */
} es_workspace;

struct es_forward {
    es_forward_options options;
    const es_shape *shape;
    es_arena *arena;
    es_compute compute;
    es_expert_engine *engine; /* the shared expert and dense layers */
    es_workspace work;
    es_heat heat;
    float attention_scale;
    es_rotary rotary;
};

es_status es_workspace_create(es_forward *forward, es_err *err);

/* ES_NUMERIC, naming row's position and what is not finite there. */
es_status es_forward_not_finite(const es_forward_row *row, const char *what, es_err *err);

/* The attention half and the feed-forward half of one layer, added to work.x [count]. */
es_status es_attention_forward(es_forward *forward, size_t layer, const es_forward_row *rows, size_t count,
                               es_err *err);
es_status es_ffn_forward(es_forward *forward, size_t layer, const es_forward_row *rows, size_t count,
                         es_err *err);

#endif
