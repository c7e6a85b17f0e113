/* How fast this machine computes from the weights that it is to hold, mapped as a program maps them. */
#ifndef ES_DOCTOR_HELD_H
#define ES_DOCTOR_HELD_H

#include "base/pool.h"
#include "essaim/kernels.h"
#include "essaim/model.h"

typedef struct es_held_speed {
    double bytes_per_s;      /* of weights, one row; 0: not measured */
    double read_bytes_per_s; /* of plain reads, in turns with that */
    double ops_per_s;        /* of ES_HELD_ROWS rows that meet at one feed-forward */
    double bytes_per_weight;
    es_format format; /* of the first of them */
} es_held_speed;

enum { ES_HELD_ROWS = 64 };

/* Feed-forwards of shards at paths [count] (files or folders of them): routed experts, and a coordinator's
 * own; up to a gigabyte of them, each round after enough reads that none is in a cache. Takes about a second,
 * and before that up to five for reading them from a disk: what was not read by then is left out. Leaves 0
 * where paths are no shards. */
es_status es_held_measure(const char *const *paths, size_t count, const es_kernels *kernels, es_pool *pool,
                          es_held_speed *ret_speed, es_err *err);

#endif
