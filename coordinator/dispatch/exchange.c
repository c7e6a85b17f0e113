/* One layer's round trip: parts go out, replies are added as they come, in any order; what fails or is late
 * goes out again, to others. */
#include "dispatch/internal.h"

#include "base/clock.h"
#include "base/size.h"
#include "dispatch/combine.h"

#include <inttypes.h>
#include <sched.h>
#include <string.h>

/* Messages of one node between two looks at the others and the clock: a node that floods delays nobody for
 * long. */
enum { IN_A_ROW = 16, ERRORS_MAX = 3, SLEEP_MS = 100, SLEEP_TENDING_MS = 10 };

/* A reply that comes soon is cheaper to wait for awake. */
static const uint64_t SPIN_NS = 50000, TEND_NS = 100000000, ASK_NS = 250000000;

static es_status at_node(const es_swarm *swarm, const es_node *node, es_err *err)
{
    return es_err_prefix(err, "layer %zu: node %s (%s)", swarm->layer, node->name, node->where);
}

/* The part of the call under way that a ticket is for, if it is still to be answered. */
static es_part *part_of(es_swarm *swarm, const es_ticket *ticket)
{
    if (swarm->batch == NULL || ticket->call != swarm->call || ticket->attempt >= swarm->part_count)
        return NULL;
    es_part *part = &swarm->parts[ticket->attempt];
    return part->state == ES_PART_ASKED ? part : NULL;
}

void es_exchange_lose(es_swarm *swarm, es_node *node, const es_err *why, uint64_t now_ns)
{
    es_part *failed[ES_TICKETS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < ES_TICKETS_MAX; i++) {
        es_ticket *t = &node->tickets[i];
        es_part *part = t->call != 0 && t->attempt != ES_PROBE_ATTEMPT ? part_of(swarm, t) : NULL;
        if (part != NULL) failed[count++] = part;
    }
    if (swarm->batch != NULL) {
        swarm->last = *why;
        at_node(swarm, node, &swarm->last);
    }
    es_node_drop(swarm, node, why, now_ns);
    for (size_t i = 0; i < count; i++) es_part_fail(swarm, failed[i], now_ns);
}

/* The first that the node owes, or NULL. */
static es_ticket *oldest(es_node *node)
{
    es_ticket *first = NULL;
    for (es_ticket *t = node->tickets; t < node->tickets + ES_TICKETS_MAX; t++)
        if (t->call != 0 && (first == NULL || t->sent_ns < first->sent_ns)) first = t;
    return first;
}

/* Another node would say the same: the step cannot be computed. */
static bool is_final(es_status status)
{
    return status == ES_NUMERIC || status == ES_INVALID || status == ES_UNSUPPORTED;
}

/* What we know of the node is out of date, or it has to be told who we are. */
static bool wants_hello(es_status status)
{
    return status == ES_NOT_HERE || status == ES_MISMATCH || status == ES_UNAVAILABLE;
}

/* A reply that is an error, or none that makes sense; ticket (may be NULL) is what it is for. */
static void take_error(es_swarm *swarm, es_node *node, es_ticket *ticket, bool said, const es_err *why)
{
    uint64_t now_ns = es_clock_now_ns();
    es_part *part = ticket != NULL && ticket->attempt != ES_PROBE_ATTEMPT ? part_of(swarm, ticket) : NULL;
    bool probe = ticket != NULL && ticket->attempt == ES_PROBE_ATTEMPT;
    if (ticket != NULL) es_node_settle(node, ticket);
    es_swarm_log(swarm, node, said && wants_hello(why->status) ? ES_LOG_INFO : ES_LOG_WARN,
                 "node %s (%s): %s", node->name, node->where, why->text);
    swarm->changes++;
    node->counted.errors++;
    node->counted.corrupt += why->status == ES_CORRUPT;
    if (swarm->batch != NULL) {
        swarm->last = *why;
        at_node(swarm, node, &swarm->last);
    }
    if (part != NULL && said && is_final(why->status)) {
        swarm->failed = swarm->last;
        return;
    }
    if (said && wants_hello(why->status)) {
        node->wants_hello = node->stale = true;
        node->hello_again_ns = now_ns;
    } else {
        node->errors++;
    }
    if (part != NULL) es_part_fail(swarm, part, now_ns);
    if (node->errors >= ERRORS_MAX || (probe && node->stage == ES_NODE_TRIED))
        es_exchange_lose(swarm, node, why, now_ns);
}

