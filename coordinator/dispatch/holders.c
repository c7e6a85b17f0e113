/* A table of copies: all announced units sorted by expert, then slices, slice and node; each expert points at
 * the stretch that is used. */
#include "dispatch/holders.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

typedef struct entry {
    uint32_t slices, slice;
    uint16_t node;
} entry;

/* The stretch of an expert that is used: its slices one after the other, each with its nodes. */
typedef struct stretch {
    uint32_t first, count;
    uint32_t slices; /* 0: nobody holds any */
} stretch;

struct es_holders {
    const es_shape *shape;
    stretch *experts; /* [layers * experts] */
    entry *entries;   /* sorted */
    uint16_t *nodes;  /* [entries]: their nodes, for those who ask */
    size_t slices_max;
};

es_status es_holders_create(const es_shape *shape, es_holders **ret_holders, es_err *err)
{
    *ret_holders = NULL;
    es_holders *holders = calloc(1, sizeof *holders);
    if (holders != NULL) holders->experts = calloc(shape->layers * shape->experts, sizeof *holders->experts);
    if (holders == NULL || holders->experts == NULL) {
        free(holders);
        return es_err_set(err, ES_NO_MEMORY, "table of who holds what");
    }
    holders->shape = shape;
    holders->slices_max = 1;
    *ret_holders = holders;
    return ES_OK;
}

void es_holders_destroy(es_holders **holders)
{
    if (*holders == NULL) return;
    free((*holders)->experts);
    free((*holders)->entries);
    free((*holders)->nodes);
    free(*holders);
    *holders = NULL;
}

es_status es_holders_check_units(const es_shape *shape, const es_units *units, size_t count, es_err *err)
{
    size_t chunks = es_chunks_of(shape->expert_intermediate);
    for (size_t i = 0; i < count; i++) {
        const es_units *u = &units[i];
        size_t end = (size_t)u->expert_first + u->expert_count;
        if (u->layer >= shape->layers || !es_shape_layer_is_moe(shape, u->layer) || end > shape->experts)
            return es_err_set(err, ES_INVALID,
                              "holds layer %u experts %u to %zu, which this model does not have", u->layer,
                              u->expert_first, end - 1);
        if (u->slices < 1 || u->slice >= u->slices || u->slices > chunks)
            return es_err_set(err, ES_INVALID,
                              "holds slice %u of %u of layer %u experts %u to %zu, which have %zu chunks",
                              u->slice, u->slices, u->layer, u->expert_first, end - 1, chunks);
    }
    return ES_OK;
}

static bool before(const entry *a, const entry *b)
{
    if (a->slices != b->slices) return a->slices < b->slices;
    if (a->slice != b->slice) return a->slice < b->slice;
    return a->node < b->node;
}

/* The copies of one expert are few. */
static void sort_entries(entry *entries, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        entry moved = entries[i];
        size_t at = i;
        for (; at > 0 && before(&moved, &entries[at - 1]); at--) entries[at] = entries[at - 1];
        entries[at] = moved;
    }
}

/* How many of entries [count], from the first on, are cut into as many slices as it is; *ret_complete: all
 * slices are there. */
static size_t same_cut(const entry *entries, size_t count, bool *ret_complete)
{
    size_t end = 0, slices = 0;
    for (; end < count && entries[end].slices == entries[0].slices; end++)
        slices += end == 0 || entries[end].slice != entries[end - 1].slice;
    *ret_complete = slices == entries[0].slices;
    return end;
}

/* The cut of one expert's sorted entries that is used: the first that is complete, else the first. */
static stretch choose_cut(const entry *entries, size_t first, size_t count)
{
    stretch chosen = {.slices = 0};
    for (size_t at = 0; at < count;) {
        bool complete;
        size_t length = same_cut(entries + first + at, count - at, &complete);
        if (complete || at == 0)
            chosen = (stretch){(uint32_t)(first + at), (uint32_t)length, entries[first + at].slices};
        if (complete) break;
        at += length;
    }
    return chosen;
}

/* How many copies each expert has, in begin [experts + 1] as where its entries begin; returns the total. */
static size_t count_entries(const es_shape *shape, const es_announced *nodes, size_t count, size_t *begin)
{
    size_t experts = shape->layers * shape->experts;
    for (size_t n = 0; n < count; n++)
        for (size_t i = 0; i < nodes[n].count; i++) {
            const es_units *u = &nodes[n].units[i];
            for (size_t e = 0; e < u->expert_count; e++)
                begin[u->layer * shape->experts + u->expert_first + e + 1]++;
        }
    for (size_t e = 0; e < experts; e++) begin[e + 1] += begin[e];
    return begin[experts];
}

