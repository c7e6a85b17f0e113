/* A set of chunks of experts, a bit each. */
#include "cluster/chunk_set.h"

#include "base/size.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 64 };

es_status es_chunk_set_init(es_chunk_set *set, const es_shape *shape, es_err *err)
{
    size_t chunks = es_chunks_of(shape->expert_intermediate), words = es_size_ceil_div(chunks, WORD);
    *set = (es_chunk_set){.shape = shape, .chunks = chunks, .words = words};
    set->bits = calloc(shape->layers * shape->experts * words, sizeof *set->bits);
    return set->bits == NULL ? es_err_set(err, ES_NO_MEMORY, "set of experts") : ES_OK;
}

void es_chunk_set_fini(es_chunk_set *set)
{
    free(set->bits);
    set->bits = NULL;
}

static uint64_t *words_of(const es_chunk_set *set, size_t layer, size_t expert)
{
    return set->bits + (layer * set->shape->experts + expert) * set->words;
}

bool es_chunk_set_has(const es_chunk_set *set, size_t layer, size_t expert, size_t chunk)
{
    return (words_of(set, layer, expert)[chunk / WORD] >> chunk % WORD & 1) != 0;
}

void es_chunk_set_put(es_chunk_set *set, size_t layer, size_t expert, es_chunks chunks, bool in)
{
    uint64_t *words = words_of(set, layer, expert);
    for (size_t c = chunks.first; c < (size_t)chunks.first + chunks.count; c++) {
        uint64_t bit = (uint64_t)1 << c % WORD;
        words[c / WORD] = in ? words[c / WORD] | bit : words[c / WORD] & ~bit;
    }
}

bool es_chunk_set_run(const es_chunk_set *in, const es_chunk_set *out, size_t layer, size_t expert,
                      uint32_t from, es_chunks *ret_chunks)
{
    *ret_chunks = (es_chunks){from, 0};
    for (size_t c = from; c < in->chunks; c++) {
        bool wanted = es_chunk_set_has(in, layer, expert, c) &&
                      (out == NULL || !es_chunk_set_has(out, layer, expert, c));
        if (!wanted && ret_chunks->count > 0) break;
        if (!wanted) continue;
        if (ret_chunks->count == 0) ret_chunks->first = (uint32_t)c;
        ret_chunks->count++;
    }
    return ret_chunks->count > 0;
}

es_status es_chunk_set_check(const es_shape *shape, const es_units *units, size_t count, es_err *err)
{
    size_t chunks = es_chunks_of(shape->expert_intermediate);
    for (size_t i = 0; i < count; i++) {
        const es_units *u = &units[i];
        if (u->layer >= shape->layers || !es_shape_layer_is_moe(shape, u->layer) || u->expert_count < 1 ||
            u->expert_first >= shape->experts || u->expert_count > shape->experts - u->expert_first)
            return es_err_set(err, ES_INVALID,
                              "units: range %zu: layer %" PRIu32 " experts %" PRIu32 " to %" PRIu64
                              ", which this model does not have",
                              i, u->layer, u->expert_first, (uint64_t)u->expert_first + u->expert_count - 1);
        if (u->slices < 1 || u->slices > chunks || u->slice >= u->slices)
            return es_err_set(err, ES_INVALID,
                              "units: range %zu: slice %" PRIu32 " of %" PRIu32
                              ": an expert of %zu columns has 1 to %zu",
                              i, u->slice, u->slices, shape->expert_intermediate, chunks);
    }
    return ES_OK;
}

void es_chunk_set_change(es_chunk_set *set, const es_units *units, size_t count, bool in)
{
    for (size_t i = 0; i < count; i++) {
        const es_units *u = &units[i];
        es_chunks chunks = es_chunks_of_slice(set->shape->expert_intermediate, u->slice, u->slices);
        for (size_t e = u->expert_first; e < (size_t)u->expert_first + u->expert_count; e++)
            es_chunk_set_put(set, u->layer, e, chunks, in);
    }
}

/* A list of ranges being written. */
typedef struct list {
    es_units *units;
    size_t count, max;
} list;

static bool add(list *l, es_units units)
{
    if (l->count == l->max) return false;
    l->units[l->count++] = units;
    return true;
}

/* Adds a stretch of some experts as slices of `slices`; *ret_fits: it is made of such. */
static bool add_as(list *l, const es_shape *s, es_units range, es_chunks run, uint32_t slices, bool *ret_fits)
{
    *ret_fits = false;
    uint32_t at = run.first, end = run.first + run.count, first = slices;
    for (uint32_t i = 0; i < slices; i++) {
        es_chunks slice = es_chunks_of_slice(s->expert_intermediate, i, slices);
        if (slice.first != at || at == end) continue;
        if (first == slices) first = i;
        at += slice.count;
        if (at > end) return true;
    }
    if (at != end) return true;
    *ret_fits = true;
    range.slices = slices;
    for (uint32_t i = first; at > run.first; i++) {
        range.slice = i;
        run.first += es_chunks_of_slice(s->expert_intermediate, i, slices).count;
        if (!add(l, range)) return false;
    }
    return true;
}

static bool add_run(list *l, const es_chunk_set *set, es_units range, es_chunks run, uint32_t slices)
{
    bool fits = false;
    if (run.count == set->chunks) return add_as(l, set->shape, range, run, 1, &fits);
    if (slices > 1 && slices <= set->chunks && !add_as(l, set->shape, range, run, slices, &fits))
        return false;
    for (uint32_t k = 2; k <= set->chunks && !fits; k++) {
        for (uint32_t i = 0; i < k && !fits; i++) {
            es_chunks slice = es_chunks_of_slice(set->shape->expert_intermediate, i, k);
            if (slice.first != run.first || slice.count != run.count) continue;
            fits = true;
            range.slice = i;
            range.slices = k;
            if (!add(l, range)) return false;
        }
    }
    return fits || add_as(l, set->shape, range, run, (uint32_t)set->chunks, &fits);
}

es_status es_chunk_set_units(const es_chunk_set *set, uint32_t slices, es_units *ret_units, size_t units_max,
                             size_t *ret_count, es_err *err)
{
    const es_shape *s = set->shape;
    list l = {ret_units, 0, units_max};
    for (size_t layer = 0; layer < s->layers; layer++)
        for (size_t e = 0, end; e < s->experts; e = end) {
            const uint64_t *words = words_of(set, layer, e);
            for (end = e + 1; end < s->experts; end++)
                if (memcmp(words, words_of(set, layer, end), set->words * sizeof *words) != 0) break;
            es_units range = {(uint32_t)layer, (uint32_t)e, (uint32_t)(end - e), 0, 1};
            es_chunks run = {0, 0};
            while (es_chunk_set_run(set, NULL, layer, e, run.first + run.count, &run))
                if (!add_run(&l, set, range, run, slices))
                    return es_err_set(err, ES_NO_MEMORY, "placement: more than %zu ranges of experts",
                                      units_max);
        }
    *ret_count = l.count;
    return ES_OK;
}
