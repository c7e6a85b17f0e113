/* Sockets with every option set before they bind or connect. */
#include "net/channel.h"

#include "net/net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEARTBEAT_MS = 250,
    HEARTBEAT_TIMEOUT_MS = 500, /* docs/decisions/0006-heartbeat-timeout.md */
    TCP_MAXRT_MS = 2000,
    CONNECT_MS = 1000,
    BACKLOG = 1024,      /* connections that come at once, before libzmq takes them in */
    EVENTS_MAX = 100000, /* that wait to be looked at, of some 130 bytes: libzmq's I/O thread, and with it all
                            that this process sends and receives, stands still while there is no room */
    RECONNECT_MS = 50,
    RECONNECT_MAX_MS = 250,
};

enum {
    FAILED_EVENTS = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                    ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
};

struct es_channel {
    void *socket;
    void *monitor;
    es_allow_list *allowed; /* who may talk to it; NULL: it connects, or has no keys */
    uint64_t refused;
    es_link link;
    es_channel_watcher *watcher; /* NULL: nobody wants to know */
    void *watcher_context;
};

typedef struct int_option {
    int name, value;
} int_option;

static es_status failed(es_err *err, const char *where)
{
    return es_err_set(err, ES_IO, "%s: %s", where, zmq_strerror(zmq_errno()));
}

static bool set_ints(void *socket, const int_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (zmq_setsockopt(socket, options[i].name, &options[i].value, sizeof options[i].value) != 0)
            return false;
    return true;
}

static bool set_common(void *socket, const es_endpoint *endpoint, const es_channel_limits *limits)
{
    const int_option options[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_SNDHWM, limits->queue_messages_max},
        {ZMQ_RCVHWM, limits->queue_messages_max},
        {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS},
        {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS},
        {ZMQ_TCP_MAXRT, TCP_MAXRT_MS},
        {ZMQ_HANDSHAKE_IVL, ES_CHANNEL_HANDSHAKE_MS},
        {ZMQ_IPV6, endpoint->v6},
    };
    int64_t frame_max = (int64_t)limits->frame_bytes_max;
    return set_ints(socket, options, sizeof options / sizeof options[0]) &&
           zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_max, sizeof frame_max) == 0;
}

/* Our half of CURVE; public keys of servers and clients are told apart by what is set besides. */
static bool set_own_keys(void *socket, const es_keys *keys)
{
    return zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys->secret, ES_KEY_TEXT_BYTES) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, keys->public_key, ES_KEY_TEXT_BYTES) == 0;
}

static bool set_server_keys(void *socket, const es_keys *keys)
{
    static const char DOMAIN[] = "essaim";
    static const int_option SERVER = {ZMQ_CURVE_SERVER, 1};
    return set_ints(socket, &SERVER, 1) && set_own_keys(socket, keys) &&
           zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, DOMAIN, sizeof DOMAIN - 1) == 0;
}

static es_status create(es_net *net, int type, es_channel **ret_channel, es_err *err)
{
    es_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL) return es_err_set(err, ES_NO_MEMORY, "socket");
    channel->socket = zmq_socket(es_net_context(net), type);
    if (channel->socket == NULL) {
        free(channel);
        return failed(err, "socket");
    }
    *ret_channel = channel;
    return ES_OK;
}

static es_status check_bind_keys(const es_net *net, const es_endpoint *endpoint, const char *where,
                                 es_err *err)
{
    if (es_net_keys(net) == NULL && !endpoint->loopback)
        return es_err_set(
            err, ES_INVALID,
            "%s: not a loopback address, and this program has no keys; make some with \"essaim keygen "
            "FILE\", then give --keys FILE and --allow FILE",
            where);
    if (es_net_keys(net) != NULL && es_net_allowed(net) == NULL)
        return es_err_set(err, ES_INVALID, "%s: keys without a list of who may connect; give --allow FILE",
                          where);
    return ES_OK;
}

