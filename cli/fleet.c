/* A registry's nodes as somebody who comes by can know them. */
#include "cli/fleet.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool is_revoked(const es_registry_view *view, const char *key)
{
    if (key[0] == '\0') return false;
    for (size_t i = 0; i < view->revoked_count; i++)
        if (strcmp(view->revoked[i], key) == 0) return true;
    return false;
}

/* Leases of an embedded registry are its coordinator's: to us, who opened it just now, all of them hold. */
static es_status add_records(cli_fleet *fleet, es_registry *registry, const es_registry_view *view,
                             const es_node_record *records, size_t count, es_err *err)
{
    uint64_t *seen_s = calloc(count + 1, sizeof *seen_s);
    if (seen_s == NULL) return es_err_set(err, ES_NO_MEMORY, "list of nodes");
    es_status status = es_registry_seen(registry, records, count, seen_s, err);
    bool leased = status == ES_UNSUPPORTED; /* then what has a record is there */
    for (size_t n = 0; n < count && (leased || status == ES_OK); n++) {
        uint64_t age_s = fleet->now_s > seen_s[n] ? fleet->now_s - seen_s[n] : 0;
        fleet->nodes[fleet->count++] = (cli_fleet_node){
            .record = records[n],
            .registered = true,
            .revoked = is_revoked(view, records[n].key),
            .lost = !leased && records[n].state == ES_MEMBER_READY && age_s * 1000 > ES_REGISTRY_TTL_MS,
            .seen_s = seen_s[n]};
    }
    free(seen_s);
    return leased ? ES_OK : status;
}

static void add_named(cli_fleet *fleet)
{
    if (fleet->document == NULL) return;
    for (size_t n = 0; n < fleet->document->node_count; n++) {
        const char *name = fleet->document->nodes[n].name;
        if (cli_fleet_find(fleet, name) != NULL) continue;
        cli_fleet_node *node = &fleet->nodes[fleet->count++];
        *node = (cli_fleet_node){.lost = true};
        strcpy(node->record.name, name);
    }
}

es_status cli_fleet_read(es_registry *registry, cli_fleet *ret_fleet, es_err *err)
{
    es_registry_view *view = NULL;
    *ret_fleet = (cli_fleet){.now_s = es_clock_wall_ns() / 1000000000u};
    es_status status = es_registry_placement(
        registry, es_clock_now_ns() + CLI_FLEET_WAIT_MS * UINT64_C(1000000), &ret_fleet->document, err);
    if (status == ES_NOT_FOUND) status = ES_OK;
    if (status == ES_OK) status = es_registry_view_get(registry, &view, err);
    if (status != ES_OK) {
        cli_fleet_fini(ret_fleet);
        return status;
    }
    size_t named = ret_fleet->document != NULL ? ret_fleet->document->node_count : 0;
    ret_fleet->nodes = calloc(view->node_count + view->lapsed_count + named + 1, sizeof *ret_fleet->nodes);
    if (ret_fleet->nodes == NULL) status = es_err_set(err, ES_NO_MEMORY, "list of nodes");
    if (status == ES_OK) status = add_records(ret_fleet, registry, view, view->nodes, view->node_count, err);
    if (status == ES_OK)
        status = add_records(ret_fleet, registry, view, view->lapsed, view->lapsed_count, err);
    if (status == ES_OK) add_named(ret_fleet);
    es_registry_view_destroy(&view);
    if (status != ES_OK) cli_fleet_fini(ret_fleet);
    return status;
}

void cli_fleet_fini(cli_fleet *fleet)
{
    es_document_destroy(&fleet->document);
    free(fleet->nodes);
    *fleet = (cli_fleet){.count = 0};
}

const cli_fleet_node *cli_fleet_find(const cli_fleet *fleet, const char *name)
{
    for (size_t n = 0; n < fleet->count; n++)
        if (strcmp(fleet->nodes[n].record.name, name) == 0) return &fleet->nodes[n];
    return NULL;
}

const char *cli_fleet_state(const cli_fleet_node *node)
{
    return node->revoked ? "revoked" : node->lost ? "lost" : ES_MEMBER_STATES[node->record.state];
}

