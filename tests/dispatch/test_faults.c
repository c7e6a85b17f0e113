/* Nodes that die, stall or lie: real processes that are stopped and killed, and a false node whose every
 * reply is scripted. */
#include "dispatch/fixture.h"

#include "base/clock.h"
#include "net/control.h"
#include "net/crc32c.h"
#include "net/sums.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { QUEUE = 16, POLL_MS = 20 };
static const uint64_t QUICK_NS = 5000000000u;

static void assert_says(es_err err, const char *what)
{
    if (strstr(err.text, what) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.text, what);
}

static void a_node_killed_in_the_middle_is_named_at_once(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 3);
    es_swarm_options options = swarm_options(r, &n);
    es_swarm *swarm = swarm_open(&options);
    es_expert_backend *backend = es_swarm_backend(swarm);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 7, 1);
    assert_swarm_equals(swarm, r, 1, &b);
    int64_t *sum = calloc(7 * r->model->shape.hidden, sizeof *sum);
    es_err err = {.text = ""};
    assert_int_equal(kill(es_process_id(n.process[1]), SIGSTOP),
                     0); /* so that it cannot answer before it dies */
    assert_int_equal(backend->start(backend, 2, &b.batch, &err), ES_OK);
    assert_int_equal(kill(es_process_id(n.process[1]), SIGKILL), 0);
    uint64_t start_ns = es_clock_now_ns();
    assert_int_equal(backend->finish(backend, sum, &err), ES_UNAVAILABLE);
    assert_true(es_clock_now_ns() - start_ns < QUICK_NS);
    assert_says(err, "layer 2: node n2 (");
    assert_says(err, n.control[1]);
    assert_says(err, "connection lost while ");
    assert_int_equal(es_swarm_node(swarm, 1).state, ES_SWARM_NODE_LOST);
    assert_int_equal(es_swarm_node(swarm, 0).state, ES_SWARM_NODE_UP);

    assert_int_equal(backend->start(backend, 3, &b.batch, &err), ES_UNAVAILABLE);
    assert_says(err, "layer 3: node n2 (");
    assert_says(err, "was lost earlier");
    free(sum);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    nodes_stop(&n);
}

static void a_node_that_stops_beating_is_lost(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 1);
    es_swarm_options options = swarm_options(r, &n);
    es_swarm *swarm = swarm_open(&options);
    es_expert_backend *backend = es_swarm_backend(swarm);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 1, 1);
    int64_t *sum = calloc(r->model->shape.hidden, sizeof *sum);
    es_err err = {.text = ""};
    assert_int_equal(kill(es_process_id(n.process[0]), SIGSTOP), 0);
    uint64_t start_ns = es_clock_now_ns();
    es_status status = backend->start(backend, 1, &b.batch, &err);
    if (status == ES_OK) status = backend->finish(backend, sum, &err);
    assert_int_equal(status, ES_UNAVAILABLE);
    assert_true(es_clock_now_ns() - start_ns < QUICK_NS);
    assert_int_equal(kill(es_process_id(n.process[0]), SIGCONT), 0);
    free(sum);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    nodes_stop(&n);
}

static void a_node_ends_well_when_asked_to(void **state)
{
    (void)state;
    nodes n = {.count = 0};
    nodes_start(&n, 1);
    assert_int_equal(kill(es_process_id(n.process[0]), SIGTERM), 0);
    es_err err = {.text = ""};
    uint64_t deadline_ns = es_clock_now_ns() + QUICK_NS;
    while (es_process_check(n.process[0], &err) == ES_OK && es_clock_now_ns() < deadline_ns)
        zmq_poll(NULL, 0, POLL_MS);
    assert_says(err, "code 0");
    nodes_stop(&n);
}

/* What the false node does with a request. */
typedef enum lie {
    LIE_NONE,
    LIE_STALE, /* replies of other steps, layers, attempts and coordinators first, and the right one twice */
    LIE_SILENCE,
    LIE_ERROR,
    LIE_HEADER, /* bytes that are no header */
    LIE_CHECKSUM,
    LIE_SHORT, /* a payload that lacks a byte */
    LIE_ROWS,  /* one row too many */
    LIE_HUGE,  /* a sum beyond the limit */
    LIE_ONE_FRAME,
    LIE_FLOOD, /* replies of another step without end */
} lie;

typedef struct false_node {
    pthread_t thread;
    atomic_bool stop;
    atomic_int lie;
    es_net *net;
    es_channel *control, *data;
    es_endpoint control_at, data_at;
    const reference *r;
    es_wire_memory *wire;
    es_control_memory *memory;
    uint8_t frame[ES_CONTROL_FRAME_MAX];
} false_node;