static es_status bound_endpoint(void *socket, const es_endpoint *asked, es_endpoint *ret_bound, es_err *err)
{
    char text[ES_ENDPOINT_TEXT_MAX];
    size_t bytes = sizeof text;
    if (zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, text, &bytes) != 0) return failed(err, "socket");
    *ret_bound = *asked;
    ret_bound->port = (uint16_t)strtoul(strrchr(text, ':') + 1, NULL, 10);
    return ES_OK;
}

static void drain_events(es_channel *channel)
{
    uint8_t part[ES_ENDPOINT_TEXT_MAX];
    while (zmq_recv(channel->monitor, part, sizeof part, ZMQ_DONTWAIT) >= 0) continue;
}

static es_status start_monitor(es_net *net, es_channel *channel, int events, es_err *err)
{
    char name[64];
    snprintf(name, sizeof name, "inproc://monitor-%llu", (unsigned long long)es_net_next_number(net));
    if (zmq_socket_monitor(channel->socket, name, events) != 0) return failed(err, "socket monitor");
    static const int_option ROOM = {ZMQ_RCVHWM, EVENTS_MAX};
    channel->monitor = zmq_socket(es_net_context(net), ZMQ_PAIR);
    if (channel->monitor == NULL || !set_ints(channel->monitor, &ROOM, 1) ||
        zmq_connect(channel->monitor, name) != 0)
        return failed(err, "socket monitor");
    return ES_OK;
}

es_status es_channel_bind(es_net *net, const es_endpoint *endpoint, const es_channel_limits *limits,
                          es_channel **ret_channel, es_endpoint *ret_bound, es_err *err)
{
    static const int_option ROUTER[] = {{ZMQ_ROUTER_MANDATORY, 1}, {ZMQ_BACKLOG, BACKLOG}};
    char where[ES_ENDPOINT_TEXT_MAX];
    es_endpoint_format(endpoint, where);
    *ret_channel = NULL;
    es_status status = check_bind_keys(net, endpoint, where, err);
    es_channel *channel = NULL;
    if (status == ES_OK) status = create(net, ZMQ_ROUTER, &channel, err);
    if (status != ES_OK) return status;
    const es_keys *keys = es_net_keys(net);
    channel->allowed = keys != NULL ? es_net_allowed(net) : NULL;
    status = start_monitor(net, channel, FAILED_EVENTS | ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED, err);
    if (status != ES_OK) {
        es_channel_close(&channel);
        return status;
    }
    if (!set_common(channel->socket, endpoint, limits) || !set_ints(channel->socket, ROUTER, 2) ||
        (keys != NULL && !set_server_keys(channel->socket, keys)) || zmq_bind(channel->socket, where) != 0)
        status = failed(err, where);
    if (status == ES_OK) status = bound_endpoint(channel->socket, endpoint, ret_bound, err);
    if (status != ES_OK) es_channel_close(&channel);
    *ret_channel = channel;
    return status;
}

static es_status check_connect_keys(const es_net *net, const es_endpoint *endpoint, const char *server_key,
                                    const char *where, es_err *err)
{
    bool both = es_net_keys(net) != NULL && server_key != NULL;
    if (!both && !endpoint->loopback)
        return es_err_set(
            err, ES_INVALID,
            "%s: not a loopback address: connecting needs keys of our own (make some with \"essaim keygen "
            "FILE\") and the node's public key",
            where);
    if (server_key != NULL && es_net_keys(net) == NULL)
        return es_err_set(err, ES_INVALID, "%s: has a public key, but this program has no keys of its own",
                          where);
    if (server_key != NULL && !es_key_valid(server_key))
        return es_err_set(err, ES_INVALID, "%s: its public key is no key of 40 characters", where);
    return ES_OK;
}