static void count_call(es_swarm *swarm, es_node *node, const es_ticket *ticket, const es_message *message,
                       const es_wire_reply *reply, uint64_t now_ns)
{
    es_swarm_node_info *c = &node->counted;
    uint64_t latency_ns = now_ns - ticket->sent_ns;
    double seconds = (double)latency_ns * 1e-9;
    size_t bucket = 0;
    while (bucket < ES_SWARM_LATENCY_BOUNDS && seconds > ES_SWARM_LATENCY_BOUND[bucket]) bucket++;
    c->bytes_in += es_message_bytes(message, 0) + es_message_bytes(message, 1);
    es_history_add(&node->history, ticket->cost, ticket->bytes, latency_ns, reply->compute_ns, now_ns);
    if (ticket->attempt == ES_PROBE_ATTEMPT) return;
    es_trace_call(swarm->options.trace, node->traced, ticket->layer, ticket->sent_ns, now_ns,
                  reply->compute_ns);
    c->latency_bucket[bucket]++;
    c->latency_seconds += seconds;
    c->calls++;
    c->compute_ns += reply->compute_ns;
}

/* A reply of one of our requests, its status ES_OK. */
static void take_sums(es_swarm *swarm, es_node *node, es_ticket *ticket, const es_wire_reply *reply,
                      es_message *message)
{
    static const uint32_t NO_ROW = 0;
    const es_work probe = {.rows = 1, .row = &NO_ROW};
    bool is_probe = ticket->attempt == ES_PROBE_ATTEMPT;
    es_part *part = is_probe ? NULL : part_of(swarm, ticket);
    const es_work *work = is_probe ? &probe : part != NULL ? &part->work : NULL;
    es_err err;
    if (work != NULL &&
        es_combine_check(work, swarm->options.shape->hidden, reply, es_message_data(message, 1),
                         es_message_bytes(message, 1), &err) != ES_OK) {
        take_error(swarm, node, ticket, false, &err);
        return;
    }
    count_call(swarm, node, ticket, message, reply, es_clock_now_ns());
    es_node_settle(node, ticket);
    swarm->changes += swarm->open > 0 || node->owed == ES_TICKETS_MAX - 1; /* it has credit again */
    node->errors = 0;
    if (is_probe)
        node->probes++;
    else if (part != NULL)
        es_part_answer(swarm, part, message, reply->width);
    else
        node->counted.late++;
    if (reply->ids.epoch > node->epoch && !node->wants_hello) { /* it holds other units than it told us */
        node->wants_hello = true;
        node->hello_again_ns = 0;
    }
}

/* Takes in one message of a node; late and repeated replies are dropped. */
static void take_reply(es_swarm *swarm, es_node *node, es_message *message)
{
    es_wire_reply reply;
    es_err err;
    es_status status = message->count != 2
                           ? es_err_set(&err, ES_CORRUPT, "reply of %zu frames", message->count)
                           : es_wire_reply_unpack(swarm->memory, es_message_data(message, 0),
                                                  es_message_bytes(message, 0), &reply, &err);
    if (status != ES_OK) {
        take_error(swarm, node, oldest(node), false, &err);
        return;
    }
    es_ticket *ticket = reply.ids.coordinator == swarm->coordinator ? es_node_find(node, &reply.ids) : NULL;
    if (ticket == NULL) {
        node->counted.late++;
    } else if (reply.status != ES_OK) {
        es_part *part = ticket->attempt != ES_PROBE_ATTEMPT ? part_of(swarm, ticket) : NULL;
        if (part != NULL && reply.failed_row < part->work.rows)
            es_err_set(&err, reply.status, "row %u: %s", part->work.row[reply.failed_row], reply.text);
        else
            es_err_set(&err, reply.status, "%s", reply.text);
        take_error(swarm, node, ticket, true, &err);
    } else {
        take_sums(swarm, node, ticket, &reply, message);
    }
}

