/* A placement planned and put into the registry, when there is a reason to. Several coordinators may try at
 * once: the swap compares, one is first, and the others follow it. */
#include "base/log.h"
#include "base/size.h"
#include "members/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_MS = 1500, AGAIN_MS = 15000, HOT_MS = 300000, SWAP_MS = 5000 };

/* A plan for other hot experts has to make the busiest node less busy by so much. */
static const double HOT_GAIN = 0.9;

static uint64_t ms_ns(uint64_t ms)
{
    return ms * 1000000u;
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++) hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return (hash ^ 0xff) * UINT64_C(1099511628211);
}

static bool is_gone(const es_membership *m, const es_member *member, uint64_t now_ns)
{
    if (!member->known || member->revoked || member->refused) return true;
    return member->gone_ns != 0 &&
           now_ns - member->gone_ns > ms_ns(m->options.replace_after_s * UINT64_C(1000));
}

/* A placement names a node that nobody registered: it may still come. */
static bool may_come(const es_membership *m, const es_member *member, uint64_t now_ns)
{
    return !member->known && member->record.control[0] == '\0' &&
           now_ns - member->gone_ns <= ms_ns(m->options.replace_after_s * UINT64_C(1000));
}

static void list_nodes(const es_membership *m, es_policy_node *nodes, uint64_t now_ns)
{
    for (size_t n = 0; n < m->count; n++) {
        const es_member *member = m->members[n];
        const es_node_record *r = &member->record;
        bool draining = r->state == ES_MEMBER_DRAINING || member->drained;
        nodes[n] = (es_policy_node){
            .name = r->name,
            .rack = es_node_record_label(r, "rack"),
            .memory_bytes = r->memory_bytes,
            .bandwidth = (double)r->bandwidth_bytes,
            .usable = member->link.greeted && member->gone_ns == 0,
            .leaves = draining,
            .gone = is_gone(m, member, now_ns) && !may_come(m, member, now_ns),
        };
    }
}

