/* A swarm from creation to end. */
#include "dispatch/swarm.h"

#include "base/clock.h"
#include "dispatch/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

const double ES_SWARM_LATENCY_BOUND[ES_SWARM_LATENCY_BOUNDS] = {
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10};

static void destroy_backend(es_expert_backend **backend)
{
    es_swarm *swarm = (es_swarm *)*backend;
    es_swarm_destroy(&swarm);
    *backend = NULL;
}

/* "host:port" or "host:port,KEY". */
static es_status parse_node(const char *text, es_node *node, es_err *err)
{
    char endpoint[512];
    const char *comma = strchr(text, ',');
    size_t length = comma == NULL ? strlen(text) : (size_t)(comma - text);
    if (length >= sizeof endpoint) return es_err_set(err, ES_INVALID, "node \"%.40s...\": too long", text);
    memcpy(endpoint, text, length);
    endpoint[length] = '\0';
    if (comma != NULL) {
        if (!es_key_valid(comma + 1))
            return es_err_set(err, ES_INVALID, "node \"%s\": what follows the comma is no public key", text);
        memcpy(node->key, comma + 1, ES_KEY_TEXT_BYTES);
    }
    es_status status = es_endpoint_parse_connect(endpoint, &node->control, err);
    if (status == ES_OK) es_endpoint_format(&node->control, node->where);
    return status;
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
    if (o->node_count < 1 || o->node_count > ES_SWARM_NODES_MAX)
        return es_err_set(err, ES_INVALID, "swarm: %zu nodes, not 1 to %d", o->node_count,
                          ES_SWARM_NODES_MAX);
    if (o->rows_max < 1 || o->rows_max > ES_STEP_ROWS_MAX)
        return es_err_set(err, ES_INVALID, "swarm: rows_max: %zu is not 1 to %d", o->rows_max,
                          ES_STEP_ROWS_MAX);
    if (!es_name_valid(o->name))
        return es_err_set(err, ES_INVALID, "swarm: name \"%s\": 1 to %d letters, digits, '.', '_' or '-'",
                          o->name, ES_NAME_MAX);
    return ES_OK;
}

static es_status fill(es_swarm *swarm, es_err *err)
{
    es_swarm_options *o = &swarm->options;
    if (o->deadline_ms == 0) o->deadline_ms = ES_SWARM_DEADLINE_MS;
    if (o->hello_deadline_ms == 0) o->hello_deadline_ms = ES_SWARM_HELLO_DEADLINE_MS;
    swarm->nodes = calloc(o->node_count, sizeof *swarm->nodes);
    swarm->header = malloc(ES_WIRE_HEADER_MAX);
    swarm->polling = calloc(2 * o->node_count, sizeof *swarm->polling);
    if (swarm->nodes == NULL || swarm->header == NULL || swarm->polling == NULL)
        return es_err_set(err, ES_NO_MEMORY, "swarm");
    es_status status = draw_id(&swarm->coordinator, err);
    for (size_t n = 0; n < o->node_count && status == ES_OK; n++)
        status = parse_node(o->nodes[n], &swarm->nodes[n], err);
    if (status == ES_OK) status = es_wire_memory_create(&swarm->memory, err);
    if (status == ES_OK) status = es_plan_create(o->shape, o->node_count, o->rows_max, &swarm->plan, err);
    es_net_options net = {.keys = o->keys};
    if (status == ES_OK) status = es_net_open(&net, &swarm->net, err);
    return status;
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
    status = fill(swarm, err);
    uint64_t deadline_ns = es_clock_now_ns() + (uint64_t)swarm->options.hello_deadline_ms * 1000000u;
    if (status == ES_OK) status = es_swarm_greet(swarm, deadline_ns, err);
    if (status == ES_OK) status = es_plan_check(swarm->plan, err);
    if (status != ES_OK) es_swarm_destroy(&swarm);
    *ret_swarm = swarm;
    return status;
}

void es_swarm_destroy(es_swarm **swarm_at)
{
    es_swarm *swarm = *swarm_at;
    if (swarm == NULL) return;
    for (size_t n = 0; swarm->nodes != NULL && n < swarm->options.node_count; n++)
        es_channel_close(&swarm->nodes[n].channel);
    es_net_close(&swarm->net);
    es_plan_destroy(&swarm->plan);
    es_wire_memory_destroy(&swarm->memory);
    free(swarm->nodes);
    free(swarm->header);
    free(swarm->polling);
    free(swarm);
    *swarm_at = NULL;
}

es_expert_backend *es_swarm_backend(es_swarm *swarm)
{
    return &swarm->backend;
}

size_t es_swarm_node_count(const es_swarm *swarm)
{
    return swarm->options.node_count;
}

es_swarm_node_info es_swarm_node(const es_swarm *swarm, size_t n)
{
    ES_ASSERT(n < swarm->options.node_count);
    const es_node *node = &swarm->nodes[n];
    es_swarm_node_info info = node->counted;
    memcpy(info.name, node->name, sizeof info.name);
    memcpy(info.endpoint, node->where, sizeof info.endpoint);
    info.experts = node->experts;
    info.threads = node->threads;
    info.state = node->channel == NULL ? ES_SWARM_NODE_LOST : ES_SWARM_NODE_UP;
    return info;
}
