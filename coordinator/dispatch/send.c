/* Work on its way: who gets which part, and one request for each. */
#include "base/clock.h"
#include "base/size.h"
#include "dispatch/internal.h"
#include "net/crc32c.h"

#include <string.h>

enum { DEPTH_MAX = 24 }; /* times that the same work is given out before its step fails */

/* Of round trips in a node's history. The deadline leaves room for weights that have to come from a disk
 * first. */
static const uint64_t HEDGE_MIN_NS = 2000000, HEDGE_UNKNOWN_NS = 500000000, DEADLINE_MIN_NS = 200000000,
                      DEADLINE_UNKNOWN_NS = 1000000000;
enum { DEADLINE_TIMES_P95 = 8, EJECT_TIMES_DEADLINE = 3 };

/* What is not known of a node yet is taken from the others, and from here when there are none. */
static const double USUAL_RTT_NS = 200000, USUAL_COST_NS = 1000000;

/* A request for one more in a hundred, and a few at once. */
static const double HEDGES_A_REQUEST = 0.05, HEDGES_MAX = 8;

es_status es_send_request(es_swarm *swarm, es_node *node, const es_wire_request *request, const es_rows *rows,
                          const uint32_t *row, size_t *ret_bytes, es_err *err)
{
    es_wire_request full = *request;
    size_t bytes = request->rows * swarm->row_bytes;
    es_message message = {.count = 0};
    zmq_msg_t payload;
    if (zmq_msg_init_size(&payload, bytes) != 0)
        return es_err_set(err, ES_NO_MEMORY, "%zu bytes of rows", bytes);
    uint8_t *out = zmq_msg_data(&payload);
    for (size_t i = 0; i < request->rows; i++)
        memcpy(out + i * swarm->row_bytes, rows->data + row[i] * rows->row_bytes, swarm->row_bytes);
    full.payload_crc32c = es_crc32c(out, bytes);
    size_t header_bytes = es_wire_request_pack(&full, swarm->frame, ES_WIRE_HEADER_MAX);
    if (!es_message_add(&message, swarm->frame, header_bytes)) {
        zmq_msg_close(&payload);
        return es_err_set(err, ES_NO_MEMORY, "%zu bytes of header", header_bytes);
    }
    message.frame[message.count++] = payload;
    es_status status = es_channel_send(node->channel, &message, err);
    if (status != ES_OK) return status;
    node->counted.bytes_out += header_bytes + bytes;
    *ret_bytes = header_bytes + bytes + request->rows * request->cols * 3;
    return ES_OK;
}

/* Means over the nodes that were heard of. */
static es_seat usual_seat(const es_swarm *swarm)
{
    es_seat sum = {.base_ns = 0};
    double count = 0;
    for (size_t n = 0; n < swarm->node_count; n++) {
        const es_history *h = &swarm->nodes[n]->history;
        if (h->rtt_ns == 0 || h->cost_ns == 0) continue;
        sum.base_ns += h->rtt_ns;
        sum.cost_ns += h->cost_ns;
        count++;
    }
    if (count == 0) return (es_seat){.base_ns = USUAL_RTT_NS, .cost_ns = USUAL_COST_NS};
    return (es_seat){.base_ns = sum.base_ns / count, .cost_ns = sum.cost_ns / count};
}

static es_seat_rank rank_of(const es_node *node)
{
    if (node->stage != ES_NODE_UP || node->stale || node->draining || node->owed >= ES_TICKETS_MAX)
        return ES_SEAT_NONE;
    return node->doubts > 0 || node->errors > 0 ? ES_SEAT_DOUBT : ES_SEAT_GOOD;
}

/* Nodes that may still answer for part or those above it get none of it; those that failed it are asked last.
 */
static void bar(const es_swarm *swarm, const es_part *part)
{
    for (const es_part *p = part;; p = &swarm->parts[p->parent]) {
        for (size_t n = 0; n < swarm->node_count && p->node != NULL; n++) {
            es_seat *seat = &swarm->seats[n];
            if (swarm->nodes[n] != p->node || seat->rank == ES_SEAT_NONE) continue;
            seat->rank = p->state == ES_PART_ASKED ? ES_SEAT_NONE : ES_SEAT_DOUBT;
        }
        if (p->parent == ES_PART_NONE) return;
    }
}

