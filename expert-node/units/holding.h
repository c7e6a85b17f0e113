/* What a node holds at one moment. Immutable once made: the service computes from one until it is given the
 * next. */
#ifndef ES_UNITS_HOLDING_H
#define ES_UNITS_HOLDING_H

#include "cluster/chunk_set.h"

/* Some chunks of an expert as a feed-forward of their own. */
typedef struct es_piece {
    es_chunks chunks;
    es_ffn ffn;
    struct es_loaded *loaded; /* the loader's: whose bytes they are */
} es_piece;

typedef struct es_holding {
    const es_shape *shape; /* borrowed */
    uint32_t *first;       /* [layers * experts + 1]: where an expert's pieces begin */
    es_piece *pieces;      /* ascending by layer, expert, first chunk; they do not overlap */
    size_t piece_count;
    es_units *units; /* the same as ranges */
    size_t unit_count;
} es_holding;

/* The piece that has a chunk of an expert, or NULL. */
const es_piece *es_holding_find(const es_holding *holding, size_t layer, size_t expert, uint32_t chunk);

/* Room for pieces and ES_UNITS_MAX ranges, all zero. */
es_status es_holding_create(const es_shape *shape, size_t piece_count, es_holding **ret_holding, es_err *err);
void es_holding_destroy(es_holding **holding);

#endif
