/* The first words with every node, all at once: hello on the control socket, then the data channel. */
#include "base/clock.h"
#include "base/size.h"
#include "dispatch/internal.h"

#include <stdlib.h>
#include <string.h>

enum { QUEUE_MESSAGES = 8 };

typedef enum stage { STAGE_CONNECTING, STAGE_ASKED, STAGE_GREETED } stage;

typedef struct greeting {
    es_swarm *swarm;
    es_channel **control; /* [node_count] */
    stage *stages;        /* [node_count] */
    size_t left;          /* nodes not greeted yet */
    uint8_t *frame;       /* [ES_CONTROL_FRAME_MAX]: our hello */
    size_t frame_bytes;
    es_control_memory *memory;
} greeting;

static es_status at_node(const es_node *node, es_status status, es_err *err)
{
    if (node->name[0] != '\0')
        es_err_prefix(err, "node %s (%s)", node->name, node->where);
    else
        es_err_prefix(err, "node %s", node->where);
    return status;
}

static es_status connect_control(greeting *g, es_err *err)
{
    es_channel_limits limits = {ES_CONTROL_FRAME_MAX, QUEUE_MESSAGES};
    for (size_t n = 0; n < g->swarm->options.node_count; n++) {
        es_node *node = &g->swarm->nodes[n];
        es_status status =
            es_channel_connect(g->swarm->net, &node->control, node->key[0] != '\0' ? node->key : NULL,
                               &limits, &g->control[n], err);
        if (status != ES_OK) return status;
    }
    return ES_OK;
}

static es_status refused(const es_swarm *swarm, const es_node *node, es_err *err)
{
    if (node->key[0] != '\0')
        return es_err_set(
            err, ES_MISMATCH,
            "refused our connection: its public key is another one, or it has no keys, or ours (%s) is "
            "not on its --allow list",
            swarm->options.keys->public_key);
    return es_err_set(err, ES_MISMATCH, "refused our connection: it wants keys, or is no expert node");
}

static es_status say_hello(greeting *g, size_t n, es_err *err)
{
    es_message message = {.count = 0};
    if (!es_message_add(&message, g->frame, g->frame_bytes)) return es_err_set(err, ES_NO_MEMORY, "hello");
    es_status status = es_channel_send(g->control[n], &message, err);
    if (status == ES_OK) g->stages[n] = STAGE_ASKED;
    return status;
}

static es_status check_answer(const es_swarm *swarm, const es_hello_reply *hello, es_err *err)
{
    static const char *const ROW_FORMAT[ES_ROWS_COUNT] = {[ES_ROWS_Q8] = "q8", [ES_ROWS_F32] = "f32"};
    if (memcmp(hello->fingerprint, swarm->options.fingerprint, ES_FINGERPRINT_BYTES) != 0) {
        char theirs[ES_FINGERPRINT_TEXT_MAX], ours[ES_FINGERPRINT_TEXT_MAX];
        es_fingerprint_format(hello->fingerprint, theirs);
        es_fingerprint_format(swarm->options.fingerprint, ours);
        return es_err_set(err, ES_MISMATCH, "another model: its fingerprint is %s, ours %s", theirs, ours);
    }
    if (!hello->row_formats[swarm->options.row_format])
        return es_err_set(err, ES_MISMATCH, "does not compute %s rows",
                          ROW_FORMAT[swarm->options.row_format]);
    if (hello->rows_max < swarm->options.rows_max)
        return es_err_set(err, ES_MISMATCH, "takes %u rows at a time, and we may send %zu", hello->rows_max,
                          swarm->options.rows_max);
    return ES_OK;
}

static es_status take_answer(greeting *g, size_t n, es_err *err)
{
    es_swarm *swarm = g->swarm;
    es_node *node = &swarm->nodes[n];
    es_message message;
    es_control_reply reply;
    es_status status = es_channel_receive(g->control[n], &message, err);
    if (status == ES_TIMEOUT) return ES_OK;
    if (status != ES_OK) return status;
    status = message.count != 1 ? es_err_set(err, ES_CORRUPT, "answer of %zu frames", message.count)
                                : es_control_reply_unpack(g->memory, es_message_data(&message, 0),
                                                          es_message_bytes(&message, 0), &reply, err);
    if (status == ES_OK && reply.status != ES_OK) status = es_err_set(err, reply.status, "%s", reply.text);
    if (status == ES_OK && reply.kind != ES_CONTROL_HELLO)
        status = es_err_set(err, ES_CORRUPT, "answered something else than hello");
    if (status == ES_OK) {
        memcpy(node->name, reply.hello.name, sizeof node->name);
        status = check_answer(swarm, &reply.hello, err);
    }
    if (status == ES_OK) status = es_plan_add(swarm->plan, n, reply.hello.units, reply.hello.unit_count, err);
    es_message_close(&message);
    if (status != ES_OK) return status;
    for (size_t i = 0; i < reply.hello.unit_count; i++) node->experts += reply.hello.units[i].expert_count;
    node->threads = reply.hello.threads;
    node->data = node->control;
    node->data.port = (uint16_t)reply.hello.data_port;
    g->stages[n] = STAGE_GREETED;
    g->left--;
    return ES_OK;
}

