/* Who holds what: every copy of every (layer, expert, slice), as the nodes announced them. */
#ifndef ES_DISPATCH_HOLDERS_H
#define ES_DISPATCH_HOLDERS_H

#include "essaim/model.h"
#include "essaim/placement.h"

/* One thread's own. */
typedef struct es_holders es_holders;

/* Empty. shape is borrowed for its life. */
es_status es_holders_create(const es_shape *shape, es_holders **ret_holders, es_err *err);
void es_holders_destroy(es_holders **holders);

/* ES_INVALID names the first range or slice that the model does not have. */
es_status es_holders_check_units(const es_shape *shape, const es_units *units, size_t count, es_err *err);

/* What one node holds, checked; borrowed. */
typedef struct es_announced {
    const es_units *units;
    size_t count;
} es_announced;

/* Begins anew: nodes [count] (at most 65535) are told by their index from here on. Where an expert is
 * announced whole and in slices, whole copies are used; where in several numbers of slices, the smallest that
 * is complete. ES_NO_MEMORY leaves the table as it was. */
es_status es_holders_fill(es_holders *holders, const es_announced *nodes, size_t count, es_err *err);

/* ES_NOT_FOUND names the first expert, or slice, that nobody holds. */
es_status es_holders_complete(const es_holders *holders, es_err *err);

/* In how many slices this expert is asked for: 1 when held whole, 0 when nobody holds any of it. */
size_t es_holders_slices(const es_holders *holders, size_t layer, size_t expert);

/* The largest of them all, at least 1. */
size_t es_holders_slices_max(const es_holders *holders);

/* The nodes that can compute these chunks (es_chunks_code; 0: the whole) of an expert; borrowed until the
 * next fill. *ret_count is 0 when nobody can. */
const uint16_t *es_holders_find(const es_holders *holders, size_t layer, size_t expert, uint32_t chunks,
                                size_t *ret_count);

#endif
