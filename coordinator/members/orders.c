/* What each node is asked next. */
#include "base/log.h"
#include "base/size.h"
#include "members/internal.h"

#include <stdio.h>

static es_reconcile_node node_of(const es_membership *m, const es_member *member, uint64_t now_ns)
{
    uint64_t epoch = m->document != NULL ? es_epoch_number(m->document->epoch) : 0;
    return (es_reconcile_node){
        .wanted = member->is_wanted ? &member->wanted : NULL,
        .held = member->has_held ? &member->held : NULL,
        .reached = member->link.greeted && member->gone_ns == 0,
        .shown = member->list <= es_swarm_followed(m->options.swarm),
        .free = member->link.greeted && es_member_is_free(member, now_ns),
        .leaves = member->record.state == ES_MEMBER_DRAINING,
        .drained = member->drained,
        .behind = member->state.epoch < epoch,
    };
}

/* What an order says of units: in m->units, in the slices of the placement. */
static es_status list_units(es_membership *m, es_units_change *ret_change, es_err *err)
{
    *ret_change = (es_units_change){.epoch = es_epoch_number(m->document->epoch), .units = m->units};
    return es_chunk_set_units(&m->change, (uint32_t)m->document->slices, m->units, ES_UNITS_MAX,
                              &ret_change->unit_count, err);
}

/* So much of a LOAD that checksums and formats of all its experts fit beside it; what is left is asked for
 * when that is done. */
static void add_sums(es_membership *m, es_units_change *change)
{
    size_t experts = 0, count = 0;
    if (m->document->sums == NULL) return;
    while (count < change->unit_count && experts < ES_SUMS_MAX) {
        es_units *u = &m->units[count++];
        u->expert_count = (uint32_t)es_size_min(u->expert_count, ES_SUMS_MAX - experts);
        experts += u->expert_count;
    }
    change->unit_count = count;
    change->sums = m->sums;
    change->sum_count = es_document_sums_of(m->document, m->units, count, m->sums, m->formats, ES_SUMS_MAX);
    if (m->document->formats != NULL) change->formats = m->formats;
}

static void give_order(es_membership *m, es_member *member, const es_reconcile_node *node, uint64_t now_ns)
{
    es_units_change change = {.units = m->units};
    es_err err;
    es_status status = ES_OK;
    switch (member->step.step) {
    case ES_STEP_NONE:
        return;
    case ES_STEP_LOAD:
        es_reconcile_gains(node, &m->change);
        status = list_units(m, &change, &err);
        if (status == ES_OK) add_sums(m, &change);
        if (status == ES_OK) es_member_ask(m, member, ES_CONTROL_LOAD, &change, now_ns);
        m->counts.loads++;
        break;
    case ES_STEP_DROP:
        es_reconcile_drops(node, &m->uncovered, &m->change);
        status = list_units(m, &change, &err);
        if (status == ES_OK) es_member_ask(m, member, ES_CONTROL_DROP, &change, now_ns);
        m->counts.drops++;
        break;
    case ES_STEP_DRAIN:
        es_log(ES_LOG_INFO, "member %s: nothing needs it any more, it is told to drain", member->record.name);
        es_member_ask(m, member, ES_CONTROL_DRAIN, &change, now_ns);
        break;
    }
    if (status != ES_OK) es_why_set(member->why, "%s", err.text);
}

void es_membership_give_orders(es_membership *m, uint64_t now_ns)
{
    for (size_t n = 0; n < m->count; n++) m->nodes[n] = node_of(m, m->members[n], now_ns);
    es_reconcile_uncovered(m->nodes, m->count, &m->uncovered);
    for (size_t n = 0; n < m->count; n++) {
        es_reconcile_step *step = &m->members[n]->step;
        *step = es_reconcile_next(&m->nodes[n], &m->uncovered);
        /* Without a placement nobody is told what to hold. */
        if (m->document == NULL && step->step != ES_STEP_DRAIN) step->step = ES_STEP_NONE;
        give_order(m, m->members[n], &m->nodes[n], now_ns);
    }
    if (m->document == NULL) return;
    bool complete = es_reconcile_complete(m->nodes, m->count);
    if (!complete || es_epoch_number(m->in_force) >= es_epoch_number(m->document->epoch)) return;
    char epoch[ES_EPOCH_TEXT_MAX];
    es_epoch_format(m->document->epoch, epoch);
    es_log(ES_LOG_INFO, "placement %s is in force", epoch);
    m->in_force = m->document->epoch;
}