static void format_age(uint64_t age_s, char ret_text[32])
{
    static const struct {
        uint64_t seconds;
        const char *unit;
    } UNITS[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    size_t u = 0;
    while (u < 3 && age_s < 2 * UNITS[u].seconds) u++;
    snprintf(ret_text, 32, "%" PRIu64 " %s", age_s / UNITS[u].seconds, UNITS[u].unit);
}

void cli_fleet_seen(const cli_fleet *fleet, const cli_fleet_node *node, char ret_text[CLI_FLEET_SEEN_MAX])
{
    char age[32], when[32] = "";
    time_t then = (time_t)node->seen_s;
    struct tm local;
    uint64_t age_s = fleet->now_s > node->seen_s ? fleet->now_s - node->seen_s : 0;
    format_age(age_s, age);
    if (localtime_r(&then, &local) != NULL) strftime(when, sizeof when, "%F %T", &local);
    ret_text[0] = '\0';
    if (!node->registered)
        snprintf(ret_text, CLI_FLEET_SEEN_MAX, "not registered, and the placement names it");
    else if (node->seen_s == 0)
        snprintf(ret_text, CLI_FLEET_SEEN_MAX, "%s",
                 node->lost                                ? "not seen"
                 : node->record.state == ES_MEMBER_JOINING ? "not met yet"
                                                           : "");
    else if (age_s * 1000 > ES_REGISTRY_TTL_MS)
        snprintf(ret_text, CLI_FLEET_SEEN_MAX, "not seen since %s (%s)", when, age);
    else
        snprintf(ret_text, CLI_FLEET_SEEN_MAX, "seen %s ago", age);
}

es_status cli_fleet_find_loss(const cli_fleet *fleet, const cli_fleet_node *node, es_document_loss *ret_loss,
                              es_err *err)
{
    const es_document *d = fleet->document;
    *ret_loss = (es_document_loss){.experts = 0};
    if (d == NULL || node->revoked) return ES_OK;
    bool *stands = calloc(d->node_count + 1, sizeof *stands), heard = false;
    if (stands == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    /* Where nobody was heard of, it is the coordinator that is away: its nodes may well be there. */
    for (size_t n = 0; n < fleet->count; n++) heard |= fleet->nodes[n].registered && !fleet->nodes[n].lost;
    for (size_t n = 0; n < d->node_count; n++) {
        const cli_fleet_node *other = cli_fleet_find(fleet, d->nodes[n].name);
        stands[n] = other != NULL && other->registered && !other->revoked && !(other->lost && heard);
    }
    es_status status = es_document_find_loss(d, node->record.name, stands, ret_loss, err);
    free(stands);
    return status;
}

static json_t *node_json(const cli_fleet_node *node)
{
    const es_node_record *r = &node->record;
    return json_pack("{s:s, s:s, s:b, s:o, s:s, s:s, s:s, s:I, s:I}", "name", r->name, "state",
                     cli_fleet_state(node), "registered", node->registered, "seen",
                     node->seen_s == 0 ? json_null() : json_integer((json_int_t)node->seen_s), "control",
                     r->control, "key", r->key, "rack", es_node_record_label(r, "rack"), "memory",
                     (json_int_t)r->memory_bytes, "bandwidth", (json_int_t)r->bandwidth_bytes);
}

static es_status print_json(const cli_fleet *fleet, const char *epoch, es_err *err)
{
    json_t *nodes = json_array();
    for (size_t n = 0; n < fleet->count; n++) json_array_append_new(nodes, node_json(&fleet->nodes[n]));
    json_t *all = json_pack("{s:s, s:o}", "placement", epoch, "nodes", nodes);
    char *text = all == NULL ? NULL : json_dumps(all, JSON_INDENT(1));
    json_decref(all);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "list of nodes");
    puts(text);
    free(text);
    return ES_OK;
}

es_status cli_fleet_print(const cli_fleet *fleet, bool as_json, es_err *err)
{
    char epoch[ES_EPOCH_TEXT_MAX], seen[CLI_FLEET_SEEN_MAX];
    es_epoch_format(fleet->document != NULL ? fleet->document->epoch : (es_epoch){0, 0}, epoch);
    if (as_json) return print_json(fleet, epoch, err);
    printf("placement %s, %zu node%s\n", epoch, fleet->count, fleet->count == 1 ? "" : "s");
    for (size_t n = 0; n < fleet->count; n++) {
        const cli_fleet_node *node = &fleet->nodes[n];
        const es_node_record *r = &node->record;
        cli_fleet_seen(fleet, node, seen);
        printf("  %-24s %-9s %-28s %8.1f GB %8.1f GB/s  %-12s  %s\n", r->name, cli_fleet_state(node),
               r->control, (double)r->memory_bytes * 1e-9, (double)r->bandwidth_bytes * 1e-9, seen, r->key);
    }
    return ES_OK;
}