static void seat_nodes(es_swarm *swarm, const es_part *part)
{
    const es_seat usual = usual_seat(swarm);
    size_t pair_bytes = swarm->row_bytes + 3 * swarm->options.shape->hidden;
    for (size_t n = 0; n < swarm->node_count; n++) {
        const es_node *node = swarm->nodes[n];
        const es_history *h = &node->history;
        swarm->seats[n] = (es_seat){.rank = rank_of(node),
                                    .base_ns = h->rtt_ns > 0 ? h->rtt_ns : usual.base_ns,
                                    .cost_ns = h->cost_ns > 0 ? h->cost_ns : usual.cost_ns,
                                    .pair_ns = h->byte_ns * (double)pair_bytes};
    }
    bar(swarm, part);
}

typedef enum reach { REACH_NONE, REACH_SOME, REACH_ALL } reach;

/* How much of work those who may get it hold, except (may be NULL) left out. */
static reach reach_of(const es_swarm *swarm, const es_work *work, const es_node *except)
{
    size_t held = 0;
    for (size_t p = 0; p < work->pairs; p++) {
        size_t count;
        const uint16_t *holders =
            es_holders_find(swarm->holders, swarm->layer, work->expert[p], work->chunks[p], &count);
        for (size_t h = 0; h < count; h++)
            if (swarm->seats[holders[h]].rank != ES_SEAT_NONE && swarm->nodes[holders[h]] != except) {
                held++;
                break;
            }
    }
    return held == 0 ? REACH_NONE : held < work->pairs ? REACH_SOME : REACH_ALL;
}

/* What the node has time for from now on, by what it took before. Without a copy elsewhere there is only the
 * longest. */
static void set_times(es_swarm *swarm, es_part *part, es_ticket *ticket, uint64_t now_ns)
{
    uint64_t longest_ns = swarm->options.deadline_ms * UINT64_C(1000000);
    uint64_t p95_ns = es_history_p95_ns(&part->node->history, part->work.cost);
    uint64_t end_ns = ticket->sent_ns + longest_ns;
    ticket->deadline_ns = ticket->eject_ns = end_ns;
    if (reach_of(swarm, &part->work, part->node) == REACH_ALL) {
        uint64_t time_ns =
            p95_ns > 0 ? es_size_max(DEADLINE_TIMES_P95 * p95_ns, DEADLINE_MIN_NS) : DEADLINE_UNKNOWN_NS;
        uint64_t hedge_ns = p95_ns > 0 ? es_size_max(p95_ns, HEDGE_MIN_NS) : HEDGE_UNKNOWN_NS;
        ticket->deadline_ns = es_size_min(now_ns + time_ns, end_ns);
        ticket->eject_ns = es_size_min(now_ns + EJECT_TIMES_DEADLINE * time_ns, end_ns);
        part->hedge_ns = now_ns + hedge_ns;
    }
    uint64_t due_ns = es_size_min(part->hedge_ns, ticket->deadline_ns);
    swarm->due_ns = es_size_min(swarm->due_ns, due_ns);
}

void es_part_retime(es_swarm *swarm, es_part *part, es_ticket *ticket, uint64_t now_ns)
{
    seat_nodes(swarm, part);
    set_times(swarm, part, ticket, now_ns);
}

