/* A swarm from creation to end. */
#include "dispatch/swarm.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/size.h"
#include "dispatch/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

const double ES_SWARM_LATENCY_BOUND[ES_SWARM_LATENCY_BOUNDS] = {
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10};

enum { GREETING_MS = 1, LINES_A_SECOND = 20 };
static const double HEDGES_AT_FIRST = 4;

static void destroy_backend(es_expert_backend **backend)
{
    es_swarm *swarm = (es_swarm *)*backend;
    es_swarm_destroy(&swarm);
    *backend = NULL;
}

static es_status draw_id(uint64_t *ret_id, es_err *err)
{
    do {
        if (getrandom(ret_id, sizeof *ret_id, 0) != (ssize_t)sizeof *ret_id)
            return es_err_set(err, ES_IO, "no random number for the coordinator's id");
    } while (*ret_id == 0);
    return ES_OK;
}

static es_status check_options(const es_swarm_options *o, es_err *err)
{
    if (o->node_count > ES_SWARM_NODES_MAX)
        return es_err_set(err, ES_INVALID, "swarm: %zu nodes, more than %d", o->node_count,
                          ES_SWARM_NODES_MAX);
    if (o->rows_max < 1 || o->rows_max > ES_STEP_ROWS_MAX)
        return es_err_set(err, ES_INVALID, "swarm: rows_max: %zu is not 1 to %d", o->rows_max,
                          ES_STEP_ROWS_MAX);
    if (!es_name_valid(o->name))
        return es_err_set(err, ES_INVALID, "swarm: name \"%s\": 1 to %d letters, digits, '.', '_' or '-'",
                          o->name, ES_NAME_MAX);
    return ES_OK;
}

/* A row that is no token's: small numbers, none of them special. */
static es_status make_probe_row(es_swarm *swarm, es_err *err)
{
    const es_swarm_options *o = &swarm->options;
    swarm->row_bytes = es_rows_row_bytes(o->row_format, o->shape->hidden);
    swarm->probe_row = calloc(1, swarm->row_bytes);
    if (swarm->probe_row == NULL) return es_err_set(err, ES_NO_MEMORY, "swarm");
    size_t codes = o->row_format == ES_ROWS_Q8 ? es_size_align(o->shape->hidden, sizeof(float)) : 0;
    memset(swarm->probe_row, 1, o->row_format == ES_ROWS_Q8 ? o->shape->hidden : 0);
    const float small = 1.0f / 64;
    for (size_t at = codes; at < swarm->row_bytes; at += sizeof small)
        memcpy(swarm->probe_row + at, &small, sizeof small);
    return ES_OK;
}

static es_status fill(es_swarm *swarm, es_err *err)
{
    es_swarm_options *o = &swarm->options;
    if (o->deadline_ms == 0) o->deadline_ms = ES_SWARM_DEADLINE_MS;
    if (o->hello_deadline_ms == 0) o->hello_deadline_ms = ES_SWARM_HELLO_DEADLINE_MS;
    if (o->wait_ms == 0) o->wait_ms = ES_SWARM_WAIT_MS;
    swarm->seats = calloc(ES_SWARM_NODES_MAX, sizeof *swarm->seats);
    swarm->works = calloc(ES_SWARM_NODES_MAX + 1, sizeof *swarm->works);
    swarm->parts = calloc(ES_PARTS_MAX, sizeof *swarm->parts);
    swarm->frame = malloc(ES_CONTROL_FRAME_MAX);
    swarm->polling = calloc(4 * ES_SWARM_NODES_MAX, sizeof *swarm->polling);
    swarm->local_first = calloc(o->rows_max + 1, sizeof *swarm->local_first);
    if (swarm->seats == NULL || swarm->works == NULL || swarm->parts == NULL || swarm->frame == NULL ||
        swarm->polling == NULL || swarm->local_first == NULL)
        return es_err_set(err, ES_NO_MEMORY, "swarm");
    swarm->due_ns = UINT64_MAX;
    swarm->hedges = HEDGES_AT_FIRST;
    es_status status = draw_id(&swarm->coordinator, err);
    for (; swarm->node_count < o->node_count && status == ES_OK; swarm->node_count += status == ES_OK)
        status = es_node_create(o->nodes[swarm->node_count], &swarm->nodes[swarm->node_count], err);
    if (status == ES_OK) status = make_probe_row(swarm, err);
    if (status == ES_OK) status = es_wire_memory_create(&swarm->memory, err);
    if (status == ES_OK) status = es_control_memory_create(&swarm->control_memory, err);
    if (status == ES_OK) status = es_holders_create(o->shape, &swarm->holders, err);
    if (status == ES_OK) status = es_plan_create(o->shape, o->rows_max, &swarm->plan, err);
    es_net_options net = {.keys = o->keys};
    if (status == ES_OK) status = es_net_open(&net, &swarm->net, err);
    return status;
}

