/* Sockets with every option set before they bind or connect, and what happened to their connections. */
#ifndef ES_NET_CHANNEL_H
#define ES_NET_CHANNEL_H

#include "net/endpoint.h"
#include "net/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

/* One ZeroMQ context. Made by main's thread; its channels belong to the thread that opened them. */
typedef struct es_net es_net;

typedef struct es_net_options {
    const es_keys *keys; /* NULL: plain, and then only loopback. Borrowed for the net's life */
    es_allow_list
        *allowed; /* who may connect to what is bound; needed there when keys are given. Borrowed likewise */
} es_net_options;

es_status es_net_open(const es_net_options *options, es_net **ret_net, es_err *err);

/* Every channel was closed before. */
void es_net_close(es_net **net);

/* One socket. Owned by one thread. */
typedef struct es_channel es_channel;

typedef struct es_channel_limits {
    size_t frame_bytes_max; /* a peer that sends a larger frame is disconnected */
    int queue_messages_max; /* in each direction and for each peer */
} es_channel_limits;

/* A ROUTER that listens. An address other than loopback needs keys: ES_INVALID says how to make them. ES_IO
 * names the endpoint when its port is in use. ret_bound is the endpoint with its real port. */
es_status es_channel_bind(es_net *net, const es_endpoint *endpoint, const es_channel_limits *limits,
                          es_channel **ret_channel, es_endpoint *ret_bound, es_err *err);

/* A DEALER that connects, in the background: what came of it is told by es_channel_link. An address other
 * than loopback needs keys and the server's public key (Z85, or NULL). */
es_status es_channel_connect(es_net *net, const es_endpoint *endpoint, const char *server_key,
                             const es_channel_limits *limits, es_channel **ret_channel, es_err *err);

/* A connection whose handshake is not done by then is ended by libzmq. */
enum { ES_CHANNEL_HANDSHAKE_MS = 3000 };

/* Discards whatever is queued. */
void es_channel_close(es_channel **channel);

/* The sockets for zmq_poll: messages; and (of a connected channel) connection events. */
void *es_channel_socket(const es_channel *channel);
void *es_channel_monitor(const es_channel *channel);

/* Of a bound channel: handshakes that failed (no key, another protocol, a key that is not allowed) and
 * messages of peers whose key was revoked after they had come in. At least so many: between two calls
 * a hundred thousand events are counted. Tells the watcher what happened besides. */
uint64_t es_channel_refused(es_channel *channel);

/* Who is told, from within es_channel_refused, of connections to a bound channel that came (accepted) and
 * went, by libzmq's descriptor. A socket has one monitor only: a second one would take its events away. NULL:
 * nobody. */
typedef void es_channel_watcher(void *context, bool accepted, int fd);
void es_channel_watch(es_channel *channel, es_channel_watcher *watcher, void *context);

/* How a connected channel stands. */
typedef enum es_link {
    ES_LINK_CONNECTING, /* nobody answered yet */
    ES_LINK_REFUSED, /* somebody listens, and the handshake failed: keys or protocol; tried again all the time
                      */
    ES_LINK_UP,
    ES_LINK_LOST /* it was up; for good, even when it came back: what was queued is gone */
} es_link;

/* Takes in what happened since. Never waits. */
es_link es_channel_link(es_channel *channel);

/* Whether a message could be sent, or received, now. Never waits. */
bool es_channel_writable(const es_channel *channel);
bool es_channel_readable(const es_channel *channel);

/* A message of up to three frames; each is initialised or empty. */
enum { ES_FRAMES_MAX = 3 };
typedef struct es_message {
    zmq_msg_t frame[ES_FRAMES_MAX];
    size_t count;
} es_message;

/* ES_OK; ES_TIMEOUT: none is waiting; ES_INVALID: a message of more frames, or of a peer whose key was
 * revoked, was read and dropped; ES_IO. Never
 * waits. On ES_OK the message is the caller's to close. */
es_status es_channel_receive(es_channel *channel, es_message *ret_message, es_err *err);

/* Takes the message, sent or not. ES_TIMEOUT: the queue is full or there is no connection; ES_UNAVAILABLE:
 * the peer named by the first frame is gone (ROUTER); ES_IO. Never waits. */
es_status es_channel_send(es_channel *channel, es_message *message, es_err *err);

/* Adds a frame of count bytes, copied from data unless that is NULL; false when memory is short. */
bool es_message_add(es_message *message, const void *data, size_t count);
void es_message_close(es_message *message);

/* to, which holds nothing, takes over what from holds. */
void es_message_move(es_message *to, es_message *from);

static inline uint8_t *es_message_data(es_message *message, size_t frame)
{
    return zmq_msg_data(&message->frame[frame]);
}

static inline size_t es_message_bytes(const es_message *message, size_t frame)
{
    return zmq_msg_size(&message->frame[frame]);
}

#endif
