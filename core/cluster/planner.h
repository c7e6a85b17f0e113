/* The planner: from machines and a mode to a placement. Pure: the same request gives the same document. */
#ifndef ES_CLUSTER_PLANNER_H
#define ES_CLUSTER_PLANNER_H

#include "cluster/document.h"

enum { ES_RACK_MAX = 63 };

/* A machine that may hold experts. */
typedef struct es_planner_node {
    char name[ES_NAME_MAX + 1];
    char rack[ES_RACK_MAX + 1]; /* its failure domain; "": it is one of its own */
    uint64_t memory_bytes;      /* for experts */
    double bandwidth;           /* bytes a second it reads weights at; 0: not measured, the others' mean */
} es_planner_node;

/* All borrowed for the call. */
typedef struct es_planner_request {
    const es_planner_node *nodes; /* [node_count], names differ */
    size_t node_count;            /* 1 to ES_DOCUMENT_NODES_MAX */
    const uint32_t *layers;       /* [layer_count] with routed experts, ascending */
    size_t layer_count;
    size_t experts;
    size_t groups;              /* of the router; 1: none */
    const uint64_t *cell_bytes; /* [layer_count], each above 0: of one expert's largest slice */
    es_placement_mode mode;
    size_t copies;             /* of each cell, 1 to ES_COPIES_MAX, at most node_count */
    size_t slices;             /* of each expert; 1 in every mode but slice */
    const double *heat;        /* [layer_count][experts], how often each was chosen; NULL: not counted */
    const es_document *before; /* what is to be changed as little as possible; NULL: begin afresh */
    const uint8_t *fingerprint;
    es_epoch epoch; /* of the document that is made */
} es_planner_request;

/* What the planner says beside the document. */
typedef struct es_planner_report {
    bool racks_apart;   /* no rack holds two copies of a cell */
    size_t short_cells; /* with fewer copies than asked for: only in mode replicate, when memory is short */
    double share_error; /* the largest difference between a node's cells and its share, in cells */
} es_planner_report;

/* Every cell gets `copies` holders on different nodes, on different racks where that is possible; no node
 * gets more bytes than its memory; shares follow bandwidth as far as memory allows. In mode replicate, when
 * memory holds one copy of everything but not all copies, hot experts get theirs first. What `before` placed
 * stays where it is unless shares ask otherwise. ES_NO_MEMORY states what is needed and what there is;
 * ES_INVALID names what is wrong with the request. */
es_status es_planner_plan(const es_planner_request *request, es_document **ret_document,
                          es_planner_report *ret_report, es_err *err);

/* What changes between two documents of the same model for one node of the second. */
typedef struct es_planner_change {
    size_t gains, drops; /* cells */
    uint64_t gain_bytes;
} es_planner_change;

/* ret_changes [after->node_count] in its order. before NULL: everything is gained. Cells of another slicing
 * are others. ES_NO_MEMORY. */
es_status es_planner_compare(const es_document *before, const es_document *after, const uint64_t *cell_bytes,
                             es_planner_change *ret_changes, es_err *err);

#endif