static es_status read_model(es_membership *m, es_err *err)
{
    if (m->arena != NULL) return ES_OK;
    m->arena = es_arena_create();
    if (m->arena == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    es_status status = es_placement_model_read(m->options.model, m->arena, &m->model, err);
    if (status != ES_OK) es_arena_destroy(&m->arena);
    return status;
}

/* Every layer's counts, of layers with experts only; NULL when nothing was counted. */
static double *copy_heat(es_membership *m)
{
    size_t experts = m->options.shape->experts;
    double *heat = calloc(m->model.layer_count * experts, sizeof *heat), all = 0;
    if (heat == NULL) return NULL;
    pthread_mutex_lock(&m->lock);
    for (size_t l = 0; l < m->model.layer_count && m->has_heat; l++)
        for (size_t e = 0; e < experts; e++) {
            heat[l * experts + e] = (double)m->heat[m->model.layers[l] * experts + e];
            all += heat[l * experts + e];
        }
    pthread_mutex_unlock(&m->lock);
    if (all > 0) return heat;
    free(heat);
    return NULL;
}

/* An expert in as many slices as before, or else so that every node gets one. */
static size_t slices_of(const es_membership *m, const es_policy_verdict *v)
{
    if (v->mode != ES_PLACE_SLICE) return 1;
    if (m->document != NULL && m->document->mode == ES_PLACE_SLICE) return m->document->slices;
    size_t chunks = es_chunks_of(m->options.shape->expert_intermediate);
    return es_size_max(es_size_min(v->node_count / v->copies, chunks), 1);
}

static es_status make_plan(es_membership *m, const es_policy_verdict *v, const es_planner_node *nodes,
                           const double *heat, es_document **ret_document, es_err *err)
{
    uint64_t *cell_bytes = calloc(m->model.layer_count, sizeof *cell_bytes);
    es_planner_report report;
    /* Above what was followed before a restart too, which may be newer than all that the registry has. */
    es_epoch epoch = es_epoch_number(m->newest) != 0 ? m->newest : (es_epoch){1, 0};
    if (m->document != NULL && es_epoch_number(m->document->epoch) > es_epoch_number(epoch))
        epoch = m->document->epoch;
    epoch.counter++;
    es_planner_request request = {
        .nodes = nodes,
        .node_count = v->node_count,
        .layers = m->model.layers,
        .layer_count = m->model.layer_count,
        .experts = m->model.shape.experts,
        .groups = m->model.shape.groups,
        .cell_bytes = cell_bytes,
        .mode = v->mode,
        .copies = v->copies,
        .slices = slices_of(m, v),
        .heat = heat,
        .before = m->document,
        .fingerprint = m->options.fingerprint,
        .epoch = epoch,
    };
    es_status status = cell_bytes == NULL ? es_err_set(err, ES_NO_MEMORY, "placement") : ES_OK;
    if (status == ES_OK) status = es_placement_model_cells(&m->model, request.slices, cell_bytes, err);
    if (status == ES_OK) status = es_planner_plan(&request, ret_document, &report, err);
    /* Fewer copies where memory is short of all: better than none. */
    while (status == ES_NO_MEMORY && request.copies > 1) {
        request.copies--;
        status = es_planner_plan(&request, ret_document, &report, err);
    }
    if (status == ES_OK) es_placement_model_state(&m->model, *ret_document);
    free(cell_bytes);
    return status;
}

static bool is_same(const es_document *before, const es_document *after)
{
    if (before == NULL || before->mode != after->mode || before->copies != after->copies ||
        before->slices != after->slices || before->node_count != after->node_count ||
        (before->formats == NULL && after->formats != NULL)) /* an earlier version's */
        return false;
    for (size_t n = 0; n < after->node_count; n++) {
        const es_document_node *b = &before->nodes[n], *a = &after->nodes[n];
        if (strcmp(b->name, a->name) != 0 || b->unit_count != a->unit_count ||
            (a->unit_count > 0 && memcmp(b->units, a->units, a->unit_count * sizeof *a->units) != 0))
            return false;
    }
    return true;
}

/* Who follows it wants to know who answers for it. */
static es_status sign(const es_membership *m, es_document *d, es_err *err)
{
    es_signer signer;
    if (m->options.keys == NULL) return ES_OK;
    es_status status = es_signer_derive(m->options.keys, &signer, err);
    if (status == ES_OK) status = es_document_sign(d, &signer, err);
    es_signer_wipe(&signer);
    return status;
}

static es_status swap(es_membership *m, es_document *d, uint64_t now_ns, es_err *err)
{
    es_epoch before = m->document != NULL ? m->document->epoch : (es_epoch){0, 0};
    es_status status = sign(m, d, err);
    if (status == ES_OK)
        status = es_registry_swap(m->options.registry, before, d, now_ns + ms_ns(SWAP_MS), err);
    if (status == ES_OK) m->counts.swaps++;
    if (status != ES_MISMATCH) return status;
    m->counts.lost_swaps++; /* the view will tell whose it is */
    return ES_OK;
}

/* A drain for which nobody has room is called off. */
static void call_off_drains(es_membership *m, const char *why, uint64_t now_ns)
{
    for (size_t n = 0; n < m->count; n++) {
        es_member *member = m->members[n];
        if (!member->ordered || !member->is_wanted || member->drained) continue;
        es_err err;
        member->ordered = false;
        es_why_set(member->drain_why, "cannot be drained: %s", why);
        es_log(ES_LOG_WARN, "member %s %s", member->record.name, member->drain_why);
        if (es_registry_mark(m->options.registry, member->record.name, ES_MEMBER_READY,
                             now_ns + ms_ns(SWAP_MS), &err) != ES_OK)
            es_log(ES_LOG_WARN, "member %s: %s", member->record.name, err.text);
    }
}

static void plan(es_membership *m, es_policy_verdict *v, const es_planner_node *nodes, uint64_t now_ns)
{
    es_document *d = NULL;
    es_err err;
    es_status status = read_model(m, &err);
    if (status == ES_OK && v->node_count == 0)
        status = es_err_set(&err, ES_UNAVAILABLE,
                            v->reason == ES_POLICY_LEAVES ? "no other node is there to take over"
                                                          : "no node is there");
    double *heat = status == ES_OK && v->mode == ES_PLACE_REPLICATE ? copy_heat(m) : NULL;
    if (status == ES_OK) status = make_plan(m, v, nodes, heat, &d, &err);
    m->counts.plans++;
    m->hot_ns = now_ns;
    bool pays = v->reason != ES_POLICY_HOT;
    if (status == ES_OK && !pays && heat != NULL)
        pays = es_policy_busiest(d, heat) < HOT_GAIN * es_policy_busiest(m->document, heat);
    if (status == ES_OK && pays && !is_same(m->document, d)) {
        es_log(ES_LOG_WARN, "placement planned anew: %s%s%s", es_policy_reason_text(v->reason),
               v->name[0] != '\0' ? ": " : "", v->name);
        status = swap(m, d, now_ns, &err);
    }
    if (status != ES_OK) {
        es_log(ES_LOG_WARN, "no placement planned (%s): %s", es_policy_reason_text(v->reason), err.text);
        es_why_set(m->plan_why, "no placement planned (%s): %s", es_policy_reason_text(v->reason), err.text);
        if (v->reason == ES_POLICY_LEAVES) call_off_drains(m, err.text, now_ns);
    } else {
        m->plan_why[0] = '\0';
    }
    free(heat);
    es_document_destroy(&d);
}

static uint64_t hash_of(const es_membership *m, const es_policy_verdict *v, const es_planner_node *nodes)
{
    uint64_t hash = es_epoch_number(m->view->epoch) * 31 + (uint64_t)v->reason;
    hash = hash_text(hash, v->name);
    for (size_t n = 0; n < v->node_count; n++) hash = hash_text(hash, nodes[n].name);
    return hash;
}

/* Hot experts are looked at now and then, when nothing else is to be done. */
static bool is_hot_due(const es_membership *m, const es_policy_verdict *v, uint64_t now_ns)
{
    return m->options.automatic && v->reason == ES_POLICY_NOTHING && m->document != NULL &&
           m->document->mode == ES_PLACE_REPLICATE && now_ns - m->hot_ns > ms_ns(HOT_MS) &&
           es_epoch_number(m->in_force) == es_epoch_number(m->document->epoch);
}

void es_membership_plan(es_membership *m, uint64_t now_ns)
{
    uint64_t ours = m->document != NULL ? es_epoch_number(m->document->epoch) : 0;
    /* What stands is not known, or not to be changed. */
    if (m->view == NULL || m->view->frozen || es_epoch_number(m->view->epoch) != ours) return;
    es_policy_node *nodes = calloc(m->count + 1, sizeof *nodes);
    es_planner_node *plan_nodes = calloc(m->count + 1, sizeof *plan_nodes);
    if (nodes != NULL && plan_nodes != NULL) {
        list_nodes(m, nodes, now_ns);
        const es_policy_question question = {
            nodes,           m->count,         m->document, m->options.automatic, m->options.mode_given,
            m->options.mode, m->options.copies};
        es_policy_verdict v = es_policy_decide(&question, plan_nodes);
        if (is_hot_due(m, &v, now_ns)) v.reason = ES_POLICY_HOT;
        uint64_t hash = hash_of(m, &v, plan_nodes);
        if (hash != m->reason_hash) m->reason_ns = now_ns; /* those who come together are planned together */
        m->reason_hash = hash;
        bool waits = v.reason != ES_POLICY_LEAVES && now_ns - m->reason_ns < ms_ns(SETTLE_MS);
        bool tried = hash == m->tried_hash && now_ns - m->tried_ns < ms_ns(AGAIN_MS);
        if (v.reason != ES_POLICY_NOTHING && !waits && !tried) {
            m->tried_hash = hash;
            m->tried_ns = now_ns;
            plan(m, &v, plan_nodes, now_ns);
        }
    }
    free(nodes);
    free(plan_nodes);
}
