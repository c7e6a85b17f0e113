/* Spans into a step's buffer, and from there into the ring. */
#include "trace/trace.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const ES_STAGE_NAMES[ES_STAGE_COUNT] = {"step",     "embed",  "attention", "router",
                                                    "dispatch", "shared", "wait",      "dense",
                                                    "combine",  "head",   "sampling",  "call"};

typedef struct trace_node {
    char name[ES_TRACE_NODE_TEXT], endpoint[ES_TRACE_NODE_TEXT];
} trace_node;

struct es_trace {
    pthread_mutex_t lock; /* of what follows */
    es_span *ring;        /* [ES_TRACE_SPANS]; number n stands at n % ES_TRACE_SPANS */
    uint64_t next;        /* the number of the next span */
    uint64_t left_out;
    trace_node *nodes; /* [ES_TRACE_NODES_MAX] */
    size_t node_count;

    /* The thread's that runs the steps. */
    es_span *pending; /* [ES_TRACE_STEP_SPANS] */
    size_t pending_count;
    uint64_t pending_left_out;
    uint64_t step;
};

es_status es_trace_create(es_trace **ret_trace, es_err *err)
{
    *ret_trace = NULL;
    es_trace *trace = calloc(1, sizeof *trace);
    if (trace == NULL) return es_err_set(err, ES_NO_MEMORY, "trace");
    pthread_mutex_init(&trace->lock, NULL);
    trace->ring = calloc(ES_TRACE_SPANS, sizeof *trace->ring);
    trace->pending = calloc(ES_TRACE_STEP_SPANS, sizeof *trace->pending);
    trace->nodes = calloc(ES_TRACE_NODES_MAX, sizeof *trace->nodes);
    if (trace->ring == NULL || trace->pending == NULL || trace->nodes == NULL) {
        es_trace_destroy(&trace);
        return es_err_set(err, ES_NO_MEMORY, "trace");
    }
    *ret_trace = trace;
    return ES_OK;
}

void es_trace_destroy(es_trace **trace_at)
{
    es_trace *trace = *trace_at;
    if (trace == NULL) return;
    pthread_mutex_destroy(&trace->lock);
    free(trace->ring);
    free(trace->pending);
    free(trace->nodes);
    free(trace);
    *trace_at = NULL;
}

/* The last place is the step's own. */
static void add(es_trace *trace, const es_span *span)
{
    if (trace->pending_count == ES_TRACE_STEP_SPANS - (span->stage == ES_STAGE_STEP ? 0 : 1)) {
        trace->pending_left_out++;
        return;
    }
    trace->pending[trace->pending_count] = *span;
    trace->pending[trace->pending_count++].step = trace->step;
}

uint64_t es_trace_begin(es_trace *trace, uint64_t step)
{
    if (trace == NULL) return 0;
    trace->step = step;
    trace->pending_count = 0;
    return es_clock_now_ns();
}

uint64_t es_trace_mark(es_trace *trace, es_stage stage, size_t layer, uint64_t start_ns)
{
    if (trace == NULL) return 0;
    uint64_t now_ns = es_clock_now_ns();
    add(trace, &(es_span){.start_ns = start_ns,
                          .duration_ns = now_ns - start_ns,
                          .layer = (uint16_t)layer,
                          .stage = (uint8_t)stage});
    return now_ns;
}

void es_trace_call(es_trace *trace, uint16_t node, size_t layer, uint64_t sent_ns, uint64_t received_ns,
                   uint64_t compute_ns)
{
    if (trace == NULL) return;
    add(trace, &(es_span){.start_ns = sent_ns,
                          .duration_ns = received_ns - sent_ns,
                          .compute_ns = compute_ns,
                          .layer = (uint16_t)layer,
                          .node = node,
                          .stage = ES_STAGE_CALL});
}

void es_trace_end(es_trace *trace, uint64_t start_ns, size_t rows, size_t answers)
{
    if (trace == NULL) return;
    add(trace, &(es_span){.start_ns = start_ns,
                          .duration_ns = es_clock_now_ns() - start_ns,
                          .rows = (uint32_t)rows,
                          .answers = (uint32_t)answers,
                          .stage = ES_STAGE_STEP});
    pthread_mutex_lock(&trace->lock);
    size_t at = trace->next % ES_TRACE_SPANS, count = trace->pending_count;
    size_t first = count < ES_TRACE_SPANS - at ? count : ES_TRACE_SPANS - at;
    memcpy(trace->ring + at, trace->pending, first * sizeof *trace->ring);
    memcpy(trace->ring, trace->pending + first, (count - first) * sizeof *trace->ring);
    trace->next += count;
    trace->left_out += trace->pending_left_out;
    pthread_mutex_unlock(&trace->lock);
    trace->pending_count = 0;
    trace->pending_left_out = 0;
}

uint16_t es_trace_node(es_trace *trace, const char *name, const char *endpoint)
{
    if (trace == NULL) return 0;
    size_t n = 0;
    pthread_mutex_lock(&trace->lock);
    while (n < trace->node_count &&
           (strcmp(trace->nodes[n].name, name) != 0 || strcmp(trace->nodes[n].endpoint, endpoint) != 0))
        n++;
    if (n == ES_TRACE_NODES_MAX) {
        n--;
        trace->nodes[n] = (trace_node){"further nodes", ""};
    } else if (n == trace->node_count) {
        snprintf(trace->nodes[n].name, ES_TRACE_NODE_TEXT, "%s", name);
        snprintf(trace->nodes[n].endpoint, ES_TRACE_NODE_TEXT, "%s", endpoint);
        trace->node_count++;
    }
    pthread_mutex_unlock(&trace->lock);
    return (uint16_t)n;
}

size_t es_trace_read(es_trace *trace, uint64_t *next, es_span *ret_spans, size_t room, uint64_t *ret_lost)
{
    pthread_mutex_lock(&trace->lock);
    uint64_t oldest = trace->next > ES_TRACE_SPANS ? trace->next - ES_TRACE_SPANS : 0;
    if (*next > trace->next) *next = trace->next;
    *ret_lost = *next < oldest ? oldest - *next : 0;
    *next += *ret_lost;
    size_t count = trace->next - *next < room ? (size_t)(trace->next - *next) : room;
    for (size_t i = 0; i < count; i++) ret_spans[i] = trace->ring[(*next + i) % ES_TRACE_SPANS];
    *next += count;
    pthread_mutex_unlock(&trace->lock);
    return count;
}

uint64_t es_trace_next(es_trace *trace)
{
    pthread_mutex_lock(&trace->lock);
    uint64_t next = trace->next;
    pthread_mutex_unlock(&trace->lock);
    return next;
}

uint64_t es_trace_left_out(es_trace *trace)
{
    pthread_mutex_lock(&trace->lock);
    uint64_t left_out = trace->left_out;
    pthread_mutex_unlock(&trace->lock);
    return left_out;
}

bool es_trace_node_texts(es_trace *trace, size_t node, char ret_name[ES_TRACE_NODE_TEXT],
                         char ret_endpoint[ES_TRACE_NODE_TEXT])
{
    pthread_mutex_lock(&trace->lock);
    bool there = node < trace->node_count;
    if (there) {
        memcpy(ret_name, trace->nodes[node].name, ES_TRACE_NODE_TEXT);
        memcpy(ret_endpoint, trace->nodes[node].endpoint, ES_TRACE_NODE_TEXT);
    }
    pthread_mutex_unlock(&trace->lock);
    return there;
}