/* True: it had sent something. */
static bool receive_from(es_swarm *swarm, es_node *node)
{
    bool some = false;
    for (int i = 0; i < IN_A_ROW && node->channel != NULL; i++) {
        es_message message;
        es_err err;
        es_status status = es_channel_receive(node->channel, &message, &err);
        if (status == ES_TIMEOUT) break;
        some = true;
        if (status == ES_OK) {
            take_reply(swarm, node, &message);
            es_message_close(&message);
        } else {
            es_err_prefix(&err, "reply could not be received");
            take_error(swarm, node, oldest(node), false, &err);
        }
    }
    return some;
}

bool es_exchange_receive(es_swarm *swarm)
{
    bool some = false;
    for (size_t n = 0; n < swarm->node_count; n++)
        if (swarm->nodes[n]->owed > 0) some |= receive_from(swarm, swarm->nodes[n]);
    return some;
}

/* A connection that is gone has delivered all it will: what is not here by now does not come. */
static void check_links(es_swarm *swarm, uint64_t now_ns)
{
    for (size_t n = 0; n < swarm->node_count; n++) {
        es_node *node = swarm->nodes[n];
        if (node->owed == 0 || es_channel_link(node->channel) != ES_LINK_LOST) continue;
        while (receive_from(swarm, node)) continue;
        es_err why;
        es_err_set(&why, ES_UNAVAILABLE, "connection lost");
        if (node->channel != NULL) es_exchange_lose(swarm, node, &why, now_ns);
    }
}

static void ticket_due(es_swarm *swarm, es_node *node, es_ticket *ticket, uint64_t now_ns)
{
    if (now_ns >= ticket->eject_ns) {
        es_err why;
        es_err_set(&why, ES_TIMEOUT, "did not answer within %" PRIu64 " ms",
                   (ticket->eject_ns - ticket->sent_ns) / 1000000);
        es_exchange_lose(swarm, node, &why, now_ns);
        return;
    }
    if (!ticket->late && now_ns >= ticket->deadline_ns) {
        ticket->late = true;
        es_swarm_log(swarm, node, ES_LOG_INFO, "node %s (%s) is late: no answer within %" PRIu64 " ms",
                     node->name, node->where, (ticket->deadline_ns - ticket->sent_ns) / 1000000);
        node->doubts++;
        es_part *part = ticket->attempt != ES_PROBE_ATTEMPT ? part_of(swarm, ticket) : NULL;
        if (part != NULL && part->child_count == 0 && es_part_give_out(swarm, part, now_ns))
            node->counted.retried++;
    }
    swarm->due_ns = es_size_min(swarm->due_ns, ticket->late ? ticket->eject_ns : ticket->deadline_ns);
}

/* Nodes that were the only ones with their experts had the longest time; a copy may be back since. */
static void retime(es_swarm *swarm, uint64_t now_ns)
{
    if (swarm->retimed == swarm->changes) return;
    swarm->retimed = swarm->changes;
    for (size_t n = 0; n < swarm->node_count; n++)
        for (size_t i = 0; i < ES_TICKETS_MAX && swarm->nodes[n]->owed > 0; i++) {
            es_ticket *ticket = &swarm->nodes[n]->tickets[i];
            bool alone = ticket->call != 0 && ticket->attempt != ES_PROBE_ATTEMPT && !ticket->late;
            es_part *part = alone ? part_of(swarm, ticket) : NULL;
            if (part != NULL && part->child_count == 0 && ticket->deadline_ns == ticket->eject_ns)
                es_part_retime(swarm, part, ticket, now_ns);
        }
}

