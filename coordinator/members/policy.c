/* Reasons to plan anew, the most urgent first. */
#include "members/policy.h"

#include "base/size.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *es_policy_reason_text(es_policy_reason reason)
{
    static const char *const TEXT[ES_POLICY_REASON_COUNT] = {
        [ES_POLICY_NOTHING] = "nothing",
        [ES_POLICY_FIRST] = "there is none yet",
        [ES_POLICY_LEAVES] = "a node is drained",
        [ES_POLICY_GONE] = "a node is gone",
        [ES_POLICY_JOINED] = "a node joined",
        [ES_POLICY_MODE] = "another mode is asked for",
        [ES_POLICY_COPIES] = "another number of copies is asked for",
        [ES_POLICY_HOT] = "other experts are hot",
    };
    return TEXT[reason];
}

static const es_policy_node *find(const es_policy_question *q, const char *name)
{
    for (size_t n = 0; n < q->node_count; n++)
        if (strcmp(q->nodes[n].name, name) == 0) return &q->nodes[n];
    return NULL;
}

static bool is_named(const es_policy_question *q, const es_policy_node *node)
{
    return q->document != NULL && es_document_find(q->document, node->name) != NULL;
}

static size_t take_nodes(const es_policy_question *q, es_planner_node *ret_nodes)
{
    size_t count = 0;
    for (size_t n = 0; n < q->node_count; n++) {
        const es_policy_node *node = &q->nodes[n];
        bool stays = node->usable || (is_named(q, node) && !node->gone);
        if (!stays || node->leaves || node->memory_bytes == 0) continue;
        es_planner_node *to = &ret_nodes[count++];
        *to = (es_planner_node){.memory_bytes = node->memory_bytes, .bandwidth = node->bandwidth};
        snprintf(to->name, sizeof to->name, "%s", node->name);
        snprintf(to->rack, sizeof to->rack, "%s", node->rack);
    }
    return count;
}

/* The first node of the document that leaves or is gone. */
static es_policy_reason look_at_placed(const es_policy_question *q, const char **ret_name)
{
    es_policy_reason reason = ES_POLICY_NOTHING;
    for (size_t d = 0; d < q->document->node_count; d++) {
        const es_document_node *placed = &q->document->nodes[d];
        const es_policy_node *node = find(q, placed->name);
        bool leaves = node != NULL && node->leaves, gone = node == NULL || node->gone;
        if (!leaves && (!gone || !q->automatic || reason != ES_POLICY_NOTHING)) continue;
        reason = leaves ? ES_POLICY_LEAVES : ES_POLICY_GONE;
        *ret_name = placed->name;
        if (leaves) break;
    }
    return reason;
}

static const char *newcomer(const es_policy_question *q)
{
    for (size_t n = 0; n < q->node_count; n++) {
        const es_policy_node *node = &q->nodes[n];
        if (node->usable && !node->leaves && node->memory_bytes > 0 && !is_named(q, node)) return node->name;
    }
    return NULL;
}

es_policy_verdict es_policy_decide(const es_policy_question *q, es_planner_node *ret_nodes)
{
    const es_document *d = q->document;
    es_policy_verdict v = {.reason = ES_POLICY_NOTHING, .name = "", .node_count = take_nodes(q, ret_nodes)};
    size_t copies = q->copies > 0 ? q->copies : d != NULL ? d->copies : 1;
    v.mode = q->mode_given ? q->mode : d != NULL ? d->mode : ES_PLACE_GROUP;
    v.copies = es_size_max(es_size_min(copies, v.node_count), 1);
    if (d == NULL) {
        if (q->automatic && newcomer(q) != NULL) v.reason = ES_POLICY_FIRST;
        return v;
    }
    v.reason = look_at_placed(q, &v.name);
    if (v.reason != ES_POLICY_NOTHING || !q->automatic) return v;
    const char *joined = newcomer(q);
    if (joined != NULL) {
        v.reason = ES_POLICY_JOINED;
        v.name = joined;
    } else if (d->mode != v.mode) {
        v.reason = ES_POLICY_MODE;
    } else if (d->copies != v.copies) {
        v.reason = ES_POLICY_COPIES;
    }
    return v;
}

/* Adds a node's part of all heat; copies [cells] says how many hold each. */
static double node_heat(const es_document *d, const es_document_node *node, const double *heat,
                        const uint16_t *copies)
{
    double sum = 0;
    for (size_t u = 0; u < node->unit_count; u++) {
        const es_units *units = &node->units[u];
        size_t layer = es_document_layer(d, units->layer);
        for (size_t e = units->expert_first; e < (size_t)units->expert_first + units->expert_count; e++)
            sum += heat[layer * d->experts + e] / copies[es_document_cell(d, layer, e, units->slice)];
    }
    return sum / (double)d->slices;
}

double es_policy_busiest(const es_document *d, const double *heat)
{
    uint16_t *copies = calloc(es_document_cells(d), sizeof *copies);
    double busiest = 0, all = 0;
    if (copies == NULL) return 0;
    for (size_t n = 0; n < d->node_count; n++)
        for (size_t u = 0; u < d->nodes[n].unit_count; u++) {
            const es_units *units = &d->nodes[n].units[u];
            size_t layer = es_document_layer(d, units->layer);
            for (size_t e = 0; e < units->expert_count; e++)
                copies[es_document_cell(d, layer, units->expert_first + e, units->slice)]++;
        }
    for (size_t n = 0; n < d->node_count; n++) {
        double own = node_heat(d, &d->nodes[n], heat, copies);
        busiest = own > busiest ? own : busiest;
        all += own;
    }
    free(copies);
    return all > 0 ? busiest / all : 0;
}