static es_status at_node(const es_node *node, es_err *err)
{
    if (node->name[0] != '\0') return es_err_prefix(err, "node %s (%s)", node->name, node->where);
    return es_err_prefix(err, "node %s", node->where);
}

/* Why a node is not up when the time for all to answer is over. */
static es_status too_late(const es_swarm *swarm, const es_node *node, es_err *err)
{
    uint32_t ms = swarm->options.hello_deadline_ms;
    if (node->control != NULL && node->hello_sent)
        es_err_set(err, ES_TIMEOUT, "connected, but no answer to hello within %u ms; is it still loading?",
                   ms);
    else if (node->stage == ES_NODE_OPENING)
        es_err_set(err, ES_TIMEOUT, "said hello, but its data port %u does not answer", node->data_at.port);
    else
        es_err_set(err, ES_TIMEOUT, "nobody answers there (tried for %u ms)", ms);
    return at_node(node, err);
}

/* The first greeting: what will not fit however often it is tried ends it. */
static es_status greet_all(es_swarm *swarm, uint64_t deadline_ns, es_err *err)
{
    for (;;) {
        size_t up = 0;
        uint64_t now_ns = es_clock_now_ns();
        for (size_t n = 0; n < swarm->node_count; n++) {
            es_node *node = swarm->nodes[n];
            es_status status = es_node_tend(swarm, node, now_ns, err);
            if (status != ES_OK && status != ES_TIMEOUT && status != ES_UNAVAILABLE)
                return at_node(node, err);
            if (status != ES_OK) es_node_note(swarm, node, err);
            up += node->stage == ES_NODE_UP;
        }
        if (up == swarm->node_count || now_ns >= deadline_ns) return ES_OK;
        if (es_signals_stop_asked())
            return es_err_set(err, ES_CANCELLED, "stopped while the expert nodes were greeted");
        zmq_poll(NULL, 0, GREETING_MS);
    }
}

/* All nodes are up, or those that are hold everything. */
static es_status check_start(es_swarm *swarm, es_err *err)
{
    const es_node *missing = NULL;
    if (swarm->node_count == 0) return es_swarm_refill(swarm, err);
    for (size_t n = 0; n < swarm->node_count && missing == NULL; n++)
        if (swarm->nodes[n]->stage != ES_NODE_UP) missing = swarm->nodes[n];
    es_status status = es_holders_complete(swarm->holders, err);
    if (missing == NULL) return status;
    es_err why;
    too_late(swarm, missing, &why);
    if (status == ES_OK)
        es_log(ES_LOG_WARN, "%s; the others hold everything", why.text);
    else if (err != NULL)
        *err = why;
    return status == ES_OK ? ES_OK : why.status;
}

