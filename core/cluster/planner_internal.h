/* The planner's workings, for its own files. */
#ifndef ES_CLUSTER_PLANNER_INTERNAL_H
#define ES_CLUSTER_PLANNER_INTERNAL_H

#include "cluster/planner.h"

enum { ES_PLANNER_NOBODY = 0xffff };

typedef struct es_planner_share {
    const es_planner_node *node;
    size_t rack;   /* index of its failure domain */
    double weight; /* bandwidth */
    uint64_t left; /* memory not planned yet, bytes */
    double part;   /* of all placed cells, 0 to 1 */
    double owed;   /* cells it should have and was not given in the layers so far; below 0: was given more */
    size_t quota;  /* cells of the layer at hand */
    size_t held_before; /* cells of that layer */
} es_planner_share;

typedef struct es_planner {
    const es_planner_request *request;
    es_arena *arena;
    es_planner_share *shares; /* [node_count], ascending by name */
    size_t rack_count;
    size_t *rack_cells; /* [rack_count] of the layer at hand */
    size_t *order;      /* [node_count]: nodes by rack, then name */
    bool apart;         /* racks are kept apart */
    size_t cells;       /* of one layer: experts * slices */
    double copies;      /* that fit: below request->copies only in mode replicate */
    double copies_owed;
    uint16_t *holder; /* [layer_count][cells][copies]: who holds, ES_PLANNER_NOBODY behind the last */
    uint16_t *before; /* [layer_count][cells][before_copies]: likewise of request->before; NULL: none */
    size_t before_copies;
    size_t *sequence; /* [cells]: the order in which a node's cells follow each other */
    size_t *wanted;   /* [cells] copies, of the layer at hand */
    size_t *covered;  /* [cells] of them placed */
    size_t *released; /* [cells] by nodes that held more than their quota */
    double *load;     /* [node_count], by heat, of the layer at hand */
    size_t short_cells;
    double share_error;
} es_planner;

static inline uint16_t *es_planner_holders(const es_planner *p, size_t layer_index, size_t cell)
{
    return p->holder + (layer_index * p->cells + cell) * p->request->copies;
}

/* Gives every node its part of the whole. */
es_status es_planner_divide(es_planner *p, es_err *err);

/* Sets `quota` of every node for a layer with `total` copies of cells. */
es_status es_planner_set_quotas(es_planner *p, size_t layer_index, size_t total, es_err *err);

/* Gives the layer's cells to the nodes, up to their quotas. */
void es_planner_assign(es_planner *p, size_t layer_index);

#endif
