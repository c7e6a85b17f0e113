/* Sets of chunks, word by word. */
#include "members/reconcile.h"

#include <string.h>

static size_t words_of(const es_chunk_set *set)
{
    return set->shape->layers * set->shape->experts * set->words;
}

static uint64_t word(const es_chunk_set *set, size_t at)
{
    return set != NULL ? set->bits[at] : 0;
}

static size_t bits_of(uint64_t word_bits)
{
    return (size_t)__builtin_popcountll(word_bits);
}

void es_reconcile_uncovered(const es_reconcile_node *nodes, size_t count, es_chunk_set *ret_uncovered)
{
    size_t words = words_of(ret_uncovered);
    memset(ret_uncovered->bits, 0, words * sizeof *ret_uncovered->bits);
    for (size_t n = 0; n < count; n++) {
        const es_reconcile_node *node = &nodes[n];
        bool counts = node->reached && node->shown && !node->drained;
        for (size_t w = 0; node->wanted != NULL && w < words; w++)
            ret_uncovered->bits[w] |= node->wanted->bits[w] & ~(counts ? word(node->held, w) : 0);
    }
}

es_reconcile_step es_reconcile_next(const es_reconcile_node *node, const es_chunk_set *uncovered)
{
    es_reconcile_step next = {.step = ES_STEP_NONE};
    for (size_t w = 0; w < words_of(uncovered); w++) {
        uint64_t wanted = word(node->wanted, w), held = word(node->held, w), loses = held & ~wanted;
        next.gains += bits_of(wanted & ~held);
        next.loses += bits_of(loses);
        next.kept += bits_of(loses & uncovered->bits[w]);
    }
    if (!node->reached || !node->free || node->held == NULL || node->drained) return next;
    if (node->leaves && node->wanted == NULL) {
        if (next.kept == 0) next.step = ES_STEP_DRAIN;
    } else if (next.loses > next.kept && next.gains == 0) {
        next.step = ES_STEP_DROP;
    } else if (node->wanted != NULL && (next.gains > 0 || node->behind)) {
        next.step = ES_STEP_LOAD;
    }
    return next;
}

void es_reconcile_gains(const es_reconcile_node *node, es_chunk_set *ret_units)
{
    for (size_t w = 0; w < words_of(ret_units); w++)
        ret_units->bits[w] = word(node->wanted, w) & ~word(node->held, w);
}

void es_reconcile_drops(const es_reconcile_node *node, const es_chunk_set *uncovered, es_chunk_set *ret_units)
{
    for (size_t w = 0; w < words_of(ret_units); w++)
        ret_units->bits[w] = word(node->held, w) & ~word(node->wanted, w) & ~uncovered->bits[w];
}

bool es_reconcile_complete(const es_reconcile_node *nodes, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        const es_reconcile_node *node = &nodes[n];
        if (node->wanted == NULL) continue;
        if (!node->reached || !node->shown || node->held == NULL) return false;
        for (size_t w = 0; w < words_of(node->wanted); w++)
            if ((node->wanted->bits[w] & ~node->held->bits[w]) != 0) return false;
    }
    return true;
}
