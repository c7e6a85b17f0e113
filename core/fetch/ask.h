/* A connection to one machine's shard socket, and questions over it that are answered or given up. */
#ifndef ES_FETCH_ASK_H
#define ES_FETCH_ASK_H

#include "net/channel.h"
#include "net/shard_wire.h"

#include <stdatomic.h>

/* Owned by one thread. */
typedef struct es_asker es_asker;

/* Connects in the background; at is "tcp://host:port". stop is looked at while waiting; may be NULL. */
es_status es_asker_open(es_net *net, const char *at, const char *key, const atomic_bool *stop,
                        es_asker **ret_asker, es_err *err);
void es_asker_close(es_asker **asker);

/* Sends a request under the next number, which is returned in request->request. ES_UNAVAILABLE: nobody
 * answers there; ES_MISMATCH: somebody does, and the handshake failed; ES_CANCELLED: stop. */
es_status es_asker_send(es_asker *asker, es_shard_request *request, uint64_t deadline_ns, es_err *err);

/* Waits for the next reply to a request of this number or a later one; what answers an earlier one is
 * dropped. The reply's own error is in reply->status. *ret_bytes is borrowed until the next call; NULL: none
 * came with it. */
es_status es_asker_receive(es_asker *asker, uint64_t number, uint64_t deadline_ns, es_shard_reply *ret_reply,
                           const uint8_t **ret_bytes, size_t *ret_count, es_err *err);

#endif
