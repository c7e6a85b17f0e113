/* Cuts off who sends without ever ending a message. */
#include "net/flood.h"

#include "base/clock.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Heartbeats are bytes too. */
static const uint64_t IDLE_BYTES_PER_S = 1024;

typedef struct connection {
    int fd;              /* libzmq's */
    uint64_t mark_bytes; /* received when it was last known to behave */
    uint64_t mark_ns;
    bool saw; /* a whole message came since the last look */
} connection;

struct es_flood_guard {
    es_channel *channel;
    uint64_t bytes_max;
    size_t count;
    connection connections[ES_FLOOD_CONNECTIONS_MAX];
};

static connection *find(es_flood_guard *guard, int fd)
{
    for (size_t i = 0; i < guard->count; i++)
        if (guard->connections[i].fd == fd) return &guard->connections[i];
    return NULL;
}

static void forget(es_flood_guard *guard, connection *c)
{
    *c = guard->connections[--guard->count];
}

/* One more than can be watched is one too many. */
static void accept_one(es_flood_guard *guard, int fd)
{
    connection *c = find(guard, fd);
    if (c == NULL && guard->count == ES_FLOOD_CONNECTIONS_MAX) {
        shutdown(fd, SHUT_RDWR);
        return;
    }
    if (c == NULL) c = &guard->connections[guard->count++];
    *c = (connection){.fd = fd, .mark_ns = es_clock_now_ns()};
}

static void take_event(void *context, bool accepted, int fd)
{
    es_flood_guard *guard = context;
    if (accepted) accept_one(guard, fd);
    connection *c = accepted ? NULL : find(guard, fd);
    if (c != NULL) forget(guard, c);
}

es_status es_flood_guard_create(es_channel *channel, uint64_t bytes_max, es_flood_guard **ret_guard,
                                es_err *err)
{
    es_flood_guard *guard = calloc(1, sizeof *guard);
    *ret_guard = guard;
    if (guard == NULL) return es_err_set(err, ES_NO_MEMORY, "flood guard");
    *guard = (es_flood_guard){.channel = channel, .bytes_max = bytes_max};
    es_channel_watch(channel, take_event, guard);
    return ES_OK;
}

void es_flood_guard_destroy(es_flood_guard **guard)
{
    if (*guard == NULL) return;
    es_channel_watch((*guard)->channel, NULL, NULL);
    free(*guard);
    *guard = NULL;
}

void es_flood_guard_saw(es_flood_guard *guard, es_message *message)
{
    if (message->count == 0) return;
    /* the first frame is the router's own and may not say where it came from */
    connection *c = find(guard, zmq_msg_get(&message->frame[message->count - 1], ZMQ_SRCFD));
    if (c != NULL) c->saw = true;
}

/* False when fd is no connection any more. */
static bool received(int fd, uint64_t *ret_bytes)
{
    struct tcp_info info = {0};
    socklen_t bytes = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) return false;
    *ret_bytes = info.tcpi_bytes_received;
    return true;
}

unsigned es_flood_guard_look_ms(const es_flood_guard *guard)
{
    size_t ms = ES_FLOOD_LOOK_MS + guard->count / 4;
    return guard->count == 0 || ms > ES_FLOOD_IDLE_MS ? ES_FLOOD_IDLE_MS : (unsigned)ms;
}

size_t es_flood_guard_check(es_flood_guard *guard)
{
    size_t cut = 0;
    uint64_t now_ns = es_clock_now_ns(), bytes;
    es_channel_refused(guard->channel);
    for (size_t i = 0; i < guard->count;) {
        connection *c = &guard->connections[i];
        if (!received(c->fd, &bytes)) {
            forget(guard, c);
            continue;
        }
        uint64_t allowed = guard->bytes_max + (now_ns - c->mark_ns) / 1000000000 * IDLE_BYTES_PER_S;
        if (c->saw || bytes < c->mark_bytes) { /* fewer: another connection has the number now */
            c->saw = false;
            c->mark_bytes = bytes;
            c->mark_ns = now_ns;
        } else if (bytes - c->mark_bytes > allowed) {
            shutdown(c->fd, SHUT_RDWR); /* libzmq sees the end, and frees what it had kept */
            forget(guard, c);
            cut++;
            continue;
        }
        i++;
    }
    return cut;
}
