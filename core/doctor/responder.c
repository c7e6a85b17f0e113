/* Answers probes. */
#include "doctor/responder.h"

#include "base/clock.h"
#include "base/signals.h"
#include "net/flood.h"

#include <stdlib.h>

enum { QUEUE_MESSAGES = 8, TICK_MS = 250 };

struct es_responder {
    es_channel *channel;
    es_flood_guard *guard;
    es_control_memory *memory;
    uint8_t *frame; /* [ES_CONTROL_FRAME_MAX] */
    es_probe_reply who;
};

es_status es_responder_open(es_net *net, const es_endpoint *listen, const es_probe_reply *who,
                            es_responder **ret_responder, es_endpoint *ret_bound, es_err *err)
{
    static const es_channel_limits LIMITS = {ES_CONTROL_FRAME_MAX, QUEUE_MESSAGES};
    static const uint64_t FLOOD_BYTES = (uint64_t)(QUEUE_MESSAGES + 1) * 2 * ES_CONTROL_FRAME_MAX;
    es_responder *r = calloc(1, sizeof *r);
    *ret_responder = r;
    if (r == NULL) return es_err_set(err, ES_NO_MEMORY, "responder");
    r->who = *who;
    r->frame = malloc(ES_CONTROL_FRAME_MAX);
    es_status status = r->frame == NULL ? es_err_set(err, ES_NO_MEMORY, "responder") : ES_OK;
    if (status == ES_OK) status = es_control_memory_create(&r->memory, err);
    if (status == ES_OK) status = es_channel_bind(net, listen, &LIMITS, &r->channel, ret_bound, err);
    if (status == ES_OK) status = es_flood_guard_create(r->channel, FLOOD_BYTES, &r->guard, err);
    if (status != ES_OK) es_responder_close(ret_responder);
    return status;
}

void es_responder_close(es_responder **responder)
{
    if (*responder == NULL) return;
    es_flood_guard_destroy(&(*responder)->guard);
    es_channel_close(&(*responder)->channel);
    es_control_memory_destroy(&(*responder)->memory);
    free((*responder)->frame);
    free(*responder);
    *responder = NULL;
}

/* The message is who asks, and what. */
static void answer(es_responder *r, es_message *message)
{
    es_err err = {.text = ""};
    es_control_request request;
    es_control_reply reply = {.text = "", .kind = ES_CONTROL_PROBE};
    size_t bytes;
    if (message->count != 2) return;
    reply.status = es_control_request_unpack(r->memory, es_message_data(message, 1),
                                             es_message_bytes(message, 1), &request, &err);
    if (reply.status == ES_CORRUPT) return;
    if (reply.status == ES_OK && request.kind != ES_CONTROL_PROBE)
        reply.status = es_err_set(&err, ES_UNSUPPORTED, "a doctor answers here, no expert node");
    reply.request = request.request;
    if (reply.status != ES_OK) {
        reply.text = err.text;
    } else {
        reply.probe = r->who;
        reply.probe.fill_bytes = request.probe.want_bytes;
        reply.probe.clock_ns = es_clock_wall_ns();
    }
    es_message out = {.count = 0};
    if (es_control_reply_pack(r->memory, &reply, r->frame, &bytes, &err) != ES_OK ||
        !es_message_add(&out, es_message_data(message, 0), es_message_bytes(message, 0)) ||
        !es_message_add(&out, r->frame, bytes))
        es_message_close(&out);
    else
        es_channel_send(r->channel, &out, &err); /* who does not read, or is gone, gets none */
}

es_status es_responder_run(es_responder *r, es_err *err)
{
    uint64_t checked_ns = 0;
    while (!es_signals_stop_asked()) {
        es_message message;
        if (es_clock_now_ns() - checked_ns > TICK_MS * UINT64_C(1000000)) {
            es_flood_guard_check(r->guard);
            checked_ns = es_clock_now_ns();
        }
        es_status status = es_channel_receive(r->channel, &message, err);
        if (status == ES_OK) {
            es_flood_guard_saw(r->guard, &message);
            answer(r, &message);
            es_message_close(&message);
            continue;
        }
        if (status == ES_INVALID) continue;
        if (status != ES_TIMEOUT) return status;
        zmq_pollitem_t items[] = {{es_channel_socket(r->channel), 0, ZMQ_POLLIN, 0},
                                  {NULL, es_signals_fd(), ZMQ_POLLIN, 0}};
        zmq_poll(items, 2, TICK_MS);
    }
    return ES_OK;
}
