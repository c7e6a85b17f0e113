/* A set of chunks of experts: what a node holds, or is to hold. */
#ifndef ES_CLUSTER_CHUNK_SET_H
#define ES_CLUSTER_CHUNK_SET_H

#include "essaim/placement.h"

/* A bit for each chunk of each expert of each layer. One thread's own. */
typedef struct es_chunk_set {
    const es_shape *shape; /* borrowed */
    size_t chunks, words;  /* of an expert */
    uint64_t *bits;        /* [layers][experts][words] */
} es_chunk_set;

es_status es_chunk_set_init(es_chunk_set *set, const es_shape *shape, es_err *err);
void es_chunk_set_fini(es_chunk_set *set);

bool es_chunk_set_has(const es_chunk_set *set, size_t layer, size_t expert, size_t chunk);
void es_chunk_set_put(es_chunk_set *set, size_t layer, size_t expert, es_chunks chunks, bool in);

/* The first stretch at or behind chunk `from` of an expert that is in `in` and not in `out` (which may be
 * NULL); false when there is none. */
bool es_chunk_set_run(const es_chunk_set *in, const es_chunk_set *out, size_t layer, size_t expert,
                      uint32_t from, es_chunks *ret_chunks);

/* ES_INVALID names a range that a model of this shape does not have, or cuts finer than chunks. */
es_status es_chunk_set_check(const es_shape *shape, const es_units *units, size_t count, es_err *err);

/* Puts checked ranges in, or takes them out. */
void es_chunk_set_change(es_chunk_set *set, const es_units *units, size_t count, bool in);

/* Writes the set as ranges, ascending by layer and expert: stretches as slices of `slices` where they are
 * such (0: try none), else of the fewest that have them, else chunk by chunk. ES_NO_MEMORY when there are
 * more than units_max. */
es_status es_chunk_set_units(const es_chunk_set *set, uint32_t slices, es_units *ret_units, size_t units_max,
                             size_t *ret_count, es_err *err);

#endif
