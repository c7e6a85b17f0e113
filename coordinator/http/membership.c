/* The members of the swarm, for people and dashboards, and the order to drain one. */
#include "http/drain_order.h"
#include "http/exposition.h"
#include "http/internal.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

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
    return json_pack("{s:s, s:s, s:s, s:b, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "name",
                     m->name, "endpoint", m->endpoint, "state", ES_MEMBER_STATES[m->state], "registered",
                     m->registered, "phase", es_member_phase_name(m->phase), "epoch", epoch_json(m->epoch),
                     "experts", (json_int_t)m->experts, "missing", (json_int_t)m->missing, "surplus",
                     (json_int_t)m->surplus, "memory_bytes", (json_int_t)m->memory_bytes, "wanted_bytes",
                     (json_int_t)m->wanted_bytes, "mapped_bytes", (json_int_t)m->mapped_bytes, "refused",
                     (json_int_t)m->refused, "malformed", (json_int_t)m->malformed, "why", m->why);
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

const char ES_METRIC_REFUSED[] = "essaim_member_refused_total",
           ES_METRIC_REFUSED_HELP[] = "Handshakes and messages that a node refused at any of its sockets.",
           ES_METRIC_MALFORMED[] = "essaim_member_malformed_total",
           ES_METRIC_MALFORMED_HELP[] = "Messages that were none, at any of a node's sockets.";

/* A value of every member. */
typedef struct member_family {
    const char *name, *type, *help;
    size_t at; /* in es_member_info: a size_t or a uint64_t */
} member_family;

static void member_values(const es_member_info *list, size_t count, es_buffer *out)
{
    static const member_family FAMILIES[] = {
        {"essaim_member_missing_experts", "gauge",
         "Experts that the valid placement gives a member and that it lacks.",
         offsetof(es_member_info, missing)},
        {ES_METRIC_REFUSED, "counter", ES_METRIC_REFUSED_HELP, offsetof(es_member_info, refused)},
        {ES_METRIC_MALFORMED, "counter", ES_METRIC_MALFORMED_HELP, offsetof(es_member_info, malformed)},
    };
    _Static_assert(sizeof(size_t) == sizeof(uint64_t), "one way to read both");
    for (size_t f = 0; f < sizeof FAMILIES / sizeof FAMILIES[0]; f++) {
        es_metric_family(out, FAMILIES[f].name, FAMILIES[f].type, FAMILIES[f].help);
        for (size_t i = 0; i < count; i++) {
            const es_metric_label labels[] = {{"node", list[i].name}, {NULL, NULL}};
            uint64_t number;
            memcpy(&number, (const char *)&list[i] + FAMILIES[f].at, sizeof number);
            es_metric_value(out, FAMILIES[f].name, labels, (double)number);
        }
    }
}

static void join_metrics(es_join *join, es_buffer *out)
{
    static const char JOINS[] = "essaim_joins_total", REFUSED[] = "essaim_shard_refused_total";
    es_join_stats s = es_join_get_stats(join);
    const struct {
        const char *name;
        uint64_t count;
    } outcome[] = {{"taken_in", s.taken_in},      {"again", s.again},         {"token_used", s.used},
                   {"no_token", s.unknown},       {"key_revoked", s.revoked}, {"name_taken", s.names},
                   {"too_many", s.shards.limited}},
      refused[] = {{"handshake", s.shards.refused},
                   {"stranger", s.shards.strangers},
                   {"malformed", s.shards.malformed}};
    es_metric_family(out, JOINS, "counter", "Machines that wanted to join, by what became of it.");
    for (size_t i = 0; i < sizeof outcome / sizeof outcome[0]; i++) {
        const es_metric_label labels[] = {{"outcome", outcome[i].name}, {NULL, NULL}};
        es_metric_value(out, JOINS, labels, (double)outcome[i].count);
    }
    es_metric_family(out, REFUSED, "counter", "What was refused at --join-listen besides, and why.");
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const es_metric_label labels[] = {{"why", refused[i].name}, {NULL, NULL}};
        es_metric_value(out, REFUSED, labels, (double)refused[i].count);
    }
    value(out, "essaim_shard_given_bytes_total", "counter", "Bytes of experts given to members.",
          (double)s.shards.given_bytes);
}

void es_http_members_metrics(es_http *http, es_buffer *out)
{
    static const char PHASE[] = "essaim_member_phase";
    es_join *join = atomic_load(&http->join);
    if (join != NULL) join_metrics(join, out);
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
    member_values(list, count, out);
    free(list);
}

enum MHD_Result es_http_drain_node(es_http_request *r)
{
    char name[ES_NAME_MAX + 1];
    es_err err;
    es_membership *members = atomic_load(&r->http->members);
    es_status status = es_http_drain_order_parse(r->body.data != NULL ? (const char *)r->body.data : "",
                                                 r->body.bytes, name, &err);
    if (status != ES_OK) return es_http_reply_error(r, 400, "invalid_request", err.text);
    if (members == NULL)
        return es_http_reply_error(r, 409, "no_registry",
                                   "this coordinator follows no registry: it has no members");
    status = es_membership_drain(members, name, &err);
    if (status == ES_NOT_FOUND) return es_http_reply_error(r, 404, "not_found", err.text);
    if (status != ES_OK) return es_http_reply_error(r, 503, "overloaded", err.text);
    return es_http_reply_json(r, 202, json_pack("{s:s, s:s}", "node", name, "state", "draining"));
}