es_status es_swarm_create(const es_swarm_options *options, es_swarm **ret_swarm, es_err *err)
{
    *ret_swarm = NULL;
    es_status status = check_options(options, err);
    if (status != ES_OK) return status;
    es_swarm *swarm = calloc(1, sizeof *swarm);
    if (swarm == NULL) return es_err_set(err, ES_NO_MEMORY, "swarm");
    swarm->backend = (es_expert_backend){es_exchange_start, es_exchange_finish, destroy_backend};
    swarm->options = *options;
    pthread_mutex_init(&swarm->mailbox.lock, NULL);
    status = fill(swarm, err);
    uint64_t deadline_ns = es_clock_now_ns() + (uint64_t)swarm->options.hello_deadline_ms * 1000000u;
    if (status == ES_OK) status = greet_all(swarm, deadline_ns, err);
    if (status == ES_OK) status = check_start(swarm, err);
    if (status != ES_OK) es_swarm_destroy(&swarm);
    *ret_swarm = swarm;
    return status;
}

static void free_nodes(es_node **nodes, size_t count)
{
    for (size_t n = 0; n < count; n++) es_node_destroy(&nodes[n]);
}

void es_swarm_destroy(es_swarm **swarm_at)
{
    es_swarm *swarm = *swarm_at;
    if (swarm == NULL) return;
    if (swarm->parts != NULL) es_parts_forget(swarm);
    es_watch_stop(swarm);
    free_nodes(swarm->nodes, swarm->node_count);
    if (swarm->mailbox.nodes != NULL) free_nodes(swarm->mailbox.nodes, swarm->mailbox.count);
    free(swarm->mailbox.nodes);
    pthread_mutex_destroy(&swarm->mailbox.lock);
    es_net_close(&swarm->net);
    es_plan_destroy(&swarm->plan);
    es_holders_destroy(&swarm->holders);
    es_wire_memory_destroy(&swarm->memory);
    es_control_memory_destroy(&swarm->control_memory);
    free(swarm->seats);
    free(swarm->works);
    free(swarm->parts);
    free(swarm->frame);
    free(swarm->probe_row);
    free(swarm->polling);
    free(swarm->local_first);
    free(swarm);
    *swarm_at = NULL;
}

es_status es_swarm_set_nodes(es_swarm *swarm, const char *const *nodes, size_t count, uint64_t epoch,
                             es_err *err)
{
    if (count > ES_SWARM_NODES_MAX)
        return es_err_set(err, ES_INVALID, "swarm: %zu nodes, more than %d", count, ES_SWARM_NODES_MAX);
    es_node **list = calloc(es_size_max(count, 1), sizeof(es_node *));
    es_status status = list == NULL ? es_err_set(err, ES_NO_MEMORY, "list of nodes") : ES_OK;
    for (size_t n = 0; n < count && status == ES_OK; n++) status = es_node_create(nodes[n], &list[n], err);
    es_mailbox *box = &swarm->mailbox;
    if (status == ES_OK) {
        pthread_mutex_lock(&box->lock);
        es_node **old = box->nodes;
        size_t old_count = box->count;
        box->nodes = list;
        box->count = count;
        box->epoch = epoch;
        box->number = atomic_fetch_add(&swarm->lists, 1) + 1;
        atomic_store(&box->full, true);
        pthread_mutex_unlock(&box->lock);
        list = old;
        count = old_count;
    }
    if (list != NULL) free_nodes(list, count);
    free(list);
    return status;
}

/* Puts a node that we have in the place of one like it that came with a list. */
static void keep_known(es_swarm *swarm, es_node **listed)
{
    for (size_t n = 0; n < swarm->node_count; n++) {
        es_node *known = swarm->nodes[n];
        if (known->kept || strcmp(known->where, (*listed)->where) != 0 ||
            strcmp(known->key, (*listed)->key) != 0)
            continue;
        es_node_destroy(listed);
        *listed = known;
        known->kept = true;
        return;
    }
}

