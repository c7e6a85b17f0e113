/* One layer's round trip: every node gets its rows, then replies are added as they come, in any order. */
#include "base/clock.h"
#include "dispatch/combine.h"
#include "dispatch/internal.h"
#include "net/crc32c.h"

#include <inttypes.h>
#include <sched.h>
#include <string.h>

/* Messages of one node between two looks at the others and the clock: a node that floods delays nobody for
 * long.
 */
enum { IN_A_ROW = 16 };

/* A reply that comes soon is cheaper to wait for awake. */
static const uint64_t SPIN_NS = 50000;

/* Puts layer and node before the error. */
static es_status at_node(const es_swarm *swarm, const es_node *node, es_status status, es_err *err)
{
    es_err_prefix(err, "layer %zu: node %s (%s)", swarm->layer, node->name, node->where);
    return status;
}

/* Closing is the only sure way to discard what is queued. The node stays out. */
static void give_up(es_node *node)
{
    es_channel_close(&node->channel);
}

static size_t node_index(const es_swarm *swarm, const es_node *node)
{
    return (size_t)(node - swarm->nodes);
}

static es_status lost(es_swarm *swarm, es_node *node, es_err *err)
{
    es_plan_part part = es_plan_get(swarm->plan, node_index(swarm, node));
    give_up(node);
    return es_err_set(err, ES_UNAVAILABLE, "connection lost while %zu row%s computed there", part.rows,
                      part.rows == 1 ? " was" : "s were");
}

static es_status too_late(es_swarm *swarm, es_node *node, const char *what, es_err *err)
{
    give_up(node);
    return es_err_set(err, ES_TIMEOUT, "%s within %" PRIu32 " ms", what, swarm->options.deadline_ms);
}

/* Waits until the node's queue takes a message: at once, unless its connection stalls. */
static es_status wait_writable(es_swarm *swarm, es_node *node, es_err *err)
{
    for (;;) {
        zmq_pollitem_t items[] = {{es_channel_socket(node->channel), 0, ZMQ_POLLOUT, 0},
                                  {es_channel_monitor(node->channel), 0, ZMQ_POLLIN, 0}};
        int left_ms = es_clock_left_ms(swarm->deadline_ns);
        zmq_poll(items, 2, left_ms);
        if (es_channel_link(node->channel) == ES_LINK_LOST) return lost(swarm, node, err);
        if ((items[0].revents & ZMQ_POLLOUT) != 0) return ES_OK;
        if (left_ms == 0) return too_late(swarm, node, "takes no request", err);
    }
}

/* A message of the part's rows, gathered, behind their header. */
static es_status make_request(es_swarm *swarm, const es_plan_part *part, es_message *ret_message, es_err *err)
{
    const es_rows *rows = swarm->batch->rows;
    size_t row_bytes = es_rows_row_bytes(rows->format, rows->cols);
    zmq_msg_t *header = &ret_message->frame[0], *payload = &ret_message->frame[1];
    if (zmq_msg_init_size(payload, part->rows * row_bytes) != 0)
        return es_err_set(err, ES_NO_MEMORY, "%zu bytes of rows", part->rows * row_bytes);
    uint8_t *out = zmq_msg_data(payload);
    for (size_t i = 0; i < part->rows; i++)
        memcpy(out + i * row_bytes, rows->data + part->row[i] * rows->row_bytes, row_bytes);
    es_wire_request request = {
        .ids = {.coordinator = swarm->coordinator, .step = swarm->call, .layer = (uint32_t)swarm->layer},
        .row_format = rows->format,
        .rows = part->rows,
        .cols = rows->cols,
        .pairs = part->pairs,
        .pairs_per_row = part->pairs_per_row,
        .expert = part->expert,
        .weight = part->weight,
        .payload_crc32c = es_crc32c(out, part->rows * row_bytes)};
    size_t header_bytes = es_wire_request_pack(&request, swarm->header, ES_WIRE_HEADER_MAX);
    if (zmq_msg_init_size(header, header_bytes) != 0) {
        zmq_msg_close(payload);
        return es_err_set(err, ES_NO_MEMORY, "%zu bytes of header", header_bytes);
    }
    memcpy(zmq_msg_data(header), swarm->header, header_bytes);
    ret_message->count = 2;
    return ES_OK;
}