es_status es_channel_connect(es_net *net, const es_endpoint *endpoint, const char *server_key,
                             const es_channel_limits *limits, es_channel **ret_channel, es_err *err)
{
    static const int_option DEALER[] = {{ZMQ_IMMEDIATE, 1},
                                        {ZMQ_CONNECT_TIMEOUT, CONNECT_MS},
                                        {ZMQ_RECONNECT_IVL, RECONNECT_MS},
                                        {ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS}};
    char where[ES_ENDPOINT_TEXT_MAX];
    es_endpoint_format(endpoint, where);
    *ret_channel = NULL;
    es_status status = check_connect_keys(net, endpoint, server_key, where, err);
    es_channel *channel = NULL;
    if (status == ES_OK) status = create(net, ZMQ_DEALER, &channel, err);
    if (status == ES_OK)
        status = start_monitor(net, channel,
                               ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | FAILED_EVENTS, err);
    if (status == ES_OK && (!set_common(channel->socket, endpoint, limits) ||
                            !set_ints(channel->socket, DEALER, sizeof DEALER / sizeof DEALER[0]) ||
                            (server_key != NULL && (!set_own_keys(channel->socket, es_net_keys(net)) ||
                                                    zmq_setsockopt(channel->socket, ZMQ_CURVE_SERVERKEY,
                                                                   server_key, ES_KEY_TEXT_BYTES) != 0)) ||
                            zmq_connect(channel->socket, where) != 0))
        status = failed(err, where);
    if (status != ES_OK) es_channel_close(&channel);
    *ret_channel = channel;
    return status;
}

void es_channel_close(es_channel **channel)
{
    if (*channel == NULL) return;
    if ((*channel)->monitor != NULL) {
        /* an I/O thread that waits for room holds the lock that the next call needs */
        drain_events(*channel);
        zmq_socket_monitor((*channel)->socket, NULL, 0);
        zmq_close((*channel)->monitor);
    }
    zmq_close((*channel)->socket);
    free(*channel);
    *channel = NULL;
}

void *es_channel_socket(const es_channel *channel)
{
    return channel->socket;
}

void *es_channel_monitor(const es_channel *channel)
{
    return channel->monitor;
}

static es_link after(es_link link, unsigned event)
{
    if (link == ES_LINK_LOST) return ES_LINK_LOST;
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        return ES_LINK_UP;
    case ZMQ_EVENT_DISCONNECTED:
        return link == ES_LINK_UP ? ES_LINK_LOST : link;
    default:
        return link == ES_LINK_UP ? ES_LINK_LOST : ES_LINK_REFUSED;
    }
}

es_link es_channel_link(es_channel *channel)
{
    uint8_t frame[6]; /* event (16 bits), value (32 bits), in the machine's order; the next frame is the
                         address */
    char address[ES_ENDPOINT_TEXT_MAX];
    while (zmq_recv(channel->monitor, frame, sizeof frame, ZMQ_DONTWAIT) == (int)sizeof frame) {
        uint16_t event;
        memcpy(&event, frame, sizeof event);
        zmq_recv(channel->monitor, address, sizeof address, ZMQ_DONTWAIT);
        channel->link = after(channel->link, event);
    }
    return channel->link;
}

/* The frames that follow one that was read, to the message's end. */
static void drop_rest(void *socket, zmq_msg_t *last)
{
    bool more = zmq_msg_more(last) != 0;
    while (more) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        more = zmq_msg_recv(&frame, socket, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&frame) != 0;
        zmq_msg_close(&frame);
    }
}

/* Keys are checked at the handshake; who was let in then may be off the list by now. */
static es_status check_sender(es_channel *channel, es_message *message, es_err *err)
{
    uint8_t key[ES_KEY_BYTES];
    if (channel->allowed == NULL || es_allow_list_changes(channel->allowed) == 0) return ES_OK;
    const char *user = zmq_msg_gets(&message->frame[message->count - 1], "User-Id");
    if (user != NULL && es_key_valid(user) && zmq_z85_decode(key, user) != NULL &&
        es_allow_list_has(channel->allowed, key))
        return ES_OK;
    es_message_close(message);
    channel->refused++;
    return es_err_set(err, ES_INVALID, "message of a peer whose key was revoked");
}

void es_channel_watch(es_channel *channel, es_channel_watcher *watcher, void *context)
{
    channel->watcher = watcher;
    channel->watcher_context = context;
}

