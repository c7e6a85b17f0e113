/* essaim node: the nodes of a registry: listed, put in by hand, taken out. */
#include "base/clock.h"
#include "base/machine.h"
#include "cli/commands.h"
#include "cli/fleet.h"
#include "cluster/registry_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST, ADD, REMOVE };
static const char *const ACTIONS[] = {"list", "add", "remove", NULL};
enum { WAIT_MS = 15000 };

typedef struct node_values {
    const char *action, *name, *at, *memory, *rack;
    bool create, force, json;
    es_registry_options registry;
} node_values;

static int action_of(const node_values *v)
{
    int action = 0;
    while (ACTIONS[action] != NULL && strcmp(ACTIONS[action], v->action) != 0) action++;
    return action;
}

static es_status list(const node_values *v, es_registry *registry, es_err *err)
{
    cli_fleet fleet;
    es_status status = cli_fleet_read(registry, &fleet, err);
    if (status != ES_OK) return status;
    status = cli_fleet_print(&fleet, v->json, err);
    cli_fleet_fini(&fleet);
    return status;
}

/* What only this node has is not taken away without a word. */
static es_status check_loss(const node_values *v, es_registry *registry, es_document_loss *ret_loss,
                            bool *ret_revoked, es_err *err)
{
    cli_fleet fleet;
    char seen[CLI_FLEET_SEEN_MAX];
    *ret_loss = (es_document_loss){.experts = 0};
    *ret_revoked = false;
    es_status status = cli_fleet_read(registry, &fleet, err);
    if (status != ES_OK) return status;
    const cli_fleet_node *node = cli_fleet_find(&fleet, v->name);
    if (node != NULL) *ret_revoked = node->revoked;
    if (node != NULL && node->registered) status = cli_fleet_find_loss(&fleet, node, ret_loss, err);
    if (status == ES_OK && ret_loss->experts > 0 && !v->force) {
        cli_fleet_seen(&fleet, node, seen);
        status = es_err_set(err, ES_UNAVAILABLE,
                            "%s has the only copy of %zu of %zu experts (the first: layer %u, expert "
                            "%u)%s%s: %s; --force removes it all the same: they are "
                            "missing until others have fetched them from "
                            "a disk that has them",
                            v->name, ret_loss->experts, ret_loss->all, ret_loss->layer, ret_loss->expert,
                            node->lost ? ", and was " : "", node->lost ? seen : "",
                            node->lost ? "start it again and drain it"
                                       : "'essaim drain' has others take them over first");
    }
    cli_fleet_fini(&fleet);
    return status;
}

static es_status take_out(const node_values *v, es_registry *registry, es_err *err)
{
    es_document_loss loss;
    bool revoked;
    es_status status = check_loss(v, registry, &loss, &revoked, err);
    if (status == ES_OK)
        status = es_registry_remove(registry, v->name, es_clock_now_ns() + WAIT_MS * 1000000ull, err);
    if (status != ES_OK) return status;
    printf("%s is removed", v->name);
    if (loss.experts > 0) printf("; it had the only copy of %zu of %zu experts", loss.experts, loss.all);
    if (v->registry.etcd != NULL && !revoked) /* its record was its own, not its work */
        printf("; if it runs it works on: stop it, or revoke its key");
    putchar('\n');
    return ES_OK;
}

/* "HOST:PORT" or "HOST:PORT,KEY". */
static es_status read_place(const char *text, es_node_record *record, es_err *err)
{
    char place[256];
    es_endpoint endpoint;
    const char *comma = strchr(text, ',');
    size_t length = comma == NULL ? strlen(text) : (size_t)(comma - text);
    if (length >= sizeof place) return es_err_set(err, ES_INVALID, "\"%.60s...\": too long", text);
    memcpy(place, text, length);
    place[length] = '\0';
    es_status status = es_endpoint_parse_connect(place, &endpoint, err);
    if (status != ES_OK) return status;
    if (comma != NULL && !es_key_valid(comma + 1))
        return es_err_set(err, ES_INVALID, "\"%.60s\": what follows the comma is no public key", text);
    if (comma == NULL && !endpoint.loopback)
        return es_err_set(err, ES_INVALID, "\"%.60s\": beyond this machine a node has a key: HOST:PORT,KEY",
                          text);
    if (comma != NULL) memcpy(record->key, comma + 1, ES_KEY_TEXT_BYTES);
    es_endpoint_format(&endpoint, record->control);
    return ES_OK;
}

