/* When nodes were heard of last, beside the embedded registry: seen.json. Leases live in the memory of the
 * process that keeps them; this is what others on the machine can know of them. A note, not a record: it is
 * neither synced nor locked for, and when it is lost everybody is heard of again within a lease. */
#ifndef ES_CLUSTER_EMBEDDED_SEEN_H
#define ES_CLUSTER_EMBEDDED_SEEN_H

#include "cluster/registry.h"

typedef struct es_seen {
    char name[ES_NAME_MAX + 1];
    uint64_t wall_s; /* of the clock on the wall; 0: never */
} es_seen;

/* Strictly: ES_CORRUPT names where and what is wrong. Up to ES_REGISTRY_NODES_MAX. */
es_status es_seen_parse(const char *where, const char *text, size_t bytes, es_seen *ret_seen,
                        size_t *ret_count, es_err *err);

/* ES_NOT_FOUND: nobody has noted anything yet. ret_seen [ES_REGISTRY_NODES_MAX]. */
es_status es_seen_load(const char *folder, es_seen *ret_seen, size_t *ret_count, es_err *err);

/* Whole or not at all. */
es_status es_seen_save(const char *folder, const es_seen *seen, size_t count, es_err *err);

#endif
