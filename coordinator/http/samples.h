/* What the engine and the nodes have done in the last seconds: rates out of counters. */
#ifndef ES_HTTP_SAMPLES_H
#define ES_HTTP_SAMPLES_H

#include "sched/engine.h"

/* Seconds that rates look back. */
enum { ES_SAMPLES_WINDOW_S = 10 };

typedef struct es_http_samples es_http_samples;

es_status es_http_samples_create(es_http_samples **ret_samples, es_err *err);
void es_http_samples_destroy(es_http_samples **samples);

/* Notes how the counters stand; called once a second by one thread. */
void es_http_samples_take(es_http_samples *samples, es_engine *engine);

typedef struct es_engine_rates {
    double decode_tokens, prefill_tokens; /* a second */
} es_engine_rates;

/* A node's rates a second; latencies are of the calls in the window, 0 when there was none. */
typedef struct es_node_rates {
    double calls, busy, bytes_in, bytes_out, p50_ms, p99_ms;
} es_node_rates;

/* Of the last seconds, from any thread. Zero while there is one sample only. */
es_engine_rates es_http_samples_engine(es_http_samples *samples);
es_node_rates es_http_samples_node(es_http_samples *samples, const char *endpoint);

/* The value below which the share (0 to 1) of observations lie, straight lines between bounds [count]; bucket
 * [count + 1]. 0 when there is none; the last bound for what lies beyond it. */
double es_histogram_quantile(const double *bound, size_t count, const uint64_t *bucket, double share);

#endif
