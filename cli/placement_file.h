/* What each expert shard is to hold: equal parts, or as a file says. */
#ifndef ES_CLI_PLACEMENT_FILE_H
#define ES_CLI_PLACEMENT_FILE_H

#include "weights/shard_cut.h"

/* [nodes]; no nodes when the model has no routed experts. */
typedef struct cli_shares {
    es_cut_share *shares;
    es_units *units; /* behind all of them */
    size_t nodes;
} cli_shares;

/* Equal parts of every layer's experts. */
es_status cli_shares_equal(const es_shape *shape, size_t nodes, cli_shares *ret_shares, es_err *err);

/* Reads {"shares": [2, 1, 1]}: node i gets that share of every MoE layer's experts, a contiguous group, at
 * least one; or {"slices": 4}: every expert in four slices, one for each node. ES_INVALID names what is
 * wrong, an unknown key too. */
es_status cli_shares_read(const char *path, const es_shape *shape, cli_shares *ret_shares, es_err *err);

void cli_shares_fini(cli_shares *shares);

#endif
