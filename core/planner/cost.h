/* What a step costs on one machine: bytes and operations of a model's parts, and the seconds they take.
 * docs/planner.md has the formulas. */
#ifndef ES_PLANNER_COST_H
#define ES_PLANNER_COST_H

#include "essaim/model.h"
#include "planner/machine.h"

/* Matrices that are multiplied one after the other: what they weigh in panels and how many weights they hold.
 */
typedef struct es_cost_matrices {
    es_format format;
    double bytes, weights;
    double products; /* fork-joins that they take */
} es_cost_matrices;

/* A model's parts. */
typedef struct es_cost_model {
    const es_shape *shape; /* borrowed */
    size_t moe_layers;
    es_cost_matrices attention, dense, shared, head, expert; /* of one layer; of one expert */
    double router_bytes, router_weights;
    double embedding_bytes;
    double kv_bytes_per_token; /* of one layer */
    double backbone_bytes;     /* what a coordinator holds */
    double experts_bytes;      /* all routed experts */
} es_cost_model;

/* Weights stored as format, in panels. FP8 as released: embedding and head are BF16 then. kv_value_bytes is 2
 * or 4. ES_INVALID when the shape's sizes do not fit. */
es_status es_cost_model_make(const es_shape *shape, es_format format, size_t kv_value_bytes,
                             es_cost_model *ret_model, es_err *err);

/* What of the machine's figures this machine's kernels reach; fractions of 1, measured by `essaim bench
 * expert`. */
typedef struct es_cost_rates {
    double read[ES_FORMAT_COUNT]; /* of read_bytes_per_s, at one row */
    double
        multiply[ES_FORMAT_COUNT]; /* of int_ops_per_s (integer formats) or float_ops_per_s, at many rows */
    double attend;                 /* of float_ops_per_s: attention over the cache */
    double join_s;                 /* one fork-join of a pool */
    double call_s;                 /* a layer's call to one node beyond the network's and the kernels' time */
    double encrypt_bytes_per_s;    /* one core, CURVE */
} es_cost_rates;

extern const es_cost_rates ES_COST_RATES;

/* Seconds of multiplying all of these with rows rows, on a machine that has a share (0 to 1) of itself for
 * it. */
double es_cost_product_s(const es_cost_matrices *matrices, double rows, const es_machine *machine,
                         double share);

/* Seconds of attention over caches: streams sequences of context tokens each, rows_each new rows a stream;
 * one layer. */
double es_cost_attend_s(const es_cost_model *model, double streams, double rows_each, double context,
                        const es_machine *machine, double share);

/* Seconds that a byte of a message takes one thread of the machine to encrypt, or to decrypt. */
double es_cost_encrypt_s(const es_machine *machine);

/* Bytes of one row's way to a node and of its sum's way back. */
double es_cost_row_bytes(const es_shape *shape);
double es_cost_sum_bytes(const es_shape *shape);

#endif
