/* Hello to one node, on a control channel of its own that lasts for it: who it is, what it holds, where its
 * data socket is. Nothing here waits. */
#include "base/log.h"
#include "base/size.h"
#include "dispatch/internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    QUEUE_MESSAGES = 8,
    HELLO_MS = 1500,       /* once connected; a node that is stopped takes connections and says nothing */
    CONNECT_MS = 4000,     /* longer than a handshake takes to time out */
    AGAIN_MS = 100,        /* before the next try */
    AGAIN_MISFIT_MS = 5000 /* with another model: somebody has to act */
};

static uint64_t in_ms(uint64_t now_ns, uint64_t ms)
{
    return now_ns + ms * 1000000u;
}

es_channel_limits es_swarm_data_limits(const es_swarm *swarm)
{
    size_t sums = swarm->options.rows_max * swarm->options.shape->hidden * sizeof(int64_t);
    return (es_channel_limits){es_size_max(sums, ES_WIRE_HEADER_MAX), QUEUE_MESSAGES};
}

static es_status begin(es_swarm *swarm, es_node *node, uint64_t now_ns, es_err *err)
{
    es_channel_limits limits = {ES_CONTROL_FRAME_MAX, QUEUE_MESSAGES};
    node->hello_sent = false;
    node->hello_until_ns = in_ms(now_ns, CONNECT_MS);
    return es_channel_connect(swarm->net, &node->control_at, node->key[0] != '\0' ? node->key : NULL, &limits,
                              &node->control, err);
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

static es_status say_hello(es_swarm *swarm, es_node *node, uint64_t now_ns, es_err *err)
{
    es_control_request request = {.coordinator = swarm->coordinator,
                                  .request = 1,
                                  .kind = ES_CONTROL_HELLO,
                                  .hello = {.row_format = swarm->options.row_format}};
    memcpy(request.hello.name, swarm->options.name, strlen(swarm->options.name) + 1);
    memcpy(request.hello.fingerprint, swarm->options.fingerprint, ES_FINGERPRINT_BYTES);
    es_message message = {.count = 0};
    size_t bytes = es_control_request_pack(swarm->control_memory, &request, swarm->frame);
    if (!es_message_add(&message, swarm->frame, bytes)) return es_err_set(err, ES_NO_MEMORY, "hello");
    es_status status = es_channel_send(node->control, &message, err);
    node->hello_sent = status == ES_OK;
    node->hello_until_ns = in_ms(now_ns, HELLO_MS);
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
    return es_holders_check_units(swarm->options.shape, hello->units, hello->unit_count, err);
}

/* The table of holders, from what all nodes said last. */
static es_status refill(es_swarm *swarm, es_err *err)
{
    es_announced *holdings = calloc(es_size_max(swarm->node_count, 1), sizeof *holdings);
    if (holdings == NULL) return es_err_set(err, ES_NO_MEMORY, "table of who holds what");
    for (size_t n = 0; n < swarm->node_count; n++)
        holdings[n] = (es_announced){swarm->nodes[n]->units, swarm->nodes[n]->unit_count};
    es_status status = es_holders_fill(swarm->holders, holdings, swarm->node_count, err);
    free(holdings);
    return status;
}

es_status es_swarm_refill(es_swarm *swarm, es_err *err)
{
    es_err missing = {.status = ES_OK};
    swarm->changes++;
    es_status status = refill(swarm, err);
    if (status != ES_OK) return status;
    es_holders_complete(swarm->holders, &missing);
    pthread_mutex_lock(&swarm->mailbox.lock);
    swarm->mailbox.missing = missing;
    pthread_mutex_unlock(&swarm->mailbox.lock);
    return ES_OK;
}

static es_status take_units(es_swarm *swarm, es_node *node, const es_hello_reply *hello, es_err *err)
{
    size_t bytes = hello->unit_count * sizeof *node->units;
    if (hello->unit_count == node->unit_count &&
        (bytes == 0 || memcmp(hello->units, node->units, bytes) == 0))
        return ES_OK;
    es_units *units = malloc(es_size_max(bytes, 1));
    if (units == NULL) return es_err_set(err, ES_NO_MEMORY, "its %zu ranges of experts", hello->unit_count);
    if (bytes > 0) memcpy(units, hello->units, bytes);
    free(node->units);
    node->units = units;
    node->unit_count = hello->unit_count;
    node->experts = 0;
    for (size_t i = 0; i < hello->unit_count; i++) node->experts += hello->units[i].expert_count;
    return es_swarm_refill(swarm, err);
}

/* The node said who it is. */
static es_status take_hello(es_swarm *swarm, es_node *node, const es_hello_reply *hello, es_err *err)
{
    memcpy(node->name, hello->name, sizeof node->name);
    es_status status = check_answer(swarm, hello, err);
    if (status == ES_OK) status = take_units(swarm, node, hello, err);
    if (status != ES_OK) return status;
    node->threads = hello->threads;
    node->epoch = hello->epoch;
    node->draining = hello->state.phase == ES_NODE_DRAINING;
    swarm->epoch = swarm->epoch > hello->epoch ? swarm->epoch : hello->epoch;
    node->data_at = node->control_at;
    node->data_at.port = (uint16_t)hello->data_port;
    node->requests_told = 0;
    node->traced = es_trace_node(swarm->options.trace, node->name, node->where);
    node->wants_hello = node->stale = false;
    swarm->changes++;
    return ES_OK;
}

static es_status take_answer(es_swarm *swarm, es_node *node, es_err *err)
{
    es_message message;
    es_control_reply reply;
    es_status status = es_channel_receive(node->control, &message, err);
    if (status == ES_TIMEOUT) return ES_OK;
    if (status != ES_OK) return status;
    status = message.count != 1 ? es_err_set(err, ES_CORRUPT, "answer of %zu frames", message.count)
                                : es_control_reply_unpack(swarm->control_memory, es_message_data(&message, 0),
                                                          es_message_bytes(&message, 0), &reply, err);
    if (status == ES_OK && reply.status != ES_OK) status = es_err_set(err, reply.status, "%s", reply.text);
    if (status == ES_OK && reply.kind != ES_CONTROL_HELLO)
        status = es_err_set(err, ES_CORRUPT, "answered something else than hello");
    if (status == ES_OK) status = take_hello(swarm, node, &reply.hello, err);
    es_message_close(&message);
    if (status == ES_OK) es_channel_close(&node->control);
    return status;
}

static es_status advance(es_swarm *swarm, es_node *node, uint64_t now_ns, es_err *err)
{
    es_link link = es_channel_link(node->control);
    es_status status = ES_OK;
    if (node->hello_sent) status = take_answer(swarm, node, err);
    if (status != ES_OK || node->control == NULL) return status;
    if (link == ES_LINK_REFUSED) return refused(swarm, node, err);
    if (link == ES_LINK_LOST) return es_err_set(err, ES_UNAVAILABLE, "connection lost before it said hello");
    if (!node->hello_sent && es_channel_writable(node->control)) return say_hello(swarm, node, now_ns, err);
    if (now_ns < node->hello_until_ns) return ES_OK;
    if (node->hello_sent)
        return es_err_set(err, ES_TIMEOUT, "connected, but no answer to hello within %d ms", HELLO_MS);
    return es_err_set(err, ES_TIMEOUT, "nobody answers there");
}

es_status es_node_greet(es_swarm *swarm, es_node *node, uint64_t now_ns, es_err *err)
{
    if (node->control == NULL && now_ns < node->hello_again_ns) return ES_OK;
    es_status status = node->control == NULL ? begin(swarm, node, now_ns, err) : ES_OK;
    if (status == ES_OK) status = advance(swarm, node, now_ns, err);
    if (status == ES_OK) return ES_OK;
    es_channel_close(&node->control);
    /* A handshake fails also when the node just ends, or begins. */
    bool misfit = status == ES_MISMATCH && node->hello_sent;
    node->hello_again_ns = in_ms(now_ns, misfit ? AGAIN_MISFIT_MS : AGAIN_MS);
    return status;
}
