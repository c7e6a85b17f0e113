/* A node whose every reply is scripted: real sockets, and a thread that serves them. */
#include "dispatch/false_node.h"

#include "net/crc32c.h"
#include "net/sums.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { QUEUE = 16, POLL_MS = 20 };

struct false_node {
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
};

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

false_node *false_start(const reference *r, lie told)
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

void false_stop(false_node *f)
{
    atomic_store(&f->stop, true);
    pthread_join(f->thread, NULL);
    es_net_close(&f->net);
    es_wire_memory_destroy(&f->wire);
    es_control_memory_destroy(&f->memory);
    free(f);
}

void false_tell(false_node *f, lie told)
{
    atomic_store(&f->lie, (int)told);
}

void false_where(const false_node *f, char *text)
{
    es_endpoint_format(&f->control_at, text);
}
