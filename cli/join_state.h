/* What a machine that joined keeps in its folder. */
#ifndef ES_CLI_JOIN_STATE_H
#define ES_CLI_JOIN_STATE_H

#include "base/options.h"
#include "cluster/registry_options.h"
#include "net/shard_wire.h"

#include <limits.h>

enum { CLI_JOIN_SHARDS_MAX = 64, CLI_JOIN_WHERE_MAX = 256 };

/* DIR/node.json, written last: when it is there, the machine has joined. Everything else is beside it:
 * node.key, allow (who may say hello), shards/ (what is held), revoked. */
typedef struct cli_join_state {
    char name[ES_NAME_MAX + 1];
    char listen[ES_ENDPOINT_TEXT_MAX]; /* its port is the first of three: control, rows, shards */
    char source[CLI_JOIN_WHERE_MAX];   /* the coordinator: HOST:PORT */
    char source_key[ES_KEY_TEXT_BYTES];
    uint64_t memory_bytes;
    size_t shard_count;
    char *shards[CLI_JOIN_SHARDS_MAX];  /* malloc'd: what was at hand besides */
    char control[ES_ENDPOINT_TEXT_MAX]; /* where others reach it, as the coordinator said; "": of old */
    /* Where it announces itself: values of ES_REGISTRY_OPTIONS, malloc'd; NULL: not given, and without --etcd
     * the coordinator keeps its record. */
    char *registry[ES_REGISTRY_OPTION_COUNT];
} cli_join_state;

/* ES_NOT_FOUND: it has not joined; ES_CORRUPT names the field. */
es_status cli_join_state_load(const char *dir, cli_join_state *ret_state, es_err *err);

/* Whole or not at all. */
es_status cli_join_state_save(const char *dir, const cli_join_state *state, es_err *err);

/* Sets one of the registry's options, by its place in ES_REGISTRY_OPTIONS. */
es_status cli_join_state_set_registry(cli_join_state *state, size_t option, const char *value, es_err *err);

/* Points ret_options at them. */
void cli_join_state_registry(const cli_join_state *state, es_registry_options *ret_options);

void cli_join_state_fini(cli_join_state *state);

#endif
