/* Where a step's time goes: spans of the engine's stages and of the nodes' calls, the last ones kept in a
 * ring. */
#ifndef ES_TRACE_H
#define ES_TRACE_H

#include "base/clock.h"
#include "essaim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum es_stage {
    ES_STAGE_STEP, /* all of it; its span's rows and answers say how much */
    ES_STAGE_EMBED,
    ES_STAGE_ATTENTION, /* of a layer, as all that follow up to COMBINE */
    ES_STAGE_ROUTER,    /* the norm and the rows' quantisation too */
    ES_STAGE_DISPATCH,  /* the work is given out */
    ES_STAGE_SHARED,    /* the shared expert, while nodes compute */
    ES_STAGE_WAIT,      /* for replies, which are added up meanwhile */
    ES_STAGE_DENSE,     /* a dense layer's feed-forward */
    ES_STAGE_COMBINE,   /* the sums become floats and are added to the stream */
    ES_STAGE_HEAD,
    ES_STAGE_SAMPLING, /* tokens are drawn and told */
    ES_STAGE_CALL,     /* a node's answer to one request, from sent to received */
    ES_STAGE_COUNT
} es_stage;
extern const char *const ES_STAGE_NAMES[ES_STAGE_COUNT];

typedef struct es_span {
    uint64_t start_ns, duration_ns; /* of es_clock_now_ns */
    uint64_t step;
    uint64_t compute_ns;    /* CALL: what the node says it took there */
    uint32_t rows, answers; /* STEP */
    uint16_t layer, node;   /* node: of CALL, what es_trace_node gave */
    uint8_t stage;
} es_span;

enum {
    ES_TRACE_SPANS = 65536,     /* of the ring */
    ES_TRACE_STEP_SPANS = 8192, /* of one step, at most */
    ES_TRACE_NODES_MAX = 1024,  /* the last stands for all further ones */
    ES_TRACE_NODE_TEXT = 160
};

/* Its ring is shared; all else belongs to the thread that runs the steps. */
typedef struct es_trace es_trace;

es_status es_trace_create(es_trace **ret_trace, es_err *err);
void es_trace_destroy(es_trace **trace);

/* By the thread that runs the steps. trace may be NULL in each of them: nothing is recorded then. */

/* A step begins: what is recorded from here on belongs to it. Returns now. */
uint64_t es_trace_begin(es_trace *trace, uint64_t step);

/* Now, for the first es_trace_mark; 0 without a trace. */
static inline uint64_t es_trace_now(const es_trace *trace)
{
    return trace != NULL ? es_clock_now_ns() : 0;
}

/* Records that the stage took from start_ns until now, which it returns: where the next stage begins. */
uint64_t es_trace_mark(es_trace *trace, es_stage stage, size_t layer, uint64_t start_ns);

/* Records a node's answer. */
void es_trace_call(es_trace *trace, uint16_t node, size_t layer, uint64_t sent_ns, uint64_t received_ns,
                   uint64_t compute_ns);

/* The step that began at start_ns ends: others see it. */
void es_trace_end(es_trace *trace, uint64_t start_ns, size_t rows, size_t answers);

/* The number of the node with this name at this endpoint, for es_trace_call. */
uint16_t es_trace_node(es_trace *trace, const char *name, const char *endpoint);

/* From any thread. */

/* Up to room spans from number *next on into ret_spans, in the order they were recorded; *next becomes the
 * number of the first that was not given. Returns how many; *ret_lost: how many between had been forgotten.
 */
size_t es_trace_read(es_trace *trace, uint64_t *next, es_span *ret_spans, size_t room, uint64_t *ret_lost);

/* The number that the next span will have: what to begin with for those to come. */
uint64_t es_trace_next(es_trace *trace);

/* How many spans did not fit into their step. */
uint64_t es_trace_left_out(es_trace *trace);

/* Name and endpoint of a node's number; false: there is none. */
bool es_trace_node_texts(es_trace *trace, size_t node, char ret_name[ES_TRACE_NODE_TEXT],
                         char ret_endpoint[ES_TRACE_NODE_TEXT]);

#endif
