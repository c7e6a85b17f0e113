/* One node's connections from one stage to the next, and what it owes us. */
#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "dispatch/internal.h"
#include "net/crc32c.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPEN_MS = 3000,  /* for the data channel, whose control channel just answered */
    PROBES = 2,      /* answered before a node that was lost gets work */
    PROBE_MS = 2000, /* for each */
    IDLE_MS = 1000   /* without work before it is tried, so that its history stays fresh */
};

es_status es_node_create(const char *text, es_node **ret_node, es_err *err)
{
    char endpoint[512];
    *ret_node = NULL;
    const char *comma = strchr(text, ',');
    size_t length = comma == NULL ? strlen(text) : (size_t)(comma - text);
    if (length >= sizeof endpoint) return es_err_set(err, ES_INVALID, "node \"%.40s...\": too long", text);
    memcpy(endpoint, text, length);
    endpoint[length] = '\0';
    if (comma != NULL && !es_key_valid(comma + 1))
        return es_err_set(err, ES_INVALID, "node \"%s\": what follows the comma is no public key", text);
    es_node *node = calloc(1, sizeof *node);
    if (node == NULL) return es_err_set(err, ES_NO_MEMORY, "node \"%s\"", text);
    if (comma != NULL) memcpy(node->key, comma + 1, ES_KEY_TEXT_BYTES);
    es_status status = es_endpoint_parse_connect(endpoint, &node->control_at, err);
    if (status != ES_OK) {
        free(node);
        return status;
    }
    es_endpoint_format(&node->control_at, node->where);
    node->wants_hello = true;
    node->lost_ns = es_clock_now_ns();
    es_err_set(&node->why, ES_UNAVAILABLE, "not reached yet");
    *ret_node = node;
    return ES_OK;
}

void es_node_destroy(es_node **node)
{
    if (*node == NULL) return;
    es_channel_close(&(*node)->control);
    es_channel_close(&(*node)->channel);
    free((*node)->units);
    free(*node);
    *node = NULL;
}

es_ticket *es_node_owe(es_node *node, uint64_t call, uint32_t attempt, uint32_t layer)
{
    es_ticket *ticket = node->tickets;
    while (ticket->call != 0) {
        ticket++;
        ES_ASSERT(ticket < node->tickets + ES_TICKETS_MAX);
    }
    *ticket = (es_ticket){.call = call, .attempt = attempt, .layer = layer};
    node->owed++;
    return ticket;
}

es_ticket *es_node_find(es_node *node, const es_wire_ids *ids)
{
    for (es_ticket *t = node->tickets; t < node->tickets + ES_TICKETS_MAX; t++)
        if (t->call != 0 && t->call == ids->step && t->attempt == ids->attempt && t->layer == ids->layer)
            return t;
    return NULL;
}

void es_node_settle(es_node *node, es_ticket *ticket)
{
    if (ticket->late) node->doubts--;
    node->owed--;
    *ticket = (es_ticket){.call = 0};
}

void es_node_note(es_swarm *swarm, es_node *node, const es_err *why)
{
    if (!node->was_up)
        node->why = *why;
    else if (why->status == ES_MISMATCH && node->hello_sent)
        es_swarm_log(swarm, node, ES_LOG_WARN, "node %s (%s): %s", node->name, node->where, why->text);
}

void es_node_drop(es_swarm *swarm, es_node *node, const es_err *why, uint64_t now_ns)
{
    es_node_note(swarm, node, why);
    if (node->stage == ES_NODE_UP) {
        node->why = *why;
        node->lost_ns = now_ns;
        node->counted.lost += !node->leaves;
        if (node->leaves)
            es_swarm_log(swarm, node, ES_LOG_INFO, "node %s (%s) left the swarm", node->name, node->where);
        else
            es_swarm_log(swarm, node, ES_LOG_WARN, "node %s (%s) is lost: %s", node->name, node->where,
                         why->text);
    }
    es_channel_close(&node->channel);
    es_channel_close(&node->control);
    memset(node->tickets, 0, sizeof node->tickets);
    node->owed = node->doubts = 0;
    node->requests_told = 0;
    node->errors = node->probes = 0;
    node->stage = ES_NODE_LOST;
    node->wants_hello = true;
    node->hello_again_ns = now_ns;
    swarm->changes++;
}

static void set_up(es_swarm *swarm, es_node *node, uint64_t now_ns)
{
    if (node->was_up)
        es_swarm_log(swarm, node, ES_LOG_WARN, "node %s (%s) is back after %.1f s", node->name, node->where,
                     (double)(now_ns - node->lost_ns) * 1e-9);
    node->stage = ES_NODE_UP;
    node->was_up = true;
    node->errors = 0;
    node->probed_ns = now_ns;
    swarm->changes++;
}