static es_status add(const node_values *v, es_registry *registry, es_err *err)
{
    es_node_record record = {.state = ES_MEMBER_JOINING};
    strcpy(record.name, v->name);
    es_status status = read_place(v->at, &record, err);
    if (status == ES_OK && v->memory != NULL)
        status = es_machine_parse_bytes(v->memory, &record.memory_bytes, err);
    if (v->rack != NULL) {
        strcpy(record.labels[0].name, "rack");
        snprintf(record.labels[0].value, sizeof record.labels[0].value, "%s", v->rack);
        record.label_count = 1;
    }
    if (status == ES_OK) status = es_registry_renew(registry, &record, err);
    if (status == ES_OK) printf("%s is a member at %s\n", record.name, record.control);
    return status;
}

static es_status run(const void *arg, es_err *err)
{
    const node_values *v = arg;
    es_registry *registry = NULL;
    int action = action_of(v);
    es_status status = v->create ? es_registry_open_or_create(&v->registry, &registry, err)
                                 : es_registry_open(&v->registry, &registry, err);
    if (status == ES_OK && action == LIST) status = list(v, registry, err);
    if (status == ES_OK && action == ADD) status = add(v, registry, err);
    if (status == ES_OK && action == REMOVE) status = take_out(v, registry, err);
    es_registry_close(&registry);
    return status;
}

static es_status check(const void *arg, es_err *err)
{
    const node_values *v = arg;
    int action = action_of(v);
    if (ACTIONS[action] == NULL)
        return es_err_set(err, ES_INVALID, "\"%.40s\": list, add or remove", v->action);
    if (action != LIST && (v->name == NULL || !es_name_valid(v->name)))
        return es_err_set(err, ES_INVALID,
                          "%s which node? A NAME of 1 to %d letters, digits, '.', '_' or '-'", v->action,
                          ES_NAME_MAX);
    if (action == ADD && v->at == NULL)
        return es_err_set(err, ES_INVALID, "add: where does it listen? HOST:PORT,KEY");
    if (v->rack != NULL && strlen(v->rack) > ES_LABEL_VALUE_MAX)
        return es_err_set(err, ES_INVALID, "--rack: at most %d characters", ES_LABEL_VALUE_MAX);
    if (v->force && action != REMOVE) return es_err_set(err, ES_INVALID, "--force goes with remove");
    if (v->json && action != LIST) return es_err_set(err, ES_INVALID, "--json goes with list");
    if (v->create && action != ADD) return es_err_set(err, ES_INVALID, "--create goes with add");
    return es_registry_options_check(&v->registry, err);
}

static const es_option OPTIONS[] = {
    {.name = "ACTION",
     .kind = ES_OPTION_TEXT,
     .at = offsetof(node_values, action),
     .positional = true,
     .required = true,
     .help = "list, add or remove"},
    {.name = "NAME",
     .kind = ES_OPTION_TEXT,
     .at = offsetof(node_values, name),
     .positional = true,
     .help = "as the node calls itself (its --name)"},
    {.name = "HOST:PORT[,KEY]",
     .kind = ES_OPTION_TEXT,
     .at = offsetof(node_values, at),
     .positional = true,
     .help = "add: where it listens, and its public key when that is another machine"},
    {.name = "--memory",
     .kind = ES_OPTION_TEXT,
     .argument = "SIZE",
     .at = offsetof(node_values, memory),
     .fallback = "what the node says when it is met",
     .help = "add: for experts, for example 24G"},
    {.name = "--rack",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(node_values, rack),
     .help = "add: machines of one rack fail together"},
    {.name = "--create",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(node_values, create),
     .help = "add: make the registry when its folder holds none, before a coordinator does"},
    {.name = "--force",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(node_values, force),
     .help = "remove: also when the placement gives experts to no other node that is there"},
    {.name = "--json",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(node_values, json),
     .help = "list: print it as JSON"},
};

static const es_option_set SETS[] = {
    {.heading = "What", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]},
    {.heading = "Registry",
     .options = ES_REGISTRY_OPTIONS,
     .count = ES_REGISTRY_OPTION_COUNT,
     .at = offsetof(node_values, registry)},
};

static const es_example EXAMPLES[] = {
    {"essaim node add n1 127.0.0.1:5701 --registry /var/lib/essaim/registry",
     "a node that runs already; a coordinator that follows the registry meets it"},
    {"essaim node list --etcd https://a:2379,https://b:2379", NULL},
    {"essaim node remove n3 --registry /var/lib/essaim/registry --force", "it is dead for good"},
};

const es_command CLI_NODE = {
    .name = "node",
    .summary = "list a registry's nodes, put one in by hand, take one out",
    .about =
        "Nodes that 'essaim join' brought in are there already, and under etcd nodes register by "
        "themselves: add is "
        "for an embedded registry and nodes that were started by hand. list says lost of a node that worked "
        "and that no coordinator has heard of for ten seconds; in an embedded registry nobody hears of nodes "
        "but a coordinator that runs. remove takes a node out for good, and waits for nothing: drain it "
        "first.",
    .sets = SETS,
    .set_count = sizeof SETS / sizeof SETS[0],
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(node_values),
    .check = check,
    .run = run,
};