static void run_timers(es_swarm *swarm, uint64_t now_ns)
{
    retime(swarm, now_ns);
    if (now_ns < swarm->due_ns) return;
    swarm->due_ns = UINT64_MAX;
    for (size_t n = 0; n < swarm->node_count; n++)
        for (size_t i = 0; i < ES_TICKETS_MAX && swarm->nodes[n]->owed > 0; i++)
            if (swarm->nodes[n]->tickets[i].call != 0)
                ticket_due(swarm, swarm->nodes[n], &swarm->nodes[n]->tickets[i], now_ns);
    for (size_t i = 0; i < swarm->part_count; i++) {
        es_part *part = &swarm->parts[i];
        if (part->state != ES_PART_ASKED || part->hedge_ns == UINT64_MAX) continue;
        if (now_ns < part->hedge_ns) {
            swarm->due_ns = es_size_min(swarm->due_ns, part->hedge_ns);
            continue;
        }
        part->hedge_ns = UINT64_MAX;
        if (swarm->hedges < 1 || part->child_count > 0) continue;
        if (!es_part_give_out(swarm, part, now_ns)) continue;
        swarm->hedges--;
        part->node->counted.hedged++;
    }
}

/* A list is followed when all that are up have said what they hold since. */
static void note_followed(es_swarm *swarm)
{
    for (size_t n = 0; n < swarm->node_count; n++)
        if (swarm->nodes[n]->stage == ES_NODE_UP && swarm->nodes[n]->wants_hello) return;
    atomic_store(&swarm->followed, swarm->taken);
}

void es_exchange_tend(es_swarm *swarm, uint64_t now_ns)
{
    swarm->tended_ns = now_ns;
    es_swarm_take_nodes(swarm);
    for (size_t n = 0; n < swarm->node_count; n++) {
        es_node *node = swarm->nodes[n];
        if (node->stage == ES_NODE_TRIED) receive_from(swarm, node);
        es_err err;
        if (es_node_tend(swarm, node, now_ns, &err) == ES_OK) continue;
        /* One that is up and says nothing computes: whether for too long its work's deadlines tell. */
        bool computes = node->stage == ES_NODE_UP && err.status == ES_TIMEOUT;
        if (node->channel != NULL && !computes)
            es_exchange_lose(swarm, node, &err, now_ns);
        else
            es_node_note(swarm, node, &err);
    }
    note_followed(swarm);
    es_watch_tend(swarm, now_ns);
    run_timers(swarm, now_ns);
}

/* Whether a node's connections need more than a look now and then. */
static bool unsettled(const es_swarm *swarm)
{
    for (size_t n = 0; n < swarm->node_count; n++)
        if (swarm->nodes[n]->stage != ES_NODE_UP || swarm->nodes[n]->wants_hello) return true;
    return atomic_load_explicit(&swarm->mailbox.full, memory_order_relaxed);
}

/* Often while work waits for a node, seldom when all is well. */
static uint64_t tend_every_ns(const es_swarm *swarm)
{
    if (!unsettled(swarm)) return TEND_NS;
    return swarm->open > 0 ? TEND_NS / 100 : TEND_NS / 10;
}

uint32_t es_swarm_tend(es_swarm *swarm)
{
    uint64_t now_ns = es_clock_now_ns();
    es_exchange_receive(swarm);
    check_links(swarm, now_ns);
    es_exchange_tend(swarm, now_ns);
    return unsettled(swarm) ? 2 * SLEEP_TENDING_MS : 10 * SLEEP_MS;
}

es_status es_exchange_start(es_expert_backend *backend, size_t layer, const es_expert_batch *batch,
                            es_err *err)
{
    es_swarm *swarm = (es_swarm *)backend;
    uint64_t now_ns = es_clock_now_ns();
    es_parts_forget(swarm);
    if (now_ns - swarm->tended_ns >= tend_every_ns(swarm)) es_exchange_tend(swarm, now_ns);
    es_work all;
    es_status status =
        es_plan_reserve(swarm->plan, es_holders_slices_max(swarm->holders), ES_SWARM_NODES_MAX, err);
    if (status == ES_OK) status = es_plan_begin(swarm->plan, swarm->holders, layer, batch, &all, err);
    if (status != ES_OK) {
        es_err_prefix(err, "layer %zu", layer);
        return status;
    }
    swarm->call++;
    swarm->layer = layer;
    swarm->batch = batch;
    swarm->left = all.pairs;
    es_err_set(&swarm->last, ES_UNAVAILABLE, "layer %zu: no node took its work", layer);
    swarm->due_ns = es_size_min(swarm->due_ns, now_ns + TEND_NS);
    if (all.pairs > 0) es_part_give_out(swarm, es_part_add(swarm, ES_PART_NONE, &all), now_ns);
    return ES_OK;
}