static void answer_hello(false_node *f, es_message *asked)
{
    es_control_request request;
    es_err err = {.text = ""};
    assert_int_equal(es_control_request_unpack(f->memory, es_message_data(asked, 1),
                                               es_message_bytes(asked, 1), &request, &err),
                     ES_OK);
    static const es_units ALL[] = {{1, 0, 32, 0, 1}, {2, 0, 32, 0, 1}, {3, 0, 32, 0, 1}};
    es_control_reply reply = {.text = "", .request = request.request, .kind = ES_CONTROL_HELLO};
    reply.hello = (es_hello_reply){.name = "false",
                                   .data_port = f->data_at.port,
                                   .units = ALL,
                                   .unit_count = 3,
                                   .threads = 1,
                                   .rows_max = 512,
                                   .row_formats = {true, true}};
    memcpy(reply.hello.fingerprint, f->r->model->fingerprint, ES_FINGERPRINT_BYTES);
    size_t bytes;
    es_message out = {.count = 0};
    assert_int_equal(es_control_reply_pack(f->memory, &reply, f->frame, &bytes, &err), ES_OK);
    es_message_add(&out, es_message_data(asked, 0), es_message_bytes(asked, 0));
    es_message_add(&out, f->frame, bytes);
    es_channel_send(f->control, &out, &err);
}

/* As fast as the socket takes them. */
static void flood(false_node *f, es_message *asked, es_wire_ids ids)
{
    ids.step--;
    es_wire_reply reply = {.ids = ids, .status = ES_TIMEOUT, .text = "late"};
    size_t bytes = es_wire_reply_pack(&reply, f->frame, sizeof f->frame);
    while (!atomic_load(&f->stop)) {
        es_message out = {.count = 0};
        es_message_add(&out, es_message_data(asked, 0), es_message_bytes(asked, 0));
        es_message_add(&out, f->frame, bytes);
        es_message_add(&out, NULL, 0);
        es_channel_send(f->data, &out, NULL);
    }
}

/* Every sum is value. */
static void send_sums(false_node *f, es_message *asked, const es_wire_request *request, es_wire_ids ids,
                      int64_t value)
{
    lie told = (lie)atomic_load(&f->lie);
    size_t rows = request->rows + (told == LIE_ROWS), count = rows * request->cols, width = 8;
    int64_t *sum = calloc(count, sizeof *sum);
    uint8_t *payload = calloc(count, width);
    for (size_t i = 0; i < count; i++) sum[i] = told == LIE_HUGE ? INT64_MIN : value;
    es_sums_pack(sum, count, width, payload);
    es_wire_reply reply = {.ids = ids,
                           .text = "",
                           .rows = rows,
                           .cols = request->cols,
                           .width = width,
                           .payload_crc32c = es_crc32c(payload, count * width)};
    if (told == LIE_CHECKSUM) reply.payload_crc32c ^= 1;
    if (told == LIE_ERROR) reply.status = ES_NUMERIC, reply.text = "layer 1: expert 3: value out of range";
    es_message out = {.count = 0};
    es_message_add(&out, es_message_data(asked, 0), es_message_bytes(asked, 0));
    size_t bytes = es_wire_reply_pack(&reply, f->frame, sizeof f->frame);
    if (told == LIE_HEADER) memset(f->frame, 0xff, bytes);
    es_message_add(&out, f->frame, bytes);
    if (told != LIE_ONE_FRAME) es_message_add(&out, payload, count * width - (told == LIE_SHORT));
    es_channel_send(f->data, &out, NULL);
    free(sum);
    free(payload);
}

static void answer_data(false_node *f, es_message *asked)
{
    es_wire_request request;
    es_err err = {.text = ""};
    assert_int_equal(es_wire_request_unpack(f->wire, es_message_data(asked, 1), es_message_bytes(asked, 1),
                                            &request, &err),
                     ES_OK);
    es_wire_ids ids = request.ids;
    if (atomic_load(&f->lie) == LIE_SILENCE) return;
    if (atomic_load(&f->lie) == LIE_FLOOD) {
        flood(f, asked, ids);
        return;
    }
    if (atomic_load(&f->lie) == LIE_STALE) {
        es_wire_ids stale[4] = {ids, ids, ids, ids};
        stale[0].step--;
        stale[1].layer++;
        stale[2].attempt++;
        stale[3].coordinator++;
        for (size_t i = 0; i < 4; i++) send_sums(f, asked, &request, stale[i], 1000000);
        send_sums(f, asked, &request, ids, 7);
    }
    send_sums(f, asked, &request, ids, 7);
}

static void *false_main(void *arg)
{
    false_node *f = arg;
    while (!atomic_load(&f->stop)) {
        zmq_pollitem_t items[] = {{es_channel_socket(f->control), 0, ZMQ_POLLIN, 0},
                                  {es_channel_socket(f->data), 0, ZMQ_POLLIN, 0}};
        zmq_poll(items, 2, POLL_MS);
        es_message message;
        while (es_channel_receive(f->control, &message, NULL) == ES_OK) {
            answer_hello(f, &message);
            es_message_close(&message);
        }
        while (es_channel_receive(f->data, &message, NULL) == ES_OK) {
            answer_data(f, &message);
            es_message_close(&message);
        }
    }
    es_channel_close(&f->control);
    es_channel_close(&f->data);
    return NULL;
}