static void place_entries(const es_shape *shape, const es_announced *nodes, size_t count, size_t *next,
                          entry *entries)
{
    for (size_t n = 0; n < count; n++)
        for (size_t i = 0; i < nodes[n].count; i++) {
            const es_units *u = &nodes[n].units[i];
            for (size_t e = 0; e < u->expert_count; e++)
                entries[next[u->layer * shape->experts + u->expert_first + e]++] =
                    (entry){u->slices, u->slice, (uint16_t)n};
        }
}

/* Sorts and takes over the filled entries. begin[e]: where the entries of expert e end. */
static void take_over(es_holders *holders, entry *entries, uint16_t *nodes, const size_t *end)
{
    size_t experts = holders->shape->layers * holders->shape->experts;
    holders->slices_max = 1;
    for (size_t e = 0; e < experts; e++) {
        size_t first = e == 0 ? 0 : end[e - 1];
        sort_entries(entries + first, end[e] - first);
        holders->experts[e] = choose_cut(entries, first, end[e] - first);
        holders->slices_max = es_size_max(holders->slices_max, holders->experts[e].slices);
    }
    for (size_t i = 0; experts > 0 && i < end[experts - 1]; i++) nodes[i] = entries[i].node;
    free(holders->entries);
    free(holders->nodes);
    holders->entries = entries;
    holders->nodes = nodes;
}

es_status es_holders_fill(es_holders *holders, const es_announced *nodes, size_t count, es_err *err)
{
    const es_shape *shape = holders->shape;
    ES_ASSERT(count <= UINT16_MAX);
    size_t *begin = calloc(shape->layers * shape->experts + 1, sizeof *begin);
    if (begin == NULL) return es_err_set(err, ES_NO_MEMORY, "table of who holds what");
    size_t total = count_entries(shape, nodes, count, begin);
    entry *entries = total <= UINT32_MAX ? calloc(es_size_max(total, 1), sizeof *entries) : NULL;
    uint16_t *of = total <= UINT32_MAX ? calloc(es_size_max(total, 1), sizeof *of) : NULL;
    if (entries == NULL || of == NULL) {
        free(entries);
        free(of);
        free(begin);
        return es_err_set(err, ES_NO_MEMORY, "table of %zu copies of experts", total);
    }
    place_entries(shape, nodes, count, begin, entries); /* moves each begin to its end */
    take_over(holders, entries, of, begin);
    free(begin);
    return ES_OK;
}

es_status es_holders_complete(const es_holders *holders, es_err *err)
{
    const es_shape *shape = holders->shape;
    for (size_t layer = 0; layer < shape->layers; layer++) {
        if (!es_shape_layer_is_moe(shape, layer)) continue;
        for (size_t e = 0; e < shape->experts; e++) {
            const stretch *s = &holders->experts[layer * shape->experts + e];
            if (s->slices == 0)
                return es_err_set(err, ES_NOT_FOUND, "layer %zu: expert %zu is held by no node", layer, e);
            uint32_t next = 0; /* the first slice that was not seen */
            for (size_t i = 0; i < s->count; i++)
                if (holders->entries[s->first + i].slice == next) next++;
            if (next < s->slices)
                return es_err_set(err, ES_NOT_FOUND,
                                  "layer %zu: slice %u of %u of expert %zu is held by no node", layer, next,
                                  s->slices, e);
        }
    }
    return ES_OK;
}

size_t es_holders_slices(const es_holders *holders, size_t layer, size_t expert)
{
    return holders->experts[layer * holders->shape->experts + expert].slices;
}

size_t es_holders_slices_max(const es_holders *holders)
{
    return holders->slices_max;
}

const uint16_t *es_holders_find(const es_holders *holders, size_t layer, size_t expert, uint32_t chunks,
                                size_t *ret_count)
{
    const stretch *s = &holders->experts[layer * holders->shape->experts + expert];
    *ret_count = 0;
    if (s->slices == 0) return NULL;
    if (s->slices == 1) { /* whoever holds it whole computes any part of it */
        *ret_count = s->count;
        return holders->nodes + s->first;
    }
    size_t first = 0, width = holders->shape->expert_intermediate;
    es_chunks want = es_chunks_decode(chunks);
    if (want.count == 0) want.count = (uint32_t)es_chunks_of(width);
    for (; first < s->count; first++) {
        es_chunks has = es_chunks_of_slice(width, holders->entries[s->first + first].slice, s->slices);
        if (has.first <= want.first && want.first + want.count <= has.first + has.count) break;
    }
    size_t end = first;
    while (end < s->count &&
           holders->entries[s->first + end].slice == holders->entries[s->first + first].slice)
        end++;
    *ret_count = end - first;
    return holders->nodes + s->first + first;
}
