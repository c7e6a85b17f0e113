/* What to ask of each node so that what is held becomes what the placement says. Pure. */
#ifndef ES_MEMBERS_RECONCILE_H
#define ES_MEMBERS_RECONCILE_H

#include "cluster/chunk_set.h"

/* One node as it is known now. Sets are borrowed and of one shape. */
typedef struct es_reconcile_node {
    const es_chunk_set *wanted; /* what the placement gives it; NULL: nothing */
    const es_chunk_set *held;   /* what it said last that it holds; NULL: it said nothing yet */
    bool reached;               /* it answers on its control link, and is of this model */
    bool shown;                 /* whoever gives out work knows that it holds what it holds */
    bool free;                  /* it may be asked now: nothing is under way, and no pause after a failure */
    bool leaves;                /* it is to be switched off */
    bool drained;               /* it was told so, and takes no more work */
    bool behind;                /* it has not heard of this placement */
} es_reconcile_node;

typedef enum es_step {
    ES_STEP_NONE,
    ES_STEP_LOAD, /* what it gains, or nothing: then only the placement's epoch is told */
    ES_STEP_DROP, /* what it loses and everybody who is to hold it holds */
    ES_STEP_DRAIN
} es_step;

typedef struct es_reconcile_step {
    es_step step;
    size_t gains, loses; /* chunks that it lacks; that it holds and is not to hold */
    size_t kept;         /* of the latter those that somebody else is still to load, or to be seen with */
} es_reconcile_step;

/* Chunks that some node is to hold and cannot be asked for yet: it is not reached, does not hold them or was
 * not seen with them. Overwrites ret_uncovered. */
void es_reconcile_uncovered(const es_reconcile_node *nodes, size_t count, es_chunk_set *ret_uncovered);

/* The next step of one node. Nodes load before anybody drops: a chunk is dropped only when it is not in
 * uncovered, which es_reconcile_uncovered made of all nodes. */
es_reconcile_step es_reconcile_next(const es_reconcile_node *node, const es_chunk_set *uncovered);

/* The chunks of a step: what it gains, or what it loses and others have. Overwrites ret_units. */
void es_reconcile_gains(const es_reconcile_node *node, es_chunk_set *ret_units);
void es_reconcile_drops(const es_reconcile_node *node, const es_chunk_set *uncovered,
                        es_chunk_set *ret_units);

/* True when every node holds, and was seen with, all that it is to hold. */
bool es_reconcile_complete(const es_reconcile_node *nodes, size_t count);

#endif
