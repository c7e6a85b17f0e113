/* What a back end of the registry is, for the files of this room. */
#ifndef ES_CLUSTER_BACKEND_H
#define ES_CLUSTER_BACKEND_H

#include "cluster/registry.h"

#include <pthread.h>

/* The functions of es_registry_*, on the back end's own struct. */
typedef struct es_registry_ops {
    void (*close)(es_registry *registry);
    void (*refresh)(
        es_registry *registry); /* looks for changes, without the network; NULL: they come by themselves */
    es_status (*announce)(es_registry *registry, const es_node_record *record, es_err *err);
    es_status (*withdraw)(es_registry *registry, uint64_t deadline_ns, es_err *err);
    es_status (*own)(es_registry *registry, es_err *err);
    es_status (*renew)(es_registry *registry, const es_node_record *record, es_err *err);
    es_status (*seen)(es_registry *registry, const es_node_record *nodes, size_t count, uint64_t *ret_wall_s,
                      es_err *err);
    es_status (*remove)(es_registry *registry, const char *name, uint64_t deadline_ns, es_err *err);
    es_status (*mark)(es_registry *registry, const char *name, es_member_state state, uint64_t deadline_ns,
                      es_err *err);
    es_status (*placement)(es_registry *registry, uint64_t deadline_ns, es_document **ret_document,
                           es_err *err);
    es_status (*swap)(es_registry *registry, es_epoch expected, const es_document *document,
                      uint64_t deadline_ns, es_err *err);
    es_status (*revoke)(es_registry *registry, const char *key, bool revoked, uint64_t deadline_ns,
                        es_err *err);
    es_status (*token_add)(es_registry *registry, const uint8_t *hash, unsigned ttl_s, uint64_t deadline_ns,
                           es_err *err);
    es_status (*token_take)(es_registry *registry, const uint8_t *hash, uint64_t deadline_ns, es_err *err);
} es_registry_ops;

/* First in every back end's struct. */
struct es_registry {
    const es_registry_ops *ops;
    pthread_mutex_t lock;   /* around view, stats and wake */
    pthread_cond_t changed; /* on CLOCK_MONOTONIC */
    es_registry_view *view;
    es_registry_stats stats;
    es_registry_wake_fn *wake;
    void *context;
    uint64_t holder; /* our random number */
};

es_status es_registry_init(es_registry *registry, const es_registry_ops *ops, es_err *err);
void es_registry_fini(es_registry *registry);

/* Takes *view over as the latest, whatever its version; nothing is told when it says the same as the one
 * before.
 */
void es_registry_publish(es_registry *registry, es_registry_view **view);

/* The latest again, but frozen. */
void es_registry_freeze(es_registry *registry);

/* Adds to one of the counts of stats. */
void es_registry_count(es_registry *registry, uint64_t *count);

/* A view with room for so many; NULL when memory is short. */
es_registry_view *es_registry_view_create(size_t nodes_max, size_t revoked_max);

/* Puts nodes and keys in order; of two of a name the first stays. */
void es_registry_view_sort(es_registry_view *view);

/* "essaim placement epoch 1.7 is valid, not 1.6". */
es_status es_registry_other_epoch(es_epoch stands, es_epoch expected, es_err *err);

/* What was read under an epoch says the same of itself: who can write the registry could else give an old
 * document, whose signature holds, a new number. ES_CORRUPT; where names it. */
es_status es_registry_check_epoch(const char *where, const es_document *document, es_epoch epoch,
                                  es_err *err);

/* BLAKE2b-256 of bytes. */
void es_registry_hash(const void *bytes, size_t count, uint8_t ret_hash[32]);

#endif
