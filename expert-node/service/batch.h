/* A request's pairs as a batch for the engine: each stretch of an expert that it asks for becomes a
 * feed-forward. */
#ifndef ES_SERVICE_BATCH_H
#define ES_SERVICE_BATCH_H

#include "essaim/experts.h"
#include "net/wire.h"
#include "units/holding.h"

/* One stretch, as the request names it. */
typedef struct es_view {
    uint32_t expert;
    es_chunks chunks;
    uint32_t next; /* another of this expert; NO_VIEW: none */
} es_view;

/* Owned by the service thread. */
typedef struct es_batch {
    const es_shape *shape;
    size_t view_count, views_max;
    es_view *views;
    es_ffn *ffns;    /* [views_max] */
    uint32_t *first; /* [experts]: an expert's first view */
    size_t pair_count, pairs_max;
    uint32_t *pair_first; /* [ES_STEP_ROWS_MAX + 1] */
    uint32_t *view;       /* [pairs_max] */
    float *weight;        /* [pairs_max] */
} es_batch;

/* The pairs that a row can have here, pieces of experts counted. */
size_t es_batch_pairs_per_row(const es_shape *shape);

es_status es_batch_init(es_batch *batch, const es_shape *shape, es_err *err);
void es_batch_fini(es_batch *batch);

/* Makes a batch of a request whose layer has experts. A stretch that the node holds in pieces becomes several
 * pairs. ES_NOT_HERE names what is not held, ES_INVALID what no expert of this model has, or a row with too
 * many pieces. The feed-forwards are the holding's. */
es_status es_batch_make(es_batch *batch, const es_holding *holding, const es_wire_request *request,
                        es_err *err);

/* The row that a pair of the batch belongs to. */
size_t es_batch_row(const es_batch *batch, size_t pair);

#endif