static false_node *false_start(const reference *r, lie told)
{
    false_node *f = calloc(1, sizeof *f);
    es_err err = {.text = ""};
    es_net_options net = {NULL, NULL};
    es_channel_limits limits = {1 << 24, QUEUE};
    es_endpoint any;
    f->r = r;
    atomic_store(&f->lie, (int)told);
    assert_int_equal(es_endpoint_parse_bind("127.0.0.1:0", &any, &err), ES_OK);
    assert_int_equal(es_net_open(&net, &f->net, &err), ES_OK);
    assert_int_equal(es_channel_bind(f->net, &any, &limits, &f->control, &f->control_at, &err), ES_OK);
    assert_int_equal(es_channel_bind(f->net, &any, &limits, &f->data, &f->data_at, &err), ES_OK);
    assert_int_equal(es_wire_memory_create(&f->wire, &err), ES_OK);
    assert_int_equal(es_control_memory_create(&f->memory, &err), ES_OK);
    assert_int_equal(pthread_create(&f->thread, NULL, false_main, f), 0);
    return f;
}

static void false_stop(false_node *f)
{
    atomic_store(&f->stop, true);
    pthread_join(f->thread, NULL);
    es_net_close(&f->net);
    es_wire_memory_destroy(&f->wire);
    es_control_memory_destroy(&f->memory);
    free(f);
}

static es_swarm *open_false(const reference *r, const false_node *f)
{
    char where[ES_ENDPOINT_TEXT_MAX];
    es_endpoint_format(&f->control_at, where);
    const char *list[] = {where};
    nodes none = {.count = 0};
    es_swarm_options options = swarm_options(r, &none);
    options.nodes = list;
    options.node_count = 1;
    options.deadline_ms = 400;
    return swarm_open(&options);
}

static void late_and_repeated_replies_are_dropped(void **state)
{
    const reference *r = *state;
    false_node *f = false_start(r, LIE_STALE);
    es_swarm *swarm = open_false(r, f);
    es_expert_backend *backend = es_swarm_backend(swarm);
    size_t count = 3 * r->model->shape.hidden;
    int64_t *sum = calloc(count, sizeof *sum);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 3, 1);
    for (unsigned round = 0; round < 5; round++) {
        es_err err = {.text = ""};
        memset(sum, 0, count * sizeof *sum);
        assert_int_equal(backend->start(backend, 1 + round % 3, &b.batch, &err), ES_OK);
        if (backend->finish(backend, sum, &err) != ES_OK) fail_msg("%s", err.text);
        for (size_t i = 0; i < count; i++) assert_true(sum[i] == 7);
    }
    free(sum);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    false_stop(f);
}

static void lies_are_told_with_layer_and_node(void **state)
{
    static const struct {
        lie lie;
        es_status status;
        const char *text;
    } CASES[] = {
        {LIE_SILENCE, ES_TIMEOUT, "did not answer within 400 ms"},
        {LIE_ERROR, ES_NUMERIC, "layer 1: expert 3: value out of range"},
        {LIE_HEADER, ES_CORRUPT, "that are no header"},
        {LIE_CHECKSUM, ES_CORRUPT, "payload: checksum"},
        {LIE_SHORT, ES_CORRUPT, "payload: "},
        {LIE_ROWS, ES_CORRUPT, "reply of 4 rows"},
        {LIE_HUGE, ES_CORRUPT, "beyond 2^52"},
        {LIE_ONE_FRAME, ES_CORRUPT, "reply of 1 frames"},
        {LIE_FLOOD, ES_TIMEOUT, "did not answer within 400 ms"},
    };
    const reference *r = *state;
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 3, 1);
    int64_t *sum = calloc(3 * r->model->shape.hidden, sizeof *sum);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        false_node *f = false_start(r, CASES[i].lie);
        es_swarm *swarm = open_false(r, f);
        es_expert_backend *backend = es_swarm_backend(swarm);
        es_err err = {.text = ""};
        assert_int_equal(backend->start(backend, 1, &b.batch, &err), ES_OK);
        assert_int_equal(backend->finish(backend, sum, &err), CASES[i].status);
        assert_says(err, "layer 1: node false (tcp://127.0.0.1:");
        assert_says(err, CASES[i].text);
        es_swarm_destroy(&swarm);
        false_stop(f);
    }
    free(sum);
    batch_free(&b);
}

int main(void)
{
    reference r;
    reference_open(&r);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(a_node_killed_in_the_middle_is_named_at_once, &r),
        cmocka_unit_test_prestate(a_node_that_stops_beating_is_lost, &r),
        cmocka_unit_test_prestate(a_node_ends_well_when_asked_to, &r),
        cmocka_unit_test_prestate(late_and_repeated_replies_are_dropped, &r),
        cmocka_unit_test_prestate(lies_are_told_with_layer_and_node, &r),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    reference_close(&r);
    return failed;
}