/* Sleeps until a message or a connection's event is there, or something is due. */
static void sleep_for_replies(es_swarm *swarm, uint64_t until_ns)
{
    int count = 0;
    for (size_t n = 0; n < swarm->node_count; n++) {
        const es_node *node = swarm->nodes[n];
        es_channel *channels[] = {node->channel, node->control};
        bool writing[] = {node->stage == ES_NODE_OPENING, !node->hello_sent};
        bool idle[] = {node->stage == ES_NODE_UP && node->owed == 0, false};
        for (size_t i = 0; i < 2; i++) {
            if (channels[i] == NULL || idle[i]) continue;
            short wanted = writing[i] ? ZMQ_POLLOUT : ZMQ_POLLIN;
            swarm->polling[count++] = (zmq_pollitem_t){es_channel_socket(channels[i]), 0, wanted, 0};
            swarm->polling[count++] = (zmq_pollitem_t){es_channel_monitor(channels[i]), 0, ZMQ_POLLIN, 0};
        }
    }
    int left_ms = es_clock_left_ms(es_size_min(until_ns, swarm->due_ns));
    int most_ms = unsettled(swarm) ? SLEEP_TENDING_MS : SLEEP_MS;
    zmq_poll(swarm->polling, count, left_ms < most_ms ? left_ms : most_ms);
}

/* Computes an open part here. False: it has slices, which are computed where they are held. */
static bool compute_here(es_swarm *swarm, es_part *part)
{
    es_expert_backend *local = swarm->options.local;
    if (local == NULL || part->work.sliced) return false;
    const es_work *w = &part->work;
    uint32_t *first = swarm->local_first;
    size_t rows = swarm->batch->rows->count, pair = 0;
    for (size_t r = 0, i = 0; r < rows; r++) {
        first[r] = (uint32_t)pair;
        if (i < w->rows && w->row[i] == r) pair += w->pairs_per_row[i++];
    }
    first[rows] = (uint32_t)pair;
    es_expert_batch batch = {
        .rows = swarm->batch->rows, .pair_first = first, .expert = w->expert, .weight = w->weight};
    es_err err;
    es_status status = local->start(local, swarm->layer, &batch, &err);
    if (status == ES_OK) status = local->finish(local, swarm->sum, &err);
    if (status == ES_OK)
        es_part_added(swarm, part);
    else
        swarm->failed = err;
    return true;
}

/* Since when a pair of part has nobody to compute it; *ret_expert: which, *ret_node: who held it last, or
 * NULL. */
static uint64_t missing_since(const es_swarm *swarm, const es_part *part, uint32_t *ret_expert,
                              const es_node **ret_node)
{
    uint64_t since_ns = UINT64_MAX;
    for (size_t p = 0; p < part->work.pairs; p++) {
        size_t count;
        const uint16_t *holders =
            es_holders_find(swarm->holders, swarm->layer, part->work.expert[p], part->work.chunks[p], &count);
        uint64_t last_ns = count == 0 ? part->open_ns : 0;
        const es_node *node = NULL;
        for (size_t h = 0; h < count; h++) {
            const es_node *n = swarm->nodes[holders[h]];
            uint64_t ns = n->stage == ES_NODE_UP ? part->open_ns : n->lost_ns;
            if (ns < last_ns) continue;
            last_ns = ns;
            node = n;
        }
        if (last_ns >= since_ns) continue;
        since_ns = last_ns;
        *ret_expert = part->work.expert[p];
        *ret_node = node;
    }
    return since_ns;
}

