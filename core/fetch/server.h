/* Gives the experts that this machine has on its disks to other machines, by checksum, and hears who wants to
 * join. A socket and a thread of its own: nobody who computes waits for its disk. */
#ifndef ES_FETCH_SERVER_H
#define ES_FETCH_SERVER_H

#include "net/channel.h"
#include "net/shard_wire.h"

typedef struct es_shard_server es_shard_server;

/* Answers one who wants to join: his key (Z85; "": the link is plain) and numeric address are the link's own.
 * Called by the server's thread. */
typedef es_status es_join_fn(void *context, const char *key, const char *address,
                             const es_join_request *request, es_joined *ret_joined, es_err *err);

typedef struct es_shard_server_options {
    es_endpoint listen;          /* port 0: any free one */
    const es_keys *keys;         /* NULL: loopback only. Borrowed while it runs, as are the lists */
    es_allow_list *guests;       /* who may connect; needed with keys */
    es_allow_list *members;      /* who may fetch; NULL: whoever may connect */
    const char *const *paths;    /* [path_count] shards and folders of them; borrowed for the call */
    size_t path_count;           /* 0: nothing to give until something is added */
    uint64_t bytes_per_s;        /* that it gives at most; 0: as many as go */
    es_join_fn *join;            /* NULL: nobody joins here */
    void (*tick)(void *context); /* called by its thread, ten times a second; may be NULL */
    void *context;               /* of both */
} es_shard_server_options;

typedef struct es_shard_server_stats {
    uint64_t finds, reads, given_bytes;
    uint64_t joins, joins_refused; /* taken in; refused by the one who answers */
    uint64_t strangers;            /* asked to fetch and are no members */
    uint64_t limited;              /* wanted to join while too many did */
    uint64_t malformed;            /* messages dropped, and peers cut off that never ended one */
    uint64_t refused;              /* handshakes that failed, and messages of revoked peers */
} es_shard_server_stats;

/* Binds and starts the thread. Errors name the endpoint or the path. */
es_status es_shard_server_start(const es_shard_server_options *options, es_shard_server **ret_server,
                                es_err *err);
void es_shard_server_stop(es_shard_server **server);

es_endpoint es_shard_server_endpoint(const es_shard_server *server);

/* One more shard of the same model. Any thread. */
es_status es_shard_server_add(es_shard_server *server, const char *path, es_err *err);

/* Any thread. */
es_shard_server_stats es_shard_server_get_stats(es_shard_server *server);

#endif
