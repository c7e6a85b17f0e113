/* Takes new machines into the swarm, and gives members the experts on this machine's disks: --join-listen. */
#ifndef ES_JOIN_JOIN_H
#define ES_JOIN_JOIN_H

#include "cluster/registry.h"
#include "fetch/server.h"

typedef struct es_join_options {
    const char *listen;    /* HOST:PORT. Everything is borrowed while it runs */
    const es_keys *keys;   /* the key in tokens is its public one */
    es_registry *registry; /* has the tokens' hashes, and gets the new nodes */
    const es_shape *shape; /* of the model that is served */
    const uint8_t *fingerprint;
    const char *model;        /* its folder: shards of experts in it are given to members */
    const char *coordinators; /* file of further public keys that new nodes are to allow; NULL: none */
    const char *etcd,
        *etcd_prefix;     /* where new nodes announce themselves; NULL: their records are put here */
    uint64_t bytes_per_s; /* that are given at most; 0: as many as go */
} es_join_options;

/* Owned by the thread that started it; it works on a thread of its own. */
typedef struct es_join es_join;

/* ES_INVALID names what is missing; ES_IO the endpoint in use. */
es_status es_join_start(const es_join_options *options, es_join **ret_join, es_err *err);
void es_join_stop(es_join **join);

es_endpoint es_join_endpoint(const es_join *join);

typedef struct es_join_stats {
    es_shard_server_stats shards;
    uint64_t taken_in, again;               /* by a token; members that asked for their settings again */
    uint64_t used, unknown, revoked, names; /* refused: a token used before; one that is none or lapsed; a
                                               revoked key; a name that is another's */
} es_join_stats;

es_join_stats es_join_get_stats(es_join *join);

#endif
