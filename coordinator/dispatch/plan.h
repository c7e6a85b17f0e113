/* Which node computes which pairs. */
#ifndef ES_DISPATCH_PLAN_H
#define ES_DISPATCH_PLAN_H

#include "dispatch/holders.h"
#include "essaim/experts.h"

/* Room for one call's work, split among nodes and split again when a node fails. One thread's own. */
typedef struct es_plan es_plan;

/* Some of a batch's work: rows that have pairs, and their pairs; a pair may want a slice of its expert only.
 * Borrowed from the plan until its next call begins. */
typedef struct es_work {
    size_t rows, pairs;
    const uint32_t *row;           /* [rows], ascending: the row's index in the batch */
    const uint32_t *pairs_per_row; /* [rows] */
    const uint32_t *expert;        /* [pairs] */
    const uint32_t *chunks;        /* [pairs]: es_chunks_code */
    const float *weight;           /* [pairs] */
    bool sliced;                   /* a pair has chunks other than 0 */
    double cost;                   /* es_history_cost of it */
} es_work;

/* How a node stands when work is given out. */
typedef enum es_seat_rank {
    ES_SEAT_NONE,  /* gets nothing */
    ES_SEAT_DOUBT, /* gets what nobody better holds */
    ES_SEAT_GOOD
} es_seat_rank;

typedef struct es_seat {
    es_seat_rank rank;
    double base_ns; /* of a call, however small */
    double cost_ns; /* for cost 1 */
    double pair_ns; /* beside it, for each pair */
} es_seat;

/* For batches of at most rows_max rows. shape is borrowed for the plan's life. */
es_status es_plan_create(const es_shape *shape, size_t rows_max, es_plan **ret_plan, es_err *err);
void es_plan_destroy(es_plan **plan);

/* Makes room for experts in up to slices_max slices and nodes_max nodes; what was given out is lost. */
es_status es_plan_reserve(es_plan *plan, size_t slices_max, size_t nodes_max, es_err *err);

/* Begins a call: all of a batch as work, each pair of a sliced expert as one for each slice. ES_INVALID when
 * it has too many rows or pairs. Allocates nothing. */
es_status es_plan_begin(es_plan *plan, const es_holders *holders, size_t layer, const es_expert_batch *batch,
                        es_work *ret_all, es_err *err);

/* Work whose experts are held in other slices now than when it was made: ret_work is the same, with pairs
 * that nobody can compute cut where the slices are that somebody holds. Without such pairs it is work itself.
 * ES_NO_MEMORY: the call was split too often. Allocates nothing. */
es_status es_plan_recut(es_plan *plan, const es_holders *holders, size_t layer, const es_work *work,
                        es_work *ret_work, es_err *err);

/* Gives work out: ret_works [nodes + 1], some without rows, by node, the last what nobody of rank may
 * compute. All pairs of one slice of an expert go to one node, so that its weights are read once; the busiest
 * node's time is small. ES_NO_MEMORY: the call was split too often. Allocates nothing. */
es_status es_plan_assign(es_plan *plan, const es_holders *holders, size_t layer, const es_work *work,
                         const es_seat *seats, size_t nodes, es_work *ret_works, es_err *err);

#endif
