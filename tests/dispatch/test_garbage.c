/* Frames, bytes and requests that no honest coordinator sends. Afterwards the node serves as before. */
#include "dispatch/fixture.h"

#include "base/clock.h"
#include "net/control.h"
#include "net/crc32c.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROUNDS = 400, FRAME_MAX = 3000, CONNECTIONS = 20, HELLOS = 600, WAIT_MS = 10000 };

typedef struct peer {
    es_net *net;
    es_channel *control, *data;
    es_wire_memory *wire;
    es_control_memory *memory;
    uint8_t frame[ES_CONTROL_FRAME_MAX];
} peer;

static es_channel *connect_to(es_net *net, const char *where)
{
    es_endpoint at;
    es_err err = {.text = ""};
    es_channel *channel;
    es_channel_limits limits = {1 << 24, 1000};
    assert_int_equal(es_endpoint_parse_connect(where, &at, &err), ES_OK);
    assert_int_equal(es_channel_connect(net, &at, NULL, &limits, &channel, &err), ES_OK);
    return channel;
}

static void peer_open(peer *p, const nodes *n)
{
    es_err err;
    es_net_options plain = {NULL, NULL};
    assert_int_equal(es_net_open(&plain, &p->net, &err), ES_OK);
    p->control = connect_to(p->net, n->control[0]);
    p->data = connect_to(p->net, n->data[0]);
    assert_int_equal(es_wire_memory_create(&p->wire, &err), ES_OK);
    assert_int_equal(es_control_memory_create(&p->memory, &err), ES_OK);
}

static void peer_close(peer *p)
{
    es_channel_close(&p->control);
    es_channel_close(&p->data);
    es_net_close(&p->net);
    es_wire_memory_destroy(&p->wire);
    es_control_memory_destroy(&p->memory);
}

static void send_now(es_channel *channel, es_message *message)
{
    zmq_pollitem_t item = {es_channel_socket(channel), 0, ZMQ_POLLOUT, 0};
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    assert_int_equal(es_channel_send(channel, message, NULL), ES_OK);
}

static void receive_now(es_channel *channel, es_message *message)
{
    zmq_pollitem_t item = {es_channel_socket(channel), 0, ZMQ_POLLIN, 0};
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    assert_int_equal(es_channel_receive(channel, message, NULL), ES_OK);
}

static void throw_random_frames(es_channel *channel, unsigned seed)
{
    for (int round = 0; round < ROUNDS; round++) {
        int frames = rand_r(&seed) % 6 + 1;
        for (int i = 0; i < frames; i++) {
            uint8_t bytes[FRAME_MAX];
            size_t count = (size_t)rand_r(&seed) % FRAME_MAX;
            for (size_t b = 0; b < count; b++) bytes[b] = (uint8_t)rand_r(&seed);
            zmq_pollitem_t item = {es_channel_socket(channel), 0, ZMQ_POLLOUT, 0};
            assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
            zmq_send(es_channel_socket(channel), bytes, count,
                     ZMQ_DONTWAIT | (i + 1 < frames ? ZMQ_SNDMORE : 0));
        }
    }
}

/* Bytes that are not even ZMTP. */
static void throw_raw_bytes(const char *where, unsigned seed)
{
    /* How a peer of version 3.0 without encryption begins. */
    static const uint8_t ZMTP[16] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    es_endpoint at;
    es_err err;
    assert_int_equal(es_endpoint_parse_connect(where, &at, &err), ES_OK);
    for (int i = 0; i < CONNECTIONS; i++) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(at.port)};
        inet_pton(AF_INET, at.host, &to.sin_addr);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        uint8_t bytes[512];
        for (size_t b = 0; b < sizeof bytes; b++) bytes[b] = (uint8_t)rand_r(&seed);
        if (i % 2 == 0) memcpy(bytes, ZMTP, sizeof ZMTP);
        assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
        assert_int_equal(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL), sizeof bytes);
        close(fd);
    }
}

