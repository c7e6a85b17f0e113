/* The etcd registry's struct, for its own files. */
#ifndef ES_CLUSTER_ETCD_INTERNAL_H
#define ES_CLUSTER_ETCD_INTERNAL_H

#include "cluster/etcd_client.h"

enum { ES_ETCD_PREFIX_MAX = 128, ES_ETCD_CHUNK_BYTES = 512 * 1024, ES_ETCD_CHUNKS_MAX = 128 };

/* What the pointer key says: which chunks are the valid placement. */
typedef struct es_etcd_pointer {
    es_epoch epoch;
    size_t chunks, bytes;
    uint8_t hash[32];
} es_etcd_pointer;

/* Keys, under the prefix:
 *   live/nodes/NAME      a node's record, under its lease
 *   live/revoked/HEX     a revoked public key
 *   live/placement       the pointer
 *   chunks/EPOCH-HASH/N  the placement's parts: a request takes 1.5 MiB at most
 *   tokens/HEX           a join token's hash, under a lease
 * One range and one watch see all that is live. */
typedef struct es_etcd_registry {
    es_registry base;
    es_etcd *etcd;
    char prefix[ES_ETCD_PREFIX_MAX + 1];
    unsigned ttl_s;
    uint64_t refresh_ns;
    pthread_t worker, watcher;
    bool started;
    es_etcd_link *worker_link, *watcher_link; /* each its thread's */

    pthread_mutex_t state_lock; /* around everything below */
    pthread_cond_t poked;       /* something for the worker or the watcher to look at */
    bool stopping;
    bool dirty;        /* everything is to be read anew */
    uint64_t revision; /* of the latest range; 0: none, or its history is gone */
    bool announced;    /* own is to stand */
    bool leaving;      /* own is to be withdrawn */
    bool rewrite;      /* own has changed since it was put */
    es_node_record own;
    uint64_t lease; /* 0: none */
    es_status own_status;
    es_err own_err;
} es_etcd_registry;

enum { ES_ETCD_PATH_MAX = ES_ETCD_KEY_MAX + 1 };

/* prefix + rest, with rest formatted. */
void es_etcd_key(const es_etcd_registry *r, char ret_key[ES_ETCD_PATH_MAX], const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* {"key": …} of a key, with "range_end" when all that begin with it are meant. */
json_t *es_etcd_key_json(const char *key, bool all);

/* A transaction: when `compare` holds, `then`, else a look at `key`. All taken. */
json_t *es_etcd_transaction(json_t *compare, json_t *then, const char *key);

/* The pointer as JSON text (malloc'd), and strictly back. */
char *es_etcd_pointer_write(const es_etcd_pointer *pointer);
es_status es_etcd_pointer_parse(const char *text, size_t bytes, es_etcd_pointer *ret_pointer, es_err *err);

/* Asks for a lease of ttl_s seconds. */
es_status es_etcd_grant(es_etcd_link *link, unsigned ttl_s, uint64_t deadline_ns, uint64_t *ret_lease,
                        es_err *err);

/* One range's reply as a view; *ret_malformed counts what was left out. epoch: what to keep when the pointer
 * cannot be read. */
es_status es_etcd_view_of(const char *prefix, const json_t *range, es_epoch epoch,
                          es_registry_view **ret_view, uint64_t *ret_malformed, es_err *err);

/* The operations that wait for etcd, on the caller's thread with a link of their own. */
es_status es_etcd_remove(es_registry *registry, const char *name, uint64_t deadline_ns, es_err *err);
es_status es_etcd_mark(es_registry *registry, const char *name, es_member_state state, uint64_t deadline_ns,
                       es_err *err);
es_status es_etcd_placement(es_registry *registry, uint64_t deadline_ns, es_document **ret_document,
                            es_err *err);
es_status es_etcd_swap(es_registry *registry, es_epoch expected, const es_document *document,
                       uint64_t deadline_ns, es_err *err);
es_status es_etcd_revoke(es_registry *registry, const char *key, bool revoked, uint64_t deadline_ns,
                         es_err *err);
es_status es_etcd_token_add(es_registry *registry, const uint8_t *hash, unsigned ttl_s, uint64_t deadline_ns,
                            es_err *err);
es_status es_etcd_token_take(es_registry *registry, const uint8_t *hash, uint64_t deadline_ns, es_err *err);

/* The threads. */
void *es_etcd_worker_main(void *registry);
void *es_etcd_watcher_main(void *registry);

/* Wakes them. state_lock is not held. */
void es_etcd_poke(es_etcd_registry *r, bool dirty);

/* Waits for a poke until deadline_ns; state_lock is held. */
void es_etcd_nap(es_etcd_registry *r, uint64_t deadline_ns);

#endif