static es_status ask(es_swarm *swarm, es_node *node, const es_plan_part *part, es_err *err)
{
    if (node->channel == NULL) return es_err_set(err, ES_UNAVAILABLE, "was lost earlier");
    es_status status = wait_writable(swarm, node, err);
    es_message message;
    if (status == ES_OK) status = make_request(swarm, part, &message, err);
    uint64_t bytes = status == ES_OK ? es_message_bytes(&message, 0) + es_message_bytes(&message, 1) : 0;
    if (status == ES_OK) status = es_channel_send(node->channel, &message, err);
    if (status != ES_OK) return status;
    node->counted.bytes_out += bytes;
    node->sent_ns = es_clock_now_ns();
    node->asked = true;
    swarm->waiting++;
    return ES_OK;
}

/* Replies that are still to come carry another call's number by then, and are dropped. */
static void forget_call(es_swarm *swarm)
{
    for (size_t n = 0; n < swarm->options.node_count; n++) swarm->nodes[n].asked = false;
    swarm->waiting = 0;
    swarm->batch = NULL;
}

es_status es_exchange_start(es_expert_backend *backend, size_t layer, const es_expert_batch *batch,
                            es_err *err)
{
    es_swarm *swarm = (es_swarm *)backend;
    forget_call(swarm);
    swarm->call++;
    swarm->layer = layer;
    swarm->batch = batch;
    swarm->deadline_ns = es_clock_now_ns() + (uint64_t)swarm->options.deadline_ms * 1000000u;
    es_status status = es_plan_split(swarm->plan, layer, batch, err);
    if (status != ES_OK) {
        es_err_prefix(err, "layer %zu", layer);
        return status;
    }
    for (size_t n = 0; n < swarm->options.node_count; n++) {
        es_plan_part part = es_plan_get(swarm->plan, n);
        if (part.rows == 0) continue;
        status = ask(swarm, &swarm->nodes[n], &part, err);
        if (status != ES_OK) {
            forget_call(swarm);
            return at_node(swarm, &swarm->nodes[n], status, err);
        }
    }
    return ES_OK;
}

static bool is_ours(const es_swarm *swarm, const es_node *node, const es_wire_ids *ids)
{
    return node->asked && ids->coordinator == swarm->coordinator && ids->step == swarm->call &&
           ids->layer == swarm->layer && ids->attempt == 0;
}

static void count_call(es_node *node, const es_message *message, const es_wire_reply *reply)
{
    es_swarm_node_info *c = &node->counted;
    double seconds = (double)(es_clock_now_ns() - node->sent_ns) * 1e-9;
    size_t bucket = 0;
    while (bucket < ES_SWARM_LATENCY_BOUNDS && seconds > ES_SWARM_LATENCY_BOUND[bucket]) bucket++;
    c->latency_bucket[bucket]++;
    c->latency_seconds += seconds;
    c->calls++;
    c->compute_ns += reply->compute_ns;
    c->bytes_in += es_message_bytes(message, 0) + es_message_bytes(message, 1);
}

/* Takes in one message of a node; late and repeated replies are dropped. */
static es_status take_reply(es_swarm *swarm, es_node *node, es_message *message, int64_t *sum, es_err *err)
{
    if (message->count != 2) return es_err_set(err, ES_CORRUPT, "reply of %zu frames", message->count);
    es_wire_reply reply;
    es_status status = es_wire_reply_unpack(swarm->memory, es_message_data(message, 0),
                                            es_message_bytes(message, 0), &reply, err);
    if (status != ES_OK) return status;
    if (!is_ours(swarm, node, &reply.ids)) return ES_OK;
    es_plan_part part = es_plan_get(swarm->plan, node_index(swarm, node));
    if (reply.status != ES_OK && reply.failed_row < part.rows)
        return es_err_set(err, reply.status, "row %u: %s", part.row[reply.failed_row], reply.text);
    if (reply.status != ES_OK) return es_err_set(err, reply.status, "%s", reply.text);
    status = es_combine_add(&part, swarm->options.shape->hidden, &reply, es_message_data(message, 1),
                            es_message_bytes(message, 1), sum, err);
    node->asked = false;
    count_call(node, message, &reply);
    swarm->waiting--;
    return status;
}

