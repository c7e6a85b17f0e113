/* Who never ends a message is cut off; who sends much, in messages, is not. */
#include "base/clock.h"
#include "net/flood.h"
#include "with_cmocka.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { FRAME = 1 << 20, LIMIT = 64 << 20, FLOOD_MAX = 4000, HONEST = 300, WAIT_MS = 20000 };

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_never_ends_a_message_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