static void give_up(es_swarm *swarm, uint32_t expert, const es_node *node, uint64_t since_ns, uint64_t now_ns)
{
    double gone_s = (double)(now_ns - since_ns) * 1e-9;
    if (node == NULL)
        es_err_set(&swarm->failed, ES_UNAVAILABLE, "layer %zu: expert %u: held by no node for %.1f s",
                   swarm->layer, expert, gone_s);
    else if (node->stage == ES_NODE_UP)
        es_err_set(&swarm->failed, ES_UNAVAILABLE,
                   "layer %zu: expert %u: node %s (%s): took no request for %.1f s", swarm->layer, expert,
                   node->name, node->where, gone_s);
    else
        es_err_set(&swarm->failed, node->why.status,
                   "layer %zu: expert %u: node %s (%s): gone for %.1f s: %s", swarm->layer, expert,
                   node->name, node->where, gone_s, node->why.text);
}

/* Work that nobody takes: others may hold by now what they did not when they were greeted. */
static void ask_around(es_swarm *swarm, uint64_t now_ns)
{
    if (now_ns - swarm->asked_ns < ASK_NS) return;
    swarm->asked_ns = now_ns;
    for (size_t n = 0; n < swarm->node_count; n++) {
        es_node *node = swarm->nodes[n];
        if (node->stage != ES_NODE_UP || node->wants_hello) continue;
        node->wants_hello = true;
        node->hello_again_ns = now_ns;
    }
}

/* Tries what is to be given out, when something changed since; fails the call when that has waited too long.
 * Returns when it will have. */
static uint64_t place_open(es_swarm *swarm, uint64_t now_ns)
{
    uint64_t until_ns = UINT64_MAX;
    for (size_t i = 0; i < swarm->part_count && swarm->open > 0 && swarm->failed.status == ES_OK; i++) {
        es_part *part = &swarm->parts[i];
        if (part->state != ES_PART_OPEN) continue;
        if (part->seen != swarm->changes) {
            part->seen = swarm->changes;
            if (es_part_give_out(swarm, part, now_ns) || part->state != ES_PART_OPEN) continue;
            if (swarm->failed.status != ES_OK || compute_here(swarm, part)) continue;
        }
        uint32_t expert = 0;
        const es_node *node = NULL;
        uint64_t since_ns = missing_since(swarm, part, &expert, &node);
        uint64_t end_ns = since_ns + swarm->options.wait_ms * UINT64_C(1000000);
        if (now_ns >= part->open_ns + ASK_NS) ask_around(swarm, now_ns);
        if (now_ns >= end_ns) give_up(swarm, expert, node, since_ns, now_ns);
        until_ns = es_size_min(until_ns, end_ns);
    }
    return until_ns;
}

static es_status wait_for_all(es_swarm *swarm)
{
    uint64_t awake_until_ns = es_clock_now_ns() + SPIN_NS;
    while (swarm->left > 0 && swarm->failed.status == ES_OK) {
        bool some = es_exchange_receive(swarm);
        if (swarm->left == 0) break;
        uint64_t now_ns = es_clock_now_ns(), until_ns = UINT64_MAX;
        if (some) awake_until_ns = now_ns + SPIN_NS;
        run_timers(swarm, now_ns);
        if (swarm->open > 0) until_ns = place_open(swarm, now_ns);
        if (now_ns < awake_until_ns) {
            sched_yield();
            continue;
        }
        if (atomic_load(&swarm->interrupted))
            return es_err_set(&swarm->failed, ES_CANCELLED, "stopped while nodes computed");
        unsigned before = swarm->changes;
        check_links(swarm, now_ns);
        if (now_ns - swarm->tended_ns >= tend_every_ns(swarm)) es_exchange_tend(swarm, now_ns);
        if (swarm->changes == before && swarm->left > 0) sleep_for_replies(swarm, until_ns);
    }
    return swarm->failed.status;
}

es_status es_exchange_finish(es_expert_backend *backend, int64_t *sum, es_err *err)
{
    es_swarm *swarm = (es_swarm *)backend;
    ES_ASSERT(swarm->batch != NULL);
    swarm->sum = sum;
    es_status status = wait_for_all(swarm);
    if (status != ES_OK && err != NULL) *err = swarm->failed;
    es_parts_forget(swarm);
    return status;
}