void es_swarm_take_nodes(es_swarm *swarm)
{
    es_mailbox *box = &swarm->mailbox;
    if (!atomic_load(&box->full)) return;
    es_watch_stop(swarm);
    pthread_mutex_lock(&box->lock);
    es_node **list = box->nodes;
    size_t count = box->count;
    uint64_t epoch = box->epoch, now_ns = es_clock_now_ns();
    swarm->taken = box->number;
    box->nodes = NULL;
    atomic_store(&box->full, false);
    pthread_mutex_unlock(&box->lock);
    swarm->epoch = epoch > swarm->epoch ? epoch : swarm->epoch;
    for (size_t n = 0; n < count; n++) keep_known(swarm, &list[n]);
    es_err why;
    es_err_set(&why, ES_UNAVAILABLE, "left the swarm");
    for (size_t n = 0; n < swarm->node_count; n++) {
        es_node *node = swarm->nodes[n];
        if (node->kept) continue;
        node->leaves = true;
        es_exchange_lose(swarm, node, &why, now_ns);
        es_parts_forget_node(swarm, node);
        es_node_destroy(&node);
    }
    for (size_t n = 0; n < count; n++) {
        list[n]->kept = false;
        swarm->nodes[n] = list[n];
        /* A hello under way may have been answered before the change that the list stands for. */
        es_channel_close(&list[n]->control);
        list[n]->wants_hello = true;
        list[n]->hello_again_ns = now_ns;
    }
    swarm->node_count = count;
    free(list);
    es_err err;
    if (es_swarm_refill(swarm, &err) != ES_OK) es_log(ES_LOG_ERROR, "new list of nodes: %s", err.text);
}

uint64_t es_swarm_lists(const es_swarm *swarm)
{
    return atomic_load(&swarm->lists);
}

uint64_t es_swarm_followed(const es_swarm *swarm)
{
    return atomic_load(&swarm->followed);
}

es_status es_swarm_missing(es_swarm *swarm, es_err *err)
{
    es_mailbox *box = &swarm->mailbox;
    pthread_mutex_lock(&box->lock);
    es_err missing = box->missing;
    pthread_mutex_unlock(&box->lock);
    if (missing.status != ES_OK && err != NULL) *err = missing;
    return missing.status;
}

void es_swarm_name_step(es_swarm *swarm, uint64_t step, const char *requests)
{
    swarm->step = step;
    if (requests == NULL) return;
    ES_ASSERT(es_wire_requests_valid(requests));
    strcpy(swarm->requests, requests);
    swarm->requests_version++;
}

void es_swarm_log(es_swarm *swarm, const es_node *node, es_log_level level, const char *format, ...)
{
    char text[ES_ERR_TEXT_MAX + 128];
    uint64_t left_out = 0;
    if (!es_log_wants(level) ||
        !es_log_limit_take(&swarm->told, es_clock_now_ns(), LINES_A_SECOND, &left_out))
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bool calls = swarm->batch != NULL;
    const es_log_field fields[] = {es_log_text("node", node->name),
                                   es_log_text("endpoint", node->where),
                                   es_log_text("request", calls ? swarm->requests : NULL),
                                   es_log_count("step", swarm->step),
                                   es_log_count("call", swarm->call),
                                   es_log_count("layer", swarm->layer)};
    es_log_event(level, ES_ROOM, fields, calls ? sizeof fields / sizeof fields[0] : 2, "%s", text);
}

void es_swarm_interrupt(es_swarm *swarm)
{
    atomic_store(&swarm->interrupted, true);
}

es_expert_backend *es_swarm_backend(es_swarm *swarm)
{
    return &swarm->backend;
}

size_t es_swarm_node_count(const es_swarm *swarm)
{
    return swarm->node_count;
}

es_swarm_node_info es_swarm_node(const es_swarm *swarm, size_t n)
{
    ES_ASSERT(n < swarm->node_count);
    const es_node *node = swarm->nodes[n];
    es_swarm_node_info info = node->counted;
    memcpy(info.name, node->name, sizeof info.name);
    memcpy(info.endpoint, node->where, sizeof info.endpoint);
    info.experts = node->experts;
    info.threads = node->threads;
    info.owed = node->owed;
    info.state = node->stage == ES_NODE_UP     ? ES_SWARM_NODE_UP
                 : node->stage == ES_NODE_LOST ? ES_SWARM_NODE_LOST
                                               : ES_SWARM_NODE_PROBING;
    return info;
}
