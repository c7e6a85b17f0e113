/* What a bench computes from. */
#ifndef ES_CLI_BENCH_WEIGHTS_H
#define ES_CLI_BENCH_WEIGHTS_H

#include "base/arena.h"
#include "essaim/model.h"
#include "essaim/status.h"

typedef struct es_bench_shard es_bench_shard;

/* Experts of one shape. Tables live in the arena that was given. */
typedef struct es_bench_weights {
    size_t hidden, intermediate, count;
    const es_ffn *ffns;   /* [count]: drawn, or mapped */
    const es_ffn *copies; /* [count]: of mapped ones, the same in anonymous memory; else NULL */
    uint8_t *memory; /* anonymous, on huge pages where the system has them: expert e at e * expert_bytes */
    size_t memory_bytes;
    size_t expert_bytes;   /* of panels; a shard's largest expert */
    es_bench_shard *shard; /* NULL: drawn */
    size_t layer;          /* of the shard: whose experts these are */
    double warm_share;   /* of the mapped experts' pages, what was in the page cache before they were read */
    double read_seconds; /* reading them ahead, as a node does at its start */
} es_bench_weights;

/* Random experts. ret_weights is to be freed whatever is returned. */
es_status es_bench_draw(es_format format, size_t hidden, size_t intermediate, size_t experts, es_arena *arena,
                        es_bench_weights *ret_weights, es_err *err);

/* The first experts, up to so many, that an expert shard holds whole of its first layer with any: mapped and
 * read ahead by the code that a node runs. ES_INVALID when path is no shard or has none. To be freed
 * likewise. */
es_status es_bench_map(const char *path, size_t experts, es_arena *arena, es_bench_weights *ret_weights,
                       es_err *err);

void es_bench_weights_free(es_bench_weights *weights);

#endif
