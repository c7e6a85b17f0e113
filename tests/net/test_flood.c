/* Who never ends a message is cut off; who sends much, in messages, is not. */
#include "base/clock.h"
#include "base/log.h"
#include "net/flood.h"
#include "with_cmocka.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { CROWD = 1100, FRAME = 1 << 20, LIMIT = 64 << 20, FLOOD_MAX = 4000, HONEST = 300, WAIT_MS = 20000 };

/* How a peer of ZMTP 3.0 without encryption begins: greeting, then READY as a DEALER. */
static const uint8_t GREETING[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
static const uint8_t READY[] = "\x04\x1c\5READY\13Socket-Type\0\0\0\6DEALER";

static uint8_t frame[9 + FRAME] = {3, 0, 0, 0, 0, 0, FRAME >> 16, 0, 0}; /* long, and more follow */

typedef struct flood {
    uint16_t port;
    size_t sent; /* frames, until the connection ended */
} flood;

static void *pour(void *context)
{
    flood *f = context;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(f->port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 2}; /* who was cut off with a full window may not hear of it at once */
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    bool open = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
                send(fd, GREETING, sizeof GREETING, MSG_NOSIGNAL) == (ssize_t)sizeof GREETING &&
                send(fd, READY, sizeof READY - 1, MSG_NOSIGNAL) == (ssize_t)sizeof READY - 1;
    for (; open && f->sent < FLOOD_MAX; f->sent++)
        for (size_t at = 0; open && at < sizeof frame;) {
            ssize_t some = send(fd, frame + at, sizeof frame - at, MSG_NOSIGNAL);
            open = some > 0;
            at += open ? (size_t)some : 0;
        }
    close(fd);
    return NULL;
}

/* The guard and the count hear of the same events. */
static void assert_refusals_are_counted(es_channel *server, uint16_t port, es_flood_guard *guard)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fd, GREETING, sizeof GREETING, MSG_NOSIGNAL), sizeof GREETING);
    assert_int_equal(send(fd, "\x04\5wrong", 7, MSG_NOSIGNAL), 7);
    uint64_t until_ns = es_clock_now_ns() + (uint64_t)WAIT_MS * 1000000;
    while (es_channel_refused(server) == 0 && es_clock_now_ns() < until_ns) es_flood_guard_check(guard);
    assert_int_equal(es_channel_refused(server), 1);
    close(fd);
}

static void who_never_ends_a_message_is_cut_off(void **state)
{
    (void)state;
    es_net *net;
    es_channel *server, *honest;
    es_flood_guard *guard;
    es_endpoint at, bound;
    es_err err;
    es_net_options plain = {NULL, NULL};
    es_channel_limits limits = {2 * FRAME, 8};
    assert_int_equal(es_net_open(&plain, &net, &err), ES_OK);
    assert_int_equal(es_endpoint_parse_bind("127.0.0.1:0", &at, &err), ES_OK);
    assert_int_equal(es_channel_bind(net, &at, &limits, &server, &bound, &err), ES_OK);
    assert_int_equal(es_flood_guard_create(server, LIMIT, &guard, &err), ES_OK);
    assert_int_equal(es_channel_connect(net, &bound, NULL, &limits, &honest, &err), ES_OK);
    flood f = {.port = bound.port};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, pour, &f), 0);
    size_t cut = 0, came = 0, sent = 0;
    uint64_t until_ns = es_clock_now_ns() + (uint64_t)WAIT_MS * 1000000;
    while ((cut == 0 || came < HONEST) && es_clock_now_ns() < until_ns) {
        es_message message = {.count = 0};
        zmq_pollitem_t writable = {es_channel_socket(honest), 0, ZMQ_POLLOUT, 0};
        if (sent < HONEST && zmq_poll(&writable, 1, 0) == 1) { /* more than the limit in all */
            assert_true(es_message_add(&message, frame, FRAME));
            assert_int_equal(es_channel_send(honest, &message, &err), ES_OK);
            sent++;
        }
        zmq_pollitem_t readable = {es_channel_socket(server), 0, ZMQ_POLLIN, 0};
        zmq_poll(&readable, 1, 5);
        while (es_channel_receive(server, &message, NULL) == ES_OK) {
            es_flood_guard_saw(guard, &message);
            es_message_close(&message);
            came++;
        }
        cut += es_flood_guard_check(guard);
    }
    assert_int_equal(cut, 1);
    assert_int_equal(came, HONEST);
    pthread_join(thread, NULL);
    assert_in_range(f.sent, LIMIT / FRAME, FLOOD_MAX / 4);
    assert_refusals_are_counted(server, bound.port, guard);
    es_flood_guard_destroy(&guard);
    es_channel_close(&honest);
    es_channel_close(&server);
    es_net_close(&net);
}

/* A server that is looked after as a node does it, and what came from whom. */
typedef struct scene {
    es_net *net;
    es_channel *server;
    es_flood_guard *guard;
    es_endpoint bound;
    uint64_t look_ns;
    size_t came[3];
} scene;

static void open_scene(scene *s)
{
    const es_net_options plain = {NULL, NULL};
    const es_channel_limits limits = {4096, 8};
    es_endpoint at;
    es_err err;
    *s = (scene){.look_ns = 0};
    assert_int_equal(es_net_open(&plain, &s->net, &err), ES_OK);
    assert_int_equal(es_endpoint_parse_bind("127.0.0.1:0", &at, &err), ES_OK);
    assert_int_equal(es_channel_bind(s->net, &at, &limits, &s->server, &s->bound, &err), ES_OK);
    assert_int_equal(es_flood_guard_create(s->server, LIMIT, &s->guard, &err), ES_OK);
}

