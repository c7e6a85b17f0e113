/* What nodes count of themselves, where no registry's control thread asks for it: one node after the other,
 * each on a control channel that lasts for the question. Nothing here waits. */
#include "base/size.h"
#include "dispatch/internal.h"

enum {
    QUEUE_MESSAGES = 2,
    FIRST_MS = 500,  /* before the first look: work comes first */
    ROUND_MS = 5000, /* for all nodes, */
    PAUSE_MS = 500,  /* but no closer than that */
    ANSWER_MS = 4000 /* longer than a handshake takes to time out */
};

static uint64_t in_ms(uint64_t now_ns, uint64_t ms)
{
    return now_ns + ms * 1000000u;
}

void es_watch_stop(es_swarm *swarm)
{
    es_channel_close(&swarm->watch.channel);
    swarm->watch.asked = false;
}

static void begin(es_swarm *swarm, uint64_t now_ns)
{
    es_watch *w = &swarm->watch;
    es_channel_limits limits = {ES_CONTROL_FRAME_MAX, QUEUE_MESSAGES};
    w->node = (w->node + 1) % swarm->node_count;
    w->until_ns = in_ms(now_ns, ANSWER_MS);
    w->again_ns = in_ms(now_ns, es_size_max(ROUND_MS / swarm->node_count, PAUSE_MS));
    const es_node *node = swarm->nodes[w->node];
    if (node->stage != ES_NODE_UP) return;
    /* What fails is tried again next time round; whether the node works is told elsewhere. */
    if (es_channel_connect(swarm->net, &node->control_at, node->key[0] != '\0' ? node->key : NULL, &limits,
                           &w->channel, NULL) != ES_OK)
        es_watch_stop(swarm);
}

static es_status ask(es_swarm *swarm, es_err *err)
{
    es_control_request request = {.coordinator = swarm->coordinator, .request = 1, .kind = ES_CONTROL_STATS};
    es_message message = {.count = 0};
    size_t bytes = es_control_request_pack(swarm->control_memory, &request, swarm->frame);
    if (!es_message_add(&message, swarm->frame, bytes)) return es_err_set(err, ES_NO_MEMORY, "statistics");
    swarm->watch.asked = true;
    return es_channel_send(swarm->watch.channel, &message, err);
}

/* ES_TIMEOUT: not there yet. */
static es_status take(es_swarm *swarm, es_err *err)
{
    es_message message;
    es_control_reply reply;
    es_status status = es_channel_receive(swarm->watch.channel, &message, err);
    if (status != ES_OK) return status;
    status = message.count != 1 ? es_err_set(err, ES_CORRUPT, "answer of %zu frames", message.count)
                                : es_control_reply_unpack(swarm->control_memory, es_message_data(&message, 0),
                                                          es_message_bytes(&message, 0), &reply, err);
    if (status == ES_OK && (reply.status != ES_OK || reply.kind != ES_CONTROL_STATS))
        status = es_err_set(err, ES_CORRUPT, "no statistics");
    if (status == ES_OK) {
        es_swarm_node_info *counted = &swarm->nodes[swarm->watch.node]->counted;
        counted->refused = reply.stats.refused;
        counted->malformed = reply.stats.malformed;
        counted->watched = true;
    }
    es_message_close(&message);
    return status;
}

void es_watch_tend(es_swarm *swarm, uint64_t now_ns)
{
    es_watch *w = &swarm->watch;
    es_err err;
    if (!swarm->options.watch || swarm->node_count == 0) return;
    if (w->again_ns == 0) w->again_ns = in_ms(now_ns, FIRST_MS);
    if (w->channel == NULL) {
        if (now_ns >= w->again_ns) begin(swarm, now_ns);
        return;
    }
    es_link link = es_channel_link(w->channel);
    es_status status = ES_TIMEOUT;
    if (w->asked)
        status = take(swarm, &err);
    else if (es_channel_writable(w->channel) && ask(swarm, &err) != ES_OK)
        status = err.status;
    bool over = status != ES_TIMEOUT || link == ES_LINK_LOST || link == ES_LINK_REFUSED;
    if (over || now_ns >= w->until_ns) es_watch_stop(swarm);
}