/* The first expert it holds, asked for with a row that is no token's: as real as work can be, and small. */
void es_node_probe(es_swarm *swarm, es_node *node, uint64_t now_ns)
{
    if (node->unit_count == 0 || node->owed == ES_TICKETS_MAX) return;
    const es_units *u = &node->units[0];
    const uint32_t one = 1, row = 0;
    const float weight = 1;
    uint32_t chunks = u->slices == 1 ? 0
                                     : es_chunks_code(es_chunks_of_slice(
                                           swarm->options.shape->expert_intermediate, u->slice, u->slices));
    es_rows rows = {.format = swarm->options.row_format,
                    .count = 1,
                    .cols = swarm->options.shape->hidden,
                    .row_bytes = swarm->row_bytes,
                    .data = swarm->probe_row};
    es_wire_request request = {.ids = {.coordinator = swarm->coordinator,
                                       .step = ++swarm->probe,
                                       .epoch = node->epoch,
                                       .layer = u->layer,
                                       .attempt = ES_PROBE_ATTEMPT},
                               .row_format = rows.format,
                               .rows = 1,
                               .cols = rows.cols,
                               .pairs = 1,
                               .pairs_per_row = &one,
                               .expert = &u->expert_first,
                               .weight = &weight,
                               .requests = "probe",
                               .chunks = chunks != 0 ? &chunks : NULL};
    size_t bytes;
    if (es_send_request(swarm, node, &request, &rows, &row, &bytes, NULL) != ES_OK) return;
    node->requests_told = 0;
    es_ticket *t = es_node_owe(node, request.ids.step, ES_PROBE_ATTEMPT, u->layer);
    double share = 1.0 / u->slices;
    t->cost = share * es_history_cost(1, 1);
    t->bytes = bytes;
    t->sent_ns = now_ns;
    t->deadline_ns = t->eject_ns = now_ns + PROBE_MS * UINT64_C(1000000);
    node->stage_ns = t->eject_ns;
}

/* A node without units yet is up as it is: there is nothing to try. */
static void open_stage(es_swarm *swarm, es_node *node, uint64_t now_ns)
{
    if (!es_channel_writable(node->channel)) return;
    if (!node->was_up || node->unit_count == 0) {
        set_up(swarm, node, now_ns);
        return;
    }
    node->stage = ES_NODE_TRIED;
    node->stage_ns = now_ns + PROBE_MS * UINT64_C(1000000);
    es_node_probe(swarm, node, now_ns);
}

static void tried_stage(es_swarm *swarm, es_node *node, uint64_t now_ns)
{
    if (node->probes >= PROBES)
        set_up(swarm, node, now_ns);
    else if (node->owed == 0)
        es_node_probe(swarm, node, now_ns);
}

static es_status open_data(es_swarm *swarm, es_node *node, uint64_t now_ns, es_err *err)
{
    es_channel_limits limits = es_swarm_data_limits(swarm);
    node->stage = ES_NODE_OPENING;
    node->stage_ns = now_ns + OPEN_MS * UINT64_C(1000000);
    node->probes = 0;
    return es_channel_connect(swarm->net, &node->data_at, node->key[0] != '\0' ? node->key : NULL, &limits,
                              &node->channel, err);
}

/* A data channel that has no work to tell by. */
static es_status check_channel(es_node *node, uint64_t now_ns, es_err *err)
{
    es_link link = es_channel_link(node->channel);
    if (link == ES_LINK_LOST) return es_err_set(err, ES_UNAVAILABLE, "connection lost");
    if (node->stage == ES_NODE_UP || now_ns < node->stage_ns) return ES_OK;
    if (node->stage == ES_NODE_OPENING)
        return es_err_set(err, ES_TIMEOUT, "said hello, but its data port %u does not answer",
                          node->data_at.port);
    return es_err_set(err, ES_TIMEOUT, "said hello, but did not answer a probe within %d ms", PROBE_MS);
}

es_status es_node_tend(es_swarm *swarm, es_node *node, uint64_t now_ns, es_err *err)
{
    es_status status = ES_OK;
    if (node->wants_hello) status = es_node_greet(swarm, node, now_ns, err);
    if (status != ES_OK) return status;
    if (node->stage == ES_NODE_LOST && !node->wants_hello) status = open_data(swarm, node, now_ns, err);
    if (status == ES_OK && node->channel != NULL) status = check_channel(node, now_ns, err);
    if (status != ES_OK) return status;
    if (node->stage == ES_NODE_OPENING) open_stage(swarm, node, now_ns);
    if (node->stage == ES_NODE_TRIED) tried_stage(swarm, node, now_ns);
    if (node->stage == ES_NODE_UP && node->owed == 0 &&
        now_ns - node->history.last_ns > IDLE_MS * UINT64_C(1000000) &&
        now_ns - node->probed_ns > IDLE_MS * UINT64_C(1000000)) {
        node->probed_ns = now_ns;
        es_node_probe(swarm, node, now_ns);
    }
    return ES_OK;
}