static es_status advance(greeting *g, size_t n, short events, es_err *err)
{
    es_link link = es_channel_link(g->control[n]);
    es_status status = ES_OK;
    if (g->stages[n] == STAGE_ASKED && (events & ZMQ_POLLIN) != 0) status = take_answer(g, n, err);
    if (status != ES_OK || g->stages[n] == STAGE_GREETED) return status;
    if (link == ES_LINK_REFUSED) return refused(g->swarm, &g->swarm->nodes[n], err);
    if (link == ES_LINK_LOST) return es_err_set(err, ES_UNAVAILABLE, "connection lost before it said hello");
    if (g->stages[n] == STAGE_CONNECTING && (events & ZMQ_POLLOUT) != 0) status = say_hello(g, n, err);
    return status;
}

static es_status too_late(const greeting *g, es_err *err)
{
    size_t n = 0;
    while (g->stages[n] == STAGE_GREETED) n++;
    unsigned ms = g->swarm->options.hello_deadline_ms;
    if (g->stages[n] == STAGE_CONNECTING)
        es_err_set(err, ES_TIMEOUT, "nobody answers there (tried for %u ms)", ms);
    else
        es_err_set(err, ES_TIMEOUT, "connected, but no answer to hello within %u ms; is it still loading?",
                   ms);
    return at_node(&g->swarm->nodes[n], ES_TIMEOUT, err);
}

static es_status greet_all(greeting *g, uint64_t deadline_ns, es_err *err)
{
    es_swarm *swarm = g->swarm;
    size_t count = swarm->options.node_count;
    while (g->left > 0) {
        for (size_t n = 0; n < count; n++) {
            short wanted = g->stages[n] == STAGE_CONNECTING ? ZMQ_POLLOUT : ZMQ_POLLIN;
            swarm->polling[2 * n] = (zmq_pollitem_t){es_channel_socket(g->control[n]), 0, wanted, 0};
            swarm->polling[2 * n + 1] = (zmq_pollitem_t){es_channel_monitor(g->control[n]), 0, ZMQ_POLLIN, 0};
        }
        int left_ms = es_clock_left_ms(deadline_ns);
        zmq_poll(swarm->polling, (int)(2 * count), left_ms);
        for (size_t n = 0; n < count; n++) {
            if (g->stages[n] == STAGE_GREETED) continue;
            es_status status = advance(g, n, swarm->polling[2 * n].revents, err);
            if (status != ES_OK) return at_node(&swarm->nodes[n], status, err);
        }
        if (left_ms == 0 && g->left > 0) return too_late(g, err);
    }
    return ES_OK;
}

es_channel_limits es_swarm_data_limits(const es_swarm *swarm)
{
    size_t sums = swarm->options.rows_max * swarm->options.shape->hidden * sizeof(int64_t);
    return (es_channel_limits){es_size_max(sums, ES_WIRE_HEADER_MAX), QUEUE_MESSAGES};
}

/* Opens the data channels and waits until each takes messages. */
static es_status connect_data(es_swarm *swarm, uint64_t deadline_ns, es_err *err)
{
    es_channel_limits limits = es_swarm_data_limits(swarm);
    for (size_t n = 0; n < swarm->options.node_count; n++) {
        es_node *node = &swarm->nodes[n];
        es_status status = es_channel_connect(
            swarm->net, &node->data, node->key[0] != '\0' ? node->key : NULL, &limits, &node->channel, err);
        if (status != ES_OK) return at_node(node, status, err);
    }
    for (size_t n = 0; n < swarm->options.node_count; n++) {
        es_node *node = &swarm->nodes[n];
        zmq_pollitem_t item = {es_channel_socket(node->channel), 0, ZMQ_POLLOUT, 0};
        do {
            zmq_poll(&item, 1, es_clock_left_ms(deadline_ns));
        } while ((item.revents & ZMQ_POLLOUT) == 0 && es_clock_left_ms(deadline_ns) > 0);
        if ((item.revents & ZMQ_POLLOUT) == 0) {
            es_err_set(err, ES_TIMEOUT, "said hello, but its data port %u does not answer", node->data.port);
            return at_node(node, ES_TIMEOUT, err);
        }
    }
    return ES_OK;
}

static es_status prepare(greeting *g, es_err *err)
{
    const es_swarm_options *o = &g->swarm->options;
    g->left = o->node_count;
    g->control = calloc(o->node_count, sizeof(es_channel *));
    g->stages = calloc(o->node_count, sizeof *g->stages);
    g->frame = malloc(ES_CONTROL_FRAME_MAX);
    if (g->control == NULL || g->stages == NULL || g->frame == NULL)
        return es_err_set(err, ES_NO_MEMORY, "hello");
    es_control_request request = {.coordinator = g->swarm->coordinator,
                                  .request = 1,
                                  .kind = ES_CONTROL_HELLO,
                                  .hello = {.row_format = o->row_format}};
    memcpy(request.hello.name, o->name, strlen(o->name) + 1);
    memcpy(request.hello.fingerprint, o->fingerprint, ES_FINGERPRINT_BYTES);
    es_status status = es_control_memory_create(&g->memory, err);
    if (status == ES_OK) g->frame_bytes = es_control_request_pack(g->memory, &request, g->frame);
    return status;
}

es_status es_swarm_greet(es_swarm *swarm, uint64_t deadline_ns, es_err *err)
{
    greeting g = {.swarm = swarm};
    es_status status = prepare(&g, err);
    if (status == ES_OK) status = connect_control(&g, err);
    if (status == ES_OK) status = greet_all(&g, deadline_ns, err);
    for (size_t n = 0; g.control != NULL && n < swarm->options.node_count; n++)
        es_channel_close(&g.control[n]);
    free(g.control);
    free(g.stages);
    free(g.frame);
    es_control_memory_destroy(&g.memory);
    if (status == ES_OK) status = connect_data(swarm, deadline_ns, err);
    return status;
}