static es_control_reply ask_control(peer *p, const es_control_request *request, es_message *ret_kept)
{
    es_message out = {.count = 0};
    es_control_reply reply;
    es_err err = {.text = ""};
    es_message_add(&out, p->frame, es_control_request_pack(p->memory, request, p->frame));
    send_now(p->control, &out);
    receive_now(p->control, ret_kept);
    assert_int_equal(es_control_reply_unpack(p->memory, es_message_data(ret_kept, 0),
                                             es_message_bytes(ret_kept, 0), &reply, &err),
                     ES_OK);
    return reply;
}

static void a_node_serves_on_after_garbage(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 1);
    peer p;
    peer_open(&p, &n);
    throw_random_frames(p.control, 1);
    throw_random_frames(p.data, 2);
    throw_raw_bytes(n.control[0], 3);
    throw_raw_bytes(n.data[0], 4);

    es_swarm_options options = swarm_options(r, &n);
    options.watch = true;
    es_swarm *swarm = swarm_open(&options);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 7, 1);
    assert_swarm_equals(swarm, r, 1, &b);
    batch_free(&b);
    for (int tries = 0; tries < 1000 && !es_swarm_node(swarm, 0).watched; tries++) {
        es_swarm_tend(swarm);
        usleep(10000);
    }
    assert_true(es_swarm_node(swarm, 0).watched && es_swarm_node(swarm, 0).malformed > 0);
    es_swarm_destroy(&swarm);

    peer again; /* what was thrown may still answer on the first one */
    peer_open(&again, &n);
    es_message kept;
    es_control_reply reply = {.status = ES_OK};
    /* What was thrown on other sockets may still be on its way: it has twenty seconds. */
    for (int tries = 0; tries < 200; tries++) {
        reply = ask_control(&again, &(es_control_request){.coordinator = 1, .kind = ES_CONTROL_STATS}, &kept);
        assert_int_equal(reply.status, ES_OK);
        if (reply.stats.malformed >= ROUNDS) break;
        es_message_close(&kept);
        usleep(100000);
    }
    assert_true(reply.stats.malformed >= ROUNDS);
    assert_int_equal(reply.stats.calls, 1);
    assert_int_equal(reply.stats.rows, 7);
    es_message_close(&kept);
    peer_close(&again);
    peer_close(&p);
    nodes_stop(&n);
}

/* One row with one pair, as a coordinator 77 would send it; mended by the caller. */
static es_wire_reply ask_data(peer *p, es_wire_request *request, const es_rows *rows, es_message *ret_kept)
{
    es_message out = {.count = 0};
    es_wire_reply reply;
    es_err err = {.text = ""};
    es_message_add(&out, p->frame, es_wire_request_pack(request, p->frame, sizeof p->frame));
    es_message_add(&out, rows->data, rows->count * rows->row_bytes);
    send_now(p->data, &out);
    receive_now(p->data, ret_kept);
    assert_int_equal(es_wire_reply_unpack(p->wire, es_message_data(ret_kept, 0),
                                          es_message_bytes(ret_kept, 0), &reply, &err),
                     ES_OK);
    return reply;
}

static void expect(peer *p, es_wire_request request, const es_rows *rows, es_status status, const char *text)
{
    es_message kept;
    es_wire_reply reply = ask_data(p, &request, rows, &kept);
    if (reply.status != status || strstr(reply.text, text) == NULL)
        fail_msg("%d %s", (int)reply.status, reply.text);
    assert_int_equal(reply.ids.step, request.ids.step);
    es_message_close(&kept);
}

