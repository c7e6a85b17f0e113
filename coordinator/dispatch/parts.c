/* The tree of a call's work. A part's reply goes into the sums at once when nobody above it may still answer;
 * else it is kept until either the one above answers, or all that stands in for that one is there. */
#include "base/clock.h"
#include "dispatch/combine.h"
#include "dispatch/internal.h"

uint32_t es_part_index(const es_swarm *swarm, const es_part *part)
{
    return (uint32_t)(part - swarm->parts);
}

es_part *es_part_add(es_swarm *swarm, uint32_t parent, const es_work *work)
{
    if (swarm->part_count == ES_PARTS_MAX) return NULL;
    uint32_t depth = parent == ES_PART_NONE ? 0 : swarm->parts[parent].depth + 1;
    es_part *part = &swarm->parts[swarm->part_count++];
    *part = (es_part){.work = *work,
                      .parent = parent,
                      .depth = depth,
                      .hedge_ns = UINT64_MAX,
                      .open_ns = es_clock_now_ns(),
                      .seen = swarm->changes - 1};
    swarm->open++;
    return part;
}

static es_part *parent_of(es_swarm *swarm, const es_part *part)
{
    return part->parent == ES_PART_NONE ? NULL : &swarm->parts[part->parent];
}

/* Whatever happens to it and to those below, nothing of it is added any more. */
static void settle(es_swarm *swarm, es_part *part)
{
    if (part->state == ES_PART_OPEN) swarm->open--;
    if (part->state == ES_PART_KEPT) es_message_close(&part->reply);
    part->state = ES_PART_ADDED;
    for (uint32_t i = 0; i < part->child_count; i++) settle(swarm, &swarm->parts[part->first_child + i]);
}

static bool complete(const es_swarm *swarm, const es_part *part)
{
    if (part->state == ES_PART_KEPT || part->state == ES_PART_ADDED) return true;
    for (uint32_t i = 0; i < part->child_count; i++)
        if (!complete(swarm, &swarm->parts[part->first_child + i])) return false;
    return part->child_count > 0;
}

/* Pairs that those below part have more than it. */
static size_t grown_below(const es_swarm *swarm, const es_part *part)
{
    size_t pairs = 0;
    for (uint32_t i = 0; i < part->child_count; i++) {
        const es_part *child = &swarm->parts[part->first_child + i];
        pairs += child->grown + grown_below(swarm, child);
    }
    return pairs;
}

void es_part_recut(es_swarm *swarm, es_part *part, const es_work *work)
{
    size_t more = work->pairs - part->work.pairs;
    part->work = *work;
    part->grown += more;
    swarm->left += more;
}

/* Adds what is complete: its own reply, or those that stand in for it. */
static void add(es_swarm *swarm, es_part *part)
{
    if (part->state == ES_PART_KEPT) {
        es_combine_add(&part->work, swarm->options.shape->hidden, part->width,
                       es_message_data(&part->reply, 1), swarm->sum);
        swarm->left -= part->work.pairs + grown_below(swarm, part);
    } else if (part->state != ES_PART_ADDED) {
        for (uint32_t i = 0; i < part->child_count; i++) add(swarm, &swarm->parts[part->first_child + i]);
    }
    settle(swarm, part);
}

/* The highest part from this one upwards that may still be answered, or NULL. */
static es_part *highest_asked(es_swarm *swarm, es_part *part)
{
    es_part *highest = NULL;
    for (es_part *p = part; p != NULL; p = parent_of(swarm, p))
        if (p->state == ES_PART_ASKED) highest = p;
    return highest;
}

/* Something below part, or it, has a new reply or one fewer to wait for. */
static void advance(es_swarm *swarm, es_part *part)
{
    es_part *above = highest_asked(swarm, part);
    if (above != NULL) {
        if (complete(swarm, above)) add(swarm, above);
        return;
    }
    if (part->state == ES_PART_KEPT) {
        add(swarm, part);
        return;
    }
    for (uint32_t i = 0; i < part->child_count && part->state == ES_PART_DEAD; i++)
        advance(swarm, &swarm->parts[part->first_child + i]);
}

void es_part_answer(es_swarm *swarm, es_part *part, es_message *message, size_t width)
{
    ES_ASSERT(part->state == ES_PART_ASKED);
    part->state = ES_PART_KEPT;
    part->width = width;
    es_message_move(&part->reply, message);
    advance(swarm, part);
}

void es_part_fail(es_swarm *swarm, es_part *part, uint64_t now_ns)
{
    if (part->state != ES_PART_ASKED) return;
    part->node->counted.retried++;
    part->hedge_ns = UINT64_MAX;
    if (part->child_count == 0) {
        part->state = ES_PART_OPEN;
        part->open_ns = now_ns;
        part->seen = swarm->changes - 1;
        swarm->open++;
        return;
    }
    part->state = ES_PART_DEAD;
    advance(swarm, part);
}

void es_part_added(es_swarm *swarm, es_part *part)
{
    swarm->left -= part->work.pairs;
    settle(swarm, part);
}

void es_parts_forget_node(es_swarm *swarm, const es_node *node)
{
    for (size_t i = 0; i < swarm->part_count; i++)
        if (swarm->parts[i].node == node) swarm->parts[i].node = NULL;
}

void es_parts_forget(es_swarm *swarm)
{
    for (size_t i = 0; i < swarm->part_count; i++)
        if (swarm->parts[i].state == ES_PART_KEPT) es_message_close(&swarm->parts[i].reply);
    swarm->part_count = swarm->left = swarm->open = 0;
    swarm->batch = NULL;
    swarm->sum = NULL;
    swarm->failed.status = ES_OK;
}