/* Takes in the messages that are there, up to IN_A_ROW of a node. *ret_some: there was one. */
static es_status take_replies(es_swarm *swarm, int64_t *sum, bool *ret_some, es_err *err)
{
    *ret_some = false;
    for (size_t n = 0; n < swarm->options.node_count; n++) {
        es_node *node = &swarm->nodes[n];
        for (int i = 0; i < IN_A_ROW && node->asked; i++) {
            es_message message;
            es_status status = es_channel_receive(node->channel, &message, NULL);
            if (status == ES_TIMEOUT) break;
            if (status == ES_OK) {
                status = take_reply(swarm, node, &message, sum, err);
                es_message_close(&message);
            } else {
                status = es_err_set(err, status, "reply could not be received");
            }
            if (status != ES_OK) return at_node(swarm, node, status, err);
            *ret_some = true;
        }
    }
    return ES_OK;
}

/* Sleeps until a message or a connection's event is there, or the deadline. */
static void sleep_for_replies(es_swarm *swarm)
{
    int count = 0;
    for (size_t n = 0; n < swarm->options.node_count; n++) {
        const es_node *node = &swarm->nodes[n];
        if (!node->asked) continue;
        swarm->polling[count++] = (zmq_pollitem_t){es_channel_socket(node->channel), 0, ZMQ_POLLIN, 0};
        swarm->polling[count++] = (zmq_pollitem_t){es_channel_monitor(node->channel), 0, ZMQ_POLLIN, 0};
    }
    zmq_poll(swarm->polling, count, es_clock_left_ms(swarm->deadline_ns));
}

/* The first node that was lost before its reply was taken in; the reply may still be in the queue. */
static es_node *find_lost(es_swarm *swarm)
{
    for (size_t n = 0; n < swarm->options.node_count; n++)
        if (swarm->nodes[n].asked && es_channel_link(swarm->nodes[n].channel) == ES_LINK_LOST)
            return &swarm->nodes[n];
    return NULL;
}

static es_node *first_asked(es_swarm *swarm)
{
    es_node *node = swarm->nodes;
    while (!node->asked) node++;
    return node;
}

static es_status wait_for_all(es_swarm *swarm, int64_t *sum, es_err *err)
{
    uint64_t awake_until_ns = es_clock_now_ns() + SPIN_NS;
    es_node *gone = NULL;
    while (swarm->waiting > 0) {
        bool some;
        es_status status = take_replies(swarm, sum, &some, err);
        if (status != ES_OK) return status;
        if (swarm->waiting == 0) break;
        uint64_t now_ns = es_clock_now_ns();
        if (some) awake_until_ns = now_ns + SPIN_NS;
        /* seen to be gone a round ago, and the queue held nothing since */
        if (gone != NULL && gone->asked && !some) return at_node(swarm, gone, lost(swarm, gone, err), err);
        if (now_ns >= swarm->deadline_ns) {
            es_node *late = first_asked(swarm);
            return at_node(swarm, late, too_late(swarm, late, "did not answer", err), err);
        }
        if (now_ns < awake_until_ns) {
            sched_yield();
            continue;
        }
        gone = find_lost(swarm);
        if (gone == NULL) sleep_for_replies(swarm);
    }
    return ES_OK;
}

es_status es_exchange_finish(es_expert_backend *backend, int64_t *sum, es_err *err)
{
    es_swarm *swarm = (es_swarm *)backend;
    ES_ASSERT(swarm->batch != NULL);
    es_status status = wait_for_all(swarm, sum, err);
    forget_call(swarm);
    return status;
}
