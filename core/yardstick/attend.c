/* What attention over a cache reaches. */
#include "base/clock.h"
#include "base/size.h"
#include "yardstick/yardstick.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

/* DeepSeek's: 128 heads over 512 latent values and 64 that carry the position; one row's heads are shared out
 * as the coordinator does it. */
enum { HEADS = 128, LATENT = 512, ROPE = 64, WIDTH = LATENT + ROPE, ITEMS_PER_THREAD = 4, TILES = 256 };

static const uint64_t ATTEND_NS = 50000000;

typedef struct attending {
    const es_kernels *kernels;
    size_t queries;
    uint16_t *entries; /* [TILES][ES_KV_TILE][WIDTH] f16, all small */
    float *space;      /* [threads] of a tile, the queries and what they gather */
    size_t space_floats;
} attending;

static void attend_item(void *job, size_t item, size_t thread)
{
    const attending *a = job;
    float *tile = a->space + thread * a->space_floats, *q = tile + (size_t)ES_KV_TILE * WIDTH,
          *out = q + (size_t)ES_ATTEND_QUERIES_MAX * WIDTH;
    es_attend_state states[ES_ATTEND_QUERIES_MAX];
    (void)item;
    for (size_t i = 0; i < a->queries; i++) states[i] = (es_attend_state){-INFINITY, 0.0f};
    for (size_t t = 0; t < TILES; t++) {
        a->kernels->widen_f16(a->entries + t * ES_KV_TILE * WIDTH, (size_t)ES_KV_TILE * WIDTH, tile);
        a->kernels->attend_tile(q, a->queries, tile, ES_KV_TILE, WIDTH, LATENT, 0.07f, states, out);
    }
}

double es_yardstick_attend_ops(const es_kernels *kernels, es_pool *pool)
{
    size_t threads = es_pool_threads(pool), rounds = 0, entries = (size_t)TILES * ES_KV_TILE * WIDTH;
    size_t queries = es_size_align(es_size_ceil_div(HEADS, threads * ITEMS_PER_THREAD), 4);
    attending a = {.kernels = kernels,
                   .queries = es_size_min(queries, ES_ATTEND_QUERIES_MAX),
                   .entries = malloc(entries * sizeof *a.entries),
                   .space_floats = ((size_t)ES_KV_TILE + 2 * ES_ATTEND_QUERIES_MAX) * WIDTH};
    a.space = calloc(threads * a.space_floats, sizeof *a.space);
    double ops = 0;
    if (a.entries != NULL && a.space != NULL) {
        for (size_t i = 0; i < entries; i++) a.entries[i] = (uint16_t)(0x2c00 + i % 512);
        size_t items = es_size_ceil_div(HEADS, a.queries);
        uint64_t start_ns = es_clock_now_ns(), took_ns;
        do {
            es_pool_run(pool, items, attend_item, &a);
            rounds++;
            took_ns = es_clock_now_ns() - start_ns;
        } while (took_ns < ATTEND_NS);
        double positions = (double)rounds * TILES * ES_KV_TILE * (double)(items * a.queries);
        ops = 2 * positions * (2 * LATENT + ROPE) * 1e9 / (double)took_ns;
    }
    free(a.entries);
    free(a.space);
    return ops;
}
