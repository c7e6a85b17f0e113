/* Cuts off who sends without ever ending a message, or connects without end. */
#include "net/flood.h"

#include "base/clock.h"
#include "base/log.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* Heartbeats are bytes too. */
static const uint64_t IDLE_BYTES_PER_S = 1024;

typedef struct connection {
    int fd;              /* libzmq's */
    uint64_t mark_bytes; /* received when it was last known to behave */
    uint64_t mark_ns;
    uint64_t since_ns;
    bool saw;   /* a whole message came since the last look, */
    bool known; /* or ever */
} connection;

/* Events of connections that came and went wait until somebody looks. */
enum { TABLE = ES_FLOOD_CONNECTIONS_MAX + 3072, WAITING_MS = ES_CHANNEL_HANDSHAKE_MS + 1000 };

static const uint64_t TELL_NS = 10 * 1000000000ull;

struct es_flood_guard {
    es_channel *channel;
    uint64_t bytes_max;
    unsigned port;
    size_t most; /* connections */
    uint64_t told_ns;
    size_t count;
    connection connections[TABLE];
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

/* libzmq sees the end, and frees what it had kept. Its number may be another's by now: then it is nothing, or
 * one of the same port's. */
static void cut(const es_flood_guard *guard, int fd)
{
    struct sockaddr_storage at = {.ss_family = AF_UNSPEC};
    socklen_t bytes = sizeof at;
    if (getsockname(fd, (struct sockaddr *)&at, &bytes) != 0) return;
    unsigned port = at.ss_family == AF_INET    ? ntohs(((struct sockaddr_in *)&at)->sin_port)
                    : at.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&at)->sin6_port)
                                               : 0;
    if (port == guard->port) shutdown(fd, SHUT_RDWR);
}

static void accept_one(es_flood_guard *guard, int fd)
{
    connection *c = find(guard, fd);
    if (c == NULL && guard->count == TABLE) {
        cut(guard, fd);
        return;
    }
    if (c == NULL) c = &guard->connections[guard->count++];
    uint64_t now_ns = es_clock_now_ns();
    *c = (connection){.fd = fd, .since_ns = now_ns, .mark_ns = now_ns};
}

static void take_event(void *context, bool accepted, int fd)
{
    es_flood_guard *guard = context;
    if (accepted) accept_one(guard, fd);
    connection *c = accepted ? NULL : find(guard, fd);
    if (c != NULL) forget(guard, c);
}

static unsigned port_of(const es_channel *channel)
{
    char text[ES_ENDPOINT_TEXT_MAX];
    size_t bytes = sizeof text;
    if (zmq_getsockopt(es_channel_socket(channel), ZMQ_LAST_ENDPOINT, text, &bytes) != 0) return 0;
    const char *colon = strrchr(text, ':');
    return colon != NULL ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
}

/* There are several guards in a process, and other descriptors. */
static size_t most_connections(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 4 >= ES_FLOOD_CONNECTIONS_MAX)
        return ES_FLOOD_CONNECTIONS_MAX;
    return limit.rlim_cur >= 4 ? (size_t)(limit.rlim_cur / 4) : 1;
}

es_status es_flood_guard_create(es_channel *channel, uint64_t bytes_max, es_flood_guard **ret_guard,
                                es_err *err)
{
    es_flood_guard *guard = calloc(1, sizeof *guard);
    *ret_guard = guard;
    if (guard == NULL) return es_err_set(err, ES_NO_MEMORY, "flood guard");
    guard->channel = channel;
    guard->bytes_max = bytes_max;
    guard->port = port_of(channel);
    guard->most = most_connections();
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
    int fd = zmq_msg_get(&message->frame[message->count - 1], ZMQ_SRCFD);
    connection *c = find(guard, fd);
    if (c == NULL) { /* its coming was not looked at yet */
        es_channel_refused(guard->channel);
        c = find(guard, fd);
    }
    if (c != NULL) c->saw = c->known = true;
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

/* Who is to go when there are too many. */
static connection *least(es_flood_guard *guard, uint64_t now_ns)
{
    connection *oldest = NULL, *latest = &guard->connections[0];
    for (size_t i = 0; i < guard->count; i++) {
        connection *c = &guard->connections[i];
        bool waits = !c->known && now_ns - c->since_ns < WAITING_MS * 1000000ull;
        if (waits && (oldest == NULL || c->since_ns < oldest->since_ns)) oldest = c;
        if (c->since_ns > latest->since_ns) latest = c;
    }
    return oldest != NULL ? oldest : latest;
}

static void make_room(es_flood_guard *guard)
{
    uint64_t now_ns = es_clock_now_ns();
    if (guard->count <= guard->most) return;
    if (guard->told_ns == 0 || now_ns - guard->told_ns > TELL_NS) {
        guard->told_ns = now_ns;
        es_log(ES_LOG_WARN,
               "port %u: %zu connections, and %zu are the most: those that wait longest for the "
               "end of their handshake are cut off, or else the latest",
               guard->port, guard->count, guard->most);
    }
    while (guard->count > guard->most) {
        connection *c = least(guard, now_ns);
        cut(guard, c->fd);
        forget(guard, c);
    }
}

size_t es_flood_guard_check(es_flood_guard *guard)
{
    size_t floods = 0;
    uint64_t now_ns = es_clock_now_ns(), bytes;
    es_channel_refused(guard->channel);
    make_room(guard);
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
            cut(guard, c->fd);
            forget(guard, c);
            floods++;
            continue;
        }
        i++;
    }
    return floods;
}
