/* Cuts off who sends without ever ending a message, and who connects without ever finishing a handshake when
 * there are many of them. libzmq keeps the frames of a message until its last one has come and bounds neither
 * their number nor their bytes, and shows nothing of them before: what a connection has sent is asked of the
 * kernel. Nor does it bound connections, or say whose handshake is done: whoever has sent no whole message
 * and is younger than ES_CHANNEL_HANDSHAKE_MS may still be at it. */
#ifndef ES_NET_FLOOD_H
#define ES_NET_FLOOD_H

#include "net/channel.h"

/* Connections at once; and at most a quarter of the descriptors that this process may have. */
enum { ES_FLOOD_CONNECTIONS_MAX = 1024 };

/* Owned by the thread that owns the channel. */
typedef struct es_flood_guard es_flood_guard;

/* Watches a channel that listens. bytes_max: what a peer may send beyond its last whole message; more than
 * its queue can hold. It is the channel's watcher. Created before the channel is asked what it refused,
 * destroyed before it. */
es_status es_flood_guard_create(es_channel *channel, uint64_t bytes_max, es_flood_guard **ret_guard,
                                es_err *err);
void es_flood_guard_destroy(es_flood_guard **guard);

/* A whole message came. Cheap. */
void es_flood_guard_saw(es_flood_guard *guard, es_message *message);

/* Looks at every connection and ends those that sent too much; how many. Between two looks a peer may send
 * what the network carries. Of more connections than may be it ends those that wait longest for the end of
 * their handshake, and when nobody does the latest: who is in stays in, and who comes is let in. */
size_t es_flood_guard_check(es_flood_guard *guard);

/* Until it is worth another look: soon while somebody is connected, later the more they are. */
enum { ES_FLOOD_LOOK_MS = 25, ES_FLOOD_IDLE_MS = 250 };
unsigned es_flood_guard_look_ms(const es_flood_guard *guard);

#endif
