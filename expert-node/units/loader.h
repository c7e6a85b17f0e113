/* The thread that changes what a node holds, while the service computes from what it held before. */
#ifndef ES_UNITS_LOADER_H
#define ES_UNITS_LOADER_H

#include "fetch/fetcher.h"
#include "net/control.h"
#include "units/holding.h"
#include "weights/expert_store.h"

typedef struct es_loader_options {
    es_expert_store *store;    /* borrowed, used by the loader's thread alone until destroy */
    uint64_t memory_bytes_max; /* that weights may take; 0: what the machine has */
    const char *meminfo;       /* where the machine says it: "/proc/meminfo"; borrowed */
    es_fetcher *fetcher; /* fetches what the store lacks and a checksum is known of; NULL: then it cannot be
                            held. Borrowed likewise; it outlives the loader */
    void (*fetched)(void *context,
                    const char *path); /* told by the loader's thread of each shard; may be NULL */
    void *fetched_context;
} es_loader_options;

/* All functions are for the one thread that created it, the service's. */
typedef struct es_loader es_loader;

/* Starts the thread. It holds nothing yet. */
es_status es_loader_create(const es_loader_options *options, es_loader **ret_loader, es_err *err);

/* Stops the thread and gives back everything that is held. */
void es_loader_destroy(es_loader **loader);

/* Asks for units beside what is held, or for units to be let go; both come true some time later, in the order
 * asked, and asking again changes nothing but retries what failed. ES_INVALID names a range that is none;
 * ES_STALE when a later placement has changed this node; ES_UNAVAILABLE when too much was asked and is not
 * done yet. Checksums that come with units are kept: what is not at hand is fetched by them. */
es_status es_loader_change(es_loader *loader, const es_units_change *change, bool load, es_err *err);

/* Asks for all that the store has, as with epoch 0. */
es_status es_loader_load_all(es_loader *loader, es_err *err);

/* What is held now, never NULL, until the next es_loader_poll. */
const es_holding *es_loader_holding(const es_loader *loader);

/* The highest epoch that changed this node; 0: none has. */
uint64_t es_loader_epoch(const es_loader *loader);

/* Takes in what the thread has done since: the holding may be another then. Call it between requests; cheap.
 */
void es_loader_poll(es_loader *loader);

/* Readable when es_loader_poll has something to take in. */
int es_loader_fd(const es_loader *loader);

/* True when all that was asked is done. */
bool es_loader_settled(const es_loader *loader);

/* ES_OK, or what is in the way of what was asked. */
es_status es_loader_failure(const es_loader *loader, es_err *err);

/* phase is ES_NODE_LOADING until all that was asked is done: for ever when failure tells what is in the way.
 */
void es_loader_state(const es_loader *loader, es_node_state *ret_state);

#endif
