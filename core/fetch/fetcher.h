/* Fetches the experts that a machine lacks from others that have them, by checksum, into shards of its own.
 */
#ifndef ES_FETCH_FETCHER_H
#define ES_FETCH_FETCHER_H

#include "net/channel.h"
#include "net/shard_wire.h"
#include "weights/unit_file.h"

#include <limits.h>

/* One thread does it; any thread may call. */
typedef struct es_fetcher es_fetcher;

typedef struct es_fetcher_options {
    const char *dir; /* where the shards go; there already. All is borrowed while it runs */
    const es_shape *shape;
    const uint8_t *fingerprint; /* [ES_FINGERPRINT_BYTES] */
    const es_keys *keys;        /* NULL: peers on this machine only */
    const char *name;           /* our own: a peer of this name is not asked */
    const es_peer *last;        /* [last_count] who is asked when no peer has it: coordinators */
    size_t last_count;
    uint32_t patience_ms; /* 0: ES_FETCH_PATIENCE_MS */
} es_fetcher_options;

/* Who does not answer within patience_ms, or gives less than the least of bytes in one such time, is given up
 * for another; what it gave is kept. */
enum { ES_FETCH_PATIENCE_MS = 5000, ES_FETCH_LEAST_BYTES_PER_S = 256 * 1024 };

es_status es_fetcher_start(const es_fetcher_options *options, es_fetcher **ret_fetcher, es_err *err);

/* What is half there stays, for the next time. */
void es_fetcher_stop(es_fetcher **fetcher);

/* Told, by the fetcher's thread and under its lock, that something was fetched or is in the way. It must not
 * call the fetcher. NULL: nobody is. */
typedef void es_fetcher_wake_fn(void *context);
void es_fetcher_on_wake(es_fetcher *fetcher, es_fetcher_wake_fn *wake, void *context);

/* Who may have what is wanted: replaces who was named before. */
es_status es_fetcher_peers(es_fetcher *fetcher, const es_peer *peers, size_t count, es_err *err);

/* A whole expert. */
typedef struct es_fetch_order {
    size_t layer, expert;
    uint8_t sum[ES_CONTENT_SUM_BYTES];
    uint8_t formats[ES_EXPERT_PARTS]; /* es_format of gate, up and down: the sum does not cover them */
} es_fetch_order;

/* What is to be fetched from here on, in this order, until it is there: replaces what was wanted before. */
es_status es_fetcher_want(es_fetcher *fetcher, const es_fetch_order *orders, size_t count, es_err *err);

typedef struct es_fetched {
    size_t layer, expert;
    char path[PATH_MAX]; /* of its shard */
} es_fetched;

/* The oldest that was fetched and not taken yet; false: there is none. */
bool es_fetcher_take(es_fetcher *fetcher, es_fetched *ret_fetched);

typedef struct es_fetcher_state {
    uint64_t fetched_bytes;            /* since it was started */
    size_t left;                       /* orders that are not done */
    char failure[ES_NODE_FAILURE_MAX]; /* what is in the way just now; it is tried again all the same */
} es_fetcher_state;

void es_fetcher_get_state(es_fetcher *fetcher, es_fetcher_state *ret_state);

#endif
