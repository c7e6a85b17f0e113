/* A coordinator's GET /cluster/trace gathered, and written for Chrome's trace viewer. */
#ifndef ES_CLI_CHROME_TRACE_H
#define ES_CLI_CHROME_TRACE_H

#include "essaim/status.h"
#include "trace/trace.h"

#include <jansson.h>
#include <stdio.h>

typedef struct chrome_trace {
    es_span *spans; /* [count] */
    size_t count, room;
    uint64_t lost, left_out;
    char (*nodes)[ES_TRACE_NODE_TEXT]; /* [node_count] */
    size_t node_count;
} chrome_trace;

/* Adds the spans of one answer, and the names of nodes that are new. *ret_next: where the next one begins,
 * *ret_some: how many there were. ES_CORRUPT when it is none. */
es_status chrome_trace_add(chrome_trace *trace, const json_t *answer, uint64_t *ret_next, size_t *ret_some,
                           es_err *err);
void chrome_trace_fini(chrome_trace *trace);

/* Writes all of it, in the order of time, as Chrome's JSON object format: processes are the coordinator and
 * the nodes, threads are stages, and for a node its calls with what it computed within. */
es_status chrome_trace_write(chrome_trace *trace, FILE *out, es_err *err);

/* Where the time went, in a few lines: stages, nodes, the layers that waited longest. */
void chrome_trace_summarise(const chrome_trace *trace, FILE *out);

#endif
