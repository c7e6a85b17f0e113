/* The experts that a machine has on its disks: shards, or a model's own files. They are taken one by one,
 * whole or in stretches, and given back one by one. */
#ifndef ES_WEIGHTS_EXPERT_STORE_H
#define ES_WEIGHTS_EXPERT_STORE_H

#include "essaim/placement.h"

/* One thread at a time. */
typedef struct es_expert_store es_expert_store;

typedef struct es_expert_store_options {
    const char *const *paths; /* [path_count]: shards, folders of them, or one model of any other kind */
    size_t path_count;
    bool huge_pages;  /* shards are copied to memory of huge pages instead of being mapped */
    bool lock_memory; /* what is taken stays in memory */
} es_expert_store_options;

/* Reads headers, not weights. ES_MISMATCH names two paths that are of different models. options are borrowed
 * for the call. */
es_status es_expert_store_open(const es_expert_store_options *options, es_expert_store **ret_store,
                               es_err *err);

/* Maps one more shard, which came later. ES_INVALID when the store is a model's own files: it has all. */
es_status es_expert_store_add(es_expert_store *store, const char *path, es_err *err);

/* Everything taken has been given back. */
void es_expert_store_close(es_expert_store **store);

const es_shape *es_expert_store_shape(const es_expert_store *store);
const uint8_t *es_expert_store_fingerprint(const es_expert_store *store); /* [ES_FINGERPRINT_BYTES] */

/* Whether one chunk of an expert is here. */
bool es_expert_store_has(const es_expert_store *store, size_t layer, size_t expert, uint32_t chunk);

/* What can be taken at once of a stretch: its beginning, up to where one shard's unit ends. */
typedef struct es_expert_offer {
    es_chunks chunks; /* count is not 0 */
    uint64_t bytes;   /* of memory that it takes */
    size_t entry;     /* the store's own */
} es_expert_offer;

/* Looks for chunks (count is not 0) of an expert. ES_NOT_FOUND when no shard here has the first of them. */
es_status es_expert_store_find(es_expert_store *store, size_t layer, size_t expert, es_chunks chunks,
                               es_expert_offer *ret_offer, es_err *err);

/* Chunks of an expert in memory. */
typedef struct es_stored_expert {
    size_t layer, expert;
    es_expert_offer offer;
    es_ffn ffn;
    uint8_t *pages; /* memory of its own; NULL: mapped */
    size_t page_bytes;
    bool lazy;           /* mapped and not locked: pages come when they are read */
    bool panels_are_cut; /* down's columns are some of its panels' */
} es_stored_expert;

/* Maps an offer, or converts it to panels in memory of its own. ES_NUMERIC, ES_IO, ES_NO_MEMORY name the
 * expert. */
es_status es_expert_store_take(es_expert_store *store, size_t layer, size_t expert,
                               const es_expert_offer *offer, es_stored_expert *ret_expert, es_err *err);

/* Reads what was mapped, so that nobody who computes from it has to wait for a disk; nothing is left to do
 * for what has memory of its own or is locked. */
es_status es_expert_store_read(const es_stored_expert *expert, es_err *err);

/* Holds the unit that it came from against its checksum; what was converted has been checked already.
 * ES_CORRUPT names file and unit. */
es_status es_expert_store_verify(es_expert_store *store, const es_stored_expert *expert, es_err *err);

/* Frees or unmaps it: nobody computes from it any more. */
void es_expert_store_give(es_expert_store *store, es_stored_expert *expert);

#endif
