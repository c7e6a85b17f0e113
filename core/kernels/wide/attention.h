/* Several heads of one row over one tile of entries. Bits are those of ref/attention.c. A set's attention.c
 * includes its wide.h and this.
 *
 * Scores are dot products four queries by four entries at a time. Entries are then added to as many queries
 * and columns as registers hold, entries innermost and ascending, so that every output is one chain as
 * defined. */
#ifndef ES_KERNELS_WIDE_ATTENTION_H
#define ES_KERNELS_WIDE_ATTENTION_H

#include "kernels/ref/exp.h"
#include "kernels/ref/set.h"

typedef struct tile_view {
    const float *entries;
    size_t count, width, latent;
} tile_view;

/* The scores of one query, of whose places those beyond count may be written, become what the entries are
 * weighed with. Returns what the sums so far are to shrink by. */
static inline float softmax_step(float *p, size_t count, float scale, es_attend_state *state)
{
    for (size_t j = 0; j < count; j++) p[j] *= scale;
    for (size_t j = count; j % WIDE_LANES != 0; j++) p[j] = -INFINITY;
    wide most = wide_of(state->max);
    for (size_t j = 0; j < count; j += WIDE_LANES) most = wide_max(wide_load(p + j), most);
    float max = wide_highest(most), shrink = exp_one(state->max - max);
    for (size_t j = 0; j < count; j++) p[j] -= max;
    KERNEL(exp)(p, count, p);
    state->max = max;
    state->sum = fmaf(state->sum, shrink, KERNEL(sum)(p, count));
    return shrink;
}

/* Columns [at, at + 16 * blocks) of out, for queries side by side. */
static inline __attribute__((always_inline)) void add_entries(const tile_view *tile, int queries, int blocks,
                                                              const float (*p)[ES_KV_TILE],
                                                              const float *shrink, size_t at, float *out)
{
    wide sum[WIDE_ADD_QUERIES][WIDE_ADD_BLOCKS];
#pragma GCC unroll 4
    for (int q = 0; q < queries; q++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++)
            sum[q][b] = wide_mul(wide_load(out + (size_t)q * tile->latent + at + (size_t)b * WIDE_LANES),
                                 wide_of(shrink[q]));
    const float *entry = tile->entries + at;
    for (size_t j = 0; j < tile->count; j++, entry += tile->width) {
        wide value[WIDE_ADD_BLOCKS];
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) value[b] = wide_load(entry + (size_t)b * WIDE_LANES);
#pragma GCC unroll 4
        for (int q = 0; q < queries; q++) {
            wide weight = wide_of(p[q][j]);
#pragma GCC unroll 4
            for (int b = 0; b < blocks; b++) sum[q][b] = wide_fma(weight, value[b], sum[q][b]);
        }
    }
#pragma GCC unroll 4
    for (int q = 0; q < queries; q++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++)
            wide_store(out + (size_t)q * tile->latent + at + (size_t)b * WIDE_LANES, sum[q][b]);
}

/* The columns of one query that fill no register. */
static inline void add_rest(const tile_view *tile, const float *p, float shrink, size_t at, float *out)
{
    for (size_t i = at; i < tile->latent; i++) {
        float sum = out[i] * shrink;
        for (size_t j = 0; j < tile->count; j++) sum = fmaf(p[j], tile->entries[j * tile->width + i], sum);
        out[i] = sum;
    }
}

/* As many columns at a time as blocks say, for all queries; returns the first column that is left. */
static inline __attribute__((always_inline)) size_t add_columns(const tile_view *tile, int blocks,
                                                                size_t queries, const float (*p)[ES_KV_TILE],
                                                                const float *shrink, size_t at, float *out)
{
    size_t step = (size_t)blocks * WIDE_LANES;
    for (; at + step <= tile->latent; at += step) {
        size_t q = 0;
        for (; q + WIDE_ADD_QUERIES <= queries; q += WIDE_ADD_QUERIES)
            add_entries(tile, WIDE_ADD_QUERIES, blocks, p + q, shrink + q, at, out + q * tile->latent);
        for (; q < queries; q++) add_entries(tile, 1, blocks, p + q, shrink + q, at, out + q * tile->latent);
    }
    return at;
}

void KERNEL(attend_tile)(const float *q, size_t queries, const float *entries, size_t count, size_t width,
                         size_t latent, float scale, es_attend_state *states, float *out)
{
    ES_ASSERT(count <= ES_KV_TILE && latent <= width && queries <= ES_ATTEND_QUERIES_MAX);
    if (count == 0 || queries == 0) return;
    const tile_view tile = {entries, count, width, latent};
    float p[ES_ATTEND_QUERIES_MAX][ES_KV_TILE], shrink[ES_ATTEND_QUERIES_MAX];
    KERNEL(dots)(q, width, queries, entries, width, count, width, p[0], ES_KV_TILE);
    for (size_t i = 0; i < queries; i++) shrink[i] = softmax_step(p[i], count, scale, &states[i]);
    const float(*weights)[ES_KV_TILE] = (const float(*)[ES_KV_TILE])p;
    size_t at = add_columns(&tile, WIDE_ADD_BLOCKS, queries, weights, shrink, 0, out);
    at = add_columns(&tile, 1, queries, weights, shrink, at, out);
    for (size_t i = 0; i < queries && at < latent; i++)
        add_rest(&tile, p[i], shrink[i], at, out + i * latent);
}

#endif