static void serve(scene *s)
{
    es_message message;
    zmq_pollitem_t item = {es_channel_socket(s->server), 0, ZMQ_POLLIN, 0};
    zmq_poll(&item, 1, 1);
    while (es_channel_receive(s->server, &message, NULL) == ES_OK) {
        es_flood_guard_saw(s->guard, &message);
        s->came[*(const uint8_t *)es_message_data(&message, 1)]++;
        es_message_close(&message);
    }
    if (es_clock_now_ns() < s->look_ns) return;
    assert_int_equal(es_flood_guard_check(s->guard), 0); /* these never send */
    s->look_ns = es_clock_now_ns() + es_flood_guard_look_ms(s->guard) * UINT64_C(1000000);
}

/* Sends number as soon as it can, and serves until it came. */
static void send_and_wait(scene *s, es_channel *peer, uint8_t number, uint64_t limit_ms)
{
    uint64_t until_ns = es_clock_now_ns() + limit_ms * 1000000;
    size_t before = s->came[number];
    for (bool sent = false; s->came[number] == before; serve(s)) {
        es_message message = {.count = 0};
        if (es_clock_now_ns() > until_ns) fail_msg("peer %u did not get in, sent: %d", number, sent);
        zmq_pollitem_t writable = {es_channel_socket(peer), 0, ZMQ_POLLOUT, 0};
        if (sent || zmq_poll(&writable, 1, 0) != 1) continue;
        assert_true(es_message_add(&message, &number, 1));
        sent = es_channel_send(peer, &message, NULL) == ES_OK;
        if (!sent) es_message_close(&message);
    }
}

static es_channel *connect_peer(scene *s)
{
    const es_channel_limits limits = {4096, 8};
    es_channel *peer;
    es_err err;
    assert_int_equal(es_channel_connect(s->net, &s->bound, NULL, &limits, &peer, &err), ES_OK);
    return peer;
}

static int connect_idle(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Connections that say nothing: so many at once, and when it is told to, always new ones. */
typedef struct crowd {
    uint16_t port;
    size_t count;
    int fd[CROWD];
    atomic_bool stands, churns, stop;
    atomic_size_t made;
} crowd;

static void *gather(void *context)
{
    crowd *c = context;
    for (size_t i = 0; i < c->count; i++) c->fd[i] = connect_idle(c->port);
    atomic_store(&c->stands, true);
    for (size_t i = 0; !atomic_load(&c->stop); i = (i + 1) % c->count) {
        if (!atomic_load(&c->churns)) {
            usleep(1000);
            continue;
        }
        if (c->fd[i] >= 0) close(c->fd[i]);
        c->fd[i] = connect_idle(c->port);
        atomic_fetch_add(&c->made, c->fd[i] >= 0);
    }
    for (size_t i = 0; i < c->count; i++)
        if (c->fd[i] >= 0) close(c->fd[i]);
    return NULL;
}

static size_t size_of_crowd(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    size_t room = (size_t)(limit.rlim_cur - 64) / 2; /* both ends are here */
    return room < CROWD ? room : CROWD;
}

static void who_connects_without_end_locks_nobody_out(void **state)
{
    (void)state;
    static crowd c;
    scene s;
    pthread_t thread;
    c.count = size_of_crowd();
    open_scene(&s);
    es_channel *first = connect_peer(&s);
    send_and_wait(&s, first, 0, WAIT_MS);
    c.port = s.bound.port;
    assert_int_equal(pthread_create(&thread, NULL, gather, &c), 0);
    uint64_t begun_ns = es_clock_now_ns();
    while (!atomic_load(&c.stands)) serve(&s);
    for (int i = 0; i < 100; i++) serve(&s);
    /* 1,100 that stand, and then as many new ones as this machine can make */
    es_channel *second = connect_peer(&s);
    send_and_wait(&s, second, 1, 1000);
    uint64_t until_ns = es_clock_now_ns() + 2 * ES_FLOOD_IDLE_MS * UINT64_C(1000000); /* and stays */
    while (es_clock_now_ns() < until_ns) serve(&s);
    send_and_wait(&s, second, 1, 1000);
    assert_int_equal(es_channel_link(second), ES_LINK_UP);
    if (es_clock_now_ns() - begun_ns > ES_CHANNEL_HANDSHAKE_MS * UINT64_C(1000000))
        print_message("this machine is slow: the crowd was gone by itself\n");
    atomic_store(&c.churns, true);
    size_t made = atomic_load(&c.made) + 2 * c.count;
    while (atomic_load(&c.made) < made) serve(&s);
    es_channel *third = connect_peer(&s);
    send_and_wait(&s, third, 2, 3000);
    /* who was in is still in, without having come again */
    send_and_wait(&s, first, 0, 1000);
    send_and_wait(&s, second, 1, 1000);
    assert_int_equal(es_channel_link(first), ES_LINK_UP);
    assert_int_equal(es_channel_link(second), ES_LINK_UP);
    assert_true(es_channel_refused(s.server) > 0);
    atomic_store(&c.stop, true);
    pthread_join(thread, NULL);
    es_channel_close(&first);
    es_channel_close(&second);
    es_channel_close(&third);
    es_flood_guard_destroy(&s.guard);
    es_channel_close(&s.server);
    es_net_close(&s.net);
}

int main(void)
{
    es_log_configure("test", ES_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_connects_without_end_locks_nobody_out),
        cmocka_unit_test(who_never_ends_a_message_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
