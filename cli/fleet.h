/* A registry's nodes as somebody who comes by can know them: who is there, who was heard of when, and what
 * would be gone with one. */
#ifndef ES_CLI_FLEET_H
#define ES_CLI_FLEET_H

#include "cluster/registry.h"

typedef struct cli_fleet_node {
    es_node_record record;
    bool registered; /* it has a record; else only the placement names it */
    bool revoked;    /* its key */
    bool lost;       /* it worked, and no coordinator has heard of it for the time of a lease */
    uint64_t seen_s; /* when one heard of it last, by the clock on the wall; 0: never, or not known */
} cli_fleet_node;

typedef struct cli_fleet {
    es_document *document; /* the valid placement; NULL: there is none */
    cli_fleet_node *nodes; /* [count], ascending by name but for those that only the placement names */
    size_t count;
    uint64_t now_s; /* by the clock on the wall */
} cli_fleet;

enum { CLI_FLEET_WAIT_MS = 15000, CLI_FLEET_SEEN_MAX = 96 };

/* Asks the registry, within CLI_FLEET_WAIT_MS. */
es_status cli_fleet_read(es_registry *registry, cli_fleet *ret_fleet, es_err *err);
void cli_fleet_fini(cli_fleet *fleet);

/* NULL: it has no record, and the placement does not name it. */
const cli_fleet_node *cli_fleet_find(const cli_fleet *fleet, const char *name);

/* "ready", "lost", "revoked" and so on. */
const char *cli_fleet_state(const cli_fleet_node *node);

/* "seen 2 s ago", "not seen since 2026-11-22 14:55:01 (3 h)"; "" where leases say it. */
void cli_fleet_seen(const cli_fleet *fleet, const cli_fleet_node *node, char ret_text[CLI_FLEET_SEEN_MAX]);

/* The experts of which no other node that is there has a copy. A revoked node has none that anybody takes. */
es_status cli_fleet_find_loss(const cli_fleet *fleet, const cli_fleet_node *node, es_document_loss *ret_loss,
                              es_err *err);

/* A table, or as JSON. */
es_status cli_fleet_print(const cli_fleet *fleet, bool as_json, es_err *err);

#endif
