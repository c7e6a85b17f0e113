/* The members of the swarm, for people and dashboards, and the order to drain one. */
#include "http/exposition.h"
#include "http/internal.h"

#include "base/size.h"
#include "weights/json.h"

#include <stdlib.h>
#include <string.h>

enum { DRAIN_BODY_MAX = 4096 };

/* All members, malloc'd; NULL when memory is short. */
static es_member_info *read_members(es_membership *members, es_membership_info *ret_info, size_t *ret_count)
{
    size_t room = es_membership_get(members, NULL, 0).member_count;
    es_member_info *list = calloc(room + 1, sizeof *list);
    if (list == NULL) return NULL;
    *ret_info = es_membership_get(members, list, room);
    *ret_count = es_size_min(room, ret_info->member_count);
    return list;
}

static json_t *epoch_json(es_epoch epoch)
{
    char text[ES_EPOCH_TEXT_MAX];
    es_epoch_format(epoch, text);
    return json_string(text);
}

static json_t *member_json(const es_member_info *m)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "name", m->name,
                     "endpoint", m->endpoint, "state", ES_MEMBER_STATES[m->state], "registered",
                     m->registered, "phase", es_member_phase_name(m->phase), "epoch", epoch_json(m->epoch),
                     "experts", (json_int_t)m->experts, "missing", (json_int_t)m->missing, "surplus",
                     (json_int_t)m->surplus, "memory_bytes", (json_int_t)m->memory_bytes, "wanted_bytes",
                     (json_int_t)m->wanted_bytes, "mapped_bytes", (json_int_t)m->mapped_bytes, "why", m->why);
}

json_t *es_http_members_json(es_http *http)
{
    es_membership *members = atomic_load(&http->members);
    es_membership_info info;
    size_t count = 0;
    if (members == NULL) return NULL;
    es_member_info *list = read_members(members, &info, &count);
    if (list == NULL) return NULL;
    json_t *nodes = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(nodes, member_json(&list[i]));
    free(list);
    return json_pack("{s:s, s:b, s:s, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:o}", "registry",
                     info.embedded ? "embedded" : "etcd", "frozen", info.frozen, "placement",
                     info.automatic ? "auto" : "manual", "epoch", epoch_json(info.in_force), "wanted_epoch",
                     epoch_json(info.wanted), "mode", ES_PLACEMENT_MODES[info.mode], "copies",
                     (json_int_t)info.copies, "slices", (json_int_t)info.slices, "plans",
                     (json_int_t)info.plans, "swaps", (json_int_t)info.swaps, "lost_swaps",
                     (json_int_t)info.lost_swaps, "why", info.why, "nodes", nodes);
}

static void value(es_buffer *out, const char *name, const char *type, const char *help, double number)
{
    es_metric_family(out, name, type, help);
    es_metric_value(out, name, NULL, number);
}

void es_http_members_metrics(es_http *http, es_buffer *out)
{
    static const char PHASE[] = "essaim_member_phase", MISSING[] = "essaim_member_missing_experts";
    es_membership *members = atomic_load(&http->members);
    es_membership_info info;
    size_t count = 0;
    es_member_info *list = members != NULL ? read_members(members, &info, &count) : NULL;
    if (list == NULL) return;
    value(out, "essaim_registry_frozen", "gauge", "1 while the registry does not answer.", info.frozen);
    value(out, "essaim_placement_epoch", "gauge", "Counter of the placement that all its nodes have reached.",
          info.in_force.counter);
    value(out, "essaim_placement_wanted_epoch", "gauge", "Counter of the valid placement.",
          info.wanted.counter);
    value(out, "essaim_placement_plans_total", "counter", "Placements planned here.", (double)info.plans);
    value(out, "essaim_placement_swaps_total", "counter", "Of them those that became valid.",
          (double)info.swaps);
    value(out, "essaim_placement_loads_total", "counter", "Orders to load experts.", (double)info.loads);
    value(out, "essaim_placement_drops_total", "counter", "Orders to drop experts.", (double)info.drops);
    es_metric_family(out, PHASE, "gauge", "1 for the phase that a member is in.");
    for (size_t i = 0; i < count; i++) {
        const es_metric_label labels[] = {
            {"node", list[i].name}, {"phase", es_member_phase_name(list[i].phase)}, {NULL, NULL}};
        es_metric_value(out, PHASE, labels, 1);
    }
    es_metric_family(out, MISSING, "gauge",
                     "Experts that the valid placement gives a member and that it lacks.");
    for (size_t i = 0; i < count; i++) {
        const es_metric_label labels[] = {{"node", list[i].name}, {NULL, NULL}};
        es_metric_value(out, MISSING, labels, (double)list[i].missing);
    }
    free(list);
}

/* {"node": NAME}, strictly. */
static es_status read_drain(const es_http_request *r, char ret_name[ES_NAME_MAX + 1], es_err *err)
{
    json_t *body;
    if (r->body.bytes > DRAIN_BODY_MAX) return es_err_set(err, ES_INVALID, "the body is too long");
    const es_json_text text = {"the request's body", r->body.data != NULL ? (const char *)r->body.data : "",
                               r->body.bytes};
    es_status status = es_json_parse(&text, &body, err);
    if (status != ES_OK) return es_err_set(err, ES_INVALID, "the body is not {\"node\": NAME}");
    const char *name = json_string_value(json_object_get(body, "node"));
    if (json_object_size(body) != 1 || name == NULL || !es_name_valid(name))
        status = es_err_set(err, ES_INVALID, "the body is not {\"node\": NAME}");
    else
        strcpy(ret_name, name);
    json_decref(body);
    return status;
}

enum MHD_Result es_http_drain_node(es_http_request *r)
{
    char name[ES_NAME_MAX + 1];
    es_err err;
    es_membership *members = atomic_load(&r->http->members);
    es_status status = read_drain(r, name, &err);
    if (status != ES_OK) return es_http_reply_error(r, 400, "invalid_request", err.text);
    if (members == NULL)
        return es_http_reply_error(r, 409, "no_registry",
                                   "this coordinator follows no registry: it has no members");
    status = es_membership_drain(members, name, &err);
    if (status == ES_NOT_FOUND) return es_http_reply_error(r, 404, "not_found", err.text);
    if (status != ES_OK) return es_http_reply_error(r, 503, "overloaded", err.text);
    return es_http_reply_json(r, 202, json_pack("{s:s, s:s}", "node", name, "state", "draining"));
}
