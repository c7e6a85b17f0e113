/* essaim revoke: a key that is trusted no more. */
#include "base/clock.h"
#include "cli/commands.h"
#include "cluster/registry_options.h"

#include <stdio.h>
#include <string.h>

enum { WAIT_MS = 15000 };

typedef struct revoke_values {
    es_registry_options registry;
    const char *who;
    bool undo;
} revoke_values;

static uint64_t deadline(void)
{
    return es_clock_now_ns() + WAIT_MS * 1000000ull;
}

/* A node's name stands for its key. */
static es_status key_of(es_registry *registry, const char *who, char ret_key[ES_KEY_TEXT_BYTES], es_err *err)
{
    es_registry_view *view;
    if (es_key_valid(who)) {
        strcpy(ret_key, who);
        return ES_OK;
    }
    es_status status = es_registry_view_get(registry, &view, err);
    if (status != ES_OK) return status;
    const es_node_record *record = es_registry_view_find(view, who);
    if (record == NULL)
        status = es_err_set(err, ES_NOT_FOUND,
                            "\"%.60s\": no node that is there has this name, and it is no public key", who);
    else if (record->key[0] == '\0')
        status = es_err_set(err, ES_INVALID, "%s has no key: it is on the coordinator's own machine", who);
    else
        strcpy(ret_key, record->key);
    es_registry_view_destroy(&view);
    return status;
}

static es_status run(const void *arg, es_err *err)
{
    const revoke_values *v = arg;
    es_registry *registry = NULL;
    char key[ES_KEY_TEXT_BYTES];
    es_status status = es_registry_open(&v->registry, &registry, err);
    if (status == ES_OK) status = key_of(registry, v->who, key, err);
    if (status == ES_OK) status = es_registry_revoke(registry, key, !v->undo, deadline(), err);
    if (status == ES_OK)
        printf("%s is %s\n", key,
               v->undo ? "no longer revoked" : "revoked: coordinators and nodes refuse it from now on");
    es_registry_close(&registry);
    return status;
}

static es_status check(const void *arg, es_err *err)
{
    const revoke_values *v = arg;
    return es_registry_options_check(&v->registry, err);
}

static const es_option OPTIONS[] = {
    {.name = "KEY|NODE",
     .kind = ES_OPTION_TEXT,
     .at = offsetof(revoke_values, who),
     .positional = true,
     .required = true,
     .help = "a public key, a node's or a coordinator's, or the name of a node that is there"},
    {.name = "--undo",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(revoke_values, undo),
     .help = "take the key off the list again"},
};

static const es_option_set SETS[] = {
    {.heading = "Whom", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]},
    {.heading = "Registry",
     .options = ES_REGISTRY_OPTIONS,
     .count = ES_REGISTRY_OPTION_COUNT,
     .at = offsetof(revoke_values, registry)},
};

static const es_example EXAMPLES[] = {
    {"essaim revoke n3 --registry /var/lib/essaim/registry", "a machine was lost"},
};

const es_command CLI_REVOKE = {
    .name = "revoke",
    .summary = "refuse a key from now on, everywhere in the swarm",
    .about = "Coordinators that follow the registry leave a node with this key alone, and tell all other "
             "nodes, who refuse it at "
             "every socket: at the handshake, and on connections that stand.",
    .sets = SETS,
    .set_count = sizeof SETS / sizeof SETS[0],
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(revoke_values),
    .check = check,
    .run = run,
};