static void requests_that_make_no_sense_are_answered_with_the_reason(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_add(&n, "1/2", NULL);
    peer p;
    peer_open(&p, &n);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 1, 1);
    const uint32_t one = 1, five = 5, twenty = 20, many = 32;
    const float weight = 1;
    es_wire_request good = {.ids = {.coordinator = 77, .step = 9, .layer = 1},
                            .row_format = ES_ROWS_Q8,
                            .rows = 1,
                            .cols = b.rows.cols,
                            .pairs = 1,
                            .pairs_per_row = &one,
                            .expert = &five,
                            .weight = &weight,
                            .payload_crc32c = es_crc32c(b.rows.data, b.rows.row_bytes)};
    expect(&p, good, &b.rows, ES_MISMATCH, "say hello first");

    es_message kept;
    es_control_request hello = {.coordinator = 77, .kind = ES_CONTROL_HELLO, .hello = {.name = "peer"}};
    memcpy(hello.hello.fingerprint, r->model->fingerprint, ES_FINGERPRINT_BYTES);
    hello.hello.fingerprint[0] ^= 1;
    assert_int_equal(ask_control(&p, &hello, &kept).status, ES_MISMATCH);
    es_message_close(&kept);
    expect(&p, good, &b.rows, ES_MISMATCH, "say hello first");
    hello.hello.fingerprint[0] ^= 1;
    assert_int_equal(ask_control(&p, &hello, &kept).status, ES_OK);
    es_message_close(&kept);
    expect(&p, good, &b.rows, ES_OK, "");

    es_wire_request bad = good;
    bad.expert = &twenty;
    expect(&p, bad, &b.rows, ES_NOT_HERE, "layer 1: expert 20 is not held here (epoch 0.0 here, 0.0 asked)");
    bad.expert = &many;
    expect(&p, bad, &b.rows, ES_INVALID, "expert 32, but a layer has 32");
    bad = good;
    bad.ids.layer = 0;
    expect(&p, bad, &b.rows, ES_INVALID, "layer 0 has no experts");
    bad.ids.layer = UINT32_MAX;
    expect(&p, bad, &b.rows, ES_INVALID, "has no experts");
    bad = good;
    bad.cols--;
    expect(&p, bad, &b.rows, ES_INVALID, "cols: 255");
    bad = good;
    bad.payload_crc32c++;
    expect(&p, bad, &b.rows, ES_CORRUPT, "payload: checksum");
    bad = good;
    bad.row_format = ES_ROWS_F32;
    expect(&p, bad, &b.rows, ES_CORRUPT, "payload: ");
    bad = good;
    memcpy(b.rows.data + b.rows.cols, "\0\0\xc0\x7f", 4); /* the first d: NaN */
    bad.payload_crc32c = es_crc32c(b.rows.data, b.rows.row_bytes);
    expect(&p, bad, &b.rows, ES_NUMERIC, "row 0");
    batch_free(&b);
    peer_close(&p);
    nodes_stop(&n);
}

static void a_flood_of_hellos_drives_out_nobody_who_works(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 1);
    es_swarm_options options = swarm_options(r, &n);
    es_swarm *swarm = swarm_open(&options);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 7, 1);
    assert_swarm_equals(swarm, r, 1, &b);
    peer p;
    peer_open(&p, &n);
    es_control_request hello = {.kind = ES_CONTROL_HELLO, .hello = {.name = "peer"}};
    memcpy(hello.hello.fingerprint, r->model->fingerprint, ES_FINGERPRINT_BYTES);
    for (hello.coordinator = 1; hello.coordinator <= HELLOS; hello.coordinator++) {
        es_message kept;
        assert_int_equal(ask_control(&p, &hello, &kept).status, ES_OK);
        es_message_close(&kept);
    }
    assert_swarm_equals(swarm, r, 1, &b);
    batch_free(&b);
    peer_close(&p);
    es_swarm_destroy(&swarm);
    nodes_stop(&n);
}

int main(void)
{
    reference r;
    reference_open(&r);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(a_node_serves_on_after_garbage, &r),
        cmocka_unit_test_prestate(requests_that_make_no_sense_are_answered_with_the_reason, &r),
        cmocka_unit_test_prestate(a_flood_of_hellos_drives_out_nobody_who_works, &r),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    reference_close(&r);
    return failed;
}
