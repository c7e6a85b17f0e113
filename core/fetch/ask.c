/* Questions to one machine's shard socket. */
#include "fetch/ask.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_MESSAGES = 16, LOOK_MS = 50 };

struct es_asker {
    es_channel *channel;
    es_wire_memory *memory;
    uint8_t *header; /* [ES_SHARD_HEADER_MAX] */
    es_message reply;
    uint64_t number;
    const atomic_bool *stop;
    char at[ES_ENDPOINT_TEXT_MAX];
};

es_status es_asker_open(es_net *net, const char *at, const char *key, const atomic_bool *stop,
                        es_asker **ret_asker, es_err *err)
{
    const es_channel_limits limits = {ES_SHARD_FRAME_MAX, QUEUE_MESSAGES};
    es_endpoint endpoint;
    es_asker *asker = *ret_asker = calloc(1, sizeof *asker);
    if (asker == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", at);
    asker->stop = stop;
    snprintf(asker->at, sizeof asker->at, "%s", at);
    asker->header = malloc(ES_SHARD_HEADER_MAX);
    es_status status = es_endpoint_parse_connect(at, &endpoint, err);
    if (status == ES_OK)
        status =
            es_channel_connect(net, &endpoint, key[0] != '\0' ? key : NULL, &limits, &asker->channel, err);
    if (status == ES_OK) status = es_shard_memory_create(&asker->memory, err);
    if (status == ES_OK && asker->header == NULL) status = es_err_set(err, ES_NO_MEMORY, "%s", at);
    if (status != ES_OK) es_asker_close(ret_asker);
    return status;
}

void es_asker_close(es_asker **asker_at)
{
    es_asker *asker = *asker_at;
    if (asker == NULL) return;
    *asker_at = NULL;
    es_message_close(&asker->reply);
    es_channel_close(&asker->channel);
    es_wire_memory_destroy(&asker->memory);
    free(asker->header);
    free(asker);
}

/* Waits a moment for events on the socket or its connection. */
static es_status wait(es_asker *asker, short events, uint64_t deadline_ns, es_err *err)
{
    if (asker->stop != NULL && atomic_load(asker->stop)) return es_err_set(err, ES_CANCELLED, "stopped");
    es_link link = es_channel_link(asker->channel);
    if (link == ES_LINK_REFUSED)
        return es_err_set(err, ES_MISMATCH,
                          "%s: it refused the handshake: its key is another, or ours is not allowed there",
                          asker->at);
    if (link == ES_LINK_LOST) return es_err_set(err, ES_UNAVAILABLE, "%s: the connection ended", asker->at);
    if (es_clock_left_ms(deadline_ns) == 0)
        return es_err_set(err, ES_UNAVAILABLE, "%s: %s", asker->at,
                          link == ES_LINK_CONNECTING ? "nobody answers there" : "it does not answer");
    int left_ms = es_clock_left_ms(deadline_ns);
    zmq_pollitem_t items[] = {{es_channel_socket(asker->channel), 0, events, 0},
                              {es_channel_monitor(asker->channel), 0, ZMQ_POLLIN, 0}};
    zmq_poll(items, 2, left_ms < LOOK_MS ? left_ms : LOOK_MS);
    return ES_OK;
}

es_status es_asker_send(es_asker *asker, es_shard_request *request, uint64_t deadline_ns, es_err *err)
{
    request->request = ++asker->number;
    size_t bytes = es_shard_request_pack(request, asker->header);
    for (;;) {
        es_message out = {.count = 0};
        if (!es_message_add(&out, asker->header, bytes))
            return es_err_set(err, ES_NO_MEMORY, "%s", asker->at);
        es_status status = es_channel_send(asker->channel, &out, err);
        if (status == ES_TIMEOUT)
            status = wait(asker, ZMQ_POLLOUT, deadline_ns, err);
        else
            return status;
        if (status != ES_OK) return status;
    }
}

es_status es_asker_receive(es_asker *asker, uint64_t number, uint64_t deadline_ns, es_shard_reply *ret_reply,
                           const uint8_t **ret_bytes, size_t *ret_count, es_err *err)
{
    for (;;) {
        es_message_close(&asker->reply);
        es_status status = es_channel_receive(asker->channel, &asker->reply, err);
        if (status == ES_TIMEOUT) {
            status = wait(asker, ZMQ_POLLIN, deadline_ns, err);
            if (status != ES_OK) return status;
            continue;
        }
        if (status == ES_OK)
            status = es_shard_reply_unpack(asker->memory, es_message_data(&asker->reply, 0),
                                           es_message_bytes(&asker->reply, 0), ret_reply, err);
        if (status != ES_OK) return es_err_prefix(err, "%s", asker->at);
        if (ret_reply->request < number) continue;
        bool more = asker->reply.count == 2;
        *ret_bytes = more ? es_message_data(&asker->reply, 1) : NULL;
        *ret_count = more ? es_message_bytes(&asker->reply, 1) : 0;
        return ES_OK;
    }
}