uint64_t es_channel_refused(es_channel *channel)
{
    uint8_t frame[6];
    char address[ES_ENDPOINT_TEXT_MAX];
    while (zmq_recv(channel->monitor, frame, sizeof frame, ZMQ_DONTWAIT) == (int)sizeof frame) {
        uint16_t event;
        int32_t fd;
        memcpy(&event, frame, sizeof event);
        memcpy(&fd, frame + sizeof event, sizeof fd);
        zmq_recv(channel->monitor, address, sizeof address, ZMQ_DONTWAIT);
        if ((event & FAILED_EVENTS) != 0)
            channel->refused++;
        else if (channel->watcher != NULL)
            channel->watcher(channel->watcher_context, event == ZMQ_EVENT_ACCEPTED, fd);
    }
    return channel->refused;
}

es_status es_channel_receive(es_channel *channel, es_message *ret_message, es_err *err)
{
    ret_message->count = 0;
    for (;;) {
        zmq_msg_t *frame = &ret_message->frame[ret_message->count];
        zmq_msg_init(frame);
        if (zmq_msg_recv(frame, channel->socket, ZMQ_DONTWAIT) < 0) {
            int cause = zmq_errno();
            zmq_msg_close(frame);
            if (cause == EINTR) continue;
            es_message_close(ret_message);
            if (cause == EAGAIN) return es_err_set(err, ES_TIMEOUT, "no message");
            return es_err_set(err, ES_IO, "receive: %s", zmq_strerror(cause));
        }
        ret_message->count++;
        if (zmq_msg_more(frame) == 0) return check_sender(channel, ret_message, err);
        if (ret_message->count == ES_FRAMES_MAX) {
            drop_rest(channel->socket, frame);
            es_message_close(ret_message);
            return es_err_set(err, ES_INVALID, "message of more than %d frames", ES_FRAMES_MAX);
        }
    }
}

/* Makes libzmq take in what its I/O thread has delivered. It does so when a receive finds nothing, and in a
 * send at most once a millisecond; a thread whose next message is always there already would find a short
 * queue full of delivered messages. */
static int refresh(void *socket)
{
    int events = 0;
    size_t bytes = sizeof events;
    return zmq_getsockopt(socket, ZMQ_EVENTS, &events, &bytes) == 0 ? events : 0;
}

bool es_channel_writable(const es_channel *channel)
{
    return (refresh(channel->socket) & ZMQ_POLLOUT) != 0;
}

bool es_channel_readable(const es_channel *channel)
{
    return (refresh(channel->socket) & ZMQ_POLLIN) != 0;
}

es_status es_channel_send(es_channel *channel, es_message *message, es_err *err)
{
    bool refreshed = false;
    for (size_t i = 0; i < message->count;) {
        int flags = ZMQ_DONTWAIT | (i + 1 < message->count ? ZMQ_SNDMORE : 0);
        if (zmq_msg_send(&message->frame[i], channel->socket, flags) >= 0) {
            i++;
            continue;
        }
        int cause = zmq_errno();
        if (cause == EINTR) continue;
        if (cause == EAGAIN && !refreshed) {
            refresh(channel->socket);
            refreshed = true;
            continue;
        }
        es_message_close(message);
        if (cause == EAGAIN) return es_err_set(err, ES_TIMEOUT, "send: queue full or not connected");
        if (cause == EHOSTUNREACH) return es_err_set(err, ES_UNAVAILABLE, "send: peer is gone");
        return es_err_set(err, ES_IO, "send: %s", zmq_strerror(cause));
    }
    message->count = 0; /* libzmq took the frames */
    return ES_OK;
}

bool es_message_add(es_message *message, const void *data, size_t count)
{
    ES_ASSERT(message->count < ES_FRAMES_MAX);
    zmq_msg_t *frame = &message->frame[message->count];
    if (zmq_msg_init_size(frame, count) != 0) return false;
    if (data != NULL && count > 0) memcpy(zmq_msg_data(frame), data, count);
    message->count++;
    return true;
}

void es_message_move(es_message *to, es_message *from)
{
    to->count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        zmq_msg_init(&to->frame[i]);
        zmq_msg_move(&to->frame[i], &from->frame[i]);
        zmq_msg_close(&from->frame[i]);
    }
    from->count = 0;
}

void es_message_close(es_message *message)
{
    for (size_t i = 0; i < message->count; i++) zmq_msg_close(&message->frame[i]);
    message->count = 0;
}