/* Sends an open part to node. When that takes it, the part is asked. */
static void ask(es_swarm *swarm, es_part *part, es_node *node)
{
    const es_rows *rows = swarm->batch->rows;
    const es_work *w = &part->work;
    es_wire_request request = {.ids = {.coordinator = swarm->coordinator,
                                       .step = swarm->call,
                                       .epoch = node->epoch,
                                       .layer = (uint32_t)swarm->layer,
                                       .attempt = es_part_index(swarm, part)},
                               .row_format = rows->format,
                               .rows = w->rows,
                               .cols = rows->cols,
                               .pairs = w->pairs,
                               .pairs_per_row = w->pairs_per_row,
                               .expert = w->expert,
                               .weight = w->weight,
                               .chunks = w->sliced ? w->chunks : NULL,
                               .requests =
                                   node->requests_told != swarm->requests_version ? swarm->requests : ""};
    es_err err;
    size_t bytes = 0;
    es_status status = es_send_request(swarm, node, &request, rows, w->row, &bytes, &err);
    uint64_t now_ns = es_clock_now_ns();
    if (status != ES_OK) {
        /* What it may owe us is less than its queue holds: one that takes no message has no connection. */
        if (status == ES_TIMEOUT) es_err_set(&err, ES_UNAVAILABLE, "connection lost");
        es_exchange_lose(swarm, node, &err, now_ns);
        return;
    }
    es_ticket *ticket = es_node_owe(node, swarm->call, request.ids.attempt, request.ids.layer);
    node->requests_told = swarm->requests_version;
    ticket->cost = w->cost;
    ticket->bytes = bytes;
    ticket->sent_ns = now_ns;
    part->node = node;
    part->state = ES_PART_ASKED;
    swarm->open--;
    set_times(swarm, part, ticket, now_ns);
    swarm->hedges += swarm->hedges < HEDGES_MAX ? HEDGES_A_REQUEST : 0;
}

/* Children of part, one for each node that got some of its work, and one for the rest. */
static bool add_children(es_swarm *swarm, es_part *part)
{
    size_t first = swarm->part_count;
    for (size_t n = 0; n <= swarm->node_count; n++) {
        if (swarm->works[n].rows == 0) continue;
        es_part *child = es_part_add(swarm, es_part_index(swarm, part), &swarm->works[n]);
        if (child == NULL) {
            es_err_set(&swarm->failed, ES_NO_MEMORY, "layer %zu: its work was given out too often",
                       swarm->layer);
            return false;
        }
        child->node = n < swarm->node_count ? swarm->nodes[n] : NULL;
    }
    part->first_child = (uint32_t)first;
    part->child_count = (uint32_t)(swarm->part_count - first);
    if (part->state == ES_PART_OPEN) {
        part->state = ES_PART_DEAD;
        swarm->open--;
    }
    part->hedge_ns = UINT64_MAX;
    return true;
}

/* Cuts an open part's work anew where experts are held in other slices than when the call began. False: the
 * call failed. */
static bool recut(es_swarm *swarm, es_part *part)
{
    es_work work;
    es_err err;
    if (es_plan_recut(swarm->plan, swarm->holders, swarm->layer, &part->work, &work, &err) != ES_OK) {
        es_err_prefix(&err, "layer %zu", swarm->layer);
        swarm->failed = err;
        return false;
    }
    if (work.pairs != part->work.pairs) es_part_recut(swarm, part, &work);
    return true;
}

bool es_part_give_out(es_swarm *swarm, es_part *part, uint64_t now_ns)
{
    (void)now_ns;
    if (part->depth == DEPTH_MAX) {
        swarm->failed = swarm->last;
        return false;
    }
    seat_nodes(swarm, part);
    reach held = reach_of(swarm, &part->work, NULL);
    if (held != REACH_ALL && part->state == ES_PART_OPEN) {
        if (!recut(swarm, part)) return false;
        held = reach_of(swarm, &part->work, NULL);
    }
    if (held == REACH_NONE || (part->state == ES_PART_ASKED && held != REACH_ALL)) return false;
    es_err err;
    es_status status = es_plan_assign(swarm->plan, swarm->holders, swarm->layer, &part->work, swarm->seats,
                                      swarm->node_count, swarm->works, &err);
    if (status != ES_OK) {
        es_err_prefix(&err, "layer %zu", swarm->layer);
        swarm->failed = err;
        return false;
    }
    if (!add_children(swarm, part)) return false;
    for (uint32_t i = 0; i < part->child_count; i++) {
        es_part *child = &swarm->parts[part->first_child + i];
        es_node *node = child->node;
        child->node = NULL; /* until it is asked */
        if (node != NULL && node->stage == ES_NODE_UP && node->owed < ES_TICKETS_MAX) ask(swarm, child, node);
    }
    return held == REACH_ALL;
}
